"""A process that hangs: it has its connections and says nothing."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
from collections.abc import Iterator

from tests.e2e.waiting import SLOWER, wait_until


def suspend(pid: int) -> None:
    """When this returns no thread of it does anything more until SIGCONT; kill() alone returns while
    those on other processors are still at work."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: all(map(_still, pathlib.Path(f"/proc/{pid}/task").iterdir())), 10 * SLOWER,
               f"process {pid} stops")


@contextlib.contextmanager
def hung(pid: int) -> Iterator[None]:
    suspend(pid)
    try:
        yield
    finally:
        # It may have been killed meanwhile.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _still(task: pathlib.Path) -> bool:
    """By proc(5): the state stands behind the name, which may have parentheses of its own."""
    try:
        stat = (task / "stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] in "TZX"
