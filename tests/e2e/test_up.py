"""`./dev up` itself: what it prints, keeps, refuses and restarts."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from typing import Any

import pytest

from ctl.up import banner, layout
from tests.e2e.mail_clients import HOST, Clients
from tests.e2e.platform_under_test import ROOT, UP_FLAGS, Platform, run_up_command
from tests.e2e.remote_mta import free_port
from tests.e2e.waiting import wait_until

SERVICES = {"gateway-smtp-mx", "gateway-smtp-submission", "gateway-pop3", "auth-svc", "store-svc",
            "relay-svc"}


def test_status_json(platform: Platform) -> None:
    status = platform.refresh()
    assert {name: about["tls"] for name, about in status["listeners"].items()} == {
        "mx": "starttls", "submission": "starttls", "submissions": "implicit",
        "pop3": "starttls", "pop3s": "implicit"}
    for about in status["listeners"].values():
        socket.create_connection((about["host"], about["port"]), 60).close()
    assert pathlib.Path(status["ca_file"]).exists()
    assert status["accounts"]["alice"]["address"] == "alice@example.test"
    assert status["accounts"]["bob"]["address"] == "bob@example.test"
    assert set(status["services"]) == SERVICES
    for about in status["services"].values():
        assert about["ready"] is True and about["pid"] > 0
        assert about["http"].startswith("http://")
    assert status["data"] == str(platform.data)


def test_secrets_are_private(platform: Platform) -> None:
    for file in (*platform.data.glob("passwords/*"), *platform.data.glob("certificates/*.key"),
                 platform.data / "keys" / "token-signing.pem", *platform.data.glob("logs/*"),
                 *platform.data.glob("config/*")):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE(platform.data.stat().st_mode) & 0o077 == 0


def test_printed_commands_work(make_platform: Any) -> None:
    status = make_platform(None).status
    outputs = {}
    for name, command in banner.commands(status).items():
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120,
                              check=False)
        assert done.returncode == 0, (name, command, done.stderr)
        outputs[name] = done.stdout
    assert "Hello from Postern." in outputs["fetch"]


def test_second_up_is_refused(platform: Platform) -> None:
    done = platform.try_start()
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert f"runs already in {platform.data}" in said and "./dev down" in said
    platform.refresh()
    assert all(about["ready"] for about in platform.status["services"].values())


@pytest.mark.skipif(bool(UP_FLAGS), reason="of SQLite, or of `up` alone")
def test_second_up_finds_its_data(make_platform: Any) -> None:
    platform = make_platform(None)
    clients, alice = Clients(platform), platform.built_in_account("alice")
    with clients.smtp_mx() as session:
        session.sendmail("c@elsewhere.test", [alice.address], b"Subject: kept\r\n\r\nx\r\n")
    ports = platform.status["listeners"]
    platform.stop()
    assert not any(s["ready"] for s in json.loads(run_up_command(
        "status", "--json", "--data", str(platform.data)).stdout)["services"].values())
    # Without --ports, too, it takes those that it kept.
    assert run_up_command("up", "--data", str(platform.data), "--detach").returncode == 0
    platform.refresh()
    assert platform.status["listeners"] == ports
    assert platform.built_in_account("alice").password == alice.password
    assert len(clients.fetch(alice)) == 1


def test_taken_port_is_named(tmp_path: pathlib.Path) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        options = ("--data", str(tmp_path / "d"), "--ports", "auto", "--pop3s-port", str(port))
        # --check: as ./dev does before it builds.
        for up in (run_up_command("up", *options, "--detach"),
                   run_up_command("up", "--check", *options)):
            said = up.stdout + up.stderr
            assert up.returncode == 1
            assert f"port {port} (pop3s) is taken" in said
            assert "--pop3s-port" in said and "--ports auto" in said


def test_impossible_data_directory_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    data = tmp_path / "file" / "d"
    for option in ("--detach", "--check"):
        up = run_up_command("up", "--data", str(data), option)
        assert up.returncode == 1
        said = up.stdout + up.stderr
        assert f"can't make {data}" in said and "--data DIR" in said and "Traceback" not in said


def test_check_starts_nothing(tmp_path: pathlib.Path) -> None:
    data = tmp_path / "d"
    assert run_up_command("up", "--check", "--data", str(data), "--ports", "auto").returncode == 0
    assert not (data / "state.json").exists()


def test_port_options(tmp_path: pathlib.Path) -> None:
    ports = {"mx": free_port(), "submission": free_port()}
    data = tmp_path / "d"
    options = [text for name, port in ports.items() for text in (f"--{name}-port", str(port))]
    done = run_up_command("up", "--data", str(data), "--ports", "auto", *options, "--detach")
    try:
        assert done.returncode == 0, done.stdout
        status = json.loads(run_up_command("status", "--json", "--data", str(data)).stdout)
        for name, port in ports.items():
            assert status["listeners"][name]["port"] == port
    finally:
        run_up_command("down", "--data", str(data))


def test_ctrl_c_drains_in_order(tmp_path: pathlib.Path) -> None:
    """In the foreground: Ctrl-C goes to the whole process group, as a terminal sends it."""
    data = tmp_path / "d"
    output = tmp_path / "output"
    with open(output, "wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "ctl.up", "up", "--data", str(data), "--ports", "auto"],
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}, stdout=file,
            stderr=file, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until(lambda: b"Ctrl-C stops them." in output.read_bytes(), 120, "it is ready")
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            process.kill()
    stopped = [line.split()[1] for line in output.read_text().splitlines()
               if line.endswith(" stopped")]
    assert set(stopped[:3]) == {name for name in SERVICES if name.startswith("gateway-")}
    assert stopped[3:] == ["relay-svc", "store-svc", "auth-svc"]


def test_killed_supervisor_leaves_nothing_behind(make_platform: Any) -> None:
    platform = make_platform(None)
    pids = [about["pid"] for about in platform.status["services"].values()]
    os.kill(int((platform.data / "lock").read_text()), signal.SIGKILL)

    def gone() -> bool:
        return not any(_alive(pid) for pid in pids)
    wait_until(gone, 60, "the services end with their supervisor")


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(bool(UP_FLAGS), reason="of SQLite, or of `up` alone")
def test_broken_overlay_is_refused_with_its_place(tmp_path: pathlib.Path) -> None:
    done = Platform(tmp_path / "d", {"store-svc": {"quota_mesages": 1}}).try_start()
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "store-svc could not start (exit code 2)" in said
    # File, line, key, and what was expected.
    assert "store-svc.yaml:" in said and "quota_mesages" in said and "quota_messages" in said


def test_two_side_by_side(make_platform: Any) -> None:
    first, second = make_platform(None), make_platform(None)
    ports = {about["port"] for p in (first, second) for about in p.status["listeners"].values()}
    assert len(ports) == 10
    for platform in (first, second):
        alice = platform.built_in_account("alice")
        Clients(platform).pop3s(alice).quit()


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_metrics_and_health(platform: Platform, service: str) -> None:
    base = platform.status["services"][service]["http"]
    for path in ("/livez", "/readyz"):
        with urllib.request.urlopen(base + path, timeout=60) as answer:
            assert answer.status == 200
    with urllib.request.urlopen(base + "/metrics", timeout=60) as answer:
        text = answer.read().decode()
    assert "# TYPE postern_" in text


def test_idle_ends_when_it_is_told_to() -> None:
    """posternctl as a container's first process, which gets only signals that it asks for."""
    idle = subprocess.Popen([str(layout.POSTERNCTL), "idle"], stdin=subprocess.DEVNULL)
    # What it is in, by number (proc(5)): rt_sigtimedwait of x86-64 and of arm64.
    call = pathlib.Path(f"/proc/{idle.pid}/syscall")

    def waits_for_it() -> bool:
        return call.read_text(encoding="ascii").split()[0] in ("128", "137")

    wait_until(waits_for_it, 30, "SIGTERM is waited for")
    assert idle.poll() is None
    idle.terminate()
    assert idle.wait(timeout=30) == 0
