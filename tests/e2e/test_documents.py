"""What the documents say is true: their commands run, and the generated ones are current."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import smtplib
import sqlite3
import ssl
import subprocess
import sys
from typing import Any

import pytest
import yaml

from ctl.up import redis
from k8s.images import builder
from tests.e2e.platform_under_test import ROOT, UP_FLAGS, Platform

_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# They build or test everything, start another platform, or are this test's own: tried elsewhere.
_ELSEWHERE = ("./dev up", "./dev test", "./dev down", "./dev images")


def _commands(document: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return [line.split("#")[0].strip() for block in _BLOCK.findall(text)
            for line in block.splitlines() if line.strip()]


def _run(command: str, platform: Platform, stdin: str = "") -> subprocess.CompletedProcess[str]:
    words = command.split()
    assert words[0] == "./dev", command
    # The document's platform is the one in .postern; here it is the test's.
    words[2:2] = ["--data", str(platform.data)]
    return subprocess.run([str(ROOT / "dev"), *words[1:]], cwd=ROOT, input=stdin,
                          capture_output=True, text=True, timeout=120, check=False)


def test_readme_commands(platform: Platform) -> None:
    commands = _commands("README.md")
    assert "./dev up" in commands and "./dev test" in commands
    for command in commands:
        if command in _ELSEWHERE:
            continue
        done = _run(command, platform)
        assert done.returncode == 0, (command, done.stdout, done.stderr)


def test_operating_commands(make_platform: Any, tmp_path: pathlib.Path) -> None:
    platform = make_platform(None)
    users = tmp_path / "users.passwd"
    users.write_text("erin@example.org:{SHA512-CRYPT}$6$salt$" + "a" * 86 + "::::::\n", encoding="utf-8")
    for command in _commands("docs/OPERATING.md") + _commands("docs/operate/logins.md"):
        if "QUEUE_ID" in command:
            continue
        if "account add" in command:
            command += " --password-stdin"
        done = _run(command.replace("users.passwd", str(users)), platform, "a long password\n")
        assert done.returncode == 0, (command, done.stdout, done.stderr)


def test_what_to_watch_is_there_from_the_start(make_platform: Any) -> None:
    """A metric that appears with its first failure is no use to an alert."""
    platform = make_platform(None)
    services = platform.status["services"]
    text = (ROOT / "docs/OPERATING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]*) \| ([^|]*) \|", text.split("### What to watch")[1], re.MULTILINE)
    assert len(rows) >= 10
    for what, where in rows:
        names = [name for name in services if where == "every process" or
                 any(name.startswith(one.removesuffix("s")) for one in where.split(", "))]
        assert names, where
        for name in names:
            samples = platform.metrics(name)
            for metric, labels in re.findall(r"`((?:postern|process)_\w+)(\{[^}]*\})?`", what):
                pattern = rf"^{metric}(?:_count)?"
                pattern += rf"\{{.*{re.escape(labels.strip('{}'))}.*\}}$" if labels else r"($|\{)"
                assert any(re.match(pattern, sample) for sample in samples), (name, metric, labels)


def test_rights_of_a_redis_user() -> None:
    """Those of the operator's guide are those that everything is tested with."""
    text = (ROOT / "docs/operate/redis.md").read_text(encoding="utf-8")
    assert f"resetchannels {redis.COMMANDS}\n" in text


def test_dns_records_are_those_that_helm_prints() -> None:
    notes = (ROOT / "k8s/chart/templates/NOTES.txt").read_text(encoding="utf-8")
    notes = notes.replace("{{ $host }}", "mail.example.org")
    guide = (ROOT / "docs/operate/dns.md").read_text(encoding="utf-8")
    record = re.compile(r"^ {4,}(\S+(?: \(reverse\))?) +(A|PTR|MX|TXT|SRV) +(\S.*)$", re.MULTILINE)
    printed, told = set(record.findall(notes)), set(record.findall(guide))
    assert len(printed) == 7 and printed <= told
    for name, kind, _ in told - {("ADDRESS (reverse)", "PTR", "mail.example.org.")}:
        asked = "-x OUT" if kind == "PTR" else f"{name.rstrip('.')} {kind}"
        assert f"`dig +short {asked}`" in guide, (name, kind)


def test_images_and_ports_are_those_that_are_made() -> None:
    guide = (ROOT / "docs/operate/images.md").read_text(encoding="utf-8")
    assert all(command in _ELSEWHERE for command in _commands("docs/operate/images.md"))
    named = re.findall(r"^\| ((?:`[a-z0-9-]+`(?:, )?)+) \|", guide, re.MULTILINE)
    assert sorted(re.findall(r"`(.*?)`", "".join(named))) == sorted(builder.NAMES)
    [loop] = re.findall(r"for name in (.*); do$", guide, re.MULTILINE)
    assert sorted(loop.split()) == sorted(builder.NAMES)
    compose = yaml.safe_load((ROOT / "k8s/images/compose.yaml").read_text(encoding="utf-8"))
    ports = re.findall(r"^\| (\d+) \| (\d+) \|", guide, re.MULTILINE)
    assert [":".join(pair) for pair in ports] == compose["services"]["postern"]["ports"]


def test_values_of_the_images_guide() -> None:
    guide = (ROOT / "docs/operate/images.md").read_text(encoding="utf-8")
    [example] = re.findall(r"^```yaml\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    values = yaml.safe_load((ROOT / "k8s/chart/values.yaml").read_text(encoding="utf-8"))
    assert yaml.safe_load(example)["image"].keys() == values["image"].keys()


def test_overlay_of_the_images_guide(make_platform: Any, tmp_path: pathlib.Path) -> None:
    text = (ROOT / "docs/operate/images.md").read_text(encoding="utf-8")
    [example] = re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-subj", "/CN=mail.example.org", "-keyout", tmp_path / "tls.key",
                    "-out", tmp_path / "tls.crt"], capture_output=True, check=True)
    platform = make_platform(json.loads(example.replace("/data/", f"{tmp_path}/")))
    with smtplib.SMTP("127.0.0.1", platform.port("mx"), timeout=30) as session:
        assert session.ehlo()[1].startswith(b"mail.example.org\n")
        context = ssl.create_default_context(cafile=str(tmp_path / "tls.crt"))
        context.check_hostname = False
        assert session.starttls(context=context)[0] == 220


@pytest.mark.skipif(bool(UP_FLAGS), reason="of SQLite")
def test_backup_of_the_images_guide(platform: Platform, tmp_path: pathlib.Path) -> None:
    text = (ROOT / "docs/operate/images.md").read_text(encoding="utf-8")
    [script] = re.findall(r"sh -euc '\n(.*?)' >postern\.tar$", text, re.MULTILINE | re.DOTALL)
    archive = subprocess.run(["sh", "-euc", script.replace("/data", str(platform.data))],
                             capture_output=True, timeout=120, check=True).stdout
    subprocess.run(["tar", "-x"], cwd=tmp_path, input=archive, check=True)
    assert {path.name for path in tmp_path.iterdir()} == {
        "auth-svc", "store-svc", "relay-svc", "certificates", "keys", "passwords"}
    for name in ("auth-svc/directory.db", "store-svc/mail.db", "relay-svc/spool.db"):
        with contextlib.closing(sqlite3.connect(tmp_path / name)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert database.execute("SELECT count(*) FROM sqlite_master").fetchone() > (0,)
    assert not (platform.data / "backup").exists()


def test_overlay_of_the_operating_guide(make_platform: Any) -> None:
    text = (ROOT / "docs/OPERATING.md").read_text(encoding="utf-8")
    [example] = re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    make_platform(json.loads(example))


@pytest.mark.parametrize("document", sorted(
    str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))))
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), (document, target)


def test_configuration_reference_is_current() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "tools/config_reference.py"), "--check"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_explains_itself() -> None:
    said = [subprocess.run([str(ROOT / "dev"), *arguments], capture_output=True, text=True,
                           check=True).stdout for arguments in ([], ["help"])]
    assert said[0] == said[1]
    for command in ("up", "test", "status", "down", "logs", "build", "fmt", "lint", "asan", "tsan",
                    "fuzz", "compdb", "bench"):
        assert re.search(rf"\b{command}\b", said[0]), command


@pytest.mark.parametrize("offered,chosen,other", [
    ("libboost1.81-dev libboost-dev", "libboost1.81-dev", "libboost-dev"),
    ("libboost-dev", "libboost-dev", "libboost1.81-dev"),
])
def test_missing_packages_are_named(tmp_path: pathlib.Path, offered: str, chosen: str,
                                    other: str) -> None:
    """Not root: prints the exact line and stops; alternatives are chosen by what apt offers.

    That Debian 12's own Boost is installed doesn't make it the right one.
    """
    for name, body in {
            "id": "echo 1000",
            "dpkg-query": 'case "${@: -1}" in g++ | ' + ("libboost-dev" if chosen != "libboost-dev"
                                                         else "x") + ") echo -n installed ;; esac",
            "apt-cache": f'case " {offered} libsodium-dev " in\n'
                         '*" $2 "*) echo "  Candidate: 1"; seq 100000 ;;\n'
                         '*) echo "  Candidate: (none)" ;;\nesac',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n", encoding="ascii")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run([str(ROOT / "tools/install_packages.sh"), "build"],
                          env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith("sudo apt-get install -y ")
    packages = line.split()
    assert chosen in packages and other not in packages and "g++" not in packages
