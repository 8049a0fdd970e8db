"""One cluster and one release for the whole session. `./dev test cluster` has made the images."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.any_cluster import AnyCluster, GivenCluster, kubeconfig
from tests.cluster.local.cluster import Cluster
from tests.cluster.parts import cluster_with_images, servers_on
from tests.cluster.release import DOMAIN, Release, WorldClients, in_own_namespace
from tests.cluster.servers import Servers
from tests.e2e.trouble import PATIENCE, Figures, People, Survives, mail_survives


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with cluster_with_images() as made:
        yield made


@pytest.fixture(scope="session")
def any_cluster(request: pytest.FixtureRequest) -> AnyCluster:
    return GivenCluster() if kubeconfig() else request.getfixturevalue("cluster")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if kubeconfig():
        for item in items:
            # Those kill its nodes, and look at it from places of their own.
            if "cluster" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason="not on somebody's cluster: KUBECONFIG is given"))


@pytest.fixture(scope="session")
def servers(cluster: Cluster) -> Iterator[Servers]:
    with servers_on(cluster) as made:
        yield made


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--previous", type=pathlib.Path, metavar="DIR",
                     help="begin with the release that tools/previous_release.sh put there")
    parser.addoption("--values", action="append", default=[], metavar="FILE",
                     help="what Helm is told on the cluster of KUBECONFIG (test_any_cluster.py)")


@pytest.fixture(scope="session")
def release(cluster: Cluster, servers: Servers, request: pytest.FixtureRequest) -> Iterator[Release]:
    """On those servers; a domain is there."""
    previous: pathlib.Path | None = request.config.getoption("--previous")
    with in_own_namespace(cluster, "mail") as made:
        if previous is None:
            made.install(*servers.give_to(made))
        else:
            cluster.load_images(sorted((previous / "images").glob("*.tar")))
            made.install(*servers.give_to(made), "--set=image.tag=previous", chart=previous / "chart")
        made.wait_all_ready()
        made.wait_for_mail_path()
        made.ctl("domain", "add", DOMAIN)
        yield made


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
