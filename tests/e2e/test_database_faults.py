"""What happens to mail when its PostgreSQL is in trouble: every message is counted afterwards."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

import pytest

from ctl.up import postgresql
from tests.e2e import postgresql_server
from tests.e2e.platform_under_test import Platform
from tests.e2e.trouble import People, mail_survives
from tests.e2e.waiting import SLOWER, wait_until


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
