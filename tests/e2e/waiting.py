"""Waiting for a condition, never for a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")

_POLL_SECONDS = 0.02
# Programs under a sanitizer take so many times longer than those that people run.
SLOWER = 10 if os.environ.get("POSTERN_PROGRAMS", "bazel-bin") != "bazel-bin" else 1

# Of tests whose troubles are as long as a program's patience is short.
too_slow_for_a_sanitizer = pytest.mark.skipif(
    SLOWER > 1, reason="a sanitizer's programs are slower than what is tried here lasts")


def wait_until(condition: Callable[[], T], seconds: float, what: str) -> T:
    """The first true answer; an assertion that names `what` when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(_POLL_SECONDS)
