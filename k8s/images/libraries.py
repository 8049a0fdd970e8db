"""The files that a program needs beside itself, and the Debian packages that they are of."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess

from ctl.up.command import run
from ctl.up.failure import Failure

_LIBRARIES = "/usr/lib/x86_64-linux-gnu"
# Which names resolve how, and who runs: what glibc and a person who looks expect.
_TEXTS = {
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/passwd": "root:x:0:0:root:/:/nonexistent\nnonroot:x:65532:65532:nonroot:/:/nonexistent\n",
    "etc/group": "root:x:0:\nnonroot:x:65532:\n",
}
# Sets of CAs and time zones.
_FILES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/openssl.cnf")
_ZONES = pathlib.Path("/usr/share/zoneinfo")
# Every zone a second and a third time, with and without leap seconds.
_ZONE_COPIES = ("posix", "right")
# RFC 8536 3.1. The tables beside them are for people and for compilers of zones.
_ZONE_MAGIC = b"TZif"


@dataclasses.dataclass(frozen=True)
class Package:
    """An installed Debian package."""

    name: str
    version: str
    source: str


def of(programs: list[pathlib.Path]) -> dict[str, pathlib.Path]:
    """The shared libraries of all of them: the name that the loader looks for, and the file."""
    found: dict[str, pathlib.Path] = {}
    for program in programs:
        for line in run("ldd", str(program)).splitlines():
            if "not found" in line:
                raise Failure(f"{program}: {line.strip()}")
            path = re.search(r"(/\S+) \(0x", line)
            if path is not None:
                found[pathlib.Path(path[1]).name] = pathlib.Path(path[1]).resolve()
    return found


# What is in a program itself (WORKSPACE, "-l:").
STATIC = {"auth-svc": ("libcjose.a", "libhiredis.a", "libidn.a", "libjansson.a"), "relay-svc": ("libhiredis.a",)}


def linked_into(program: str) -> list[pathlib.Path]:
    """The static libraries that ldd does not see."""
    return [pathlib.Path(_LIBRARIES, name) for name in STATIC.get(program, ())]


def packages(files: list[pathlib.Path]) -> dict[pathlib.Path, Package]:
    """Which package each file is of."""
    found = {}
    for file in files:
        # dpkg knows files by the names that they had before /lib was /usr/lib.
        names = [str(file), str(file).removeprefix("/usr")]
        done = subprocess.run(["dpkg-query", "--search", *names], capture_output=True, text=True, check=False)
        if not done.stdout:
            raise Failure(f"{file} is of no Debian package")
        package = done.stdout.split(": ")[0].split(",")[0]
        name, version, source = run("dpkg-query", "--show", "--showformat",
                                    "${Package} ${Version} ${source:Package}", package).split()
        found[file] = Package(name, version, source)
    return found


def _put(file: pathlib.Path, to: pathlib.Path, mode: int = 0o644) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)
    to.chmod(mode)


def write(libraries: dict[str, pathlib.Path], root: pathlib.Path) -> None:
    """The layer that all programs share."""
    for link in ("lib", "lib64"):
        (root / "usr" / link).mkdir(parents=True)
        (root / link).symlink_to(f"usr/{link}")
    for name, file in sorted(libraries.items()):
        # The loader itself has a fixed place (x86-64 psABI).
        folder = "usr/lib64" if name.startswith("ld-linux") else _LIBRARIES.lstrip("/")
        _put(file, root / folder / name, 0o755)
    for name, text in _TEXTS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="ascii")
    for name in _FILES:
        _put(pathlib.Path(name), root / name.lstrip("/"))
    # Where Debian's OpenSSL looks.
    (root / "usr/lib/ssl").mkdir()
    for name in ("certs", "openssl.cnf"):
        (root / "usr/lib/ssl" / name).symlink_to(f"/etc/ssl/{name}")
    for folder, folders, files in os.walk(_ZONES):
        folders[:] = sorted(name for name in folders if name not in _ZONE_COPIES)
        for name in files:
            zone = pathlib.Path(folder, name)
            to = root / str(zone).lstrip("/")
            if zone.is_symlink() and not os.readlink(zone).startswith("/"):
                to.parent.mkdir(parents=True, exist_ok=True)
                to.symlink_to(os.readlink(zone))
            elif zone.read_bytes().startswith(_ZONE_MAGIC):
                _put(zone, to)
    for name in ("tmp", "data"):
        (root / name).mkdir()
    (root / "tmp").chmod(0o1777)
