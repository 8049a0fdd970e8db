"""`copy-database`: moves a platform's data from SQLite to PostgreSQL or back, while nothing runs."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable

from ctl.up import ca, configs, layout, lock, ports, postgresql, supervisor
from ctl.up.command import run
from ctl.up.failure import Failure
from ctl.up.private_file import write_private

KINDS = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
# PostgreSQL's fast shutdown.
_POSTGRESQL_GRACE_SECONDS = 60.0


def decided(data: layout.DataDir) -> str | None:
    """What the data is in: one of KINDS; None before the first start."""
    try:
        kind = json.loads(data.platform.read_text(encoding="utf-8"))["database"]
    except FileNotFoundError:
        return "sqlite" if any(data.database_dir("auth-svc").glob("*.db")) else None
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(f"{data.platform} is damaged ({error!r})") from error
    if kind not in KINDS:
        raise Failure(f"{data.platform} is damaged (database {kind!r})")
    return kind


def decide(data: layout.DataDir, kind: str) -> None:
    write_private(data.platform, json.dumps({"database": kind}) + "\n")


def server_stage(data: layout.DataDir, platform: configs.Platform,
                 then: Callable[[postgresql.Server], None]) -> supervisor.Stage:
    """The database server, and what is to be done when it is ready."""
    assert platform.ports.postgresql is not None
    server = postgresql.Server(data, platform.ports.postgresql, platform.replicas)
    server.prepare()
    return supervisor.Stage([supervisor.Unit(
        postgresql.NAME, server.command, server.ready, _POSTGRESQL_GRACE_SECONDS,
        signal.SIGINT, server.clear)], lambda: then(server))


def migrate(data: layout.DataDir, platform: configs.Platform) -> None:
    """Each service's schema in PostgreSQL."""
    for service in postgresql.SERVICES:
        first = next(p for p in platform.processes if p.service.name == service)
        run(str(first.service.binary), "migrate", "--config", str(data.config_file(first.name)), what=f"{service} migrate")


def _put_files_aside(data: layout.DataDir, stamp: str) -> None:
    for service in postgresql.SERVICES:
        file = configs.database_file(data, service)
        # What SQLite keeps beside a file has its name.
        for suffix in ("", "-wal", "-shm"):
            one = file.with_name(file.name + suffix)
            if one.exists():
                one.rename(file.with_name(f"{file.name}.{stamp}{suffix}"))


def _copy(data: layout.DataDir, source: configs.Platform) -> None:
    """From there to where the processes' configurations say."""
    for service in (s for s in layout.SERVICES if s.name in postgresql.SERVICES):
        source_config = data.config / f"{service.name}.source.yaml"
        configs.write_one(data, source, service.name, source_config)
        done = subprocess.run(
            [str(service.binary), "copy-database", "--config", str(data.config_file(service.name)),
             "--from", str(source_config)], stdin=subprocess.DEVNULL, check=False)
        source_config.unlink()
        if done.returncode != 0:
            raise Failure(f"{service.name} copy-database failed; the data is where it was")


def move(data: layout.DataDir, kind: str, say: Callable[[str], None]) -> int:
    held = lock.Lock(data)
    current = decided(data)
    if current is None:
        raise Failure(f"there is no data in {data.root} yet")
    if current == kind:
        raise Failure(f"what is in {data.root} lives in {KINDS[kind]} already")
    ca.ensure(data)
    free = ports.FreePorts()
    services = layout.processes(1)

    def platform(port: int | None) -> configs.Platform:
        return configs.Platform(configs.Ports(
            listeners={listener.name: listener.default_port for listener in layout.LISTENERS},
            rpc={p.name: free.take() for p in services if p.service.serves_rpc},
            http={p.name: free.take() for p in services}, postgresql=port))

    in_files, in_server = platform(None), platform(free.take())
    # A destination is what an earlier move left, or one that did not end.
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())

    def with_server(server: postgresql.Server) -> None:
        if kind == "sqlite":
            _put_files_aside(data, stamp)
            configs.write(data, in_files)
            _copy(data, in_server)
        else:
            server.put_databases_aside(stamp.lower())
            server.make_databases()
            configs.write(data, in_server)
            migrate(data, in_server)
            _copy(data, in_files)

    server = supervisor.Supervisor(data, [server_stage(data, in_server, with_server)],
                                   [[postgresql.NAME]], lambda pids: None, say)
    try:
        moved = server.start()
        if moved:
            decide(data, kind)
    finally:
        server.stop()
    if not moved:
        raise Failure("stopped; the data is where it was")
    flag = " --postgresql" if kind == "postgresql" else ""
    say(f"what is in {data.root} lives in {KINDS[kind]} now: ./dev up{flag}")
    del held
    return 0
