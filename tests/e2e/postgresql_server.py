"""The platform's PostgreSQL server as its operator has it, and a standby of it."""

from __future__ import annotations

import contextlib
import pathlib
import signal
import subprocess
from collections.abc import Iterator

from ctl.up import layout, postgresql
from tests.e2e.hanging import hung
from tests.e2e.platform_under_test import Platform
from tests.e2e.waiting import SLOWER, wait_until

_USER = "postgres"


class Server:
    """One that runs, by its socket."""

    def __init__(self, folder: pathlib.Path, port: int):
        """`folder`: with `data` and `socket` in it."""
        self._folder = folder
        self._port = port

    def sql(self, text: str) -> str:
        """What it answers; every statement is a transaction of its own."""
        return subprocess.run(
            ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h",
             str(self._folder / "socket"), "-p", str(self._port), "-U", _USER, "-d", _USER],
            input=text, text=True, check=True, capture_output=True).stdout.strip()

    def answers(self) -> bool:
        """Reads, whatever it says to writes."""
        return subprocess.run(["pg_isready", "-q", "-h", str(self._folder / "socket"), "-p", str(self._port)],
                              check=False).returncode == 0

    @property
    def conninfo(self) -> str:
        """By which another one follows it."""
        return f"host={self._folder / 'socket'} port={self._port} user={_USER}"

    def let_others_follow(self) -> None:
        with (self._folder / "data/pg_hba.conf").open("a", encoding="utf-8") as file:
            file.write(f"local replication {_USER} trust\n")
        self.sql("SELECT pg_reload_conf()")

    @contextlib.contextmanager
    def hung(self) -> Iterator[None]:
        """It and its backends have their connections and say nothing."""
        pid = int((self._folder / "data/postmaster.pid").read_text(encoding="ascii").split()[0])
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
        with contextlib.ExitStack() as stack:
            # The postmaster first: then no children come or go.
            stack.enter_context(hung(pid))
            for child in children.read_text(encoding="ascii").split():
                stack.enter_context(hung(int(child)))
            yield

    def will_follow(self, other: "Server") -> None:
        """From its next start on it is a standby of the other one, and takes no writes."""
        data = self._folder / "data"
        self.sql(f"ALTER SYSTEM SET primary_conninfo = '{other.conninfo}'")
        (data / "standby.signal").touch()


def of(platform: Platform) -> Server:
    """The one that `./dev up` runs."""
    port = platform.refresh()["postgresql"]["address"].split(":")[1]
    return Server(platform.data / "postgresql", int(port))


@contextlib.contextmanager
def standby(platform: Platform, port: int) -> Iterator[Server]:
    """Another one, which follows the platform's: without it nothing is committed there."""
    primary = of(platform)
    folder = platform.data / "standby"
    program = postgresql.Server(layout.DataDir(platform.data), port, 2, folder)
    primary.let_others_follow()
    subprocess.run(program.program("pg_basebackup") + [
        "-D", str(folder / "data"), "-d", primary.conninfo, "--checkpoint=fast",
        "--no-sync", "--write-recovery-conf"],
        check=True, capture_output=True, timeout=60 * SLOWER, cwd="/")
    program.prepare()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "QUIT", "--", *program.command], cwd="/",
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until(Server(folder, port).answers, 60 * SLOWER, "the standby takes connections")
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'; SELECT pg_reload_conf();")
        wait_until(lambda: primary.sql("SELECT sync_state FROM pg_stat_replication") == "sync",
                   60 * SLOWER, "the standby is synchronous")
        yield Server(folder, port)
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait()
