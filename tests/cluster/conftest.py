"""One cluster and one release for the whole session. `./dev test cluster` has made the images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest

from k8s.images import __main__ as images
from tests.cluster.local.cluster import Cluster
from tests.cluster.local.layout import IMAGES, ROOT
from tests.cluster.release import DOMAIN, Release, WorldClients
from tests.cluster.servers import Servers
from tests.e2e.trouble import PATIENCE, Figures, People, mail_survives

Survives: TypeAlias = Callable[..., None]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Up with our images. One that was up before stays up."""
    made = Cluster(ROOT / ".cluster")
    was_up = made.is_up()
    try:
        made.up()
        made.load_images(sorted(IMAGES.glob("*.tar")))
        yield made
    finally:
        if not was_up:
            made.down()


@pytest.fixture(scope="session")
def servers(cluster: Cluster) -> Iterator[Servers]:
    made = Servers(cluster, images.version())
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def release(cluster: Cluster, servers: Servers) -> Iterator[Release]:
    """On those servers; a domain is there."""
    made = Release(cluster, "mail")
    made.make_namespace()
    try:
        made.install(*servers.give_to(made.namespace))
        made.wait_all_ready()
        made.wait_for_mail_path()
        made.ctl("domain", "add", DOMAIN)
        yield made
    finally:
        made.helm("uninstall", made.name, check=False)
        made.kubectl("delete", "namespace", made.namespace)


_figures: list[tuple[str, Figures]] = []


@pytest.fixture
def survives(release: Release, world: WorldClients, request: pytest.FixtureRequest) -> Survives:
    """Runs a trouble under load, as mail_survives; the figures are told at the end."""
    def run(trouble: Callable[[People], None], patience: float = PATIENCE) -> None:
        _figures.append((request.node.name.removeprefix("test_"), mail_survives(release, trouble, patience, world)))

    return run


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: left out by continuous integration, which has an hour for everything")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _figures:
        terminalreporter.section("troubles under load")
    for name, one in _figures:
        terminalreporter.write_line(f"{name:48} {one.accepted:6} accepted, each there once; {one.asked:4} questions, "
                                    f"{one.refused:3} refused for now, the longest wait {one.longest_wait:.2f} s")


@pytest.fixture(scope="session")
def world(release: Release) -> WorldClients:
    return WorldClients(release)
