"""etcd, the API server, the controller manager and the scheduler, on the first node."""

from __future__ import annotations

import subprocess

from tests.cluster.local import programs
from tests.cluster.local.layout import CONTROL_PLANE, SERVICE_RANGE, Folder
from tests.cluster.local.pki import Pki
from tests.cluster.local.processes import Processes

_READY_SECONDS = 90.0


def _api_server(pki: Pki) -> list[str]:
    return [
        f"--advertise-address={CONTROL_PLANE.address}", "--bind-address=0.0.0.0", "--secure-port=6443",
        "--etcd-servers=http://127.0.0.1:2379", f"--service-cluster-ip-range={SERVICE_RANGE}",
        f"--client-ca-file={pki.file('ca.crt')}", f"--tls-cert-file={pki.file('apiserver.crt')}",
        f"--tls-private-key-file={pki.file('apiserver.key')}",
        f"--kubelet-client-certificate={pki.file('apiserver-kubelet.crt')}",
        f"--kubelet-client-key={pki.file('apiserver-kubelet.key')}",
        f"--kubelet-certificate-authority={pki.file('ca.crt')}",
        # Else exec and logs look up the nodes' names.
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki.file('service-accounts.pub')}",
        f"--service-account-signing-key-file={pki.file('service-accounts.key')}",
        "--authorization-mode=Node,RBAC", "--allow-privileged=true",
        # For the metrics server behind its APIService.
        f"--requestheader-client-ca-file={pki.file('front-proxy-ca.crt')}",
        "--requestheader-allowed-names=front-proxy-client", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group", "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={pki.file('front-proxy-client.crt')}",
        f"--proxy-client-key-file={pki.file('front-proxy-client.key')}", "--enable-aggregator-routing=true"]


def _as(pki: Pki, name: str) -> list[str]:
    config = pki.file(f"{name}.conf")
    return [f"--kubeconfig={config}", f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}", "--leader-elect=false"]


class ControlPlane:
    """Starts what is missing of it."""

    def __init__(self, folder: Folder, processes: Processes, pki: Pki):
        self._folder = folder
        self._processes = processes
        self._pki = pki

    def _ensure(self, program: str, *arguments: str) -> None:
        self._processes.ensure(program, CONTROL_PLANE.inside(str(programs.path(program)), *arguments))

    def kubectl(self, *arguments: str) -> list[str]:
        return CONTROL_PLANE.inside(str(programs.path("kubectl")), f"--kubeconfig={self._folder.kubeconfig}",
                                    *arguments)

    def try_kubectl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.kubectl(*arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False)

    def ensure(self) -> None:
        self._processes.ensure("etcd", CONTROL_PLANE.inside(
            "etcd", f"--data-dir={self._folder.etcd}", "--unsafe-no-fsync", "--log-level=warn"))
        self._ensure("kube-apiserver", *_api_server(self._pki))
        self._processes.wait("kube-apiserver",
                             lambda: self.try_kubectl("get", "--raw", "/readyz").returncode == 0, _READY_SECONDS)
        self._ensure("kube-controller-manager", *_as(self._pki, "kube-controller-manager"),
                     f"--root-ca-file={self._pki.file('ca.crt')}",
                     f"--service-account-private-key-file={self._pki.file('service-accounts.key')}",
                     f"--cluster-signing-cert-file={self._pki.file('ca.crt')}",
                     f"--cluster-signing-key-file={self._pki.file('ca.key')}", "--use-service-account-credentials=true",
                     "--node-monitor-grace-period=20s", "--horizontal-pod-autoscaler-sync-period=5s")
        self._ensure("kube-scheduler", *_as(self._pki, "kube-scheduler"))
