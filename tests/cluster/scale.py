"""How a release grows: mail in and maildrops out with more and more gateways, each with little of a processor.
`./dev bench cluster`."""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable

from tests.bench import measure
from tests.cluster.any_cluster import kubeconfig
from tests.cluster.local.layout import INTERNET, INTERNET_BALANCER, LAN, LAN_BALANCER, ROOT, Host
from tests.cluster.namespace import process_of
from tests.cluster.parts import cluster_with_images, servers_on
from tests.cluster.release import DOMAIN, WORKLOADS, Release, in_own_namespace
from tests.cluster.servers import Servers
from tests.e2e.waiting import wait_until

_LOAD = ROOT / "bazel-bin/tests/bench/load"
_DATABASES = ("postgresql", "redis")


class Meter:
    """What each part of it used since the start, in cores."""

    def __init__(self, release: Release, servers: Servers, balancer: int):
        """`balancer`: its pid."""
        self._roots = {name: [process_of(pod) for pod in release.pods(name)] for name in WORKLOADS}
        self._roots |= {name: [process_of(servers.pod_of(name))] for name in _DATABASES}
        self._roots["balancer"] = [balancer]
        self._began, self._before = time.monotonic(), self._used()

    def _used(self) -> dict[str, float]:
        return {name: measure.cpu_seconds(roots) for name, roots in self._roots.items()}

    def cores(self) -> dict[str, float]:
        seconds = time.monotonic() - self._began
        return {name: (used - self._before[name]) / seconds for name, used in self._used().items()}


def _load(place: Host, *arguments: str) -> float:
    """What it did each second."""
    done = subprocess.run(place.inside(str(_LOAD), *arguments), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"load {arguments[0]}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)["per_second"]


def _with_gateways(release: Release, servers: Servers, replicas: int, millicores: int) -> None:
    settings = []
    for gateway in ("smtpMx", "pop3"):
        settings += [f"--set={gateway}.autoscaling.enabled=false", f"--set={gateway}.replicas={replicas}",
                     f"--set={gateway}.resources.limits.cpu={millicores}m", f"--set={gateway}.resources.requests.cpu=10m"]
    release.install(*servers.give_to(release), *settings)
    release.wait_all_ready()
    wait_until(lambda: all(len(release.pods(name)) == replicas for name in ("smtp-mx", "pop3")), 120,
               f"there are {replicas} of each gateway")
    release.wait_for_mail_path()


def _row(first: Iterable[object], cores: dict[str, float]) -> str:
    return "| " + " | ".join([*map(str, first), *(f"{cores[name]:.2f}" for name in cores)]) + " |"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./dev bench cluster", description=__doc__)
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4], help="of smtp-mx and of pop3, one after another")
    parser.add_argument("--millicores", type=int, default=100, help="that each of them may use")
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=16,
                        help="at once; each sends one message, or has one session (users have 20 from an address)")
    options = parser.parse_args(arguments)
    if kubeconfig():
        parser.error("it measures from places outside of a cluster of its own: unset KUBECONFIG")
    with (cluster_with_images() as cluster, servers_on(cluster) as servers, in_own_namespace(cluster, "scale") as release,
          tempfile.TemporaryDirectory() as temporary):
        balancer = cluster.processes.pid("haproxy")
        assert balancer is not None
        folder = pathlib.Path(temporary)
        users, accepted = folder / "users", folder / "accepted"
        accepted.touch()
        for number, replicas in enumerate(options.replicas):
            _with_gateways(release, servers, replicas, options.millicores)
            if number == 0:
                release.ctl("domain", "add", DOMAIN)
                accounts = [release.add_account() for _ in range(options.connections)]
                users.write_text("".join(f"{one.address} {one.password}\n" for one in accounts), encoding="ascii")
            connections = f"--connections={options.connections}"
            for what, run in (
                    ("accepts/s", lambda: _load(
                        INTERNET, "smtp", f"--host={INTERNET_BALANCER}", "--port=25", connections, "--starttls",
                        f"--messages={options.messages}", f"--users={users}", f"--accepted={accepted}",
                        f"--tag=scale-{replicas}")),
                    ("POP3S sessions/s", lambda: _load(
                        LAN, "login", f"--host={LAN_BALANCER}", "--port=995", connections,
                        f"--sessions={options.sessions}", f"--users={users}"))):
                meter = Meter(release, servers, balancer)
                done = run()
                cores = meter.cores()
                if number == 0 and what == "accepts/s":
                    print("| | gateways | each second | " + " | ".join(cores) + " |")
                    print("| --- " * (3 + len(cores)) + "|")
                print(_row((what, replicas, f"{done:.0f}"), cores), flush=True)
        _load(LAN, "fetch", f"--host={LAN_BALANCER}", "--port=995", f"--users={users}", f"--accepted={accepted}")
        print("every accepted message was fetched once and was equal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
