"""What a running platform says of itself: DATA/state.json, and `status`, which reads it."""

from __future__ import annotations

import json
from typing import Any

from ctl.up import configs, health, layout, lock
from ctl.up.failure import Failure
from ctl.up.private_file import write_private


def write(data: layout.DataDir, ports: configs.Ports, pids: dict[str, int | None]) -> None:
    write_private(data.state, json.dumps({
        "ports": {"listeners": ports.listeners, "rpc": ports.rpc, "http": ports.http},
        "pids": pids,
    }, indent=2) + "\n")


def _read(data: layout.DataDir) -> dict[str, Any]:
    try:
        return json.loads(data.state.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Failure(f"nothing was ever started in {data.root}: ./dev up") from error
    except ValueError as error:
        raise Failure(f"{data.state} is damaged: {error}") from error


def status(data: layout.DataDir) -> dict[str, Any]:
    """The object of `status --json`. Each service is asked whether it is ready."""
    running = lock.holder(data) is not None
    state = _read(data)
    ports, pids = state["ports"], state["pids"]
    return {
        "data": str(data.root),
        "running": running,
        "ca_file": str(data.ca_certificate),
        "listeners": {
            listener.name: {
                "host": layout.HOST,
                "port": ports["listeners"][listener.name],
                "tls": listener.tls,
            } for listener in layout.LISTENERS
        },
        "accounts": {
            user: {
                "address": f"{user}@{layout.DOMAIN}",
                "password_file": str(data.password_file(user)),
            } for user in layout.USERS
        },
        "services": {
            service.name: {
                "pid": pids.get(service.name) if running else None,
                "ready": running and health.ready(ports["http"][service.name])[0],
                "http": f"http://{layout.HOST}:{ports['http'][service.name]}",
            } for service in layout.SERVICES
        },
    }


def is_ready(current: dict[str, Any]) -> bool:
    return all(service["ready"] for service in current["services"].values())


def text(current: dict[str, Any]) -> str:
    lines = [f"data      {current['data']}", f"CA        {current['ca_file']}", ""]
    for name, listener in current["listeners"].items():
        lines.append(f"{name:<12} {listener['host']}:{listener['port']:<6} TLS: {listener['tls']}")
    lines.append("")
    for name, service in current["services"].items():
        condition = "ready" if service["ready"] else ("not ready" if service["pid"] else "stopped")
        pid = f"pid {service['pid']}" if service["pid"] else ""
        lines.append(f"{name:<24} {condition:<10} {pid:<12} {service['http']}")
    return "\n".join(lines)
