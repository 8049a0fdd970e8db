"""Names, addresses and places. One cluster runs on a machine at a time: namespaces have one name each."""

from __future__ import annotations

import dataclasses
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent.parent
MODULES = ROOT / "tests/cluster/modules"
MANIFESTS = pathlib.Path(__file__).resolve().parent / "manifests"
IMAGES = ROOT / ".images"
# Sockets are here, since their paths may have 107 characters; and whose cluster it is.
RUN = pathlib.Path("/run/postern-cluster")
PREFIX = "postern-"

POD_RANGE = "10.244.0.0/16"
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
API_PORT = 6443
CLUSTER_DOMAIN = "cluster.local"


@dataclasses.dataclass(frozen=True)
class Host:
    """A network namespace with one address of its own."""

    name: str
    address: str

    @property
    def namespace(self) -> str:
        return PREFIX + self.name

    def inside(self, *command: str) -> list[str]:
        """The command that runs `command` there. `ip netns exec` would hide the cgroups from the kubelet."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}", *command]


@dataclasses.dataclass(frozen=True)
class Node(Host):
    """One of the cluster's machines."""

    pods: str

    @property
    def socket(self) -> pathlib.Path:
        """containerd's."""
        return RUN / f"{self.name}.sock"

    @property
    def cgroup(self) -> str:
        return f"postern-{self.name}"


NODES = (Node("node1", "10.10.0.1", "10.244.1.0/24"), Node("node2", "10.10.0.2", "10.244.2.0/24"))
CONTROL_PLANE = NODES[0]
BALANCER = Host("lb", "10.10.0.10")
# The balancer's addresses there are what clients connect to.
INTERNET = Host("internet", "203.0.113.10")
INTERNET_BALANCER = "203.0.113.1"
LAN = Host("lan", "192.168.50.10")
LAN_BALANCER = "192.168.50.1"
HOSTS: tuple[Host, ...] = (*NODES, BALANCER, INTERNET, LAN)
SWITCH = PREFIX + "switch"

# Where the balancer takes each port's connections, and the node port that it hands them to.
PORTS = {25: 30025, 110: 30110, 465: 30465, 587: 30587, 995: 30995}


class Folder:
    """Paths in one cluster's data folder."""

    def __init__(self, root: pathlib.Path):
        self.root = root.absolute()
        self.pki = self.root / "pki"
        self.logs = self.root / "logs"
        self.processes = self.root / "processes"
        self.etcd = self.root / "etcd"
        self.images = self.root / "images"
        self.kubeconfig = self.root / "kubeconfig"
        self.haproxy = self.root / "haproxy.cfg"

    def node(self, node: Node) -> pathlib.Path:
        return self.root / node.name

    def create(self) -> None:
        for path in (self.root, self.pki, self.logs, self.processes, self.images,
                     *(self.node(node) for node in NODES)):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)


def cache() -> pathlib.Path:
    """Where built programs are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or str(pathlib.Path.home() / ".cache")
    return pathlib.Path(base) / "postern-cluster"
