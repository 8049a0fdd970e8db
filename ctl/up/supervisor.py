"""Starts the six processes, starts again what dies, and stops them in order."""

from __future__ import annotations

import dataclasses
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable

from ctl.up import configs, health, layout, logs, state
from ctl.up.failure import Failure

# A service that lived this long starts again at once; one that dies sooner waits, longer each time.
_SETTLED_SECONDS = 10.0
_FIRST_DELAY_SECONDS = 0.5
_LAST_DELAY_SECONDS = 30.0
_READY_SECONDS = 120.0
_READY_POLL_SECONDS = 0.05
# More than a service's own grace: after that it hangs.
_STOP_MARGIN_SECONDS = 10.0
_HOUSEKEEPING_SECONDS = 5.0


def _how_it_ended(code: int) -> str:
    if code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    return f"exit code {code}"


@dataclasses.dataclass
class _Child:
    service: layout.Service
    grace_seconds: float
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    delay: float = 0.0
    # Where its log began when it was started.
    log_offset: int = 0
    # When to start it again; None while it runs.
    due_at: float | None = None

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None else None

    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None


class Supervisor:
    """All on the main thread: it forks here, so that the kernel ends the services with it."""

    def __init__(self, data: layout.DataDir, ports: configs.Ports, grace_seconds: dict[str, float],
                 say: Callable[[str], None]):
        self._data = data
        self._ports = ports
        self._say = say
        self._children = [_Child(s, grace_seconds[s.name]) for s in layout.SERVICES]
        self._stop_signals = 0
        self._wake_reader, wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_stop_signal)

    def _on_stop_signal(self, *_: object) -> None:
        self._stop_signals += 1

    @property
    def stopping(self) -> bool:
        return self._stop_signals > 0

    def _sleep(self, seconds: float) -> None:
        """Until a signal comes (a child's death is one), at most `seconds`."""
        if select.select([self._wake_reader], [], [], max(0.0, seconds))[0]:
            os.read(self._wake_reader, 4096)

    def _spawn(self, child: _Child) -> None:
        service = child.service
        if not service.binary.exists():
            raise Failure(f"{service.binary} is not built: ./dev build")
        log = logs.open_for_append(self._data.log(service.name))
        child.log_offset = logs.size(self._data.log(service.name))
        try:
            # A session of its own: Ctrl-C is for the supervisor, which drains in order. setpriv:
            # if the supervisor is killed, the kernel sends the service its SIGTERM.
            child.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", str(service.binary), "--config",
                 str(self._data.config_file(service.name))],
                cwd=self._data.root, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)
        finally:
            os.close(log)
        child.started_at = time.monotonic()
        child.due_at = None
        self._write_state()

    def _write_state(self) -> None:
        state.write(self._data, self._ports,
                    {child.service.name: child.pid for child in self._children})

    def _reap(self) -> None:
        """Says who died and starts again who is due."""
        now = time.monotonic()
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                lived = now - child.started_at
                if lived >= _SETTLED_SECONDS:
                    child.delay = 0.0
                else:
                    child.delay = min(max(child.delay * 2, _FIRST_DELAY_SECONDS),
                                      _LAST_DELAY_SECONDS)
                when = f" in {child.delay:g} s" if child.delay else ""
                self._say(f"{child.service.name} (pid {child.process.pid}) died: "
                          f"{_how_it_ended(child.process.returncode)}; starting it again{when}")
                child.process = None
                child.due_at = now + child.delay
            if child.due_at is not None and child.due_at <= now:
                self._spawn(child)
                self._say(f"{child.service.name} started again (pid {child.pid})")

    def _fail_if_it_cannot_start(self, child: _Child) -> None:
        if child.process is None or child.process.poll() not in (1, 2):
            return
        raise Failure(f"{child.service.name} could not start "
                      f"({_how_it_ended(child.process.returncode)})\n{self._last_words(child)}")

    def _last_words(self, child: _Child) -> str:
        log = self._data.log(child.service.name)
        return f"the end of {log}:\n{logs.tail(log, 10, child.log_offset)}"

    def start(self) -> bool:
        """Starts everything and waits until all are ready. False: told to stop meanwhile."""
        for child in self._children:
            self._spawn(child)
        waiting = list(self._children)
        deadline = time.monotonic() + _READY_SECONDS
        why: dict[str, str] = {}
        while waiting and not self.stopping:
            for child in list(waiting):
                self._fail_if_it_cannot_start(child)
                is_ready, answer = health.ready(self._ports.http[child.service.name])
                if is_ready:
                    self._say(f"{child.service.name} is ready (pid {child.pid})")
                    waiting.remove(child)
                else:
                    why[child.service.name] = answer
            self._reap()
            if waiting and time.monotonic() > deadline:
                name = waiting[0].service.name
                raise Failure(f"{name} is not ready after {_READY_SECONDS:g} s: {why[name]}\n"
                              f"{self._last_words(waiting[0])}")
            if waiting:
                self._sleep(_READY_POLL_SECONDS)
        return not self.stopping

    def run(self) -> None:
        """Keeps everything running until a signal says stop."""
        while not self.stopping:
            self._reap()
            for child in self._children:
                logs.rotate_in_place(self._data.log(child.service.name))
            due = [child.due_at for child in self._children if child.due_at is not None]
            self._sleep(min([at - time.monotonic() for at in due] + [_HOUSEKEEPING_SECONDS]))

    def stop(self) -> None:
        """Drains: the gateways first, then relay-svc, store-svc, auth-svc."""
        gateways = [child for child in self._children if not child.service.serves_rpc]
        rest = [child for child in reversed(self._children) if child.service.serves_rpc]
        # A signal from here on is somebody who doesn't want to wait.
        asked_before = max(1, self._stop_signals)
        for group in [gateways] + [[child] for child in rest]:
            running = [child for child in group if not child.ended()]
            for child in running:
                child.process.terminate()
            deadline = time.monotonic() + _STOP_MARGIN_SECONDS + max(
                [child.grace_seconds for child in group])
            while any(not child.ended() for child in running):
                if self._stop_signals > asked_before or time.monotonic() > deadline:
                    for child in running:
                        if not child.ended():
                            self._say(f"{child.service.name} (pid {child.pid}) is cut off")
                            child.process.kill()
                            child.process.wait()
                    break
                self._sleep(min(deadline - time.monotonic(), 1.0))
            for child in running:
                code = child.process.wait()
                self._say(f"{child.service.name} (pid {child.pid}) stopped" +
                          (f" ({_how_it_ended(code)})" if code else ""))
                child.process = None
        self._write_state()
