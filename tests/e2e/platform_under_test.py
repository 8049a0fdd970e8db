"""A whole Postern for tests: started, watched and stopped by the same code as `./dev up`."""

from __future__ import annotations

import json
import os
import pathlib
import re
import secrets
import signal
import subprocess
import sys
import urllib.request
from typing import Any, ClassVar

from ctl.up import configs, layout
from tests.e2e.waiting import SLOWER, wait_until

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# The supervisor's words for a process that ended by itself, and for one that was told to stop and
# did not end with exit code 0.
_DEATH = re.compile(r"\S+ \(pid (?P<pid>\d+)\) (?:died: .*|stopped \(.+\)|is cut off)")
# The suite on another database: POSTERN_UP_FLAGS=--postgresql.
UP_FLAGS = tuple(os.environ.get("POSTERN_UP_FLAGS", "").split())
_ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}


def run_up_command(*arguments: str, timeout: float = 240, wrapper: tuple[str, ...] = (),
                   ) -> subprocess.CompletedProcess[str]:
    """`./dev up|status|down|...` without the build before it. `wrapper`: a command that runs it."""
    return subprocess.run([*wrapper, sys.executable, "-m", "ctl.up", *arguments], env=_ENVIRONMENT,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=timeout, check=False)


def _patient() -> dict[str, Any]:
    """An overlay for programs under a sanitizer: they are slow to answer pings, too."""
    target = {"keepalive_timeout_seconds": 2 * SLOWER}
    calls = {
        "relay-svc": ("auth_svc", "store_svc"),
        "gateway-pop3": ("auth_svc", "store_svc"),
        "gateway-smtp-submission": ("auth_svc", "relay_svc"),
        "gateway-smtp-mx": ("store_svc", "relay_svc"),
    }
    return {caller: {service: target for service in services}
            for caller, services in calls.items()}


class Account:
    """Somebody with a maildrop."""

    def __init__(self, address: str, password: str):
        self.address = address
        self.password = password


class Platform:
    """One data directory and what runs in it."""

    # All that this run of the tests made.
    made: ClassVar[list["Platform"]] = []

    def __init__(self, data: pathlib.Path, overlay: dict[str, Any] | None = None,
                 flags: tuple[str, ...] = (), wrapper: tuple[str, ...] = ()):
        """`flags`: more of `./dev up`'s. `wrapper`: a command that runs it."""
        self.data = data
        self._wrapper = wrapper
        self._flags = flags or UP_FLAGS
        self.status: dict[str, Any] = {}
        self._ended_by_test: set[int] = set()
        self._log_read = 0
        Platform.made.append(self)
        data.mkdir(parents=True, exist_ok=True)
        if SLOWER > 1:
            overlay = configs.merge(_patient(), overlay or {})
        if overlay is not None:
            (data / "overlay.json").write_text(json.dumps(overlay), encoding="utf-8")

    def start(self) -> "Platform":
        done = self.try_start()
        assert done.returncode == 0, done.stdout + done.stderr
        self.refresh()
        return self

    def try_start(self) -> subprocess.CompletedProcess[str]:
        done = run_up_command("up", "--data", str(self.data), "--ports", "auto", "--detach",
                              *self._flags, wrapper=self._wrapper)
        if done.returncode != 0:
            # What could not start is told by the command itself.
            self.take_deaths()
        return done

    def refresh(self) -> dict[str, Any]:
        self.status = json.loads(
            run_up_command("status", "--json", "--data", str(self.data)).stdout)
        return self.status

    def stop(self) -> None:
        done = run_up_command("down", "--data", str(self.data))
        assert done.returncode == 0, done.stdout + done.stderr

    @property
    def ca_file(self) -> str:
        return self.status["ca_file"]

    def port(self, listener: str) -> int:
        return self.status["listeners"][listener]["port"]

    def pid(self, process: str) -> int:
        status = self.refresh()
        servers = {name: status[name] for name in ("postgresql", "redis") if name in status}
        return (status["services"] | servers)[process]["pid"]

    def metrics(self, service: str) -> dict[str, float]:
        """What a process says at /metrics: each sample's name and labels, as it is written there."""
        with urllib.request.urlopen(self.status["services"][service]["http"] + "/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}

    def wait_all_ready(self) -> None:
        wait_until(lambda: all(s["ready"] for s in self.refresh()["services"].values()), 60,
                   "all services are ready")

    def end(self, service: str, signal_number: signal.Signals) -> int:
        """Sends a signal that ends the process; gives its pid."""
        pid = self.pid(service)
        self._ended_by_test.add(pid)
        os.kill(pid, signal_number)
        return pid

    def kill(self, service: str) -> int:
        """kill -9; gives the pid that is dead."""
        return self.end(service, signal.SIGKILL)

    def take_deaths(self) -> list[str]:
        """What the supervisor said since the last call of processes that ended by themselves, or not
        as they should when they were told to stop."""
        said = self.log("up")
        new, self._log_read = said[self._log_read:], len(said)
        return [death[0] for death in _DEATH.finditer(new)
                if int(death["pid"]) not in self._ended_by_test]

    def take_deaths_of(self, process: str) -> None:
        """As take_deaths, of a process that may have ended by itself while no other did."""
        deaths = self.take_deaths()
        assert all(death.startswith(f"{process} ") for death in deaths), deaths

    def built_in_account(self, user: str) -> Account:
        about = self.status["accounts"][user]
        password = pathlib.Path(about["password_file"]).read_text(encoding="utf-8").strip()
        return Account(about["address"], password)

    def ctl(self, *arguments: str, password: str = "") -> Any:
        """posternctl --json."""
        done = self.try_ctl(*arguments, password=password)
        assert done.returncode == 0, f"posternctl {arguments}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def try_ctl(self, *arguments: str, password: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(layout.POSTERNCTL), "--config",
             str(self.data / "config/posternctl.yaml"), "--json", *arguments],
            input=password, capture_output=True, text=True, timeout=60, check=False)

    def add_account(self, address: str | None = None) -> Account:
        address = address or f"user-{secrets.token_hex(6)}@example.test"
        password = secrets.token_hex(12)
        self.ctl("account", "add", address, "--password-stdin", password=password + "\n")
        return Account(address, password)

    def log(self, name: str) -> str:
        path = self.data / "logs" / f"{name}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def queue_is_empty(self) -> bool:
        entries = self.ctl("queue", "list")["entries"]
        return all(recipient["state"] != "waiting" for entry in entries
                   for recipient in entry.get("recipients", []))
