"""One supervisor for a data directory at a time."""

from __future__ import annotations

import fcntl
import os
import time

from ctl.up import layout
from ctl.up.failure import Failure


# Longer than `holder` holds it.
_TRIES = 20
_TRY_SECONDS = 0.05


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Lock:
    """Held until the process ends, however it ends: the kernel frees it. Children don't inherit it."""

    def __init__(self, data: layout.DataDir):
        self._descriptor = os.open(data.lock, os.O_RDWR | os.O_CREAT, 0o600)
        for _ in range(_TRIES):
            if _try_lock(self._descriptor):
                break
            time.sleep(_TRY_SECONDS)
        else:
            pid = os.read(self._descriptor, 32).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise Failure(
                f"it runs already in {data.root} (pid {pid})\n"
                "see it with `./dev status`, stop it with `./dev down`, "
                "or run another one beside it: --data DIR --ports auto")
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode("ascii"), 0)


def holder(data: layout.DataDir) -> int | None:
    """The pid of the supervisor that runs in `data`; None when there is none.

    To see whether it is free it takes it for a moment, for which Lock allows.
    """
    try:
        descriptor = os.open(data.lock, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        if _try_lock(descriptor):
            return None
        # Between its flock and its pwrite a supervisor has no pid yet: 0.
        return int(os.read(descriptor, 32).decode("ascii").strip() or 0)
    finally:
        os.close(descriptor)
