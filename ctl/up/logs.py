"""The services' log files, and `logs`, which shows them."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

from ctl.up import layout
from ctl.up.failure import Failure

_MAX_OCTETS = 50 << 20
SUPERVISOR = "up"


def _older(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(path.name + ".1")


def open_for_append(path: pathlib.Path) -> int:
    """A descriptor for a process's stderr. What has grown large becomes `.1` first."""
    if size(path) > _MAX_OCTETS:
        os.replace(path, _older(path))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def rotate_in_place(path: pathlib.Path) -> None:
    """Cuts a log that a running process appends to.

    The process writes by itself, not through us, so that logging costs it one write; hence copy and
    truncate. A line written between the two is lost.
    """
    if size(path) <= _MAX_OCTETS:
        return
    shutil.copyfile(path, _older(path))
    _older(path).chmod(0o600)
    os.truncate(path, 0)


def size(path: pathlib.Path) -> int:
    return path.stat().st_size if path.exists() else 0


def tail(path: pathlib.Path, lines: int, since: int = 0) -> str:
    """The last lines of what was written after octet `since`."""
    with open(path, "rb") as file:
        file.seek(max(since, size(path) - (64 << 10)))
        text = file.read().decode("utf-8", "replace")
    return "\n".join(text.splitlines()[-lines:])


def show(data: layout.DataDir, service: str | None, lines: int, follow: bool) -> int:
    """Prints the last lines of one log (a service's is those of its replicas) or of all, and what
    comes after if `follow`."""
    services = [s.name for s in layout.SERVICES]
    names = services + [SUPERVISOR]
    names += sorted({file.stem for file in data.logs.glob("*.log")} - set(names))
    if service is not None and service not in names:
        raise Failure(f"{service!r} has no log; there are {', '.join(names)}")

    def wanted(name: str) -> bool:
        return service is None or name == service or (
            service in services and name.removeprefix(f"{service}-").isdigit())

    files = [str(data.log(name)) for name in names if wanted(name) and data.log(name).exists()]
    if not files:
        raise Failure(f"no logs in {data.logs}")
    command = ["tail", "-n", str(lines)] + (["-F"] if follow else []) + ["--"] + files
    try:
        return subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return 0
