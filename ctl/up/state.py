"""What a running platform says of itself: DATA/state.json, and `status`, which reads it."""

from __future__ import annotations

import json
from typing import Any

from ctl.up import configs, health, layout, lock, postgresql
from ctl.up.failure import Failure
from ctl.up.private_file import write_private


def write(data: layout.DataDir, platform: configs.Platform, pids: dict[str, int | None]) -> None:
    ports = platform.ports
    write_private(data.state, json.dumps({
        "replicas": platform.replicas,
        "ports": {"listeners": ports.listeners, "rpc": ports.rpc, "http": ports.http,
                  "postgresql": ports.postgresql},
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
    servers: dict[str, Any] = {}
    if ports.get("postgresql") is not None:
        port = ports["postgresql"]
        servers["postgresql"] = {
            "pid": pids.get("postgresql") if running else None,
            "ready": running and postgresql.Server(data, port, 1).ready()[0],
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
    servers = [current["postgresql"]] if "postgresql" in current else []
    return all(one["ready"] for one in [*servers, *current["services"].values()])


def text(current: dict[str, Any]) -> str:
    lines = [f"data      {current['data']}", f"CA        {current['ca_file']}", ""]
    for name, listener in current["listeners"].items():
        lines.append(f"{name:<12} {listener['host']}:{listener['port']:<6} TLS: {listener['tls']}")
    lines.append("")
    where = [(name, one, one["http"]) for name, one in current["services"].items()]
    if "postgresql" in current:
        where.insert(0, ("postgresql", current["postgresql"], current["postgresql"]["address"]))
    for name, one, address in where:
        condition = "ready" if one["ready"] else ("not ready" if one["pid"] else "stopped")
        pid = f"pid {one['pid']}" if one["pid"] else ""
        lines.append(f"{name:<26} {condition:<10} {pid:<12} {address}")
    return "\n".join(lines)
