"""PostgreSQL and Redis as an organisation has them: outside of the release, on one node, with TLS."""

from __future__ import annotations

import base64
import json
import pathlib
import secrets
import tempfile
from typing import Any

from k8s.chart.files import certificates
from tests.cluster.local.cluster import Cluster
from tests.cluster.local.layout import CONTROL_PLANE
from tests.cluster.namespace import Namespace, kill
from tests.cluster.release import CHART, SERVICES
from tests.e2e.waiting import wait_until

NAMESPACE = "databases"
_IMAGE = "postern/demo-servers"
_PORTS = {"postgresql": 5432, "redis": 6379}
_STANDBY = "postgresql-standby"
_STANDBY_ROLE = "standby"
_SCRIPTS = {**{server: CHART / f"files/demo_{server}.sh" for server in _PORTS},
            _STANDBY: pathlib.Path(__file__).resolve().parent / "postgresql_standby.sh"}


def host(server: str) -> str:
    return f"{server}.{NAMESPACE}.svc.cluster.local"


# The names are those of the chart's values.
_ENVIRONMENT = {
    "PRIMARY": host("postgresql"),
    "AUTH_SVC_DATABASE": "postern_auth", "AUTH_SVC_ROLE": "postern_auth",
    "STORE_SVC_DATABASE": "postern_store", "STORE_SVC_ROLE": "postern_store",
    "RELAY_SVC_DATABASE": "postern_relay", "RELAY_SVC_ROLE": "postern_relay",
    "AUTH_SVC_USER": "postern_auth", "AUTH_SVC_PREFIX": "postern-auth",
    "RELAY_SVC_USER": "postern_relay", "RELAY_SVC_PREFIX": "postern-relay",
}


def _secret(name: str, data: dict[str, bytes]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()}}


class Servers(Namespace):
    """Of one cluster; several releases may use them one after the other."""

    def __init__(self, cluster: Cluster, version: str):
        super().__init__(cluster, NAMESPACE)
        self._version = version
        self._passwords = {name: secrets.token_urlsafe(16).encode() for name in (
            *SERVICES, "redis-auth-svc", "redis-relay-svc", _STANDBY_ROLE)}
        self._ca = b""

    def start(self) -> None:
        self.kubectl("create", "namespace", NAMESPACE)
        items = [_secret("passwords", self._passwords),
                 {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "scripts"}, "data": {
                     f"{name}.sh": file.read_text(encoding="utf-8") for name, file in _SCRIPTS.items()}}]
        with tempfile.TemporaryDirectory() as folder:
            openssl = certificates.OpenSsl(pathlib.Path(folder))
            ca = openssl.make_ca(30)
            self._ca = ca[0]
            for server in _PORTS:
                made = openssl.issue(ca, 30, server, [f"DNS:{host(server)}"], ["serverAuth"])
                items.append(_secret(server, {"ca.crt": ca[0], "tls.crt": made[0], "tls.key": made[1]}))
        for server, port in _PORTS.items():
            items += [self._deployment(server, server), {
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": server},
                "spec": {"selector": {"app": server, "member": server}, "ports": [{"port": port}]}}]
        self.apply({"apiVersion": "v1", "kind": "List", "items": items})
        for server in _PORTS:
            self.kubectl("rollout", "status", f"deployment/{server}", "--timeout=120s")

    def _deployment(self, server: str, member: str) -> dict[str, Any]:
        """One of a server's members, by its own script."""
        labels = {"app": server, "member": member}

        def volume(name: str, secret: str) -> dict[str, Any]:
            return {"name": name, "secret": {"secretName": secret, "defaultMode": 0o440}}

        return {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": member},
            "spec": {"replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": labels},
                     "template": {"metadata": {"labels": labels}, "spec": {
                         # The other node is what tests break.
                         "nodeSelector": {"kubernetes.io/hostname": CONTROL_PLANE.name},
                         "securityContext": {"runAsUser": 65532, "fsGroup": 65532},
                         "containers": [{
                             "name": server, "image": f"{_IMAGE}:{self._version}", "imagePullPolicy": "Never",
                             "command": ["sh", f"/scripts/{member}.sh"],
                             "env": [{"name": name, "value": value} for name, value in _ENVIRONMENT.items()],
                             "readinessProbe": {"tcpSocket": {"port": _PORTS[server]}, "periodSeconds": 1},
                             "volumeMounts": [{"name": name, "mountPath": f"/{name}"} for name in (
                                 "scripts", "certificate", "passwords", "data", "tmp")]}],
                         # What is in it outlives the container, not the pod.
                         "volumes": [{"name": "scripts", "configMap": {"name": "scripts"}},
                                     volume("certificate", server), volume("passwords", "passwords"),
                                     {"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]}}}}

    def _sql(self, member: str, text: str, database: str = "postgres") -> str:
        return self.kubectl("exec", f"deployment/{member}", "--", "psql", "--host=/tmp", "--username=postgres",
                            f"--dbname={database}", "--tuples-only", "--no-align", f"--command={text}").strip()

    def schema_version(self, service: str) -> int:
        return int(self._sql("postgresql", "SELECT max(version) FROM postern_schema", _ENVIRONMENT[f"{service.upper().replace('-', '_')}_DATABASE"]))

    def start_standby(self) -> None:
        """Of PostgreSQL: from now on nothing is committed without it."""
        self.kubectl("exec", "deployment/postgresql", "--", "sh", "-c",
                     f"echo 'hostssl replication {_STANDBY_ROLE} all scram-sha-256' >>/data/postgresql/pg_hba.conf")
        password = self._passwords[_STANDBY_ROLE].decode()
        self._sql("postgresql", f"CREATE ROLE {_STANDBY_ROLE} REPLICATION LOGIN PASSWORD '{password}'")
        self._sql("postgresql", "SELECT pg_reload_conf()")
        self.apply(self._deployment("postgresql", _STANDBY))
        self.kubectl("rollout", "status", f"deployment/{_STANDBY}", "--timeout=120s")
        self._sql("postgresql", "ALTER SYSTEM SET synchronous_standby_names = '*'")
        self._sql("postgresql", "SELECT pg_reload_conf()")
        wait_until(lambda: self._sql("postgresql", "SELECT sync_state FROM pg_stat_replication") == "sync", 60,
                   "the standby is synchronous")

    def lose_primary(self) -> None:
        """At once, with all that it wrote."""
        pod = self.pod("member=postgresql")
        # It would go on for its clients; and once it is on its way out, nobody starts it again.
        self.scale("postgresql", 0)
        kill(pod)
        self.kubectl("wait", "--for=delete", f"pod/{pod['metadata']['name']}", "--timeout=60s")

    def promote_standby(self) -> None:
        """It is found where the primary was."""
        assert self._sql(_STANDBY, "SELECT pg_promote()") == "t"
        self.kubectl("patch", "service", "postgresql", "--patch",
                     json.dumps({"spec": {"selector": {"member": _STANDBY}}}))

    def stop(self) -> None:
        self.kubectl("delete", "namespace", NAMESPACE)

    def give_to(self, release: Namespace) -> list[str]:
        """Makes the Secrets that it wants; gives the arguments of `helm install` that point there."""
        redis = {name: self._passwords[f"redis-{name}"] for name in ("auth-svc", "relay-svc")}
        for secret in (_secret("postgresql", {name: self._passwords[name] for name in SERVICES}),
                       _secret("redis", redis), _secret("databases-ca", {"ca.crt": self._ca})):
            release.apply(secret)
        peers = json.dumps([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}}])
        return [
            f"--set-json=postgresql.hosts=[\"{host('postgresql')}:5432\"]", "--set=postgresql.existingSecret=postgresql",
            "--set=postgresql.caSecret=databases-ca", f"--set-json=networkPolicy.postgresql.to={peers}",
            f"--set-json=redis.addresses=[\"{host('redis')}:6379\"]", "--set=redis.existingSecret=redis",
            "--set=redis.caSecret=databases-ca", f"--set-json=networkPolicy.redis.to={peers}"]

    def pod_of(self, server: str) -> Any:
        return self.pod(f"app={server}")

    def scale(self, server: str, replicas: int) -> None:
        self.kubectl("scale", f"deployment/{server}", f"--replicas={replicas}")
