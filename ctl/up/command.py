"""Running another program to its end."""

from __future__ import annotations

import os
import pathlib
import subprocess

from ctl.up.failure import Failure


def run(*command: str, given: str = "", what: str = "", cwd: pathlib.Path | None = None,
        environment: dict[str, str] | None = None, umask: int = -1, timeout: float | None = None) -> str:
    """What it wrote to standard output. Failure, with what it said, when it is not there, failed, or did not end within
    `timeout` seconds: of `what`, which is the command itself unless told. `environment` is added to ours."""
    what = what or " ".join(command)
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, cwd=cwd, umask=umask,
                              env=os.environ | (environment or {}), timeout=timeout)
    except FileNotFoundError as error:
        raise Failure(f"{command[0]}: there is no such program here") from error
    except subprocess.TimeoutExpired as error:
        raise Failure(f"{what}: no end within {timeout:g} s") from error
    if done.returncode != 0:
        raise Failure(f"{what} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout
