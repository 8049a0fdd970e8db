"""What happens to mail when its PostgreSQL is in trouble: every message is counted afterwards."""

from __future__ import annotations

import contextlib
import os
import pathlib
import poplib
import signal
import smtplib
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from ctl.up import postgresql
from tests.e2e.load import Load, arrived, running
from tests.e2e.mail_clients import Clients, make_message
from tests.e2e.platform_under_test import Account, Platform
from tests.e2e.waiting import SLOWER, wait_until

CLIENTS = 10
BEFORE, AFTER = 50, 50
SENDER = "carol@elsewhere.test"
# What a person waits for at most.
PATIENCE = 5.0 * SLOWER


def _sql(platform: Platform, text: str) -> None:
    server = platform.data / "postgresql"
    port = platform.refresh()["postgresql"]["address"].split(":")[1]
    subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", str(server / "socket"),
                    "-p", port, "-U", "postgres", "-d", "postgres"], input=text, text=True,
                   check=True, capture_output=True)


@contextlib.contextmanager
def _hung(platform: Platform) -> Iterator[None]:
    """The server and its backends have their connections and say nothing."""
    pid = platform.pid("postgresql")
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    pids = [pid, *map(int, children.read_text(encoding="ascii").split())]
    for one in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGSTOP)
    try:
        yield
    finally:
        for one in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGCONT)


@contextlib.contextmanager
def _without_connections(platform: Platform) -> Iterator[None]:
    """As many as there may be are there already."""
    names = [postgresql.name_of(service) for service in postgresql.SERVICES]
    roles = ", ".join(f"'{name}'" for name in names)
    _sql(platform, "".join(f"ALTER ROLE {name} CONNECTION LIMIT 0;" for name in names) +
         f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ({roles});")
    try:
        yield
    finally:
        _sql(platform, "".join(f"ALTER ROLE {name} CONNECTION LIMIT -1;" for name in names))


def _told(action: Callable[[], object]) -> float:
    """Runs what can't be done now; how long it took to say so. What is remembered may work."""
    began = time.monotonic()
    # After a 421 the server closes, and QUIT meets that.
    with contextlib.suppress(smtplib.SMTPServerDisconnected, ssl.SSLError, ConnectionError):
        try:
            action()
        except smtplib.SMTPResponseException as error:
            assert 400 <= error.smtp_code < 500, error
        except smtplib.SMTPRecipientsRefused as error:
            assert all(400 <= code < 500 for code, _ in error.recipients.values()), error
        except poplib.error_proto as error:
            assert b"[SYS/TEMP]" in error.args[0], error
    return time.monotonic() - began


def _send(clients: Clients, account: Account) -> None:
    with clients.smtp_mx() as session:
        session.sendmail(SENDER, [account.address],
                         make_message(SENDER, account.address, "in trouble"))


def _submit(clients: Clients, account: Account) -> None:
    with clients.smtp_submissions(account) as session:
        session.sendmail(account.address, [account.address],
                         make_message(account.address, account.address, "in trouble"))


@pytest.mark.parametrize("trouble", [_hung, _without_connections])
@pytest.mark.parametrize("way", ["in", "out"])
def test_nothing_is_lost_and_nobody_waits(
        replicated: Platform, way: str,
        trouble: Callable[[Platform], contextlib.AbstractContextManager[None]]) -> None:
    replicated.wait_all_ready()
    clients = Clients(replicated)
    account = replicated.add_account()
    if way == "in":
        load = Load(clients.smtp_mx, SENDER, account.address)
    else:
        load = Load(lambda: clients.smtp_submissions(account), account.address, account.address)
    waits: dict[str, float] = {}
    with running(load, CLIENTS):
        wait_until(lambda: len(load.accepted) >= BEFORE, 60, "the load runs")
        with trouble(replicated):
            for number in range(3):
                waits[f"mx {number}"] = _told(lambda: _send(clients, account))
                waits[f"submission {number}"] = _told(lambda: _submit(clients, account))
                waits[f"pop3 {number}"] = _told(lambda: clients.pop3s(account).quit())
        in_trouble = len(load.accepted)
        wait_until(lambda: len(load.accepted) >= in_trouble + AFTER, 60, "mail is taken again")
    replicated.wait_all_ready()
    assert max(waits.values()) < PATIENCE, waits
    found = arrived(clients, account, load.accepted)
    loaded = {subject: count for subject, count in found.items() if subject.startswith("load-")}
    # Who was told 451 sent another one: each was sent once.
    assert max(loaded.values()) == 1


def test_an_immediate_restart_loses_nothing(replicated: Platform) -> None:
    """As `pg_ctl restart -m immediate`: the server ends without a checkpoint, and recovers."""
    replicated.wait_all_ready()
    clients = Clients(replicated)
    account = replicated.add_account()
    load = Load(clients.smtp_mx, SENDER, account.address)
    with running(load, CLIENTS):
        for _ in range(2):
            before = len(load.accepted)
            wait_until(lambda: len(load.accepted) >= before + BEFORE, 60, "the load runs")
            dead = replicated.end("postgresql", signal.SIGQUIT)
            wait_until(lambda: replicated.pid("postgresql") not in (None, dead), 60,
                       "it is started again")
            at_restart = len(load.accepted)
            wait_until(lambda: len(load.accepted) >= at_restart + AFTER, 60, "mail is taken again")
    replicated.wait_all_ready()
    assert max(arrived(clients, account, load.accepted).values()) == 1
