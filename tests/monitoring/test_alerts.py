"""The alert rules, by Prometheus's own tool; and that each has a page to turn to."""

from __future__ import annotations

import pathlib
import re
import subprocess

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
_RULES = ROOT / "k8s/chart/files/alerts.yaml"
_TESTS = ROOT / "k8s/monitoring/alerts_test.yaml"


def _alerts() -> list[str]:
    groups = yaml.safe_load(_RULES.read_text(encoding="utf-8"))["groups"]
    return [rule["alert"] for group in groups for rule in group["rules"]]


def _promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_sound_and_fire_when_they_should() -> None:
    _promtool("check", "rules", str(_RULES))
    _promtool("test", "rules", str(_TESTS))


def test_each_rule_is_tried_both_ways() -> None:
    quiet, loud = (test["alert_rule_test"] for test in yaml.safe_load(_TESTS.read_text(encoding="utf-8"))["tests"])
    assert [one["alertname"] for one in quiet if "exp_alerts" not in one] == _alerts()
    assert [one["alertname"] for one in loud if one["exp_alerts"]] == _alerts()


def test_each_alert_has_a_runbook() -> None:
    text = (ROOT / "docs/operate/alerts.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\w+)$", text, re.M) == _alerts()
