"""Waiting for a condition, never for a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.02
# Programs under a sanitizer take so many times longer than those that people run.
SLOWER = 10 if os.environ.get("POSTERN_PROGRAMS", "bazel-bin") != "bazel-bin" else 1


def wait_until(condition: Callable[[], T], seconds: float, what: str) -> T:
    """The first true answer; an assertion that names `what` when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(_POLL_SECONDS)
