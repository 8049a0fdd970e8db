"""What a running platform says of itself: DATA/state.json, and `status`, which reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ctl.up import configs, health, layout, lock, postgresql, redis
from ctl.up.failure import Failure
from ctl.up.private_file import write_private


def write(data: layout.DataDir, platform: configs.Platform, pids: dict[str, int | None]) -> None:
    ports = platform.ports
    write_private(data.state, json.dumps({
        "replicas": platform.replicas,
        "ports": {"listeners": ports.listeners, "rpc": ports.rpc, "http": ports.http,
                  "postgresql": ports.postgresql, "redis": ports.redis},
        "pids": pids,
    }, indent=2) + "\n")


def _read(data: layout.DataDir) -> dict[str, Any]:
    try:
        return json.loads(data.state.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Failure(f"nothing was ever started in {data.root}: ./dev up") from error
    except ValueError as error:
        raise Failure(f"{data.state} is damaged: {error}") from error


# What others made, by name, and whether it takes connections.
_SERVERS: dict[str, Callable[[layout.DataDir, int], bool]] = {
    postgresql.NAME: lambda data, port: postgresql.Server(data, port, 1).ready()[0],
    redis.NAME: lambda data, port: redis.Server(data, port).ready()[0],
}


def status(data: layout.DataDir) -> dict[str, Any]:
    """The object of `status --json`. Each service is asked whether it is ready."""
    running = lock.holder(data) is not None
    state = _read(data)
    ports, pids = state["ports"], state["pids"]
    servers: dict[str, Any] = {}
    for name, ready in _SERVERS.items():
        port = ports.get(name)
        if port is not None:
            servers[name] = {
                "pid": pids.get(name) if running else None,
                "ready": running and ready(data, port),
                "address": f"{layout.HOST}:{port}",
            }
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
            process.name: {
                "pid": pids.get(process.name) if running else None,
                "ready": running and health.ready(ports["http"][process.name])[0],
                "http": f"http://{layout.HOST}:{ports['http'][process.name]}",
            } for process in layout.processes(state.get("replicas", 1))
        },
    } | servers


def is_ready(current: dict[str, Any]) -> bool:
    servers = [current[name] for name in _SERVERS if name in current]
    return all(one["ready"] for one in [*servers, *current["services"].values()])


def text(current: dict[str, Any]) -> str:
    lines = [f"data      {current['data']}", f"CA        {current['ca_file']}", ""]
    for name, listener in current["listeners"].items():
        lines.append(f"{name:<12} {listener['host']}:{listener['port']:<6} TLS: {listener['tls']}")
    lines.append("")
    where = [(name, current[name], current[name]["address"]) for name in _SERVERS if name in current]
    where += [(name, one, one["http"]) for name, one in current["services"].items()]
    for name, one, address in where:
        condition = "ready" if one["ready"] else ("not ready" if one["pid"] else "stopped")
        pid = f"pid {one['pid']}" if one["pid"] else ""
        lines.append(f"{name:<26} {condition:<10} {pid:<12} {address}")
    return "\n".join(lines)
