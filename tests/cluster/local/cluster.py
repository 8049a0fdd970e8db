"""The whole cluster: up, down, and what it is made of."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
from collections.abc import Iterator

from ctl.up.command import run
from ctl.up.failure import Failure
from tests.cluster.local import balancer, images, network, nodes, programs
from tests.cluster.local.control_plane import ControlPlane
from tests.cluster.local.layout import CONTROL_PLANE, MANIFESTS, NODES, RUN, Folder
from tests.cluster.local.nodes import NodeProcesses
from tests.cluster.local.pki import Pki
from tests.cluster.local.processes import Processes, end_all, started_at, wait_until

_OWNER = RUN / "owner"
_READY_SECONDS = 120.0


@dataclasses.dataclass(frozen=True)
class NodeStatus:
    """A node as the API server sees it."""

    name: str
    ready: bool


def _owner() -> pathlib.Path | None:
    """The data folder of the cluster that is there, up or not."""
    try:
        return pathlib.Path(_OWNER.read_text(encoding="utf-8"))
    except OSError:
        return None


def _mounts_under(roots: tuple[pathlib.Path, ...]) -> Iterator[str]:
    """The latest first (proc(5), mountinfo)."""
    lines = pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    for line in reversed(lines):
        # Spaces are written as octal.
        point = line.split(" ")[4].encode().decode("unicode_escape")
        if any(pathlib.Path(point).is_relative_to(root) for root in roots):
            yield point


def _inhabitants() -> list[int]:
    """Who lives in our namespaces and cgroups."""
    found = set(network.inhabitants())
    for folder in nodes.cgroup_folders():
        found |= {int(pid) for pid in (folder / "cgroup.procs").read_text(encoding="ascii").split()}
    return [pid for pid in found if pid != os.getpid() and started_at(pid) is not None]


def _clear(roots: tuple[pathlib.Path, ...]) -> None:
    """Ends whoever is in our namespaces and cgroups, and removes both, and every mount under these folders."""
    wait_until(lambda: not end_all(_inhabitants(), signal.SIGKILL), 30, "the nodes' processes are gone")
    for point in _mounts_under(roots):
        subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)
    network.remove()
    for folder in nodes.cgroup_folders():
        folder.rmdir()


class Cluster:
    """The one whose data is in a folder."""

    def __init__(self, root: pathlib.Path):
        self._folder = Folder(root)
        self._processes = Processes(self._folder)
        self._pki = Pki(self._folder)
        self._control = ControlPlane(self._folder, self._processes, self._pki)
        self._nodes = [NodeProcesses(self._folder, self._processes, self._pki, node) for node in NODES]

    @property
    def folder(self) -> Folder:
        return self._folder

    @property
    def processes(self) -> Processes:
        return self._processes

    def kubectl(self, *arguments: str) -> list[str]:
        return self._control.kubectl(*arguments)

    def helm(self, *arguments: str) -> list[str]:
        return CONTROL_PLANE.inside("env", f"KUBECONFIG={self._folder.kubeconfig}", str(programs.path("helm")),
                                    *arguments)

    def _check_ours(self) -> None:
        if os.geteuid() != 0:
            raise Failure("namespaces and containers want root: sudo ./dev cluster ...")
        owner = _owner()
        if owner == self._folder.root or (owner is None and not network.there()):
            return
        if _inhabitants():
            raise Failure(f"the cluster of {owner} is up; one runs on a machine at a time: "
                          f"./dev cluster down --data {owner}" if owner is not None else
                          f"somebody is in network namespaces of our names, {', '.join(network.there())}: "
                          "ip netns pids NAME")
        # What one left that ended with all its processes.
        _clear((owner, RUN) if owner is not None else (RUN,))
        shutil.rmtree(RUN, ignore_errors=True)

    def up(self) -> None:
        """Makes what is missing of it, also after a crash of any part."""
        self._check_ours()
        programs.check_installed()
        programs.build_all()
        self._folder.create()
        RUN.mkdir(mode=0o700, exist_ok=True)
        _OWNER.write_text(str(self._folder.root), encoding="utf-8")
        if len(network.there()) != network.COUNT:
            # None, or what an interrupted start left.
            _clear((self._folder.root, RUN))
            network.make()
        self._pki.ensure()
        for node in self._nodes:
            node.ensure_runtime()
        self._control.ensure()
        for node in self._nodes:
            node.wait_for_runtime()
        images.load(NODES, images.ours(self._folder))
        for node in self._nodes:
            node.ensure_kubelet()
        self._join()
        for node in self._nodes:
            node.ensure_network()
        balancer.ensure(self._folder, self._processes)
        self._apply(MANIFESTS / "addons.yaml")
        wait_until(lambda: all(node.ready for node in self.nodes()), _READY_SECONDS, "both nodes are Ready")
        for name in ("coredns", "metrics-server"):
            self._kubectl("--namespace=kube-system", "rollout", "status", f"deployment/{name}",
                          f"--timeout={_READY_SECONDS:g}s")

    def _kubectl(self, *arguments: str) -> str:
        return run(*self.kubectl(*arguments), what=f"kubectl {' '.join(arguments)}")

    def _apply(self, manifest: pathlib.Path) -> None:
        self._kubectl("apply", "--server-side", "--force-conflicts", f"--filename={manifest}")

    def _join(self) -> None:
        """kube-router wants each node to know its pods' range."""
        wait_until(lambda: {node.name for node in self.nodes()} >= {node.name for node in NODES}, _READY_SECONDS,
                   "the kubelets have made their nodes")
        for node in NODES:
            self._kubectl("patch", "node", node.name, "--patch",
                          json.dumps({"spec": {"podCIDR": node.pods, "podCIDRs": [node.pods]}}))

    def nodes(self) -> list[NodeStatus]:
        """Empty when the API server does not answer."""
        done = self._control.try_kubectl("get", "nodes", "--output=json")
        if done.returncode != 0:
            return []
        return [NodeStatus(item["metadata"]["name"], any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in item["status"]["conditions"])) for item in json.loads(done.stdout)["items"]]

    def is_up(self) -> bool:
        """Whether it was started and not ended, whatever became of its parts."""
        return _owner() == self._folder.root

    def load_images(self, archives: list[pathlib.Path]) -> list[str]:
        return images.load(NODES, archives)

    def down(self) -> bool:
        """Leaves logs alone. False when there was nothing."""
        self._check_ours()
        if _owner() is None:
            return False
        for name in ("kubelet-node1", "kubelet-node2", *self._processes.names()):
            self._processes.stop(name)
        _clear((self._folder.root, RUN))
        for path in (self._folder.pki, self._folder.etcd, self._folder.images, self._folder.processes,
                     *(self._folder.node(node) for node in NODES)):
            shutil.rmtree(path, ignore_errors=True)
        self._folder.kubeconfig.unlink(missing_ok=True)
        shutil.rmtree(RUN)
        return True
