"""An installed release, and its users out in the world."""

from __future__ import annotations

import base64
import contextlib
import json
import pathlib
import poplib
import secrets
import smtplib
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

from tests.cluster.any_cluster import AnyCluster
from tests.cluster.local.layout import INTERNET, INTERNET_BALANCER, LAN, LAN_BALANCER, ROOT, Host
from tests.cluster.namespace import Namespace
from tests.cluster.places import inside
from tests.e2e.mail_clients import Clients
from tests.e2e.platform_under_test import Account
from tests.e2e.waiting import wait_until

CHART = ROOT / "k8s/chart"
VALUES = pathlib.Path(__file__).resolve().parent / "values.yaml"
HOSTNAME = "mail.example.test"
DOMAIN = "example.test"
GATEWAYS = ("smtp-mx", "smtp-submission", "pop3")
SERVICES = ("auth-svc", "store-svc", "relay-svc")
WORKLOADS = (*GATEWAYS, *SERVICES)
# Of one more release, beside that whose node ports are taken.
BESIDE = ("--set-json=loadBalancer.nodePorts={\"smtp\":0,\"submission\":0,\"submissions\":0,\"pop3\":0,\"pop3s\":0}",
          "--set=smtpMx.autoscaling.enabled=false", "--set=smtpMx.replicas=1",
          "--set=smtpSubmission.autoscaling.enabled=false", "--set=smtpSubmission.replicas=1",
          "--set=pop3.autoscaling.enabled=false", "--set=pop3.replicas=1")
_PORTS = {"mx": 25, "pop3": 110, "submissions": 465, "submission": 587, "pop3s": 995}
_READY_SECONDS = 180


class Release(Namespace):
    """One of `helm install`, in a namespace of its own that enforces `restricted`."""

    def __init__(self, cluster: AnyCluster, namespace: str, values: Sequence[str] = (f"--values={VALUES}",)):
        """`values`: arguments of every `helm upgrade`."""
        super().__init__(cluster, namespace)
        self.name = "postern"
        self._values = values

    def helm(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.cluster.helm(*arguments, f"--namespace={self.namespace}"),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600)
        assert not check or done.returncode == 0, f"helm {arguments}: {done.stdout}{done.stderr}"
        return done

    def install(self, *arguments: str, chart: pathlib.Path = CHART) -> None:
        """Or upgrades it."""
        # Tests patch what the chart made; it has the last word.
        self.helm("upgrade", "--install", self.name, str(chart), "--timeout=5m", "--force-conflicts", *self._values,
                  *arguments)

    def component(self, name: str) -> str:
        return f"{self.name}-{name}"

    def pods(self, component: str) -> list[Any]:
        """Those that are not on their way out."""
        return [pod for pod in self.get(
            "pods", f"--selector=app.kubernetes.io/instance={self.name},app.kubernetes.io/component={component}")["items"]
            if "deletionTimestamp" not in pod["metadata"]]

    def pod_names(self, component: str) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.pods(component)]

    def wait_all_ready(self) -> None:
        for kind in ("deployment", "statefulset"):
            for made in self.get(kind, f"--selector=app.kubernetes.io/instance={self.name}")["items"]:
                self.kubectl("rollout", "status", f"{kind}/{made['metadata']['name']}", f"--timeout={_READY_SECONDS}s")

    def ctl(self, *arguments: str, password: str = "") -> Any:
        said = self.kubectl("exec", "--stdin", f"deployment/{self.component('posternctl')}", "--", "posternctl", "--json",
                            *arguments, given=password)
        return json.loads(said) if said.strip() else None

    def add_account(self) -> Account:
        account = Account(f"user-{secrets.token_hex(6)}@{DOMAIN}", secrets.token_hex(12))
        self.ctl("account", "add", account.address, "--password-stdin", password=account.password + "\n")
        return account

    def secret(self, name: str, key: str) -> bytes:
        return base64.b64decode(self.get("secret", name)["data"][key])

    def wait_for_mail_path(self) -> None:
        """Until the balancer has found pods for all ports."""
        clients = WorldClients(self)

        def answers() -> bool:
            try:
                clients.smtp_mx().quit()
                clients.smtp_submissions().quit()
                clients.pop3s_greeted().close()
            except (OSError, smtplib.SMTPException, poplib.error_proto):
                return False
            return True

        wait_until(answers, _READY_SECONDS, "mail ports answer through the balancer")


@contextlib.contextmanager
def in_own_namespace(cluster: AnyCluster, namespace: str, *values: Sequence[str]) -> Iterator[Release]:
    """A release that is still to be installed. Ends with all that it left."""
    release = Release(cluster, namespace, *values)
    release.kubectl("create", "namespace", namespace)
    try:
        release.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
        yield release
    finally:
        release.helm("uninstall", release.name, check=False)
        release.kubectl("delete", "namespace", namespace)


class _NamedContext(ssl.SSLContext):
    """Wants the certificate of the mail host, whatever address was connected to."""

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        return super().wrap_socket(*arguments, **options | {"server_hostname": HOSTNAME})


def _place(listener: str) -> Host:
    return INTERNET if listener == "mx" else LAN


class WorldClients(Clients):
    """Other servers on the internet and users on the LAN, in front of the balancer."""

    def __init__(self, release: Release):
        self.tls = _NamedContext(ssl.PROTOCOL_TLS_CLIENT)
        self.tls.load_verify_locations(cadata=release.secret(release.component("mtls-ca"), "ca.crt").decode())

    def address(self, listener: str) -> tuple[str, int]:
        return {INTERNET: INTERNET_BALANCER, LAN: LAN_BALANCER}[_place(listener)], _PORTS[listener]

    def place(self, listener: str) -> contextlib.AbstractContextManager[None]:
        return inside(_place(listener))

    def smtp_mx(self, starttls: bool = True) -> smtplib.SMTP:
        return super().smtp_mx(starttls)
