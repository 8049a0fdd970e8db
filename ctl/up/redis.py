"""A Redis server of the platform's own, from Debian's package: TLS, and a user for each service."""

from __future__ import annotations

import os
import shutil
import subprocess

from ctl.up import ca, layout
from ctl.up.failure import Failure
from ctl.up.private_file import secret, write_private

NAME = "redis"
SERVICES = ("auth-svc", "relay-svc")
# Of people and of `ready`: everything.
_ADMIN = "default"
# What a service needs (docs/operate/redis.md).
COMMANDS = ("-@all +ping +role +cluster|slots +asking +get +set +del +exists +pexpire +time "
             "+eval +evalsha")
_TIMEOUT_SECONDS = 2


def name_of(service: str) -> str:
    """Its user; its keys begin with `prefix_of`."""
    return "postern-" + service.removesuffix("-svc")


def prefix_of(service: str) -> str:
    return "postern:" + service.removesuffix("-svc")


class Server:
    """Its configuration is in DATA/redis; it listens on the loopback and keeps nothing on disk."""

    def __init__(self, data: layout.DataDir, port: int):
        self._data = data
        self._port = port
        self._folder = data.redis
        for program in ("redis-server", "redis-cli"):
            if shutil.which(program) is None:
                raise Failure("Redis is not installed (apt-get install redis-server)")

    @property
    def command(self) -> list[str]:
        """What runs it; SIGTERM ends it."""
        return ["redis-server", str(self._folder / "redis.conf")]

    def prepare(self) -> None:
        """Writes its configuration, and makes its certificate anew when that ends soon."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        ca.ensure_server(self._data, NAME)
        users = [f"user {_ADMIN} on >{self._password(_ADMIN)} ~* &* +@all"]
        for service in SERVICES:
            users.append(f"user {name_of(service)} on >{self._password(service)} "
                         f"~{prefix_of(service)}:* resetchannels {COMMANDS}")
        write_private(self._folder / "users.acl", "\n".join(users) + "\n")
        write_private(self._folder / "redis.conf", "\n".join((
            f"bind {layout.HOST}", "port 0", f"tls-port {self._port}",
            f'tls-cert-file "{self._data.certificate(NAME)}"',
            f'tls-key-file "{self._data.key(NAME)}"',
            f'tls-ca-cert-file "{self._data.ca_certificate}"', "tls-auth-clients no",
            f'dir "{self._folder}"', f'aclfile "{self._folder / "users.acl"}"',
            'save ""', "maxmemory 64mb", "maxmemory-policy volatile-ttl")) + "\n")

    def _password(self, user: str) -> str:
        return secret(self._data.redis_password_file(user))

    def ready(self) -> tuple[bool, str]:
        """Whether it answers, and what redis-cli says."""
        try:
            done = subprocess.run(
                ["redis-cli", "--tls", "--cacert", str(self._data.ca_certificate), "-h",
                 layout.HOST, "-p", str(self._port), "--no-auth-warning", "ping"],
                env=os.environ | {"REDISCLI_AUTH": self._password(_ADMIN)},
                capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            return False, "it does not answer"
        said = (done.stdout + done.stderr).strip()
        return said == "PONG", said
