"""What the suite and the measurement stand on: a cluster with our images, and the databases on it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from k8s.images import builder
from tests.cluster.local.cluster import Cluster
from tests.cluster.local.layout import IMAGES, ROOT
from tests.cluster.servers import Servers


@contextlib.contextmanager
def cluster_with_images() -> Iterator[Cluster]:
    """One that was up before stays up."""
    cluster = Cluster(ROOT / ".cluster")
    was_up = cluster.is_up()
    try:
        cluster.up()
        cluster.load_images(sorted(IMAGES.glob("*.tar")))
        yield cluster
    finally:
        if not was_up:
            cluster.down()


@contextlib.contextmanager
def servers_on(cluster: Cluster) -> Iterator[Servers]:
    servers = Servers(cluster, builder.version())
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()
