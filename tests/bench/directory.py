#!/usr/bin/python3
"""The directory at the sizes that are asked of it: auth-svc, called as its callers do. See docs/BENCHMARK.md."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from typing import Any

import measure
from ctl.up import layout
from tests.e2e.ldap_server import LdapServer
from tests.e2e.platform_under_test import Platform

LOAD = layout.PROGRAMS / "tests/bench/directory_load"
# Sizes at which everything is measured, up to --accounts.
SIZES = (1_000, 10_000, 100_000, 1_000_000)
DOMAINS = 10
# Of those added one by one at each size: argon2id is not computed, so that it is the directory's time.
SINGLES = 500

# (key, what the table says, digits)
ROWS = [
    ("fill", "added by batches of 1000 /s", 0),
    ("add", "added one by one /s", 0),
    ("find", "found /s", 0),
    ("find_cpu", "  CPU ms of auth-svc and the database", 3),
    ("unknown", "unknown addresses /s", 0),
    ("postmaster", "postmaster of a domain /s", 0),
    ("send_as", "MaySendAs /s", 0),
    ("list", "listed by pages of 1000, accounts/s", 0),
    ("list_first", "  ms of a page, the first tenth", 2),
    ("list_last", "  ms of a page, the last tenth", 2),
    ("list_domain", "listed of the largest domain, accounts/s", 0),
    ("list_domain_first", "  ms of a page, the first tenth", 2),
    ("list_domain_last", "  ms of a page, the last tenth", 2),
    ("rss_filled", "RSS of auth-svc after adding, MiB", 0),
    ("rss_found", "  after finding, MiB", 0),
    ("rss_listed", "  after listing, MiB", 0),
    ("database", "database, MiB", 0),
]
LDAP_ROWS = [
    ("cold", "LDAP: first logins /s", 0),
    ("remembered", "LDAP: logins remembered /s", 0),
    ("remembered_cpu", "  CPU ms of auth-svc and the database", 3),
    ("cached", "LDAP: recipients cached /s", 0),
    ("cached_cpu", "  CPU ms of auth-svc and the database", 3),
    ("rss", "RSS of auth-svc after that, MiB", 0),
]


class Bench:
    """One platform with its directory, and what was measured."""

    def __init__(self, folder: pathlib.Path, ldap: LdapServer, postgresql: bool, parallel: int, calls: int):
        self._folder = folder
        self._parallel = parallel
        self._calls = calls
        limits = {"failures_per_network": 0, "failures_per_account": 0}
        self._platform = Platform(folder, {"auth-svc": {"ldap": [ldap.settings()], "login_limits": limits}},
                                  flags=("--postgresql",) if postgresql else ())
        self._filled = 0
        self._extra = 0
        # By size, and of LDAP.
        self.sizes: dict[int, dict[str, float]] = {}
        self.of_ldap: dict[str, float] = {}

    def start(self) -> None:
        self._platform.start()

    def stop(self) -> None:
        self._platform.stop()

    def _roots(self) -> list[int]:
        status = self._platform.status
        servers = [status["postgresql"]["pid"]] if "postgresql" in status else []
        return [*servers, status["services"]["auth-svc"]["pid"]]

    def _load(self, command: str, *arguments: object, calls: int | None = None) -> dict[str, Any]:
        """What the load generator says, and `cpu_ms` of a call."""
        config = (self._folder / "config/posternctl.yaml").read_text(encoding="utf-8")
        target = re.search(r"auth_svc:\s+target: \"?([0-9.:]+)", config)
        assert target, config
        cpu = measure.cpu_seconds(self._roots())
        done = subprocess.run(
            [str(LOAD), command, "--target", target[1], "--certificates", str(self._folder / "certificates"),
             "--domains", str(DOMAINS), "--parallel", str(self._parallel), "--calls", str(calls or self._calls),
             *map(str, arguments)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"directory_load {command} failed: {done.stdout}{done.stderr}")
        result: dict[str, Any] = json.loads(done.stdout)
        result["cpu_ms"] = (measure.cpu_seconds(self._roots()) - cpu) * 1000 / result["calls"]
        return result

    def _resident_mib(self) -> float:
        pid = self._platform.status["services"]["auth-svc"]["pid"]
        status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert match
        return int(match[1]) / 1024

    def _database_mib(self) -> float:
        """All that its folder holds; of PostgreSQL with its log."""
        folder = self._folder / ("postgresql/data" if "postgresql" in self._platform.status else "auth-svc")
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / (1 << 20)

    def grow_to(self, size: int) -> None:
        """Adds what is missing, and measures."""
        noted = self.sizes[size] = {}
        noted["fill"] = self._load("fill", "--first", self._filled, "--accounts", size - self._filled)["per_second"]
        self._filled = size
        noted["rss_filled"] = self._resident_mib()
        # Numbers that no size reaches.
        first = 90_000_000 + self._extra
        noted["add"] = self._load("add", "--first", first, "--accounts", SINGLES)["per_second"]
        self._extra += SINGLES
        found = self._load("find", "--accounts", size)
        noted["find"], noted["find_cpu"] = found["per_second"], found["cpu_ms"]
        noted["unknown"] = self._load("find", "--accounts", size, "--unknown")["per_second"]
        noted["postmaster"] = self._load("postmaster", calls=100)["per_second"]
        noted["send_as"] = self._load("send-as", "--accounts", size)["per_second"]
        noted["rss_found"] = self._resident_mib()
        for key, arguments in (("list", ()), ("list_domain", ("--domain", "d0.bench.test"))):
            listed = self._load("list", *arguments)
            noted[key] = listed["per_second"]
            noted[f"{key}_first"], noted[f"{key}_last"] = listed["first_ms"], listed["last_ms"]
        noted["rss_listed"] = self._resident_mib()
        noted["database"] = self._database_mib()

    def log_in(self, users: pathlib.Path) -> None:
        """As people of the LDAP directory: each for the first time, and then again and again."""
        self._platform.ctl("domain", "add", "staff.test")
        people = len(users.read_text(encoding="ascii").splitlines())
        noted = self.of_ldap
        noted["cold"] = self._load("login", "--users", users, calls=people)["per_second"]
        again = self._load("login", "--users", users)
        noted["remembered"], noted["remembered_cpu"] = again["per_second"], again["cpu_ms"]
        found = self._load("find", "--users", users)
        noted["cached"], noted["cached_cpu"] = found["per_second"], found["cpu_ms"]
        noted["rss"] = self._resident_mib()


def _line(text: str, values: list[float], digits: int) -> str:
    return f"{text:45}" + "".join(f"{value:>12.{digits}f}" for value in values)


def table(bench: Bench) -> str:
    lines = [_line("accounts", [float(size) for size in bench.sizes], 0)]
    lines += [_line(text, [noted[key] for noted in bench.sizes.values()], digits) for key, text, digits in ROWS]
    lines += [_line(text, [bench.of_ldap[key]], digits) for key, text, digits in LDAP_ROWS if bench.of_ldap]
    return "\n".join(lines)


def _people(ldap: LdapServer, count: int, file: pathlib.Path) -> None:
    ldap.add_people([(f"p{i}", f"password-{i}") for i in range(count)])
    file.write_text("".join(f"p{i}@staff.test password-{i}\n" for i in range(count)), encoding="ascii")


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev bench directory", description=__doc__)
    parser.add_argument("--accounts", type=int, default=1_000_000, help="up to how many")
    parser.add_argument("--calls", type=int, default=30_000, help="of each measurement")
    parser.add_argument("--parallel", type=int, default=16, help="calls at a time")
    parser.add_argument("--people", type=int, default=3_000, help="in the LDAP directory; 0: none is measured")
    parser.add_argument("--postgresql", action="store_true", help="on PostgreSQL instead of SQLite")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--data", help="where all of it is kept (default: a new folder under the temporary one)")
    options = parser.parse_args()

    folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-directory-", dir=options.data))
    folder.chmod(0o755)
    ldap = LdapServer(folder / "slapd").start()
    bench = Bench(folder / "postern", ldap, options.postgresql, options.parallel, options.calls)
    try:
        bench.start()
        for size in [size for size in SIZES if size < options.accounts] + [options.accounts]:
            print(f"{size} accounts", file=sys.stderr)
            bench.grow_to(size)
        if options.people:
            print(f"{options.people} people in LDAP", file=sys.stderr)
            _people(ldap, options.people, folder / "people")
            bench.log_in(folder / "people")
    finally:
        bench.stop()
        ldap.stop()
        shutil.rmtree(folder)
    if options.json:
        print(json.dumps({"options": vars(options), "cores": os.cpu_count(), "sizes": bench.sizes,
                          "ldap": bench.of_ldap}, indent=2))
    else:
        print(table(bench))


if __name__ == "__main__":
    main()
