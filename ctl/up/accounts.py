"""example.test with alice and bob, made through posternctl like anybody's accounts."""

from __future__ import annotations

import json
import secrets
from typing import Any

from ctl.up import layout
from ctl.up.command import run
from ctl.up.failure import Failure
from ctl.up.private_file import write_private

# No letters and digits that look alike; 20 of them are 99 bits.
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_TIMEOUT_SECONDS = 60


def posternctl_command(data: layout.DataDir) -> list[str]:
    """posternctl for this platform's services."""
    return [str(layout.POSTERNCTL), "--config", str(data.config_file("posternctl"))]


def _call(command: list[str], password: str = "") -> Any:
    if not layout.POSTERNCTL.exists():
        raise Failure(f"{layout.POSTERNCTL} is not built: ./dev build")
    said = run(*command, given=password, what="posternctl", timeout=_TIMEOUT_SECONDS)
    return json.loads(said) if said.strip() else None


def ensure(data: layout.DataDir) -> None:
    """Makes the domain and the accounts that are absent. A lost password file gets a new password."""
    command = posternctl_command(data) + ["--json"]
    domains = {domain["name"] for domain in _call(command + ["domain", "list"])["domains"]}
    if layout.DOMAIN not in domains:
        _call(command + ["domain", "add", layout.DOMAIN])
    accounts = {account["address"] for account in
                _call(command + ["account", "list", "--domain", layout.DOMAIN])["accounts"]}
    for user in layout.USERS:
        address, file = f"{user}@{layout.DOMAIN}", data.password_file(user)
        if address in accounts and file.exists():
            continue
        password = "".join(secrets.choice(_ALPHABET) for _ in range(20))
        write_private(file, password + "\n")
        action = "set-password" if address in accounts else "add"
        _call(command + ["account", action, address, "--password-stdin"], password + "\n")
