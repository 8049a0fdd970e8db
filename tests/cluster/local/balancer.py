"""HAProxy as the load balancer: every port from the internet and the LAN to the node ports, with PROXY version 2."""

from __future__ import annotations

from tests.cluster.local.layout import BALANCER, INTERNET_BALANCER, LAN_BALANCER, NODES, PORTS, Folder
from tests.cluster.local.processes import Processes

# Only the internet's hosts send mail in, only users fetch it and send it out.
_FROM_INTERNET = (25,)


def _config() -> str:
    lines = ["global", "  maxconn 4000", "defaults", "  mode tcp", "  timeout connect 1s", "  timeout client 660s",
             "  timeout server 660s", "  retries 3", "  option redispatch"]
    for port, node_port in PORTS.items():
        addresses = [LAN_BALANCER] + ([INTERNET_BALANCER] if port in _FROM_INTERNET else [])
        lines += [f"listen port-{port}", *(f"  bind {address}:{port}" for address in addresses),
                  "  option tcp-check"]
        lines += [f"  server {node.name} {node.address}:{node_port} send-proxy-v2 check check-send-proxy inter 1s "
                  "fall 2 rise 1 on-marked-down shutdown-sessions" for node in NODES]
    return "\n".join(lines) + "\n"


def ensure(folder: Folder, processes: Processes) -> None:
    folder.haproxy.write_text(_config(), encoding="ascii")
    processes.ensure("haproxy", BALANCER.inside("haproxy", "-db", "-f", str(folder.haproxy)))
