"""A PostgreSQL server of the platform's own, from Debian's packages: TLS, a role and a database each."""

from __future__ import annotations

import os
import pathlib
import pwd
import shutil
import subprocess

from ctl.up import ca, layout
from ctl.up.command import run
from ctl.up.failure import Failure
from ctl.up.private_file import secret

NAME = "postgresql"
SERVICES = ("auth-svc", "store-svc", "relay-svc")
# initdb and postgres refuse to run as root.
_USER = "postgres"
_VERSIONS = pathlib.Path("/usr/lib/postgresql")
# Of one replica of each service (PostgreSql.max_connections and its watch's), and some for people.
_CONNECTIONS_OF_A_REPLICA = 17 * len(SERVICES)
_CONNECTIONS_OF_PEOPLE = 10
_TIMEOUT_SECONDS = 120


def name_of(service: str) -> str:
    """Its role and its database."""
    return "postern_" + service.removesuffix("-svc")


class Server:
    """Its data is in `folder`, DATA/postgresql; it listens on the loopback and on a socket there."""

    def __init__(self, data: layout.DataDir, port: int, replicas: int,
                 folder: pathlib.Path | None = None):
        self._data = data
        self._port = port
        self._connections = _CONNECTIONS_OF_PEOPLE + replicas * _CONNECTIONS_OF_A_REPLICA
        self._folder = folder or data.postgresql
        self._database = self._folder / "data"
        self._socket = self._folder / "socket"
        self._programs = self._find_programs()

    @staticmethod
    def _find_programs() -> pathlib.Path:
        versions = sorted((int(folder.name) for folder in _VERSIONS.glob("[0-9]*")), reverse=True)
        if not versions:
            raise Failure("PostgreSQL is not installed (apt-get install postgresql)")
        return _VERSIONS / str(versions[0]) / "bin"

    @property
    def command(self) -> list[str]:
        """What runs it; SIGINT ends it."""
        return self.program("postgres") + [
            "-D", str(self._database),
            "-c", f"port={self._port}", "-c", f"listen_addresses={layout.HOST}",
            "-c", f"unix_socket_directories={self._socket}",
            "-c", f"max_connections={self._connections}", "-c", "ssl=on",
            "-c", f"ssl_cert_file={self._folder / 'server.crt'}",
            "-c", f"ssl_key_file={self._folder / 'server.key'}"]

    def program(self, name: str) -> list[str]:
        """What runs one of PostgreSQL's programs as its user; arguments follow."""
        command = [str(self._programs / name)]
        if os.geteuid() != 0:
            return command
        # The capability: it has to reach its own folder below those that only root may enter.
        return ["setpriv", "--reuid", _USER, "--regid", _USER, "--clear-groups", "--inh-caps",
                "+dac_override", "--ambient-caps", "+dac_override", "--", *command]

    def _run(self, command: list[str], text: str = "") -> str:
        what = pathlib.Path(command[-1]).name if not text else "psql"
        return run(*command, given=text, what=f"{what} (its log: {self._data.log(NAME)})", timeout=_TIMEOUT_SECONDS,
                   cwd=pathlib.Path("/"))

    def prepare(self) -> None:
        """Makes what is absent, and its certificate anew when that ends soon."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._socket.mkdir(mode=0o700, exist_ok=True)
        ca.ensure_server(self._data, NAME)
        for source, name in ((self._data.certificate(NAME), "server.crt"),
                             (self._data.key(NAME), "server.key")):
            shutil.copyfile(source, self._folder / name)
            (self._folder / name).chmod(0o600)
        self._give_away()
        if (self._database / "PG_VERSION").exists():
            return
        self._run(self.program("initdb") + [
            "--encoding=UTF8", "--locale=C.UTF-8",
            "--auth-local=trust", "--auth-host=scram-sha-256", f"--username={_USER}",
            str(self._database)])
        # Over the network with TLS and a password, whoever it is; the socket is this user's alone.
        write = (f"local all {_USER} trust\nhostssl all all {layout.HOST}/32 scram-sha-256\n")
        (self._database / "pg_hba.conf").write_text(write, encoding="utf-8")
        self._give_away()

    def _give_away(self) -> None:
        if os.geteuid() != 0:
            return
        try:
            user = pwd.getpwnam(_USER)
        except KeyError as error:
            raise Failure(f"PostgreSQL does not run as root, and there is no user {_USER}") from error
        for path in (self._folder, self._socket, self._folder / "server.crt",
                     self._folder / "server.key", self._database / "pg_hba.conf"):
            if path.exists():
                os.chown(path, user.pw_uid, user.pw_gid)

    @property
    def _psql(self) -> list[str]:
        """What runs psql as its operator; arguments follow."""
        return [str(self._programs / "psql"), "-X", "-q", "-h", str(self._socket), "-p", str(self._port), "-U", _USER,
                "-d", _USER]

    def ready(self) -> tuple[bool, str]:
        """Whether it takes connections and writes (not while it plays its log), and what it says if not."""
        done = subprocess.run(
            [*self._psql, "-At", "-c", "SELECT pg_is_in_recovery()"], env=os.environ | {"PGCONNECT_TIMEOUT": "3"},
            capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS)
        if done.returncode != 0:
            return False, done.stderr.strip()
        return done.stdout.strip() == "f", "it takes no writes: a standby, or still in recovery"

    def clear(self) -> bool:
        """Whether no process of it is left: those whose postmaster was killed keep the next one out."""
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                # Where every one of them is.
                if os.readlink(folder / "cwd") == str(self._database):
                    return False
            except OSError:
                continue
        return True

    def make_databases(self) -> None:
        """A role and a database for each service: nobody else may enter it, and it no other."""
        self._sql("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;")
        for service in SERVICES:
            name, password = name_of(service), secret(self._data.database_password_file(service))
            self._sql(f"SELECT 'CREATE ROLE {name} LOGIN' WHERE NOT EXISTS "
                      f"(SELECT FROM pg_roles WHERE rolname = '{name}')\\gexec\n"
                      f"ALTER ROLE {name} PASSWORD '{password}';\n"
                      f"SELECT 'CREATE DATABASE {name} OWNER {name}' WHERE NOT EXISTS "
                      f"(SELECT FROM pg_database WHERE datname = '{name}')\\gexec\n"
                      f"REVOKE ALL ON DATABASE {name} FROM PUBLIC;\n")

    def put_databases_aside(self, suffix: str) -> None:
        """Renames each service's database, if it is there: nobody finds it any more."""
        for service in SERVICES:
            name = name_of(service)
            self._sql(f"SELECT 'ALTER DATABASE {name} RENAME TO {name}_{suffix}' WHERE EXISTS "
                      f"(SELECT FROM pg_database WHERE datname = '{name}')\\gexec\n")

    def _sql(self, text: str) -> None:
        self._run([*self._psql, "-v", "ON_ERROR_STOP=1"], text)
