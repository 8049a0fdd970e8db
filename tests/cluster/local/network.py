"""The network namespaces: nodes and balancer on one switch, the internet and the LAN behind the balancer."""

from __future__ import annotations

import json
import pathlib

from ctl.up.command import run
from tests.cluster.local import layout
from tests.cluster.local.layout import BALANCER, HOSTS, INTERNET, INTERNET_BALANCER, LAN, LAN_BALANCER, NODES, SWITCH

_NAMES = (SWITCH, *(host.namespace for host in HOSTS))
COUNT = len(_NAMES)


def _ip(namespace: str, *command: str) -> str:
    return run("ip", "-n", namespace, *command)


def there() -> list[str]:
    """Which of our namespaces exist."""
    found = {entry["name"] for entry in json.loads(run("ip", "-json", "netns", "list") or "[]")}
    return [name for name in _NAMES if name in found]


def _add(name: str) -> None:
    run("ip", "netns", "add", name)
    _ip(name, "link", "set", "lo", "up")


def _wire(host: layout.Host, other: str, end: str) -> None:
    """A wire from the host's eth0 to the interface `end` of the namespace `other`."""
    _add(host.namespace)
    _ip(other, "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
    _ip(host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
    _ip(host.namespace, "link", "set", "eth0", "up")


def make() -> None:
    _add(SWITCH)
    _ip(SWITCH, "link", "add", "br0", "type", "bridge")
    _ip(SWITCH, "link", "set", "br0", "up")
    for host in (*NODES, BALANCER):
        _wire(host, SWITCH, host.name)
        _ip(SWITCH, "link", "set", host.name, "master", "br0", "up")
    for host, address in ((INTERNET, INTERNET_BALANCER), (LAN, LAN_BALANCER)):
        _wire(host, BALANCER.namespace, host.name)
        _ip(BALANCER.namespace, "address", "add", f"{address}/24", "dev", host.name)
        _ip(BALANCER.namespace, "link", "set", host.name, "up")
        _ip(host.namespace, "route", "add", "default", "via", address)
    for node in NODES:
        _ip(node.namespace, "route", "add", "default", "via", BALANCER.address)
        # The balancer routes too: what comes back from outside goes to pods.
        for other in (*NODES, BALANCER):
            if other != node:
                _ip(other.namespace, "route", "add", node.pods, "via", node.address)
    for host in (*NODES, BALANCER):
        run(*host.inside("sysctl", "-qw", "net.ipv4.ip_forward=1"))


def remove() -> None:
    for name in there():
        run("ip", "netns", "delete", name)


def _inode(namespace: str) -> int:
    return pathlib.Path("/run/netns", namespace).stat().st_ino


def inhabitants() -> list[int]:
    """Every process in one of our namespaces: the cluster's, and containerd's shims that outlived it."""
    inodes = {_inode(name) for name in there()}
    found = []
    for process in pathlib.Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if (process / "ns/net").stat().st_ino in inodes:
                found.append(int(process.name))
        except OSError:
            continue
    return found


def part(one: layout.Node, other: layout.Node, is_parted: bool) -> None:
    """Drops, or lets pass again, every packet between two nodes and between their pods."""
    for ours, theirs in ((one, other), (other, one)):
        # In the place of the route that is there: one beside it, with a higher metric, would drop nothing.
        pods = ["blackhole", theirs.pods] if is_parted else [theirs.pods, "via", theirs.address]
        _ip(ours.namespace, "route", "replace", *pods)
        _ip(ours.namespace, "route", "add" if is_parted else "delete", "blackhole", f"{theirs.address}/32")
