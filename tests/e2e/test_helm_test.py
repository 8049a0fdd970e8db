"""What `helm test` runs, on a platform that needs no cluster."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

from ctl.up import layout
from tests.e2e.mail_clients import HOST
from tests.e2e.platform_under_test import ROOT, Platform
from tests.e2e.remote_mta import free_port


def _run(platform: Platform, folder: pathlib.Path, **changed: object) -> subprocess.CompletedProcess[str]:
    ports = {listener.name: platform.port(listener.name) for listener in layout.LISTENERS}
    spec = folder / "test.json"
    spec.write_text(json.dumps(
        {"hostname": layout.MAIL_HOST, "ca_file": str(platform.data / "certificates/ca.crt")} |
        {name: [HOST, port] for name, port in ports.items()} | changed), encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(ROOT / "k8s/chart/files/helm_test.py"), str(spec)], capture_output=True, text=True,
        timeout=300, check=False,
        env=os.environ | {"PATH": f"{layout.POSTERNCTL.parent}:{os.environ['PATH']}",
                          "POSTERNCTL_CONFIG": str(platform.data / "config/posternctl.yaml")})


def _domains(platform: Platform) -> set[str]:
    return {domain["name"] for domain in platform.ctl("domain", "list")["domains"]}


def test_mail_goes_in_and_out(platform: Platform, tmp_path: pathlib.Path) -> None:
    before = _domains(platform)
    done = _run(platform, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok: ") == 5
    assert _domains(platform) == before


def test_it_says_what_fails_and_cleans_up(platform: Platform, tmp_path: pathlib.Path) -> None:
    before = _domains(platform)
    done = _run(platform, tmp_path, mx=[HOST, free_port()])
    assert done.returncode == 1
    assert done.stderr.startswith("failed: a stranger writes, a user fetches it: ConnectionRefusedError")
    done = _run(platform, tmp_path, hostname="other.example.test")
    assert done.returncode == 1 and "certificate is not valid for 'other.example.test'" in done.stderr
    assert _domains(platform) == before
