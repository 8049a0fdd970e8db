"""What the platform is made of, and where its parts lie in a data directory."""

from __future__ import annotations

import dataclasses
import os
import pathlib

from ctl.up.failure import Failure

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# Where the programs are: what `./dev build` made, unless it is told that of another configuration.
PROGRAMS = ROOT / os.environ.get("POSTERN_PROGRAMS", "bazel-bin")

DOMAIN = "example.test"
MAIL_HOST = "mail.example.test"
USERS = ("alice", "bob")
HOST = "127.0.0.1"


@dataclasses.dataclass(frozen=True)
class Service:
    """One process. `name` is also its identity in its certificate."""

    name: str
    program: str
    # It listens for gRPC: its certificate serves too, and others have to know its port.
    serves_rpc: bool

    @property
    def binary(self) -> pathlib.Path:
        return PROGRAMS / self.program / self.program


# In the order they are started; they are stopped in the opposite one, so that whoever takes in
# mail goes first and whoever commits it goes last.
SERVICES = (
    Service("auth-svc", "auth-svc", serves_rpc=True),
    Service("store-svc", "store-svc", serves_rpc=True),
    Service("relay-svc", "relay-svc", serves_rpc=True),
    Service("gateway-pop3", "gateway-pop3", serves_rpc=False),
    Service("gateway-smtp-submission", "gateway-smtp", serves_rpc=False),
    Service("gateway-smtp-mx", "gateway-smtp", serves_rpc=False),
)


@dataclasses.dataclass(frozen=True)
class Process:
    """One replica of a service."""

    # The service's, with a number when there are several.
    name: str
    service: Service


def processes(replicas: int) -> tuple[Process, ...]:
    """In the order of SERVICES."""
    return tuple(Process(s.name if replicas == 1 else f"{s.name}-{number}", s)
                 for s in SERVICES for number in range(replicas))


POSTERNCTL = PROGRAMS / "ctl" / "posternctl"
# Who gets a certificate for gRPC.
IDENTITIES = tuple(service.name for service in SERVICES) + ("posternctl",)


@dataclasses.dataclass(frozen=True)
class Listener:
    """One port that mail clients or other mail servers connect to."""

    name: str
    service: str
    default_port: int
    # none, starttls or implicit
    tls: str


LISTENERS = (
    Listener("mx", "gateway-smtp-mx", 2525, "starttls"),
    Listener("submission", "gateway-smtp-submission", 5870, "starttls"),
    Listener("submissions", "gateway-smtp-submission", 4650, "implicit"),
    Listener("pop3", "gateway-pop3", 1100, "starttls"),
    Listener("pop3s", "gateway-pop3", 9950, "implicit"),
)


class DataDir:
    """Paths inside one platform's data directory."""

    def __init__(self, root: pathlib.Path):
        self.root = root.absolute()
        self.lock = self.root / "lock"
        self.state = self.root / "state.json"
        self.ports = self.root / "ports.json"
        self.overlay = self.root / "overlay.json"
        self.certificates = self.root / "certificates"
        self.ca_certificate = self.certificates / "ca.crt"
        self.ca_key = self.certificates / "ca.key"
        self.keys = self.root / "keys"
        self.token_signing_key = self.keys / "token-signing.pem"
        self.token_verification_keys = self.keys / "token-verification.pem"
        self.config = self.root / "config"
        self.logs = self.root / "logs"
        self.passwords = self.root / "passwords"
        # What the data is in, once it was decided.
        self.platform = self.root / "platform.json"
        self.postgresql = self.root / "postgresql"
        self.redis = self.root / "redis"

    def create(self) -> None:
        """Makes the directory; mail and keys in it are nobody else's business, hence 0700."""
        databases = [self.database_dir(s.name) for s in SERVICES if s.serves_rpc]
        for path in (self.root, self.certificates, self.keys, self.config, self.logs,
                     self.passwords, *databases):
            try:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise Failure(f"can't make {path}: {error.strerror}\n"
                              "choose another place: --data DIR") from error
            if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
                raise Failure(f"can't write to {path}: it is somebody else's\n"
                              "choose another place: --data DIR")

    def certificate(self, name: str) -> pathlib.Path:
        return self.certificates / f"{name}.crt"

    def key(self, name: str) -> pathlib.Path:
        return self.certificates / f"{name}.key"

    def config_file(self, process: str) -> pathlib.Path:
        return self.config / f"{process}.yaml"

    def database_password_file(self, service: str) -> pathlib.Path:
        return self.keys / f"postgresql-{service}.txt"

    def redis_password_file(self, user: str) -> pathlib.Path:
        return self.keys / f"redis-{user}.txt"

    def database_dir(self, service: str) -> pathlib.Path:
        return self.root / service

    def log(self, name: str) -> pathlib.Path:
        return self.logs / f"{name}.log"

    def password_file(self, user: str) -> pathlib.Path:
        return self.passwords / f"{user}.txt"
