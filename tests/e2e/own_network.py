"""A network of the test's own, with a loopback alone, in which packets can be dropped."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator

import pytest

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_TABLE = "inet partition"


def _checked(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _nft(rules: str) -> None:
    subprocess.run(["nft", "--file", "-"], input=rules, text=True, check=True, capture_output=True)


@contextlib.contextmanager
def entered(groups: Iterable[int]) -> Iterator[None]:
    """While in it, this thread and what it starts have a network namespace of their own, which ends
    with the last of them. Connections are marked with the group of who opens them, for these."""
    if shutil.which("nft") is None:
        pytest.skip("nft is not installed (apt-get install nftables)")
    outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        try:
            _checked(_LIBC.unshare(_CLONE_NEWNET))
        except PermissionError:
            pytest.skip("only root may make a network namespace")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            marks = ", ".join(f"{one} : {one}" for one in groups)
            _nft("table inet marks { chain opened { type filter hook output priority mangle;"
                 f" ct state new ct mark set meta skgid map {{ {marks} }}; }}; }}")
            yield
        finally:
            _checked(_LIBC.setns(outside, _CLONE_NEWNET))
    finally:
        os.close(outside)


@contextlib.contextmanager
def partition(callers: Iterable[int], ports: Iterable[int]) -> Iterator[None]:
    """While in it, no packet passes in either direction between processes of these groups and
    who listens on these ports, on connections that are there and on new ones."""
    groups = "ct mark { " + ", ".join(map(str, callers)) + " }"
    listeners = "{ " + ", ".join(map(str, ports)) + " }"
    _nft(f"table {_TABLE} {{ chain cut {{ type filter hook output priority filter;"
         f" {groups} tcp dport {listeners} drop; {groups} tcp sport {listeners} drop; }}; }}")
    try:
        yield
    finally:
        _nft(f"delete table {_TABLE}")
