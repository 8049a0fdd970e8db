"""A platform and the mail servers elsewhere that it sends to, on loopback."""

from __future__ import annotations

import email
import email.message
from collections.abc import Callable
from typing import Any

from tests.e2e.mail_clients import Clients, make_message
from tests.e2e.nameserver import NameServer
from tests.e2e.platform_under_test import Platform
from tests.e2e.remote_mta import ScriptedMta, free_port

# All the world's mail servers listen on one port; on loopback they have an address each.
FIRST, SECOND = "127.0.0.11", "127.0.0.12"
LOOPBACK = ["127.0.0.0/8", "::1"]


class World:
    """A platform that sends to servers on loopback, and the name server that leads there."""

    def __init__(self, make_platform: Callable[[dict[str, Any]], Platform],
                 name_server: NameServer, delivery: dict[str, Any] | None = None):
        self.names = name_server
        self.mx_port = free_port()
        self._servers: list[Any] = []
        self.platform = make_platform({"relay-svc": {"delivery": {
            "mx_port": self.mx_port,
            "name_servers": [name_server.address],
            "retry_seconds": [1],
            "connect_timeout_seconds": 5,
            "allowed_private_networks": LOOPBACK,
        } | (delivery or {})}})
        self.clients = Clients(self.platform)
        self.alice = self.platform.built_in_account("alice")

    def mta(self, replies: dict[str, str] | None = None, host: str = FIRST) -> ScriptedMta:
        self._servers.append(ScriptedMta(replies, host, self.mx_port))
        return self._servers[-1]

    def send(self, *recipients: str, body: bytes = b"out\r\n") -> bytes:
        message = make_message(self.alice.address, recipients[0], "out", body)
        with self.clients.smtp_submissions(self.alice) as session:
            assert not session.sendmail(self.alice.address, list(recipients), message)
        return message

    def bounce(self) -> email.message.Message:
        """The DSN in alice's maildrop."""
        [fetched] = self.clients.wait_for(self.alice, 1)
        assert fetched.startswith(b"Return-Path: <>\r\n")
        message = email.message_from_bytes(fetched)
        assert message.get_content_type() == "multipart/report", fetched
        assert message.get_param("report-type") == "delivery-status"
        assert message["To"] and self.alice.address in message["To"]
        return message

    def stop(self) -> None:
        for server in self._servers:
            server.stop()


def status_of(bounce: email.message.Message) -> list[email.message.Message]:
    """The per-recipient fields of an RFC 3464 report."""
    report = bounce.get_payload()[1]
    assert report.get_content_type() == "message/delivery-status"
    return report.get_payload()[1:]
