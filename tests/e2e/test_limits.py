"""One client can't take a listener for itself, and who says nothing is not waited for."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from tests.e2e.mail_clients import Clients, RawClient
from tests.e2e.platform_under_test import Platform
from tests.e2e.waiting import SLOWER

# Another address of the same machine.
ELSEWHERE = "127.0.0.9"


@pytest.mark.parametrize("listener, most, refusal", [
    ("mx", 50, b"421 4.3.2"), ("submission", 20, b"421 4.3.2"), ("pop3", 20, b"-ERR [SYS/TEMP]")])
def test_one_address_does_not_fill_a_listener(platform: Platform, clients: Clients, listener: str,
                                              most: int, refusal: bytes) -> None:
    with contextlib.ExitStack() as open_connections:
        def connect(source: str) -> RawClient:
            return open_connections.enter_context(clients.raw(listener, source))
        # Silent ones of one address, up to its limit; then it is told, and others are served.
        crowd = "127.0.0.8"
        for _ in range(most):
            assert connect(crowd).line().startswith((b"220 ", b"+OK"))
        assert connect(crowd).line().startswith(refusal)
        assert connect(ELSEWHERE).line().startswith((b"220 ", b"+OK"))


def test_who_says_nothing_is_closed(make_platform: Any) -> None:
    """Before the TLS handshake, and before EHLO or USER: after hello_timeout_seconds."""
    short = {"hello_timeout_seconds": SLOWER}
    platform = make_platform({
        "gateway-smtp-mx": {"listeners": [{"name": "mx"} | short]},
        "gateway-pop3": {"listeners": [{"name": "pop3"} | short, {"name": "pop3s"} | short]}})
    clients = Clients(platform)
    for listener in ("mx", "pop3"):
        with clients.raw(listener) as client:
            assert client.line()
            if listener == "mx":
                assert client.line().startswith(b"421 4.4.2")
            assert client.is_closed()
    with RawClient(platform.port("pop3s")) as silent:
        assert silent.is_closed()
    # Whoever has begun is waited for as before.
    account = platform.add_account()
    with clients.raw_pop3s(account) as client:
        assert client.pop3("STAT") == "+OK 0 0"
