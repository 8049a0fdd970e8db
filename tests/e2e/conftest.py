"""One platform for the whole session, and as many special ones as tests ask for."""

from __future__ import annotations

import pathlib
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.mail_clients import Clients
from tests.e2e.nameserver import NameServer
from tests.e2e.platform_under_test import Account, Platform
from tests.e2e.trouble import RETRIES
from tests.e2e.world import World


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    running = Platform(tmp_path_factory.mktemp("postern"))
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="session")
def replicated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Two of each process on one PostgreSQL and one Redis."""
    running = Platform(tmp_path_factory.mktemp("replicated"), {"relay-svc": RETRIES},
                       flags=("--postgresql", "--redis", "--replicas", "2"))
    try:
        yield running.start()
    finally:
        running.stop()


def _nothing_died() -> Iterator[None]:
    """Fails when a process ended that the test did not end itself: the supervisor starts it again
    and clients try again, so nothing else would say so."""
    yield
    deaths = [f"{platform.data}: {death}" for platform in Platform.made
              for death in platform.take_deaths()]
    assert not deaths, "\n".join(deaths)


# Set up first and so torn down last: after each test, and after the platforms that many tests share
# have stopped.
nothing_died = pytest.fixture(autouse=True)(_nothing_died)
nothing_died_at_the_end = pytest.fixture(autouse=True, scope="session")(_nothing_died)


@pytest.fixture
def make_platform(
        tmp_path: pathlib.Path) -> Iterator[Callable[[dict[str, Any] | None], Platform]]:
    """A platform of one's own, with an overlay of its configuration; stopped after the test."""
    made: list[Platform] = []

    def make(overlay: dict[str, Any] | None = None) -> Platform:
        made.append(Platform(tmp_path / f"postern-{len(made)}", overlay))
        return made[-1].start()

    yield make
    for platform_ in made:
        platform_.stop()


@pytest.fixture
def clients(platform: Platform) -> Clients:
    return Clients(platform)


@pytest.fixture
def account(platform: Platform) -> Account:
    """Somebody new, with an empty maildrop."""
    return platform.add_account()


@pytest.fixture
def tls(platform: Platform) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=platform.ca_file)


@pytest.fixture
def name_server() -> Iterator[NameServer]:
    server = NameServer()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def world(make_platform: Callable[[dict[str, Any] | None], Platform],
          name_server: NameServer) -> Iterator[World]:
    made = World(make_platform, name_server)
    yield made
    made.stop()
