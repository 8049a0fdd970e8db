"""Everything that a cluster does to pods, under load from the internet and the LAN: every message is counted."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.local import network
from tests.cluster.local.layout import NODES
from tests.cluster.namespace import Namespace, kill
from tests.cluster.release import WORKLOADS, Release, WorldClients
from tests.cluster.servers import Servers
from tests.e2e.trouble import People, Survives
from tests.e2e.waiting import wait_until

# A node that is cut off: the balancer looks each second, and a connection's SYN is repeated after one and three.
NODE_PATIENCE = 12.0
_BROKEN = NODES[1]


def _each(but: str) -> list[Any]:
    """Every workload; one of them stands for the others when there is little time."""
    return [name if name == but else pytest.param(name, marks=pytest.mark.long) for name in WORKLOADS]


@pytest.mark.parametrize("workload", _each("store-svc"))
def test_rolling_update(release: Release, survives: Survives, workload: str) -> None:
    def rolls(people: People) -> None:
        deployment = f"deployment/{release.component(workload)}"
        release.kubectl("rollout", "restart", deployment)
        people.try_for(10)
        release.kubectl("rollout", "status", deployment, "--timeout=180s")

    survives(rolls)


@pytest.mark.parametrize("workload", _each("smtp-mx"))
def test_a_pod_is_deleted_by_force(release: Release, survives: Survives, workload: str) -> None:
    def dies(people: People) -> None:
        dead = release.pod_names(workload)[0]
        release.kubectl("delete", "pod", dead, "--force", "--grace-period=0")
        people.try_for(5)
        wait_until(lambda: dead not in release.pod_names(workload) and len(release.pods(workload)) >= 2, 60,
                   "another one is made")

    survives(dies)


@pytest.mark.long
def test_a_node_is_drained(release: Release, survives: Survives) -> None:
    def drains(people: People) -> None:
        try:
            release.kubectl("drain", _BROKEN.name, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=240s",
                            f"--pod-selector=app.kubernetes.io/instance={release.name}")
            people.try_for(5)
            assert all(pod["spec"]["nodeName"] != _BROKEN.name for workload in WORKLOADS
                       for pod in release.pods(workload))
        finally:
            release.kubectl("uncordon", _BROKEN.name)

    survives(drains)
    for workload in WORKLOADS:
        release.kubectl("rollout", "restart", f"deployment/{release.component(workload)}")
    release.wait_all_ready()


@contextlib.contextmanager
def _parted() -> Iterator[None]:
    network.part(*NODES, True)
    try:
        yield
    finally:
        network.part(*NODES, False)


@pytest.mark.long
def test_the_nodes_are_parted(release: Release, survives: Survives) -> None:
    """The databases are on the first: what is on the second can do nothing, and says so."""
    def lasts(people: People) -> None:
        with _parted():
            people.try_for(15)

    survives(lasts, NODE_PATIENCE)


@pytest.mark.long
def test_a_nodes_kubelet_and_containerd_are_killed(release: Release, survives: Survives) -> None:
    """Containers go on without them."""
    def dies(people: People) -> None:
        for program in ("kubelet", "containerd"):
            pid = release.cluster.processes.pid(f"{program}-{_BROKEN.name}")
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        people.try_for(10)
        release.cluster.up()

    survives(dies, NODE_PATIENCE)
    wait_until(lambda: all(node.ready for node in release.cluster.nodes()), 60, "both nodes are Ready")


@pytest.mark.long
def test_postgresql_is_killed(release: Release, survives: Survives, servers: Servers) -> None:
    def dies(people: People) -> None:
        kill(servers.pod_of("postgresql"))
        people.try_for(5)

    survives(dies)


def test_postgresql_fails_over(release: Release, survives: Survives, servers: Servers) -> None:
    """Its machine is lost; what was committed is in the synchronous standby."""
    servers.start_standby()

    def fails_over(people: People) -> None:
        servers.lose_primary()
        people.try_once()
        servers.promote_standby()
        people.try_for(5)

    survives(fails_over)


@pytest.mark.long
def test_redis_is_gone(release: Release, survives: Survives, servers: Servers) -> None:
    def goes(people: People) -> None:
        servers.scale("redis", 0)
        try:
            people.try_for(10)
        finally:
            servers.scale("redis", 1)

    survives(goes)


@pytest.mark.long
def test_dns_is_gone_for_a_while(release: Release, survives: Survives) -> None:
    """What is connected stays so."""
    system = Namespace(release.cluster, "kube-system")

    def goes(people: People) -> None:
        system.kubectl("scale", "deployment/coredns", "--replicas=0")
        try:
            people.try_for(60)
        finally:
            system.kubectl("scale", "deployment/coredns", "--replicas=2")
            system.kubectl("rollout", "status", "deployment/coredns", "--timeout=60s")

    survives(goes)


def _certificate(release: Release, secret: str) -> bytes:
    return release.secret(release.component(secret), "tls.crt")


def _restarts(release: Release) -> dict[str, tuple[str, int]]:
    """Of each pod: what made it (another one after a rollout), and how often its containers were started again."""
    return {pod["metadata"]["uid"]: (pod["metadata"]["ownerReferences"][0]["uid"],
                                     sum(one["restartCount"] for one in pod["status"]["containerStatuses"]))
            for workload in WORKLOADS for pod in release.pods(workload)}


@pytest.mark.long
def test_all_certificates_are_renewed(release: Release, world: WorldClients, survives: Survives) -> None:
    """By the CronJob, while mail flows: no process is restarted."""
    names = ["mtls-auth-svc", "mtls-store-svc", "mtls-relay-svc", "mtls-gateway-smtp-mx", "public-public"]
    before = {name: _certificate(release, name) for name in names}
    restarts = _restarts(release)

    def renews(people: People) -> None:
        # As if each ended soon.
        config = release.component("certificates")
        found = release.get("configmap", config)
        spec = json.loads(found["data"]["certificates.json"])
        patch = {"data": {"certificates.json": json.dumps(spec | {"renew_days": spec["days"]})}}
        release.kubectl("patch", "configmap", config, "--patch", json.dumps(patch))
        release.kubectl("create", "job", "renewal", f"--from=cronjob/{config}")
        try:
            release.kubectl("wait", "--for=condition=Complete", "job/renewal", "--timeout=120s")
            assert all(_certificate(release, name) != old for name, old in before.items())
            people.try_for(30)
        finally:
            release.kubectl("delete", "job", "renewal")
            release.kubectl("patch", "configmap", config, "--patch",
                            json.dumps({"data": {"certificates.json": json.dumps(spec)}}))

    survives(renews)
    # The autoscaler may have added pods, or taken some away.
    after = _restarts(release)
    assert {made_by for made_by, _ in after.values()} == {made_by for made_by, _ in restarts.values()}
    assert {uid: after[uid] for uid in restarts if uid in after} == {
        uid: one for uid, one in restarts.items() if uid in after}
    # The gateways hand out the new public one.
    want = _certificate(release, "public-public")

    def is_new() -> bool:
        with world.smtp_submissions() as session:
            return ssl.DER_cert_to_PEM_cert(session.sock.getpeercert(binary_form=True)).encode() == want

    wait_until(is_new, 90, "the new public certificate is handed out")


@pytest.mark.long
def test_more_pods_when_there_is_more_to_do(release: Release, survives: Survives) -> None:
    """The autoscaler adds pods, and takes them away, under load."""
    autoscaler = f"horizontalpodautoscaler/{release.component('smtp-mx')}"

    def scales(people: People) -> None:
        policy = {"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}, "metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 1}}}]}}
        release.kubectl("patch", autoscaler, "--patch", json.dumps(policy))
        wait_until(lambda: len(release.pods("smtp-mx")) >= 4, 120, "more pods are made")
        people.try_for(3)
        policy["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] = 1000  # type: ignore[index]
        release.kubectl("patch", autoscaler, "--patch", json.dumps(policy))
        wait_until(lambda: len(release.pods("smtp-mx")) == 2, 180, "fewer pods are left")
        people.try_for(3)

    survives(scales)
