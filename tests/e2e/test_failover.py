"""PostgreSQL with a synchronous standby: what happens to mail when either of them fails."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator

import pytest

from ctl.up.ports import FreePorts
from tests.e2e import postgresql_server
from tests.e2e.platform_under_test import Platform
from tests.e2e.trouble import RETRIES, People, mail_survives
from tests.e2e.waiting import SLOWER, too_slow_for_a_sanitizer, wait_until

pytestmark = too_slow_for_a_sanitizer


@dataclasses.dataclass
class Pair:
    """A platform whose services know both servers."""

    platform: Platform
    standby: postgresql_server.Server

    @property
    def primary(self) -> postgresql_server.Server:
        return postgresql_server.of(self.platform)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    free = FreePorts()
    ports = free.take(), free.take()
    hosts = {"postgresql": {"hosts": [f"127.0.0.1:{port}" for port in ports]}}
    platform = Platform(
        tmp_path_factory.mktemp("failover"),
        {"auth-svc": hosts, "store-svc": hosts, "relay-svc": hosts | RETRIES},
        flags=("--postgresql", "--postgresql-port", str(ports[0]), "--replicas", "2"))
    try:
        # The standby's port is not the platform's to take.
        with socket.create_server(("127.0.0.1", ports[1])):
            platform.start()
        with postgresql_server.standby(platform, ports[1]) as standby:
            yield Pair(platform, standby)
            platform.stop()
    finally:
        platform.stop()


def test_the_standby_hangs(pair: Pair) -> None:
    """Nothing is acknowledged without it."""
    def hangs(people: People) -> None:
        with pair.standby.hung():
            people.try_for()

    mail_survives(pair.platform, hangs)


def test_the_primary_dies(pair: Pair) -> None:
    def dies(people: People) -> None:
        # The supervisor starts it again, as somebody might: what it finds then fences it.
        pair.primary.will_follow(pair.standby)
        dead = pair.platform.kill("postgresql")
        people.try_once()
        pair.standby.sql("SELECT pg_promote()")
        wait_until(lambda: pair.platform.pid("postgresql") not in (None, dead), 60 * SLOWER,
                   "the old one is started again")
        people.try_for()

    mail_survives(pair.platform, dies)
    assert pair.standby.sql("SELECT pg_is_in_recovery()") == "f"
    # It wants no standby itself.
    assert pair.standby.sql("SHOW synchronous_standby_names") == ""
