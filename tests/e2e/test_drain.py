"""SIGTERM with sessions in flight: running work finishes, then a polite end."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.e2e.mail_clients import Clients
from tests.e2e.waiting import wait_until

STRANGER = "carol@elsewhere.test"


def test_data_in_flight_is_finished(make_platform: Any) -> None:
    platform = make_platform(None)
    clients, account = Clients(platform), platform.add_account()
    with clients.raw_smtp("mx") as busy, clients.raw_smtp("mx") as idle:
        busy.smtp(f"MAIL FROM:<{STRANGER}>")
        busy.smtp(f"RCPT TO:<{account.address}>")
        assert busy.smtp("DATA")[0] == 354
        busy.send(b"Subject: in flight\r\n\r\nfirst half\r\n")
        dead = platform.end("gateway-smtp-mx", signal.SIGTERM)
        # The idle one is told at its command boundary, while the busy one goes on.
        code, lines = idle.smtp_reply()
        assert code == 421 and lines[0].startswith("4.3.2"), lines
        assert idle.is_closed()
        busy.send(b"second half\r\n.\r\n")
        assert busy.smtp_reply()[0] == 250
        assert busy.smtp_reply()[0] == 421
        assert busy.is_closed()
    wait_until(lambda: platform.pid("gateway-smtp-mx") not in (None, dead), 60,
               "the supervisor starts another one")
    assert "gateway-smtp-mx" in platform.log("up") and "exit code 0" in platform.log("up")
    [fetched] = clients.fetch(account)
    assert fetched.endswith(b"first half\r\nsecond half\r\n")


def test_pop3_session_is_told(make_platform: Any) -> None:
    platform = make_platform(None)
    clients, account = Clients(platform), platform.add_account()
    with clients.raw_pop3s(account) as client:
        assert client.pop3("STAT") == "+OK 0 0"
        platform.end("gateway-pop3", signal.SIGTERM)
        assert client.line().startswith(b"-ERR")
        assert client.is_closed()


def test_grace_is_bounded(make_platform: Any) -> None:
    """A client that never ends its message doesn't keep the process."""
    platform = make_platform({"gateway-smtp-mx": {"process": {"drain_grace_seconds": 1}}})
    clients, account = Clients(platform), platform.add_account()
    with clients.raw_smtp("mx") as client:
        client.smtp(f"MAIL FROM:<{STRANGER}>")
        client.smtp(f"RCPT TO:<{account.address}>")
        assert client.smtp("DATA")[0] == 354
        client.send(b"Subject: never ends\r\n")
        dead = platform.end("gateway-smtp-mx", signal.SIGTERM)
        wait_until(lambda: platform.pid("gateway-smtp-mx") not in (None, dead), 30, "it ended")
    assert not clients.fetch(account)


@pytest.mark.parametrize("service", ["store-svc", "relay-svc", "auth-svc"])
def test_services_stop_cleanly_under_connections(make_platform: Any, service: str) -> None:
    """A rolling update of a service: it ends with exit code 0 and the gateways find the next one."""
    platform = make_platform(None)
    clients, account = Clients(platform), platform.add_account()
    clients.fetch(account)
    dead = platform.end(service, signal.SIGTERM)
    wait_until(lambda: platform.pid(service) not in (None, dead), 60, "another one is started")
    assert f"{service} (pid {dead}) died: exit code 0" in platform.log("up")
    platform.wait_all_ready()
    with clients.smtp_submissions(account) as session:
        session.sendmail(account.address, [account.address],
                         f"From: <{account.address}>\r\n\r\nafter\r\n".encode())
    clients.wait_for(account, 1)
