"""A small Debian of this machine's release, as a tar archive."""

from __future__ import annotations

import pathlib

from ctl.up.command import run
from ctl.up.failure import Failure

# What `postern up` runs, and the chart's Jobs.
ALL = ["ca-certificates", "openssl", "python3", "tzdata"]
SERVERS = ["ca-certificates", "postgresql", "redis-server", "tzdata"]
_USER = 65532
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/bug/*",
             "/usr/share/lintian/*")


def _release() -> str:
    for line in pathlib.Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise Failure("/etc/os-release names no release of Debian")


def make(to: pathlib.Path, packages: list[str]) -> None:
    """Packages and what they need. The same versions give the same octets."""
    run("mmdebstrap", "--variant=essential", "--quiet", "--format=tar", f"--include={','.join(packages)}",
        *(f"--dpkgopt=path-exclude={path}" for path in _LEFT_OUT),
        "--dpkgopt=force-unsafe-io",
        # Copyright files are licences' terms.
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        # No cluster is made at installation.
        "--essential-hook=mkdir -p \"$1/etc/postgresql-common\" && "
        "echo 'create_main_cluster = false' > \"$1/etc/postgresql-common/createcluster.conf\"",
        # Whom containers run as: initdb wants a name.
        f"--customize-hook=echo 'nonroot:x:{_USER}:{_USER}:nonroot:/nonexistent:/usr/sbin/nologin' >> \"$1/etc/passwd\"",
        f"--customize-hook=echo 'nonroot:x:{_USER}:' >> \"$1/etc/group\"",
        "--customize-hook=rm -rf \"$1\"/var/cache/* \"$1\"/var/log/* \"$1\"/var/lib/apt/lists/*",
        _release(), str(to), what="mmdebstrap", environment={"SOURCE_DATE_EPOCH": "0"})
