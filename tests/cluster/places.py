"""Being somewhere else: a thread in another network namespace."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

from tests.cluster.local.layout import Host

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def _inside(file: str) -> Iterator[None]:
    with open("/proc/thread-self/ns/net", "rb") as here, open(file, "rb") as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(here.fileno())


def inside(host: Host) -> contextlib.AbstractContextManager[None]:
    """Sockets that this thread makes meanwhile are the host's, and stay there."""
    return _inside(f"/run/netns/{host.namespace}")


def inside_process(pid: int) -> contextlib.AbstractContextManager[None]:
    """The same, where a process is: in its pod."""
    return _inside(f"/proc/{pid}/ns/net")
