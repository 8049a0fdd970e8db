"""PostgreSQL and Redis as an organisation has them: outside of the release, on one node, with TLS."""

from __future__ import annotations

import base64
import json
import pathlib
import secrets
import subprocess
import tempfile
from typing import Any

from tests.chart.test_certificates import certificates
from tests.cluster.local.cluster import Cluster
from tests.cluster.local.layout import CONTROL_PLANE, ROOT

NAMESPACE = "databases"
_FILES = ROOT / "k8s/chart/files"
_IMAGE = "postern/demo-servers"
_SERVICES = ("auth-svc", "store-svc", "relay-svc")
_PORTS = {"postgresql": 5432, "redis": 6379}
# As the chart's values have them.
_ENVIRONMENT = {
    "AUTH_SVC_DATABASE": "postern_auth", "AUTH_SVC_ROLE": "postern_auth",
    "STORE_SVC_DATABASE": "postern_store", "STORE_SVC_ROLE": "postern_store",
    "RELAY_SVC_DATABASE": "postern_relay", "RELAY_SVC_ROLE": "postern_relay",
    "AUTH_SVC_USER": "postern_auth", "AUTH_SVC_PREFIX": "postern-auth",
    "RELAY_SVC_USER": "postern_relay", "RELAY_SVC_PREFIX": "postern-relay",
}


def host(server: str) -> str:
    return f"{server}.{NAMESPACE}.svc.cluster.local"


def _secret(name: str, data: dict[str, bytes]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()}}


class Servers:
    """Of one cluster; several releases may use them one after the other."""

    def __init__(self, cluster: Cluster, version: str):
        self._cluster = cluster
        self._version = version
        self._passwords = {name: secrets.token_urlsafe(16).encode() for name in (
            *_SERVICES, "redis-auth-svc", "redis-relay-svc")}
        self._ca = b""

    def kubectl(self, *arguments: str, given: Any = None, namespace: str = NAMESPACE) -> str:
        done = subprocess.run(self._cluster.kubectl(f"--namespace={namespace}", *arguments),
                              input=None if given is None else json.dumps(given), capture_output=True, text=True,
                              check=False, timeout=300)
        assert done.returncode == 0, f"kubectl {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self) -> None:
        self.kubectl("create", "namespace", NAMESPACE)
        items = [_secret("passwords", self._passwords),
                 {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "scripts"}, "data": {
                     f"{server}.sh": (_FILES / f"demo_{server}.sh").read_text(encoding="utf-8") for server in _PORTS}}]
        with tempfile.TemporaryDirectory() as folder:
            openssl = certificates.OpenSsl(pathlib.Path(folder))
            ca = openssl.make_ca(30)
            self._ca = ca[0]
            for server in _PORTS:
                made = openssl.issue(ca, 30, server, [f"DNS:{host(server)}"], ["serverAuth"])
                items.append(_secret(server, {"ca.crt": ca[0], "tls.crt": made[0], "tls.key": made[1]}))
        for server, port in _PORTS.items():
            items += [self._deployment(server, port), {
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": server},
                "spec": {"selector": {"app": server}, "ports": [{"port": port}]}}]
        self.kubectl("apply", "--filename=-", given={"apiVersion": "v1", "kind": "List", "items": items})
        for server in _PORTS:
            self.kubectl("rollout", "status", f"deployment/{server}", "--timeout=120s")

    def _deployment(self, server: str, port: int) -> dict[str, Any]:
        def volume(name: str, secret: str) -> dict[str, Any]:
            return {"name": name, "secret": {"secretName": secret, "defaultMode": 0o440}}

        return {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": server},
            "spec": {"replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": {"app": server}},
                     "template": {"metadata": {"labels": {"app": server}}, "spec": {
                         # The other node is what tests break.
                         "nodeSelector": {"kubernetes.io/hostname": CONTROL_PLANE.name},
                         "securityContext": {"runAsUser": 65532, "fsGroup": 65532},
                         "containers": [{
                             "name": server, "image": f"{_IMAGE}:{self._version}", "imagePullPolicy": "Never",
                             "command": ["sh", f"/scripts/{server}.sh"],
                             "env": [{"name": name, "value": value} for name, value in _ENVIRONMENT.items()],
                             "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
                             "volumeMounts": [{"name": name, "mountPath": f"/{name}"} for name in (
                                 "scripts", "certificate", "passwords", "data", "tmp")]}],
                         # What is in it outlives the container, not the pod.
                         "volumes": [{"name": "scripts", "configMap": {"name": "scripts"}},
                                     volume("certificate", server), volume("passwords", "passwords"),
                                     {"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]}}}}

    def stop(self) -> None:
        self.kubectl("delete", "namespace", NAMESPACE)

    def give_to(self, namespace: str) -> list[str]:
        """Makes the release's Secrets; gives the arguments of `helm install` that point there."""
        redis = {name: self._passwords[f"redis-{name}"] for name in ("auth-svc", "relay-svc")}
        for secret in (_secret("postgresql", {name: self._passwords[name] for name in _SERVICES}),
                       _secret("redis", redis), _secret("databases-ca", {"ca.crt": self._ca})):
            self.kubectl("apply", "--filename=-", given=secret, namespace=namespace)
        peers = json.dumps([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}}])
        return [
            f"--set-json=postgresql.hosts=[\"{host('postgresql')}:5432\"]", "--set=postgresql.existingSecret=postgresql",
            "--set=postgresql.caSecret=databases-ca", f"--set-json=networkPolicy.postgresql.to={peers}",
            f"--set-json=redis.addresses=[\"{host('redis')}:6379\"]", "--set=redis.existingSecret=redis",
            "--set=redis.caSecret=databases-ca", f"--set-json=networkPolicy.redis.to={peers}"]

    def kill(self, server: str) -> None:
        """SIGKILL of its main process, by the node's own hands; the container is started again."""
        pod = json.loads(self.kubectl("get", "pods", f"--selector=app={server}", "--output=json"))["items"][0]
        container = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
        done = subprocess.run(["ctr", "--address", str(CONTROL_PLANE.socket), "--namespace", "k8s.io", "task", "kill",
                               "--signal", "SIGKILL", container], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def scale(self, server: str, replicas: int) -> None:
        self.kubectl("scale", f"deployment/{server}", f"--replicas={replicas}")
