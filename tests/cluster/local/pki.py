"""The cluster's certificates and kubeconfigs, by the openssl command."""

from __future__ import annotations

import base64
import json
import pathlib

from ctl.up.command import run
from tests.cluster.local.layout import (API_PORT, API_SERVICE, CLUSTER_DOMAIN, CONTROL_PLANE, NODES, Folder)

_DAYS = "30"


def _openssl(*arguments: str) -> None:
    run("openssl", *arguments, what=f"openssl {arguments[0]}", umask=0o077)


class Pki:
    """Two CAs, of the cluster and of the API server's front proxy, and what they sign."""

    def __init__(self, folder: Folder):
        self._folder = folder

    def file(self, name: str) -> str:
        return str(self._folder.pki / name)

    def ensure(self) -> None:
        """All of it, unless it is there."""
        done = pathlib.Path(self.file("complete"))
        if done.exists():
            return
        for name in ("ca", "front-proxy-ca"):
            _openssl("req", "-x509", *self._new_key(name), "-days", _DAYS, "-subj", f"/CN={name}",
                     "-out", self.file(f"{name}.crt"))
        _openssl("genrsa", "-out", self.file("service-accounts.key"), "2048")
        _openssl("rsa", "-in", self.file("service-accounts.key"), "-pubout", "-out",
                 self.file("service-accounts.pub"))
        self._issue("apiserver", "/CN=kube-apiserver", [
            f"IP:{CONTROL_PLANE.address}", f"IP:{API_SERVICE}", "IP:127.0.0.1", "DNS:kubernetes",
            "DNS:kubernetes.default", "DNS:kubernetes.default.svc",
            f"DNS:kubernetes.default.svc.{CLUSTER_DOMAIN}"])
        self._issue("front-proxy-client", "/CN=front-proxy-client", ca="front-proxy-ca")
        self._issue("apiserver-kubelet", "/O=system:masters/CN=apiserver-kubelet")
        for name, subject in (("admin", "/O=system:masters/CN=admin"),
                              ("kube-controller-manager", "/CN=system:kube-controller-manager"),
                              ("kube-scheduler", "/CN=system:kube-scheduler"),
                              ("kube-proxy", "/CN=system:kube-proxy"),
                              ("kube-router", "/CN=kube-router")):
            self._issue(name, subject)
            self._kubeconfig(name)
        for node in NODES:
            self._issue(node.name, f"/O=system:nodes/CN=system:node:{node.name}",
                        [f"IP:{node.address}", f"DNS:{node.name}"])
            self._kubeconfig(node.name)
        self._folder.kubeconfig.write_bytes(pathlib.Path(self.file("admin.conf")).read_bytes())
        self._folder.kubeconfig.chmod(0o600)
        done.touch()

    def _new_key(self, name: str) -> list[str]:
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                self.file(f"{name}.key")]

    def _issue(self, name: str, subject: str, names: list[str] | None = None, ca: str = "ca") -> None:
        added = ["-addext", "subjectAltName=" + ",".join(names)] if names else []
        _openssl("req", "-x509", *self._new_key(name), "-days", _DAYS, "-subj", subject,
                 "-CA", self.file(f"{ca}.crt"), "-CAkey", self.file(f"{ca}.key"),
                 "-addext", "basicConstraints=critical,CA:FALSE",
                 "-addext", "extendedKeyUsage=serverAuth,clientAuth", *added, "-out", self.file(f"{name}.crt"))

    def _kubeconfig(self, name: str) -> None:
        def data(file: str) -> str:
            return base64.b64encode(pathlib.Path(self.file(file)).read_bytes()).decode()

        # JSON is YAML.
        config = pathlib.Path(self.file(f"{name}.conf"))
        config.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config",
            "clusters": [{"name": "postern", "cluster": {
                "server": f"https://{CONTROL_PLANE.address}:{API_PORT}",
                "certificate-authority-data": data("ca.crt")}}],
            "users": [{"name": name, "user": {
                "client-certificate-data": data(f"{name}.crt"), "client-key-data": data(f"{name}.key")}}],
            "contexts": [{"name": "postern", "context": {"cluster": "postern", "user": name}}],
            "current-context": "postern"}), encoding="ascii")
        config.chmod(0o600)
