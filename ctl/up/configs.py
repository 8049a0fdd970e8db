"""The configuration of each process (proto/postern/config/v1), for one platform on one machine."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

from ctl.up import ca, layout, postgresql, redis, yaml_text
from ctl.up.failure import Failure
from ctl.up.private_file import write_private

# Process.drain_grace_seconds: its default and its maximum.
_DEFAULT_GRACE_SECONDS = 25.0
_LONGEST_GRACE_SECONDS = 3600.0

_HEADER = """\
# {service}: written by `./dev up` at every start.
# Settings of your own go to {overlay}; docs/OPERATING.md says how.
"""


@dataclasses.dataclass(frozen=True)
class Ports:
    """Every port of one platform: of listeners by their names, the others by those of processes."""

    listeners: dict[str, int]
    rpc: dict[str, int]
    http: dict[str, int]
    # Of the database server, if there is one.
    postgresql: int | None = None
    # Of Redis, if there is one.
    redis: int | None = None


@dataclasses.dataclass(frozen=True)
class Platform:
    """What runs, and where."""

    ports: Ports
    replicas: int = 1
    # Where its listeners are; whoever runs it reaches them by layout.HOST in any case.
    listen_address: str = layout.HOST

    @property
    def processes(self) -> tuple[layout.Process, ...]:
        return layout.processes(self.replicas)


def _mtls(data: layout.DataDir, identity: str) -> dict[str, str]:
    return {
        "certificate_file": str(data.certificate(identity)),
        "private_key_file": str(data.key(identity)),
        "ca_file": str(data.ca_certificate),
    }


def _target(platform: Platform, service: str) -> dict[str, str]:
    addresses = [f"{layout.HOST}:{platform.ports.rpc[process.name]}"
                 for process in platform.processes if process.service.name == service]
    return {"target": ("ipv4:" if len(addresses) > 1 else "") + ",".join(addresses)}


def _listeners(service: str, platform: Platform) -> list[dict[str, Any]]:
    return [{
        "name": listener.name,
        "address": platform.listen_address,
        "port": platform.ports.listeners[listener.name],
        "tls_enabled": listener.tls == "starttls",
        "implicit_tls": listener.tls == "implicit",
        "security_domain": ca.PUBLIC,
        # RFC 1939 3 asks for ten minutes, RFC 5321 4.5.3.2.7 for five.
        "idle_timeout_seconds": 600 if service == "gateway-pop3" else 300,
    } | ({"share_port": True} if platform.replicas > 1 else {})
            for listener in layout.LISTENERS if listener.service == service]


def database_file(data: layout.DataDir, service: str) -> pathlib.Path:
    """Where a service's data is in SQLite."""
    file = {"auth-svc": "directory.db", "store-svc": "mail.db", "relay-svc": "spool.db"}
    return data.database_dir(service) / file[service]


def _database(data: layout.DataDir, platform: Platform, service: str) -> dict[str, Any]:
    if platform.ports.postgresql is None:
        return {"database_file": str(database_file(data, service))}
    return {"postgresql": {
        "hosts": [f"{layout.HOST}:{platform.ports.postgresql}"],
        "database": postgresql.name_of(service),
        "user": postgresql.name_of(service),
        "password_file": str(data.database_password_file(service)),
        "ca_file": str(data.ca_certificate),
    }}


def _redis(data: layout.DataDir, platform: Platform, service: str) -> dict[str, Any]:
    if platform.ports.redis is None or service not in redis.SERVICES:
        return {}
    return {"redis": {
        "addresses": [f"{layout.HOST}:{platform.ports.redis}"],
        "username": redis.name_of(service),
        "password_file": str(data.redis_password_file(service)),
        "ca_file": str(data.ca_certificate),
        "key_prefix": redis.prefix_of(service),
    }}


def make(data: layout.DataDir, platform: Platform) -> dict[str, dict[str, Any]]:
    """Each process's configuration by its name, before the overlay."""

    def target(service: str) -> dict[str, str]:
        return _target(platform, service)

    def stores(service: str) -> dict[str, Any]:
        return _database(data, platform, service) | _redis(data, platform, service)

    def gateway(service: str) -> dict[str, Any]:
        return {
            "hostname": layout.MAIL_HOST,
            "security_domains": [{
                "name": ca.PUBLIC,
                "certificate_file": str(data.certificate(ca.PUBLIC)),
                "private_key_file": str(data.key(ca.PUBLIC)),
            }],
            "listeners": _listeners(service, platform),
        }

    keys = {"token_verification_keys_file": str(data.token_verification_keys)}
    services: dict[str, dict[str, Any]] = {
        "auth-svc": stores("auth-svc") | {
            "token_signing_key_file": str(data.token_signing_key),
        },
        "store-svc": stores("store-svc") | keys,
        "relay-svc": stores("relay-svc") | keys | {
            "auth_svc": target("auth-svc"),
            "store_svc": target("store-svc"),
            "delivery": {"hostname": layout.MAIL_HOST},
        },
        "gateway-pop3": gateway("gateway-pop3") | {
            "auth_svc": target("auth-svc"),
            "store_svc": target("store-svc"),
        },
        "gateway-smtp-submission": {"role": "submission"} | gateway("gateway-smtp-submission") | {
            "auth_svc": target("auth-svc"),
            "relay_svc": target("relay-svc"),
        },
        "gateway-smtp-mx": {"role": "mx"} | gateway("gateway-smtp-mx") | {
            "store_svc": target("store-svc"),
            "relay_svc": target("relay-svc"),
        },
    }

    def process(one: layout.Process) -> dict[str, Any]:
        ports = platform.ports
        own: dict[str, Any] = {"process": {
            "http": {"address": layout.HOST, "port": ports.http[one.name]},
            "mtls": _mtls(data, one.service.name),
        }}
        if one.service.serves_rpc:
            own["rpc"] = {"address": layout.HOST, "port": ports.rpc[one.name]}
        return own

    return {one.name: process(one) | services[one.service.name] for one in platform.processes}


def _posternctl(data: layout.DataDir, platform: Platform) -> dict[str, Any]:
    return {
        "mtls": _mtls(data, "posternctl"),
        "auth_svc": _target(platform, "auth-svc"),
        "store_svc": _target(platform, "store-svc"),
        "relay_svc": _target(platform, "relay-svc"),
    }


def merge(base: Any, overlay: Any) -> Any:
    """Mappings merge by key; items of a list that have a `name` merge by it; the rest replaces."""
    if isinstance(base, dict) and isinstance(overlay, dict):
        merged = dict(base)
        for key, value in overlay.items():
            merged[key] = merge(base[key], value) if key in base else value
        return merged
    if isinstance(base, list) and isinstance(overlay, list):
        if base and all(isinstance(i, dict) and "name" in i for i in base + overlay):
            by_name = {item["name"]: item for item in base}
            for item in overlay:
                by_name[item["name"]] = merge(by_name.get(item["name"], {}), item)
            return list(by_name.values())
    return overlay


def _read_overlay(data: layout.DataDir) -> dict[str, Any]:
    try:
        overlay = json.loads(data.overlay.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise Failure(f"{data.overlay} is no JSON: {error}") from error
    names = [service.name for service in layout.SERVICES]
    if not isinstance(overlay, dict):
        raise Failure(f"{data.overlay}: expected an object with service names as keys")
    for name in overlay:
        if name not in names:
            raise Failure(f"{data.overlay}: {name!r} is no service; there are {', '.join(names)}")
    return overlay


def _make_all(data: layout.DataDir, platform: Platform) -> dict[str, dict[str, Any]]:
    """Each process's configuration by its name, the overlay applied."""
    overlay = _read_overlay(data)
    made = make(data, platform)
    return {one.name: merge(made[one.name], overlay.get(one.service.name, {}))
            for one in platform.processes}


def _text(data: layout.DataDir, name: str, config: dict[str, Any]) -> str:
    return _HEADER.format(service=name, overlay=data.overlay) + yaml_text.dump(config)


def write_one(data: layout.DataDir, platform: Platform, name: str, file: pathlib.Path) -> None:
    """Writes one process's to `file`."""
    write_private(file, _text(data, name, _make_all(data, platform)[name]))


def write(data: layout.DataDir, platform: Platform) -> dict[str, dict[str, Any]]:
    """Writes DATA/config/<process>.yaml, the overlay applied, and posternctl's. Gives the processes'."""
    written = _make_all(data, platform)
    for name, config in written.items():
        write_private(data.config_file(name), _text(data, name, config))
    write_private(data.config_file("posternctl"), yaml_text.dump(_posternctl(data, platform)))
    return written


def grace_seconds(written: dict[str, dict[str, Any]]) -> dict[str, float]:
    """How long each process may drain."""
    grace: dict[str, float] = {}
    for name, config in written.items():
        value = config.get("process", {}).get("drain_grace_seconds", _DEFAULT_GRACE_SECONDS)
        # The service reads "2m" too; it judges the value, here it is only a bound for a hang.
        grace[name] = float(value) if isinstance(value, (int, float)) else _LONGEST_GRACE_SECONDS
    return grace
