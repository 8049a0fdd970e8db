"""kill -9 of any process while 20 clients send: what got its 250 is in a maildrop."""

from __future__ import annotations

import poplib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.load import Load, arrived, running
from tests.e2e.mail_clients import Clients, make_message
from tests.e2e.platform_under_test import Platform
from tests.e2e.waiting import wait_until

CLIENTS = 20
# So many messages are accepted before the kill and after it.
BEFORE, AFTER = 100, 100
SENDER = "carol@elsewhere.test"


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    platform = Platform(tmp_path_factory.mktemp("killed"))
    try:
        yield platform.start()
    finally:
        platform.stop()


@pytest.mark.parametrize("way,service", [
    ("in", "gateway-smtp-mx"), ("in", "store-svc"), ("in", "relay-svc"), ("in", "auth-svc"),
    ("in", "gateway-pop3"),
    ("out", "gateway-smtp-submission"), ("out", "relay-svc"), ("out", "store-svc"),
    ("out", "auth-svc"),
])
def test_kill_while_clients_send(killed: Platform, way: str, service: str) -> None:
    clients = Clients(killed)
    account = killed.add_account()
    if way == "in":
        load = Load(clients.smtp_mx, SENDER, account.address)
    else:
        load = Load(lambda: clients.smtp_submissions(account), account.address, account.address)
    with running(load, clients=CLIENTS):
        wait_until(lambda: len(load.accepted) >= BEFORE, 60, "the load runs")
        dead = killed.kill(service)
        at_kill = len(load.accepted)
        wait_until(lambda: len(load.accepted) >= at_kill + AFTER, 120, "mail is taken again")
        wait_until(lambda: killed.pid(service) not in (None, dead), 60, "it is started again")
    killed.wait_all_ready()

    found = arrived(clients, account, load.accepted)
    assert max(found.values()) <= 2
    doubles = [subject for subject, count in found.items() if count > 1]
    # A client whose connection broke between commit and 250 may not know; nobody here sends again,
    # so that none may be there twice by the platform's own doing more than "once more than sent".
    assert len(doubles) <= CLIENTS, doubles
    assert f"{service} (pid {dead}) died: killed by SIGKILL; starting it again" in killed.log("up")


def test_a_service_that_is_away_is_said_honestly(make_platform: Any) -> None:
    """A dependency that is down gives a 4xx or SYS/TEMP, never a hang, a lie or a loss."""
    platform = make_platform({"store-svc": {"process": {"drain_grace_seconds": 1}}})
    clients, account = Clients(platform), platform.add_account()
    clients.fetch(account)
    # Killed each time it comes back, so that it is away long enough: the supervisor waits longer
    # after each early death.
    for _ in range(5):
        dead = platform.kill("store-svc")
        wait_until(lambda: platform.pid("store-svc") != dead, 60, "store-svc is started again")
    platform.kill("store-svc")
    with clients.smtp_mx() as session:
        session.ehlo()
        session.mail(SENDER)
        code, _ = session.rcpt(account.address)
        if code == 250:
            code, text = session.data(make_message(SENDER, account.address, "x"))
            assert text.startswith(b"4.") or code == 250, text
        assert code == 250 or 400 <= code < 500
    try:
        count = len(clients.fetch(account))
    except poplib.error_proto as error:
        assert b"SYS/TEMP" in error.args[0]
        platform.wait_all_ready()
        count = len(clients.fetch(account))
    assert count == (1 if code == 250 else 0)
