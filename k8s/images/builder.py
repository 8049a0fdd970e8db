"""Builds the images: their names, what goes into each, and how."""

from __future__ import annotations

import functools
import os
import pathlib
import re
import shutil
from collections.abc import Iterable

from ctl.up import layout
from ctl.up.command import run
from ctl.up.failure import Failure
from k8s.images import debian, libraries, sbom

_CONTAINERFILE = pathlib.Path(__file__).resolve().parent / "Containerfile"
PROGRAMS = {service.program: service.binary for service in layout.SERVICES} | {"posternctl": layout.POSTERNCTL}
_ALL = "postern-all"
_DEMO = "demo-servers"
NAMES = (*PROGRAMS, _ALL, _DEMO)


@functools.cache
def version() -> str:
    """Of all programs."""
    said = run(str(PROGRAMS["gateway-smtp"]), "--version").strip()
    found = re.fullmatch(r"gateway-smtp (\S+)", said)
    if found is None:
        raise Failure(f"gateway-smtp --version says {said!r}")
    return found[1]


def _revision() -> str:
    """The commit; empty outside of a checkout."""
    try:
        return run("git", "rev-parse", "HEAD", cwd=layout.ROOT).strip()
    except Failure:
        return ""


class Builder:
    """Makes the context of each target and has buildah build it."""

    def __init__(self, to: pathlib.Path, scratch: pathlib.Path, tag: str):
        self.tag = tag
        self._to = to
        self._scratch = scratch
        self._context = scratch / "context"
        self._version = version()
        self._revision = _revision()
        self._libraries = libraries.of(list(PROGRAMS.values()))
        self._packages = libraries.packages(sorted(set(self._libraries.values())))
        self._static = {name: libraries.packages(libraries.linked_into(name)) for name in PROGRAMS}

    def _buildah(self, *arguments: str) -> None:
        # vfs and chroot: neither needs a kernel's overlay nor a container in which this may run itself.
        command = ["buildah", "--storage-driver", "vfs", "--root", str(self._scratch / "storage"),
                   "--runroot", str(self._scratch / "run"), *arguments]
        run(*command, what=f"buildah {arguments[0]}")

    def build(self, name: str) -> pathlib.Path:
        """The archive."""
        shutil.rmtree(self._context, ignore_errors=True)
        self._context.mkdir()
        program = self._context / "program"
        (program / "usr/bin").mkdir(parents=True)
        if name == _ALL:
            self._add_all(program)
        elif name == _DEMO:
            debian.make(self._context / "servers.tar", debian.SERVERS)
        else:
            libraries.write(self._libraries, self._context / "libraries")
            self._add(name, program)
            self._add_sbom(name, [name], program, libraries.of([PROGRAMS[name]]).values())
        archive = self._to / f"{name}.tar"
        tag = f"postern/{name}:{self.tag}"
        self._buildah("build", "--isolation", "chroot", "--timestamp", "0", "--format", "oci", "--layers",
                      "--target", name, "--file", str(_CONTAINERFILE), "--build-arg", f"PROGRAM={name}",
                      "--build-arg", f"VERSION={self._version}", "--build-arg", f"REVISION={self._revision}",
                      "--tag", tag, str(self._context))
        new = archive.with_suffix(".new")
        new.unlink(missing_ok=True)
        self._buildah("push", tag, f"oci-archive:{new}:{tag}")
        os.replace(new, archive)
        return archive

    def _add(self, name: str, program: pathlib.Path) -> None:
        # What a debugger wants of it is in the build, by its build id.
        run("strip", "--strip-unneeded", "-o", str(program / "usr/bin" / name), str(PROGRAMS[name]))
        (program / "usr/bin" / name).chmod(0o755)

    def _add_sbom(self, name: str, programs: Iterable[str], program: pathlib.Path,
                  files: Iterable[pathlib.Path]) -> None:
        file = program / "usr/share/postern/sbom.spdx.json"
        file.parent.mkdir(parents=True)
        packages = [self._packages[path] for path in files]
        packages += [package for one in programs for package in self._static[one].values()]
        file.write_text(sbom.text(name, self._version, self._revision, packages), encoding="utf-8")

    def _add_all(self, program: pathlib.Path) -> None:
        names = sorted({package.name for package in self._packages.values()})
        debian.make(self._context / "debian.tar", [*debian.ALL, *names])
        home = program / "usr/lib/postern"
        for name, binary in PROGRAMS.items():
            self._add(name, program)
            link = home / "programs" / binary.relative_to(layout.PROGRAMS)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(f"/usr/bin/{name}")
        for file in sorted((layout.ROOT / "ctl/up").glob("*.py")):
            (home / "ctl/up").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, home / "ctl/up" / file.name)
        command = program / "usr/bin/postern"
        command.write_text("#!/bin/sh\nPYTHONPATH=/usr/lib/postern PYTHONDONTWRITEBYTECODE=1 "
                           "exec /usr/bin/python3 -m ctl.up \"$@\"\n", encoding="ascii")
        command.chmod(0o755)
        (program / "data").mkdir(mode=0o777)
        (program / "data").chmod(0o1777)
        self._add_sbom(_ALL, PROGRAMS, program, self._packages)
