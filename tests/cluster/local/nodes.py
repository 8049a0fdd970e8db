"""A node: containerd, kubelet, kube-proxy, and kube-router, which enforces network policies."""

from __future__ import annotations

import json
import pathlib

from tests.cluster.local import images, programs
from tests.cluster.local.layout import (CLUSTER_DOMAIN, DNS_SERVICE, INTERNET, NODES, POD_RANGE, RUN, Folder, Node)
from tests.cluster.local.pki import Pki
from tests.cluster.local.processes import Processes

_CGROUPS = pathlib.Path("/sys/fs/cgroup")
_READY_SECONDS = 60.0


def _containerd(folder: pathlib.Path, node: Node) -> str:
    # restrict_oom_score_adj: without CAP_SYS_RESOURCE a container's score can't be lowered.
    return f"""\
version = 2
root = "{folder}/containerd"
state = "{RUN}/{node.name}"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{node.socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{images.PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
"""


def _network(folder: pathlib.Path, node: Node) -> dict[str, object]:
    return {"cniVersion": "0.4.0", "name": node.name, "plugins": [
        # No masquerading: the other side sees the pod's own address.
        {"type": "ptp", "ipMasq": False, "mtu": 1500,
         "ipam": {"type": "host-local", "dataDir": f"{folder}/ipam", "ranges": [[{"subnet": node.pods}]],
                  "routes": [{"dst": "0.0.0.0/0"}]}},
        {"type": "portmap", "capabilities": {"portMappings": True}}]}


def _kubelet(folder: pathlib.Path, node: Node, pki: Pki) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "failCgroupV1": False, "cgroupDriver": "cgroupfs", "cgroupRoot": f"/{node.cgroup}",
        "containerRuntimeEndpoint": f"unix://{node.socket}",
        "clusterDNS": [DNS_SERVICE], "clusterDomain": CLUSTER_DOMAIN, "address": "0.0.0.0",
        "tlsCertFile": pki.file(f"{node.name}.crt"), "tlsPrivateKeyFile": pki.file(f"{node.name}.key"),
        "authentication": {"x509": {"clientCAFile": pki.file("ca.crt")}, "webhook": {"enabled": True},
                           "anonymous": {"enabled": False}},
        "authorization": {"mode": "Webhook"}, "failSwapOn": False, "resolvConf": f"{folder}/resolv.conf",
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        # Its own: a kubelet removes the logs of pods that it doesn't know.
        "podLogsDir": f"{folder}/logs",
        "imageGCHighThresholdPercent": 100, "maxPods": 60, "nodeStatusUpdateFrequency": "4s",
        # A changed Secret is in its pods after seconds, not a minute.
        "syncFrequency": "5s", "configMapAndSecretChangeDetectionStrategy": "Watch"}


def _proxy(node: Node, pki: Pki) -> dict[str, object]:
    return {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "nftables",
            "clientConnection": {"kubeconfig": pki.file("kube-proxy.conf")}, "clusterCIDR": POD_RANGE,
            "hostnameOverride": node.name, "conntrack": {"maxPerCore": 0}}


def _make_cgroups(node: Node) -> None:
    """The kubelet wants its root in every controller (version 1), with processors and memory."""
    for controller in _CGROUPS.iterdir():
        if controller.is_dir() and not controller.is_symlink():
            (controller / node.cgroup).mkdir(exist_ok=True)
    cpuset = _CGROUPS / "cpuset"
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (cpuset / name).exists():
            (cpuset / node.cgroup / name).write_text((cpuset / name).read_text(encoding="ascii"), encoding="ascii")


def cgroup_folders() -> list[pathlib.Path]:
    """Of all nodes, the innermost first."""
    found = []
    for controller in _CGROUPS.iterdir():
        if controller.is_symlink() or not controller.is_dir():
            continue
        for node in NODES:
            root = controller / node.cgroup
            if root.exists():
                found += [path for path in root.rglob("*") if path.is_dir()] + [root]
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


class NodeProcesses:
    """Starts one node's. Each is called again after a crash, and starts what is missing."""

    def __init__(self, folder: Folder, processes: Processes, pki: Pki, node: Node):
        self._folder = folder.node(node)
        self._processes = processes
        self._pki = pki
        self._node = node

    def _name(self, program: str) -> str:
        return f"{program}-{self._node.name}"

    def _ensure(self, program: str, *arguments: str) -> None:
        self._processes.ensure(self._name(program), self._node.inside(str(programs.path(program)), *arguments))

    def _write(self, name: str, content: dict[str, object]) -> str:
        path = self._folder / name
        text = json.dumps(content)
        # kube-proxy ends when its configuration is written, whatever is in it.
        if not path.exists() or path.read_text(encoding="ascii") != text:
            path.write_text(text, encoding="ascii")
        return str(path)

    def ensure_runtime(self) -> None:
        _make_cgroups(self._node)
        (self._folder / "cni").mkdir(exist_ok=True)
        self._write("cni/10-ptp.conflist", _network(self._folder, self._node))
        config = self._folder / "containerd.toml"
        config.write_text(_containerd(self._folder, self._node), encoding="ascii")
        (self._folder / "resolv.conf").write_text(f"nameserver {INTERNET.address}\n", encoding="ascii")
        name = self._name("containerd")
        self._processes.ensure(name, self._node.inside("containerd", "--config", str(config)))

    def wait_for_runtime(self) -> None:
        self._processes.wait(self._name("containerd"), lambda: images.answers(self._node), _READY_SECONDS)

    def ensure_kubelet(self) -> None:
        self._ensure("kubelet", f"--config={self._write('kubelet.json', _kubelet(self._folder, self._node, self._pki))}",
                     f"--kubeconfig={self._pki.file(self._node.name + '.conf')}",
                     f"--hostname-override={self._node.name}", f"--node-ip={self._node.address}",
                     f"--root-dir={self._folder}/kubelet")

    def ensure_network(self) -> None:
        """Once its node is known."""
        self._ensure("kube-proxy", f"--config={self._write('kube-proxy.json', _proxy(self._node, self._pki))}")
        self._ensure("kube-router", f"--kubeconfig={self._pki.file('kube-router.conf')}",
                     f"--hostname-override={self._node.name}", "--run-firewall=true", "--run-router=false",
                     "--run-service-proxy=false", "--v=1")
