"""The configuration of each process (proto/postern/config/v1), for one platform on one machine."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from ctl.up import ca, layout, yaml_text
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
    """Every port of one platform."""

    listeners: dict[str, int]
    rpc: dict[str, int]
    http: dict[str, int]


def _mtls(data: layout.DataDir, identity: str) -> dict[str, str]:
    return {
        "certificate_file": str(data.certificate(identity)),
        "private_key_file": str(data.key(identity)),
        "ca_file": str(data.ca_certificate),
    }


def _target(ports: Ports, service: str) -> dict[str, str]:
    return {"target": f"{layout.HOST}:{ports.rpc[service]}"}


def _listeners(service: str, ports: Ports) -> list[dict[str, Any]]:
    return [{
        "name": listener.name,
        "address": layout.HOST,
        "port": ports.listeners[listener.name],
        "tls_enabled": listener.tls == "starttls",
        "implicit_tls": listener.tls == "implicit",
        "security_domain": ca.PUBLIC,
        # RFC 1939 3 asks for ten minutes, RFC 5321 4.5.3.2.7 for five.
        "idle_timeout_seconds": 600 if service == "gateway-pop3" else 300,
    } for listener in layout.LISTENERS if listener.service == service]


def make(data: layout.DataDir, ports: Ports) -> dict[str, dict[str, Any]]:
    """Each process's configuration by its name, before the overlay."""

    def target(service: str) -> dict[str, str]:
        return _target(ports, service)

    def process(service: str) -> dict[str, Any]:
        return {"process": {
            "http": {"address": layout.HOST, "port": ports.http[service]},
            "mtls": _mtls(data, service),
        }}

    def rpc(service: str) -> dict[str, Any]:
        return {"rpc": {"address": layout.HOST, "port": ports.rpc[service]}}

    def gateway(service: str) -> dict[str, Any]:
        return {
            "hostname": layout.MAIL_HOST,
            "security_domains": [{
                "name": ca.PUBLIC,
                "certificate_file": str(data.certificate(ca.PUBLIC)),
                "private_key_file": str(data.key(ca.PUBLIC)),
            }],
            "listeners": _listeners(service, ports),
        }

    keys = {"token_verification_keys_file": str(data.token_verification_keys)}
    return {
        "auth-svc": process("auth-svc") | rpc("auth-svc") | {
            "database_file": str(data.database_dir("auth-svc") / "directory.db"),
            "token_signing_key_file": str(data.token_signing_key),
        },
        "store-svc": process("store-svc") | rpc("store-svc") | {
            "database_file": str(data.database_dir("store-svc") / "mail.db"),
        } | keys,
        "relay-svc": process("relay-svc") | rpc("relay-svc") | {
            "database_file": str(data.database_dir("relay-svc") / "spool.db"),
        } | keys | {
            "auth_svc": target("auth-svc"),
            "store_svc": target("store-svc"),
            "delivery": {"hostname": layout.MAIL_HOST},
        },
        "gateway-pop3": process("gateway-pop3") | gateway("gateway-pop3") | {
            "auth_svc": target("auth-svc"),
            "store_svc": target("store-svc"),
        },
        "gateway-smtp-submission":
            process("gateway-smtp-submission") | {"role": "submission"} |
            gateway("gateway-smtp-submission") | {
                "auth_svc": target("auth-svc"),
                "relay_svc": target("relay-svc"),
            },
        "gateway-smtp-mx":
            process("gateway-smtp-mx") | {"role": "mx"} | gateway("gateway-smtp-mx") | {
                "store_svc": target("store-svc"),
                "relay_svc": target("relay-svc"),
            },
    }


def _posternctl(data: layout.DataDir, ports: Ports) -> dict[str, Any]:
    return {
        "mtls": _mtls(data, "posternctl"),
        "auth_svc": _target(ports, "auth-svc"),
        "store_svc": _target(ports, "store-svc"),
        "relay_svc": _target(ports, "relay-svc"),
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


def write(data: layout.DataDir, ports: Ports) -> dict[str, dict[str, Any]]:
    """Writes DATA/config/<service>.yaml, the overlay applied, and posternctl's. Gives the services'."""
    written = merge(make(data, ports), _read_overlay(data))
    for service, config in written.items():
        header = _HEADER.format(service=service, overlay=data.overlay)
        write_private(data.config_file(service), header + yaml_text.dump(config))
    write_private(data.config_file("posternctl"), yaml_text.dump(_posternctl(data, ports)))
    return written


def grace_seconds(written: dict[str, dict[str, Any]]) -> dict[str, float]:
    """How long each service may drain."""
    grace: dict[str, float] = {}
    for service, config in written.items():
        value = config.get("process", {}).get("drain_grace_seconds", _DEFAULT_GRACE_SECONDS)
        # The service reads "2m" too; it judges the value, here it is only a bound for a hang.
        grace[service] = float(value) if isinstance(value, (int, float)) else _LONGEST_GRACE_SECONDS
    return grace
