"""prometheus-operator beside the cluster, for one namespace: what it makes of PodMonitors and PrometheusRules is what
people's Prometheus servers do."""

from __future__ import annotations

import contextlib
import json
import pathlib
from collections.abc import Iterator

from ctl.up.command import run
from tests.cluster.local import programs
from tests.cluster.local.cluster import Cluster
from tests.cluster.local.layout import CONTROL_PLANE

_NAME = "prometheus-operator"
_MODULE = "github.com/prometheus-operator/prometheus-operator"


def _definitions() -> str:
    """The folder of its resource definitions, in its source."""
    module = json.loads(programs.run_go(_NAME, "mod", "download", "-json", _MODULE))
    return str(pathlib.Path(module["Dir"]) / "example/prometheus-operator-crd")


@contextlib.contextmanager
def running(cluster: Cluster, namespace: str) -> Iterator[None]:
    """Builds it the first time. With its definitions everything of their kinds goes."""
    definitions = f"--filename={_definitions()}"
    # Too large for the annotation of a client-side apply.
    run(*cluster.kubectl("apply", "--server-side", definitions))
    run(*cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", definitions))
    cluster.processes.ensure(_NAME, CONTROL_PLANE.inside(
        "env", f"KUBECONFIG={cluster.folder.kubeconfig}", str(programs.built(programs.PROMETHEUS_OPERATOR)),
        f"--namespaces={namespace}"))
    try:
        yield
    finally:
        cluster.processes.stop(_NAME)
        run(*cluster.kubectl("delete", definitions))
