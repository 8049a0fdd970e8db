#!/usr/bin/python3
"""Postern against Debian's Postfix and Dovecot: the same load, the same disk, in one run. See docs/BENCHMARK.md.

Every message that was accepted is fetched afterwards and compared; a lost, repeated or altered one fails the run.
"""
import argparse
import json
import os
import pathlib
import poplib
import secrets
import shutil
import smtplib
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

import measure
import memory
from postern_platform import Postern
from postfix_dovecot import PostfixDovecot

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOAD = ROOT / "bazel-bin/tests/bench/load"

# (key, what the table says, better is: "more" or "less")
ROWS = [
    ("smtp_new", "SMTP accepts/s, new connection each", "more"),
    ("smtp_kept", "SMTP accepts/s, kept connections", "more"),
    ("smtp_new_tls", "SMTP accepts/s, new connection + STARTTLS", "more"),
    ("smtp_kept_tls", "SMTP accepts/s, kept + STARTTLS", "more"),
    ("pop3s_login", "POP3S login + STAT + QUIT/s (1)", "more"),
    ("pop3s_login_reused", "POP3S login + STAT + QUIT/s (1, 2)", "more"),
    ("pop3s_login_argon2id", "POP3S login + STAT + QUIT/s (3)", "more"),
    ("pop3s_retr", "POP3S RETR/s", "more"),
    ("pop3s_retr_reused", "POP3S RETR/s (2)", "more"),
    ("end_to_end_p50_ms", "send to fetched, p50 ms", "less"),
    ("end_to_end_p99_ms", "send to fetched, p99 ms", "less"),
    ("flushes_per_message", "disk flushes per message", "less"),
    ("rpcs_per_message", "RPCs per message", "less"),
    ("messages_per_commit", "messages per transaction (4)", "more"),
    ("written_per_octet", "octets written per octet accepted (4)", "less"),
]
NOTES = """\
(1) Dovecot with SSHA512, since it computes the password hash at every login; Postern always stores argon2id.
(2) Dovecot with service_count = 0: its processes serve many logins.
(3) both with argon2id.
(4) over kept connections.
CPU ms: what the servers' own processes used for one; the load generator's is not in it."""


class Run:
    """One system's measurements; a list of values per key."""

    def __init__(self, system, options, folder, users, argon2id_users):
        self.system = system
        self.options = options
        self.folder = folder
        self.values = {}
        # CPU ms of an accept over kept connections, by process.
        self.by_name = {}
        self.accepted = folder / "accepted"
        self.users = self._write_users("users", users)
        self.argon2id_users = self._write_users("argon2id-users", argon2id_users)
        self.everybody = self._write_users("everybody", users + argon2id_users)
        self.account = users[0]
        self.accepted.touch()
        # First of all: later the peaks are those of the load.
        alone = isinstance(system, Postern) and system.replicas is None
        self.large_message_peak_kib = memory.large_message_peaks(system.status) if alone else None

    def _write_users(self, name, users):
        path = self.folder / name
        path.write_text("".join(f"{address} {password}\n" for address, password in users))
        return path

    def load(self, *arguments):
        done = subprocess.run([LOAD, *[str(a) for a in arguments]], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{self.system.name}: load {arguments[0]} failed: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def note(self, key, value):
        self.values.setdefault(key, []).append(value)

    def smtp(self, key, number, messages, *flags):
        o = self.options
        arguments = ["smtp", "--port", self.system.smtp_port, "--connections", o.connections, "--octets", o.octets,
                     "--users", self.users, "--accepted", self.accepted]
        cpu, flushes, rpcs = (self.cpu_ms(), measure.flushes(self.folder), self.system.rpcs())
        by_name, written, commits = (measure.cpu_by_name(self.system.roots()),
                                     measure.written_octets(self.system.roots()), self.system.commits())
        result = self.load(*arguments, "--messages", messages, "--tag", f"{key}-{number}", *flags)
        self.system.settle()
        self.note(key, result["per_second"])
        self.note(f"{key}_cpu_ms", (self.cpu_ms() - cpu) / messages)
        if key == "smtp_kept":
            self.note("written_per_octet",
                      (measure.written_octets(self.system.roots()) - written) / (messages * o.octets))
            if commits is not None:
                now = self.system.commits()
                self.note("messages_per_commit", (now[1] - commits[1]) / max(now[0] - commits[0], 1))
            for name, seconds in measure.cpu_by_name(self.system.roots()).items():
                self.by_name.setdefault(name, []).append((seconds - by_name.get(name, 0)) * 1000 / messages)
        if key == "smtp_new":
            if flushes is not None:
                self.note("flushes_per_message", (measure.flushes(self.folder) - flushes) / messages)
            if rpcs is not None:
                self.note("rpcs_per_message", (self.system.rpcs() - rpcs) / messages)

    def pop3(self, key, command, users, sessions, port=None):
        cpu = self.cpu_ms()
        result = self.load(command, "--port", port or self.system.pop3s_port, "--connections",
                           self.options.connections, "--sessions", sessions, "--users", users)
        self.note(key, result["per_second"])
        self.note(f"{key}_cpu_ms", (self.cpu_ms() - cpu) / result["sessions" if command == "login" else "retrieved"])

    def cpu_ms(self):
        return measure.cpu_seconds(self.system.roots()) * 1000

    def end_to_end(self, number, count):
        """From connecting to send until a fetch has the message; one at a time, polling as fast as logins go."""
        context = ssl._create_unverified_context()
        address, password = self.account
        latencies = []
        for i in range(count):
            text = f"Subject: latency {number}-{i}\r\n\r\nlatency\r\n"
            begin = time.monotonic()
            with smtplib.SMTP("127.0.0.1", self.system.smtp_port, timeout=60) as client:
                client.sendmail("load@sender.test", [address], text)
            found = False
            while not found:
                if time.monotonic() - begin > 60:
                    raise SystemExit(f"{self.system.name}: a message did not arrive in 60 s")
                box = poplib.POP3_SSL("127.0.0.1", self.system.pop3s_port, context=context, timeout=60)
                box.user(address)
                box.pass_(password)
                last = box.stat()[0]
                if last > 0:
                    lines = b"\r\n".join(box.retr(last)[1])
                    found = f"Subject: latency {number}-{i}\r\n".encode() in lines + b"\r\n"
                    if found:
                        latencies.append((time.monotonic() - begin) * 1000)
                        box.dele(last)
                box.quit()
        latencies.sort()
        self.note("end_to_end_p50_ms", latencies[len(latencies) // 2])
        self.note("end_to_end_p99_ms", latencies[int(0.99 * (len(latencies) - 1))])

    def round(self, number):
        o = self.options
        self.end_to_end(number, o.latency_samples)
        self.smtp("smtp_new", number, o.messages)
        self.smtp("smtp_kept", number, o.messages, "--kept")
        self.smtp("smtp_new_tls", number, o.messages, "--starttls")
        self.smtp("smtp_kept_tls", number, o.messages, "--kept", "--starttls")
        self.pop3("pop3s_login", "login", self.users, o.sessions)
        self.pop3("pop3s_login_reused", "login", self.users, o.sessions, self.system.reused_pop3s_port)
        self.pop3("pop3s_login_argon2id", "login", self.argon2id_users, o.argon2id_sessions)
        self.pop3("pop3s_retr", "retr", self.users, o.sessions // 10)
        self.pop3("pop3s_retr_reused", "retr", self.users, o.sessions // 10, self.system.reused_pop3s_port)
        self.load("fetch", "--port", self.system.pop3s_port, "--users", self.everybody, "--accepted", self.accepted)
        self.accepted.write_text("")


    def memory(self):
        """Postern's alone. What the soak leaves is fetched and compared as well."""
        print("memory: many messages, idle sessions", file=sys.stderr)
        o = self.options
        status = self.system.status
        ports = {name: status["listeners"][name]["port"] for name in ("submissions", "pop3s")}
        pids = {"submissions": status["services"]["gateway-smtp-submission"]["pid"],
                "pop3s": status["services"]["gateway-pop3"]["pid"]}
        result = {"large_message_peak_kib": self.large_message_peak_kib, "messages": o.soak_messages}
        if o.soak_messages:
            result["resident_kib"] = memory.growth_over(LOAD, self.system.smtp_port, self.users, self.accepted,
                                                        o.soak_messages, status)
            self.load("fetch", "--port", self.system.pop3s_port, "--users", self.users, "--accepted", self.accepted)
        result["idle_session_kib"] = {name: memory.idle_session_kib(LOAD, ports[name], pids[name], o.idle_sessions)
                                      for name in ports}
        return result


def table(runs):
    """A column for each system; how each of Postern's compares with the reference, if that was measured."""
    names = [run.system.name for run in runs]
    compared = len(runs) - 1 if len(runs) > 1 and not isinstance(runs[-1].system, Postern) else 0

    def cells(key, width, digits):
        medians = [statistics.median(run.values[key]) if run.values.get(key) else None for run in runs]
        return medians, "".join(f"{'-' if m is None else format(m, f'.{digits}f'):>{width}}" for m in medians)

    def ratios(medians, better):
        shown = ""
        for median in medians[:compared]:
            ratio = None
            if median and medians[-1]:
                ratio = median / medians[-1] if better == "more" else medians[-1] / median
            shown += f"{ratio:8.2f}x" if ratio else " " * 9
        return shown

    width = max(map(len, names)) + 2
    lines = [f"{'':45}" + "".join(f"{name:>{width}}" for name in names) + f"{'ratio':>9}" * compared +
             f"{'CPU ms':>10}" * len(names) + f"{'ratio':>9}" * compared]
    for key, text, better in ROWS:
        medians, shown = cells(key, width, 2)
        if all(m is None for m in medians):
            continue
        line = f"{text:45}" + shown + ratios(medians, better)
        cpu, shown = cells(f"{key}_cpu_ms", 10, 3)
        if any(cpu):
            line += shown + ratios(cpu, "less")
        lines.append(line.rstrip())
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--rounds", type=int, default=3, help="how often each system is measured, in turn")
    parser.add_argument("--messages", type=int, default=2000, help="messages of each SMTP measurement")
    parser.add_argument("--octets", type=int, default=4096, help="a message's size")
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--sessions", type=int, default=500, help="POP3S sessions of each measurement")
    parser.add_argument("--argon2id-sessions", type=int, default=60)
    parser.add_argument("--latency-samples", type=int, default=20)
    parser.add_argument("--soak-messages", type=int, default=100_000, help="over which Postern's memory is watched; 0: not")
    parser.add_argument("--idle-sessions", type=int, default=500, help="idle TLS sessions of each gateway measured")
    parser.add_argument("--only", choices=["postern", "reference"], help="measure one system alone")
    parser.add_argument("--postgresql", action="store_true", help="Postern on PostgreSQL too")
    parser.add_argument("--replicas", type=int, default=1, help="of each process there")
    parser.add_argument("--redis", action="store_true", help="and once more with Redis, counting every client")
    parser.add_argument("--data", help="where both keep their data (default: a new folder under the temporary one)")
    options = parser.parse_args()
    if options.redis and not options.postgresql:
        parser.error("--redis is for --postgresql")

    folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-bench-", dir=options.data))
    password = secrets.token_urlsafe(12)
    users = [(f"load{i}@example.test", password) for i in range(options.connections)]
    argon2id_users = [(f"slow{i}@example.test", password) for i in range(options.connections)]
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                    str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost"], check=True,
                   capture_output=True)
    folder.chmod(0o755)
    runs = []
    try:
        systems = []
        if options.only != "reference":
            systems.append(Postern(ROOT, folder / "postern", users + argon2id_users))
            if options.postgresql:
                for redis in (False, True) if options.redis else (False,):
                    systems.append(Postern(ROOT, folder / f"postgresql-{redis}", users + argon2id_users, options.replicas,
                                           redis))
        if options.only != "postern":
            systems.append(PostfixDovecot(folder / "reference", [(*u, "SSHA512") for u in users] +
                                          [(*u, "ARGON2ID") for u in argon2id_users], certificate, key))
        for system in systems:
            system.__enter__()
            own = folder / f"run-{len(runs)}"
            own.mkdir()
            runs.append(Run(system, options, own, users, argon2id_users))
        for number in range(options.rounds):
            for run in runs:
                print(f"round {number + 1} of {options.rounds}: {run.system.name}", file=sys.stderr)
                run.round(number)
        peaks = {run.system.name: measure.peak_memory(run.system.roots()) for run in runs}
        held = runs[0].memory() if options.only != "reference" else None
    finally:
        for run in runs:
            run.system.__exit__()
        shutil.rmtree(folder)
    if options.json:
        print(json.dumps({"options": vars(options), "cores": os.cpu_count(), "peak_memory_kib": peaks, "memory": held,
                          "values": {run.system.name: run.values for run in runs},
                          "cpu_ms_by_process": {run.system.name: run.by_name for run in runs},
                          "medians": {run.system.name: {k: statistics.median(v) for k, v in run.values.items()}
                                      for run in runs}}, indent=2))
        return
    print(table(runs))
    print(NOTES)
    for run in runs:
        shares = sorted(((statistics.median(v), name) for name, v in run.by_name.items()), reverse=True)
        print(f"CPU ms of an accept (4), {run.system.name}: " +
              ", ".join(f"{name} {ms:.3f}" for ms, name in shares if ms >= 0.0005))
    for name, of_name in peaks.items():
        print(f"peak memory of {name}: " + ", ".join(f"{p} {kib // 1024} MiB" for p, kib in sorted(of_name.items())))
    if held is not None:
        print(memory.report(held))
    print("every accepted message was fetched once and was equal")


if __name__ == "__main__":
    main()
