"""The command line: up, status, down, copy-database, logs, ctl."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

from ctl.up import (accounts, banner, ca, configs, health, layout, lock, logs, move, ports,
                    postgresql, redis, state, supervisor)
from ctl.up.failure import Failure

# The detached supervisor tells its parent, over a pipe, what a person would see; this line ends it.
_READY_LINE = "ready"
_DEFAULT_DATA = layout.ROOT / ".postern"
_DOWN_SECONDS = 180.0
_DOWN_POLL_SECONDS = 0.05


class _Voice:
    """Says what happens: on standard output, and to whoever waits for a detached start."""

    def __init__(self, pipe: int | None):
        self._pipe = pipe

    def say(self, text: str) -> None:
        stamp = time.strftime("%H:%M:%S")
        print(f"{stamp} {text}", flush=True)
        self._tell(f"{stamp} {text}")

    def ready(self) -> None:
        self._tell(_READY_LINE)
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None

    def fail(self, text: str) -> None:
        """The failure itself is printed by main; here it is told to the parent alone."""
        self._tell(f"postern: {text}")

    def _tell(self, text: str) -> None:
        if self._pipe is None:
            return
        try:
            os.write(self._pipe, text.encode("utf-8") + b"\n")
        except BrokenPipeError:
            self._pipe = None


_MAX_REPLICAS = 8
_REDIS_GRACE_SECONDS = 10.0


def _decide_database(data: layout.DataDir, options: argparse.Namespace) -> None:
    """What the data is in is decided by the first start."""
    decided = move.decided(data) or ("postgresql" if options.postgresql else "sqlite")
    if not data.platform.exists():
        move.decide(data, decided)
    if decided == "postgresql" and not options.postgresql:
        raise Failure(f"what is in {data.root} lives in PostgreSQL: ./dev up --postgresql")
    if decided != "postgresql" and options.postgresql:
        raise Failure(f"what is in {data.root} lives in SQLite: choose another place, --data DIR, "
                      "or move it: ./dev copy-database --to postgresql")


def _choose_ports(data: layout.DataDir, options: argparse.Namespace) -> configs.Platform:
    free = ports.FreePorts()
    explicit = {listener.name: getattr(options, f"{listener.name}_port")
                for listener in layout.LISTENERS}
    explicit = {name: port for name, port in explicit.items() if port is not None}
    processes = layout.processes(options.replicas)
    server = options.postgresql_port
    if server is not None:
        free.reserve(postgresql.NAME, server)
    elif options.postgresql:
        server = free.take()
    return configs.Platform(configs.Ports(
        listeners=ports.choose_listener_ports(data, options.ports, explicit, free),
        rpc={p.name: free.take() for p in processes if p.service.serves_rpc},
        http={p.name: free.take() for p in processes},
        postgresql=server,
        redis=free.take() if options.redis else None), options.replicas,
        "0.0.0.0" if options.all_addresses else layout.HOST)


def _units(data: layout.DataDir, platform: configs.Platform,
           grace: dict[str, float]) -> list[supervisor.Unit]:
    units = []
    for process in platform.processes:
        binary = process.service.binary
        if not binary.exists():
            raise Failure(f"{binary} is not built: ./dev build")
        port = platform.ports.http[process.name]
        units.append(supervisor.Unit(
            process.name, [str(binary), "--config", str(data.config_file(process.name))],
            lambda port=port: health.ready(port), grace[process.name]))
    return units


def _stages(data: layout.DataDir, platform: configs.Platform,
            grace: dict[str, float]) -> list[supervisor.Stage]:
    """The servers of others' make, if there are any, and then all that uses them."""
    stages = [supervisor.Stage(_units(data, platform, grace))]
    if platform.ports.redis is not None:
        cache = redis.Server(data, platform.ports.redis)
        cache.prepare()
        stages.insert(0, supervisor.Stage([supervisor.Unit(
            redis.NAME, cache.command, cache.ready, _REDIS_GRACE_SECONDS)]))
    if platform.ports.postgresql is not None:

        def make_databases(server: postgresql.Server) -> None:
            server.make_databases()
            move.migrate(data, platform)

        stages.insert(0, move.server_stage(data, platform, make_databases))
    return stages


def _stop_order(platform: configs.Platform) -> list[list[str]]:
    """The gateways first, then relay-svc, store-svc, auth-svc, and what they use last."""
    order = [[p.name for p in platform.processes if not p.service.serves_rpc]]
    for service in reversed([s for s in layout.SERVICES if s.serves_rpc]):
        order.append([p.name for p in platform.processes if p.service == service])
    servers = {redis.NAME: platform.ports.redis, postgresql.NAME: platform.ports.postgresql}
    return order + [[name] for name, port in servers.items() if port is not None]


def _supervise(data: layout.DataDir, options: argparse.Namespace) -> int:
    voice = _Voice(options.pipe)
    try:
        return _run(data, options, voice)
    except (Failure, OSError) as failure:
        voice.fail(str(failure))
        raise


def _run(data: layout.DataDir, options: argparse.Namespace, voice: _Voice) -> int:
    data.create()
    held = lock.Lock(data)
    _decide_database(data, options)
    chosen = _choose_ports(data, options)
    if ca.ensure(data):
        voice.say(f"made a development CA: {data.ca_certificate}")
    written = configs.write(data, chosen)
    platform = supervisor.Supervisor(
        data, _stages(data, chosen, configs.grace_seconds(written)), _stop_order(chosen),
        lambda pids: state.write(data, chosen, pids), voice.say)
    try:
        if platform.start():
            accounts.ensure(data)
            voice.ready()
            if options.pipe is None:
                print(banner.text(state.status(data), detached=False), flush=True)
            platform.run()
        voice.say("stopping: running work may finish; once more Ctrl-C cuts it off")
    finally:
        platform.stop()
    del held
    return 0


def _detach(data: layout.DataDir, arguments: list[str]) -> int:
    """Starts the supervisor in a session of its own and shows its progress until all are ready."""
    data.create()
    reader, writer = os.pipe()
    log = logs.open_for_append(data.log(logs.SUPERVISOR))
    child = subprocess.Popen(
        [sys.executable, "-m", "ctl.up"] + arguments + ["--pipe", str(writer)],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        pass_fds=[writer])
    os.close(writer)
    os.close(log)
    try:
        with os.fdopen(reader, encoding="utf-8") as lines:
            for line in lines:
                if line == _READY_LINE + "\n":
                    print(banner.text(state.status(data), detached=True), flush=True)
                    return 0
                print(line, end="", flush=True)
    except KeyboardInterrupt:
        child.send_signal(signal.SIGTERM)
    return child.wait() or 1


def _check(data: layout.DataDir, options: argparse.Namespace) -> int:
    """Fails where _run would, short of starting anything: before a build that takes its time."""
    data.create()
    held = lock.Lock(data)
    _decide_database(data, options)
    _choose_ports(data, options)
    del held
    return 0


def _up(options: argparse.Namespace, arguments: list[str]) -> int:
    if options.replicas > 1 and not options.postgresql:
        raise Failure("several replicas share no SQLite file: --postgresql")
    if options.postgresql_port is not None and not options.postgresql:
        raise Failure("--postgresql-port is the port of a server that is not asked for: --postgresql")
    data = layout.DataDir(options.data)
    if options.check:
        return _check(data, options)
    if not options.detach:
        return _supervise(data, options)
    return _detach(data, [argument for argument in arguments if argument != "--detach"])


def _status(options: argparse.Namespace) -> int:
    current = state.status(layout.DataDir(options.data))
    print(json.dumps(current, indent=2) if options.json else state.text(current))
    return 0 if state.is_ready(current) else 1


def _down(options: argparse.Namespace) -> int:
    data = layout.DataDir(options.data)
    pid = lock.holder(data)
    if pid is None:
        print(f"nothing runs in {data.root}")
        return 0
    deadline = time.monotonic() + _DOWN_SECONDS
    asked = False
    while pid is not None:
        if time.monotonic() > deadline:
            raise Failure(f"the supervisor (pid {pid}) has not stopped in {_DOWN_SECONDS:g} s")
        if pid and not asked:
            os.kill(pid, signal.SIGTERM)
            asked = True
        time.sleep(_DOWN_POLL_SECONDS)
        pid = lock.holder(data)
    print("stopped")
    return 0


def _logs(options: argparse.Namespace) -> int:
    return logs.show(layout.DataDir(options.data), options.service, options.lines, options.follow)


def _copy_database(options: argparse.Namespace) -> int:
    data = layout.DataDir(options.data)
    if not data.root.exists():
        raise Failure(f"there is no data in {data.root} yet")
    return move.move(data, options.to, _Voice(None).say)


def _ctl(arguments: list[str]) -> int:
    """Everything but a leading --data is posternctl's own, its --help too."""
    data = layout.DataDir(_DEFAULT_DATA)
    if arguments[:1] == ["--data"] and len(arguments) > 1:
        data = layout.DataDir(pathlib.Path(arguments[1]))
        arguments = arguments[2:]
    asks_help = not arguments or "--help" in arguments or "-h" in arguments
    if lock.holder(data) is None and not asks_help:
        raise Failure(f"nothing runs in {data.root}: ./dev up")
    if not layout.POSTERNCTL.exists():
        raise Failure(f"{layout.POSTERNCTL} is not built: ./dev build")
    command = accounts.posternctl_command(data) + (arguments or ["--help"])
    os.execv(command[0], command)


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError("expected a port, 1 to 65535")
    return port


def _replicas(text: str) -> int:
    number = int(text)
    if not 1 <= number <= _MAX_REPLICAS:
        raise argparse.ArgumentTypeError(f"expected 1 to {_MAX_REPLICAS}")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./dev", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, help_text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help_text, description=help_text,
                                      allow_abbrev=False)
        command.add_argument("--data", type=pathlib.Path, default=_DEFAULT_DATA,
                             metavar="DIR", help="where the platform lives (default: .postern)")
        return command

    up = add("up", "Starts the whole platform on this machine and keeps it running.")
    up.add_argument("--detach", action="store_true", help="return when all is ready")
    up.add_argument("--ports", choices=("auto", "default"),
                    help="auto: take free ports and keep them in DIR; default: forget those")
    for listener in layout.LISTENERS:
        up.add_argument(f"--{listener.name}-port", type=_port, metavar="PORT",
                        dest=f"{listener.name}_port",
                        help=f"the {listener.name} listener's (default: {listener.default_port})")
    up.add_argument("--all-addresses", action="store_true",
                    help="listen on every address of this machine, not on loopback alone")
    up.add_argument("--postgresql", action="store_true",
                    help="keep all data in a PostgreSQL server, which runs under DIR too")
    up.add_argument("--postgresql-port", type=_port, metavar="PORT",
                    help="that server's (default: a free one)")
    up.add_argument("--redis", action="store_true",
                    help="count limits in a Redis server, which runs under DIR too")
    up.add_argument("--replicas", type=_replicas, default=1, metavar="N",
                    help="of each process (more than one: with --postgresql)")
    up.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    up.add_argument("--pipe", type=int, help=argparse.SUPPRESS)

    status = add("status", "Shows listeners, accounts and processes; exit code 1 unless all are "
                 "ready.")
    status.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    add("down", "Drains and stops what `up` started.")
    copy = add("copy-database", "Moves all data from SQLite to PostgreSQL, or back, while nothing "
               "runs.")
    copy.add_argument("--to", choices=sorted(move.KINDS), required=True,
                      help="where it is to live; where it was it is kept, and read no more")
    show = add("logs", "Shows the services' logs, or one service's.")
    show.add_argument("service", nargs="?")
    show.add_argument("-n", "--lines", type=int, default=100, help="how many (default: 100)")
    show.add_argument("-f", "--follow", action="store_true", help="and what comes after")
    commands.add_parser("ctl", help="Runs posternctl against the running platform.")
    return parser


def main(arguments: list[str]) -> int:
    try:
        if arguments[:1] == ["ctl"]:
            return _ctl(arguments[1:])
        options = _parser().parse_args(arguments)
        if options.command == "up":
            return _up(options, arguments)
        return {"status": _status, "down": _down, "logs": _logs,
                "copy-database": _copy_database}[options.command](options)
    except Failure as failure:
        print(f"postern: {failure}", file=sys.stderr)
        return 1
    except OSError as error:
        where = f": {error.filename}" if error.filename is not None else ""
        print(f"postern: {error.strerror}{where}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
