"""Starts the processes, starts again what dies, and stops them in order."""

from __future__ import annotations

import dataclasses
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable

from ctl.up import layout, logs
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


@dataclasses.dataclass(frozen=True)
class Unit:
    """One process to keep."""

    name: str
    command: list[str]
    # Whether it is, and what it says.
    ready: Callable[[], tuple[bool, str]]
    # How long it may take to stop when it is told to.
    grace_seconds: float
    stop_signal: signal.Signals = signal.SIGTERM
    # Whether nothing of its last run is in its way; asked before it is started again.
    clear: Callable[[], bool] = lambda: True


@dataclasses.dataclass(frozen=True)
class Stage:
    """Units that start together, and what is to be done when all of them are ready."""

    units: list[Unit]
    then: Callable[[], None] = lambda: None


@dataclasses.dataclass
class _Child:
    unit: Unit
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    delay: float = 0.0
    # Where its log began when it was started.
    log_offset: int = 0
    # When to start it again; None while it runs, or was never started.
    due_at: float | None = None

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None else None

    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None


class Supervisor:
    """All on the main thread: it forks here, so that the kernel ends the services with it."""

    def __init__(self, data: layout.DataDir, stages: list[Stage], stop_order: list[list[str]],
                 write_state: Callable[[dict[str, int | None]], None], say: Callable[[str], None]):
        """`stop_order`: names of units, those of one list together."""
        self._data = data
        self._stages = stages
        self._stop_order = stop_order
        self._write_pids = write_state
        self._say = say
        self._children = {unit.name: _Child(unit) for stage in stages for unit in stage.units}
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
        name, command = child.unit.name, child.unit.command
        log = logs.open_for_append(self._data.log(name))
        child.log_offset = logs.size(self._data.log(name))
        try:
            # A session of its own: Ctrl-C is for the supervisor, which drains in order. setpriv:
            # if the supervisor is killed, the kernel sends the process its signal to stop.
            child.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", child.unit.stop_signal.name.removeprefix("SIG"), "--",
                 *command],
                cwd=self._data.root, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)
        finally:
            os.close(log)
        child.started_at = time.monotonic()
        child.due_at = None
        self._write_state()

    def _write_state(self) -> None:
        self._write_pids({name: child.pid for name, child in self._children.items()})

    def _reap(self) -> None:
        """Says who died and starts again who is due."""
        now = time.monotonic()
        for child in self._children.values():
            if child.process is not None and child.process.poll() is not None:
                lived = now - child.started_at
                if lived >= _SETTLED_SECONDS:
                    child.delay = 0.0
                else:
                    child.delay = min(max(child.delay * 2, _FIRST_DELAY_SECONDS),
                                      _LAST_DELAY_SECONDS)
                when = f" in {child.delay:g} s" if child.delay else ""
                self._say(f"{child.unit.name} (pid {child.process.pid}) died: "
                          f"{_how_it_ended(child.process.returncode)}; starting it again{when}")
                child.process = None
                child.due_at = now + child.delay
            if child.due_at is not None and child.due_at <= now:
                if not child.unit.clear():
                    child.due_at = now + _READY_POLL_SECONDS
                    continue
                self._spawn(child)
                self._say(f"{child.unit.name} started again (pid {child.pid})")

    def _fail_if_it_cannot_start(self, child: _Child) -> None:
        if child.process is None or child.process.poll() not in (1, 2):
            return
        raise Failure(f"{child.unit.name} could not start "
                      f"({_how_it_ended(child.process.returncode)})\n{self._last_words(child)}")

    def _last_words(self, child: _Child) -> str:
        log = self._data.log(child.unit.name)
        return f"the end of {log}:\n{logs.tail(log, 10, child.log_offset)}"

    def start(self) -> bool:
        """Starts everything, stage by stage, and waits until all are ready. False: told to stop
        meanwhile."""
        for stage in self._stages:
            children = [self._children[unit.name] for unit in stage.units]
            for child in children:
                self._spawn(child)
            self._await_ready(children)
            if self.stopping:
                return False
            stage.then()
        return True

    def _await_ready(self, waiting: list[_Child]) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        why: dict[str, str] = {}
        while waiting and not self.stopping:
            for child in list(waiting):
                self._fail_if_it_cannot_start(child)
                is_ready, answer = child.unit.ready()
                if is_ready:
                    self._say(f"{child.unit.name} is ready (pid {child.pid})")
                    waiting.remove(child)
                else:
                    why[child.unit.name] = answer
            self._reap()
            if waiting and time.monotonic() > deadline:
                name = waiting[0].unit.name
                raise Failure(f"{name} is not ready after {_READY_SECONDS:g} s: {why[name]}\n"
                              f"{self._last_words(waiting[0])}")
            if waiting:
                self._sleep(_READY_POLL_SECONDS)

    def run(self) -> None:
        """Keeps everything running until a signal says stop."""
        while not self.stopping:
            self._reap()
            for child in self._children.values():
                logs.rotate_in_place(self._data.log(child.unit.name))
            due = [child.due_at for child in self._children.values() if child.due_at is not None]
            self._sleep(min([at - time.monotonic() for at in due] + [_HOUSEKEEPING_SECONDS]))

    def stop(self) -> None:
        """Drains, those first that take in mail."""
        # A signal from here on is somebody who doesn't want to wait.
        asked_before = max(1, self._stop_signals)
        for names in self._stop_order:
            group = [self._children[name] for name in names]
            running = [child for child in group if not child.ended()]
            for child in running:
                child.process.send_signal(child.unit.stop_signal)
            deadline = time.monotonic() + _STOP_MARGIN_SECONDS + max(
                [child.unit.grace_seconds for child in group])
            while any(not child.ended() for child in running):
                if self._stop_signals > asked_before or time.monotonic() > deadline:
                    for child in running:
                        if not child.ended():
                            self._say(f"{child.unit.name} (pid {child.pid}) is cut off")
                            child.process.kill()
                            child.process.wait()
                    break
                self._sleep(min(deadline - time.monotonic(), 1.0))
            for child in running:
                code = child.process.wait()
                self._say(f"{child.unit.name} (pid {child.pid}) stopped" +
                          (f" ({_how_it_ended(code)})" if code else ""))
                child.process = None
        self._write_state()
