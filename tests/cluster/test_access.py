"""Who may reach and call whom: from every pod to every other, by network policies, and without them by certificates."""

from __future__ import annotations

import json
import pathlib
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.cluster.local.layout import CONTROL_PLANE, INTERNET, INTERNET_BALANCER, LAN, LAN_BALANCER, ROOT
from tests.cluster.namespace import Namespace, node_of, process_of
from tests.cluster.places import inside, inside_process
from tests.cluster.release import SERVICES, Release
from tests.cluster.servers import NAMESPACE, Servers

_GATEWAYS = {"smtp-mx": (2525,), "smtp-submission": (5870, 4650), "pop3": (1100, 9950)}
_IDENTITIES = {"smtp-mx": "gateway-smtp-mx", "smtp-submission": "gateway-smtp-submission", "pop3": "gateway-pop3",
               **{service: service for service in SERVICES}, "posternctl": "posternctl"}
# DESIGN's table, by service process.
_CALLS = {"smtp-mx": {"store-svc", "relay-svc"}, "smtp-submission": {"auth-svc", "relay-svc"},
          "pop3": {"auth-svc", "store-svc"}, "relay-svc": {"auth-svc", "store-svc"}, "auth-svc": set(),
          "store-svc": set(), "posternctl": set(SERVICES)}
# And by gRPC service.
_ALLOWED = {
    "postern.auth.v1.AuthenticationService": {"gateway-smtp-submission", "gateway-pop3"},
    "postern.auth.v1.DirectoryService": {"relay-svc"},
    "postern.auth.v1.DirectoryAdminService": {"posternctl"},
    "postern.store.v1.DeliveryService": {"gateway-smtp-mx", "relay-svc"},
    "postern.store.v1.MaildropService": {"gateway-pop3"},
    "postern.store.v1.StoreAdminService": {"posternctl"},
    "postern.relay.v1.PolicyService": {"gateway-smtp-mx", "gateway-smtp-submission"},
    "postern.relay.v1.SubmissionService": {"gateway-smtp-submission"},
    "postern.relay.v1.ForwardingService": {"gateway-smtp-mx"},
    "postern.relay.v1.QueueAdminService": {"posternctl"},
}
_DATABASES = {"auth-svc": {"postgresql", "redis"}, "store-svc": {"postgresql"}, "relay-svc": {"postgresql", "redis"}}
# services/rpc/access_processor.cc. A service may refuse one's request too, in other words.
_DENIED = "PERMISSION_DENIED: this caller may not use this service"
_CONNECT_SECONDS = 2.0


def _methods() -> dict[str, list[str]]:
    """Every method of every gRPC service, by the process that serves it."""
    found: dict[str, list[str]] = {service: [] for service in SERVICES}
    for proto in sorted((ROOT / "proto/postern").glob("*/v1/*.proto")):
        text = proto.read_text(encoding="utf-8")
        for service, body in re.findall(r"^service (\w+) \{(.*?)^\}", text, re.S | re.M):
            package = re.search(r"^package (\S+);", text, re.M)
            assert package is not None
            for method in re.findall(r"^\s*rpc (\w+)\(", body, re.M):
                found[f"{proto.parts[-3]}-svc"].append(f"/{package[1]}.{service}/{method}")
    return found


def _connects(process: int, address: str, port: int) -> bool:
    """From the pod whose process it is."""
    with inside_process(process):
        attempt = socket.socket()
    with attempt:
        attempt.settimeout(_CONNECT_SECONDS)
        try:
            attempt.connect((address, port))
        except OSError:
            return False
    return True


@pytest.fixture(name="internet_ports", scope="module")
def _internet_ports() -> Iterator[tuple[int, int]]:
    """Somebody listens out there, for mail and for something else."""
    with inside(INTERNET):
        listeners = [socket.create_server((INTERNET.address, port)) for port in (25, 443)]
    threads = [threading.Thread(target=_accept_all, args=(listener,)) for listener in listeners]
    for thread in threads:
        thread.start()
    try:
        yield 25, 443
    finally:
        for listener in listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for thread in threads:
            thread.join()


def _accept_all(listener: socket.socket) -> None:
    while True:
        try:
            listener.accept()[0].close()
        except OSError:
            return


def _targets(release: Release, servers: Servers) -> dict[tuple[str, int], tuple[str, str]]:
    """Address and port of everything that listens: whose it is, and what."""
    found: dict[tuple[str, int], tuple[str, str]] = {}
    for service in SERVICES:
        address = release.pods(service)[-1]["status"]["podIP"]
        found[address, 7300] = service, "rpc"
        found[address, 8080] = service, "http"
    for gateway, ports in _GATEWAYS.items():
        address = release.pods(gateway)[-1]["status"]["podIP"]
        found |= {(address, port): (gateway, "listener") for port in ports} | {(address, 8080): (gateway, "http")}
    for server, port in (("postgresql", 5432), ("redis", 6379)):
        found[servers.pod_of(server)["status"]["podIP"], port] = server, "database"
    dns = Namespace(servers.cluster, "kube-system").pod("k8s-app=kube-dns")
    found[dns["status"]["podIP"], 1053] = "kube-dns", "dns"
    found[CONTROL_PLANE.address, 6443] = "kube-apiserver", "https"
    return found


def _may(source: str, whose: str, what: str) -> bool:
    return (what == "dns" or (what == "rpc" and whose in _CALLS[source]) or
            (what == "database" and whose in _DATABASES.get(source, set())))


def test_network_policies_are_the_table(release: Release, servers: Servers, internet_ports: tuple[int, int]) -> None:
    release.wait_all_ready()
    targets = _targets(release, servers)
    wrong = []
    for source in _CALLS:
        # The first pod; the last one of a component is a target.
        process = process_of(release.pods(source)[0])
        for (address, port), (whose, what) in targets.items():
            if whose != source and _connects(process, address, port) != _may(source, whose, what):
                wrong.append(f"{source} to {whose} {what}: {'may' if _may(source, whose, what) else 'may not'}")
        for port in internet_ports:
            if _connects(process, INTERNET.address, port) != (source == "relay-svc" and port == 25):
                wrong.append(f"{source} to the internet's port {port}")
    assert not wrong


def _say(release: Release, identity: str, folder: pathlib.Path, service: str, process: int | None) -> dict[str, str]:
    """What each method of a service says to who has the identity's certificate: from a pod, or else a node."""
    for name in ("ca.crt", "tls.crt", "tls.key"):
        (folder / name).write_bytes(release.secret(release.component(f"mtls-{identity}"), name))
    address = f"{release.pods(service)[0]['status']['podIP']}:7300"
    network = f"/proc/{process}/ns/net" if process is not None else f"/run/netns/{CONTROL_PLANE.namespace}"
    done = subprocess.run(["nsenter", f"--net={network}", sys.executable, str(ROOT / "tests/cluster/call_all.py"), address,
                           service, str(folder), *_methods()[service]], capture_output=True, text=True, check=False,
                          timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(name="unprotected")
def _unprotected(release: Release, servers: Servers) -> Iterator[Release]:
    """The release with its policies off."""
    arguments = servers.give_to(release)
    release.install(*arguments, "--set=networkPolicy.enabled=false")
    try:
        assert not release.get("networkpolicies")["items"]
        yield release
    finally:
        release.install(*arguments)
        release.wait_all_ready()


def test_certificates_alone_are_the_table(unprotected: Release, tmp_path: pathlib.Path) -> None:
    wrong = []
    for identity in _IDENTITIES.values():
        for service in SERVICES:
            for method, said in _say(unprotected, identity, tmp_path, service, None).items():
                may = identity in _ALLOWED[method.split("/")[1]]
                if may == (said == _DENIED) or said.startswith("UNAVAILABLE"):
                    wrong.append(f"{identity} calls {method}: {said}")
    assert not wrong


def test_a_captured_mx_gains_next_to_nothing(release: Release, tmp_path: pathlib.Path) -> None:
    """Whoever has its network, its certificate and its files may deliver, send on where the directory says
    (submission_test R3WhatIsForwardedIsForUsAlone), and ask whether mail is taken."""
    pod = release.pods("smtp-mx")[0]
    process = process_of(pod)
    let_in = {method for service in ("store-svc", "relay-svc")
              for method, said in _say(release, "gateway-smtp-mx", tmp_path, service, process).items()
              if said != _DENIED}
    assert {method.split("/")[1] for method in let_in} == {"postern.store.v1.DeliveryService",
                                                           "postern.relay.v1.ForwardingService",
                                                           "postern.relay.v1.PolicyService"}
    assert not _connects(process, release.pods("auth-svc")[0]["status"]["podIP"], 7300)
    # What it can read: the configuration, its own certificate, the public one. No password, no token key.
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert set(volumes) == {"config", "mtls", "tls"}
    readable = "".join(release.get("configmap", volumes["config"]["configMap"]["name"])["data"].values())
    for name in ("mtls", "tls"):
        secret = release.get("secret", volumes[name]["secret"]["secretName"])
        assert set(secret["data"]) <= {"ca.crt", "tls.crt", "tls.key"}
    assert "password" not in readable and NAMESPACE not in readable


def test_another_pods_proxy_header_is_refused(release: Release) -> None:
    """From anywhere but the balancer, a PROXY header ends the connection; and policies let nobody near."""
    pod = release.pods("smtp-mx")[0]
    with inside(node_of(pod)):
        # A node may always reach its own pods.
        session = socket.create_connection((pod["status"]["podIP"], 2525), 10)
    with session:
        session.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 25\r\nEHLO client.test\r\n")
        said = b""
        while octets := session.recv(4096):
            said += octets
    assert b"250" not in said


def test_limits_count_clients_not_the_balancer(release: Release) -> None:
    """One address has 50 connections to each pod at most, while others are served."""
    open_ones: list[socket.socket] = []
    greetings = []
    try:
        with inside(INTERNET):
            for _ in range(50 * len(release.pods("smtp-mx")) + 10):
                open_ones.append(socket.create_connection((INTERNET_BALANCER, 25), 10))
                greetings.append(open_ones[-1].recv(4096)[:3])
        assert greetings.count(b"421") >= 10
        assert greetings.count(b"220") + greetings.count(b"421") == len(greetings)
        # Through the same balancer.
        with inside(LAN), socket.create_connection((LAN_BALANCER, 25), 10) as other:
            assert other.recv(4096).startswith(b"220 ")
    finally:
        for one in open_ones:
            one.close()
