"""What happens to mail when its PostgreSQL is in trouble: every message is counted afterwards."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import pwd
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from ctl.up import lock, postgresql
from ctl.up.layout import DataDir
from ctl.up.ports import FreePorts
from tests.e2e import postgresql_server
from tests.e2e.platform_under_test import Platform
from tests.e2e.slow_proxy import SlowProxy
from tests.e2e.trouble import RETRIES, People, mail_survives
from tests.e2e.waiting import SLOWER, too_slow_for_a_sanitizer, wait_until

SLOW_SECONDS = 30.0
# Of the disk, and in what pieces it is filled up.
DISK_OCTETS = 300 << 20
BALLAST_OCTETS = 1 << 20


def _hung(platform: Platform) -> contextlib.AbstractContextManager[None]:
    return postgresql_server.of(platform).hung()


@contextlib.contextmanager
def _without_connections(platform: Platform) -> Iterator[None]:
    """As many as there may be are there already."""
    server = postgresql_server.of(platform)
    names = [postgresql.name_of(service) for service in postgresql.SERVICES]
    roles = ", ".join(f"'{name}'" for name in names)
    server.sql("".join(f"ALTER ROLE {name} CONNECTION LIMIT 0;" for name in names) +
               f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ({roles});")
    try:
        yield
    finally:
        server.sql("".join(f"ALTER ROLE {name} CONNECTION LIMIT -1;" for name in names))


@pytest.mark.parametrize("trouble", [_hung, _without_connections])
def test_nothing_is_lost_and_nobody_waits(
        replicated: Platform,
        trouble: Callable[[Platform], contextlib.AbstractContextManager[None]]) -> None:
    def lasts(people: People) -> None:
        with trouble(replicated):
            people.try_for()

    mail_survives(replicated, lasts)


def test_an_immediate_restart_loses_nothing(replicated: Platform) -> None:
    """As `pg_ctl restart -m immediate`: the server ends without a checkpoint, and recovers."""
    def restarts(people: People) -> None:
        for _ in range(2):
            dead = replicated.end("postgresql", signal.SIGQUIT)
            people.try_once()
            wait_until(lambda: replicated.pid("postgresql") not in (None, dead), 60 * SLOWER,
                       "it is started again")
            replicated.wait_all_ready()

    mail_survives(replicated, restarts)


@too_slow_for_a_sanitizer
def test_answers_come_after_30_seconds(tmp_path: pathlib.Path) -> None:
    """The server does all it is asked, what was given up too."""
    port = FreePorts().take()
    proxy = SlowProxy(port)
    hosts = {"postgresql": {"hosts": [f"127.0.0.1:{proxy.port}"]}}
    platform = Platform(
        tmp_path / "postern", {"auth-svc": hosts, "store-svc": hosts, "relay-svc": hosts | RETRIES},
        flags=("--postgresql", "--postgresql-port", str(port), "--replicas", "2"))

    def is_slow(people: People) -> None:
        with proxy.slow(SLOW_SECONDS):
            people.try_for()

    try:
        platform.start()
        mail_survives(platform, is_slow)
    finally:
        platform.stop()
        proxy.stop()


class SmallDisk:
    """Where a platform's database is, in a mount namespace of that platform's own."""

    def __init__(self, data: pathlib.Path):
        """`data`: the platform's."""
        self._data = data
        self._folder = data / "postgresql/data"

    @property
    def wrapper(self) -> tuple[str, ...]:
        """A command that mounts it for the command after it."""
        user = pwd.getpwnam("postgres")
        options = f"size={DISK_OCTETS},uid={user.pw_uid},gid={user.pw_gid},mode=0700"
        return ("unshare", "--mount", "--", "sh", "-c",
                f"mkdir -p '{self._folder}' && "
                f"mount -t tmpfs -o {options} tmpfs '{self._folder}' && exec \"$@\"", "sh")

    def _ballast(self) -> pathlib.Path:
        """As the supervisor sees it: the mount is nobody else's."""
        pid = lock.holder(DataDir(self._data))
        return pathlib.Path(f"/proc/{pid}/root{self._folder}/ballast")

    def fill(self) -> None:
        """To the last octet."""
        with self._ballast().open("ab", buffering=0) as ballast:
            size = BALLAST_OCTETS
            while size > 0:
                try:
                    ballast.write(bytes(size))
                except OSError as error:
                    assert error.errno == errno.ENOSPC, error
                    size //= 2

    def empty(self) -> None:
        self._ballast().unlink()


@too_slow_for_a_sanitizer
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
def test_its_disk_is_full(tmp_path: pathlib.Path) -> None:
    disk = SmallDisk(tmp_path / "postern")
    platform = Platform(tmp_path / "postern", {"relay-svc": RETRIES},
                        flags=("--postgresql", "--replicas", "2"), wrapper=disk.wrapper)

    def is_full(people: People) -> None:
        def refused() -> list[str]:
            # What was freed since is filled up, too.
            disk.fill()
            people.try_once()
            return people.refusals

        wait_until(refused, 60 * SLOWER, "somebody is refused")
        assert "No space left on device" in platform.log("postgresql")
        for _ in range(3):
            refused()

        def ended() -> bool:
            # The next segment of its log has no room: then it can't go on.
            disk.fill()
            with contextlib.suppress(subprocess.CalledProcessError):
                postgresql_server.of(platform).sql("SELECT pg_switch_wal()")
            return "PANIC" in platform.log("postgresql")

        wait_until(ended, 60 * SLOWER, "the server's log is full")
        people.try_for()
        disk.empty()

    try:
        platform.start()
        mail_survives(platform, is_full)
    finally:
        platform.stop()
    # It ends itself when it can't write its log, and is started again. None of ours does.
    platform.take_deaths_of("postgresql")
