"""kubectl in one namespace."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.cluster.any_cluster import AnyCluster
from tests.cluster.local.images import ctr
from tests.cluster.local.layout import NODES, Node

_SECONDS = 600


class Namespace:
    """Of a cluster; it need not be there yet."""

    def __init__(self, cluster: AnyCluster, namespace: str):
        self.cluster = cluster
        self.namespace = namespace

    def kubectl(self, *arguments: str, given: Any = "", check: bool = True) -> str:
        """`given`: an object, for `apply --filename=-`; or a text."""
        done = subprocess.run(self.cluster.kubectl(f"--namespace={self.namespace}", *arguments),
                              input=given if isinstance(given, str) else json.dumps(given), capture_output=True, text=True,
                              check=False, timeout=_SECONDS)
        assert not check or done.returncode == 0, f"kubectl {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "--output=json"))

    def apply(self, given: Any) -> None:
        self.kubectl("apply", "--filename=-", given=given)

    def pod(self, selector: str) -> Any:
        """One of those with these labels."""
        return self.get("pods", f"--selector={selector}")["items"][0]


def node_of(pod: Any) -> Node:
    return next(node for node in NODES if node.name == pod["spec"]["nodeName"])


def kill(pod: Any) -> None:
    """SIGKILL of its container's main process, by the node's own hands; the container is started again."""
    subprocess.run(ctr(node_of(pod), "task", "kill", "--signal", "SIGKILL", _container(pod)), check=True, capture_output=True)


def process_of(pod: Any) -> int:
    """A process of the pod's first container."""
    rows = subprocess.run(ctr(node_of(pod), "task", "list"), capture_output=True, text=True, check=True).stdout
    return next(int(row.split()[1]) for row in rows.splitlines() if row.startswith(_container(pod)))


def _container(pod: Any) -> str:
    return pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
