"""Processes that outlive the command which started them, each known by a file with its pid."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable

from ctl.up.failure import Failure
from tests.cluster.local.layout import Folder

_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.05


def started_at(pid: int) -> int | None:
    """When the process began (proc(5), stat, field 22): tells it from a later one with its pid. None: no such process.
    One whose first thread has ended is there as long as another has not: until then it keeps its ports and its locks."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name, in parentheses, may have anything in it.
    fields = text.rpartition(")")[2].split()
    threads = int(fields[17])
    return None if fields[0] == "Z" and threads <= 1 else int(fields[19])


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(f"not within {seconds:g} s: {what}")
        time.sleep(_POLL_SECONDS)


def end_all(pids: list[int], number: signal.Signals) -> list[int]:
    """Signals them; gives those that are there."""
    left = []
    for pid in pids:
        try:
            os.kill(pid, number)
            left.append(pid)
        except ProcessLookupError:
            pass
    return left


class Processes:
    """Of one cluster."""

    def __init__(self, folder: Folder):
        self._folder = folder

    def names(self) -> list[str]:
        return sorted(file.stem for file in self._folder.processes.glob("*.json"))

    def log(self, name: str) -> pathlib.Path:
        return self._folder.logs / f"{name}.log"

    def _file(self, name: str) -> pathlib.Path:
        return self._folder.processes / f"{name}.json"

    def pid(self, name: str) -> int | None:
        """None when it does not run."""
        try:
            kept = json.loads(self._file(name).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None
        return kept["pid"] if started_at(kept["pid"]) == kept["started"] else None

    def ensure(self, name: str, command: list[str]) -> bool:
        """Starts it unless it runs. True when it was started."""
        if self.pid(name) is not None:
            return False
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       start_new_session=True)
        file = self._file(name)
        new = file.with_suffix(".new")
        new.write_text(json.dumps({"pid": process.pid, "started": started_at(process.pid)}), encoding="ascii")
        os.replace(new, file)
        return True

    def wait(self, name: str, ready: Callable[[], bool], seconds: float) -> None:
        """Until it is ready; says the end of its log when it ended instead."""
        def is_ready() -> bool:
            if self.pid(name) is None:
                tail = self.log(name).read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
                raise Failure(f"{name} ended; {self.log(name)}:\n" + "\n".join(tail))
            return ready()

        wait_until(is_ready, seconds, f"{name} is ready ({self.log(name)})")

    def stop(self, name: str) -> None:
        pid = self.pid(name)
        if pid is not None:
            end_all([pid], signal.SIGTERM)
            deadline = time.monotonic() + _STOP_SECONDS
            while self.pid(name) is not None and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
            if self.pid(name) is not None:
                end_all([pid], signal.SIGKILL)
        self._file(name).unlink(missing_ok=True)
