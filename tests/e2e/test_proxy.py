"""Behind a load balancer that speaks the PROXY protocol, clients are who they are."""

from __future__ import annotations

import poplib
import socket
import ssl
import struct
from collections.abc import Iterator

import pytest

from tests.e2e.mail_clients import Clients, RawClient, make_message
from tests.e2e.platform_under_test import Platform
from tests.e2e.waiting import wait_until

HOST = "127.0.0.1"
# Where the balancer is, and a client behind it.
BALANCER, CLIENT = "127.9.0.1", "192.0.2.55"
V1 = f"PROXY TCP4 {CLIENT} 198.51.100.2 12345 25\r\n".encode()
V2 = (b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack("!H", 12) + socket.inet_aton(CLIENT) +
      socket.inet_aton("198.51.100.2") + struct.pack("!HH", 12345, 25))
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    proxied = {"proxy_networks": ["127.9.0.0/16"]}
    platform = Platform(tmp_path_factory.mktemp("balanced"), {
        "gateway-smtp-mx": {"listeners": [{"name": "mx"} | proxied]},
        "gateway-pop3": {"listeners": [{"name": "pop3s"} | proxied]}})
    try:
        yield platform.start()
    finally:
        platform.stop()


def _log(platform: Platform, service: str) -> str:
    return (platform.data / "logs" / f"{service}.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_a_clients_address_arrives(balanced: Platform, header: bytes) -> None:
    account = balanced.add_account()
    message = make_message("carol@elsewhere.test", account.address, "Through a balancer")
    with RawClient(balanced.port("mx"), source=BALANCER) as client:
        client.send(header)
        assert client.smtp_reply()[0] == 220
        for command in ("EHLO client.test", "MAIL FROM:<carol@elsewhere.test>",
                        f"RCPT TO:<{account.address}>"):
            assert client.smtp(command)[0] == 250
        assert client.smtp("DATA")[0] == 354
        assert client.smtp(message + b".")[0] == 250
    [fetched] = Clients(balanced).fetch(account)
    assert f"[{CLIENT}]".encode() in fetched.split(b"\r\n\r\n")[0]


class _Pop3Behind(poplib.POP3_SSL):
    def _create_socket(self, timeout: float) -> ssl.SSLSocket:
        plain = socket.create_connection((self.host, self.port), timeout, (BALANCER, 0))
        plain.sendall(V2)
        return self.context.wrap_socket(plain, server_hostname=self.host)


def test_tls_comes_behind_the_header(balanced: Platform) -> None:
    account = balanced.add_account()
    session = _Pop3Behind(HOST, balanced.port("pop3s"), timeout=60,
                          context=ssl.create_default_context(cafile=balanced.ca_file))
    session.user(account.address)
    session.pass_(account.password)
    session.quit()
    wait_until(lambda: f'"client":"{CLIENT}"' in _log(balanced, "auth-svc"), 30,
               "auth-svc's log names the client")


def test_a_health_check_is_quiet(balanced: Platform) -> None:
    before = _log(balanced, "gateway-smtp-mx")
    with RawClient(balanced.port("mx"), source=BALANCER) as check:
        check.send(LOCAL)
        assert check.smtp_reply()[0] == 220
        assert check.smtp("QUIT")[0] == 221
    # Only whether the port is open.
    RawClient(balanced.port("mx"), source=BALANCER).socket.close()
    assert "PROXY" not in _log(balanced, "gateway-smtp-mx")[len(before):]


def _pop3s(platform: Platform) -> dict[str, float]:
    """What its gateway counts of the listener."""
    return {name: value for name, value in platform.metrics("gateway-pop3").items() if 'listener="pop3s"' in name}


def test_a_health_check_of_a_tls_port_is_no_failed_handshake(balanced: Platform) -> None:
    accepted = 'postern_connections_total{listener="pop3s",outcome="accepted"}'
    before = _pop3s(balanced)
    with RawClient(balanced.port("pop3s"), source=BALANCER) as check:
        check.send(LOCAL)
    # It came, and is gone.
    wait_until(lambda: _pop3s(balanced)[accepted] > before[accepted]
               and _pop3s(balanced)['postern_connections{listener="pop3s"}'] == 0, 30, "it is gone")
    assert _pop3s(balanced) == before | {accepted: before[accepted] + 1}


def test_nobody_says_that_he_is_another(balanced: Platform) -> None:
    # From elsewhere clients are served as ever, but not with a header.
    with RawClient(balanced.port("mx")) as client:
        assert client.smtp_reply()[0] == 220
        assert client.smtp("EHLO client.test")[0] == 250
    for header in (V1, V2):
        with RawClient(balanced.port("mx")) as client:
            client.send(header)
            assert client.smtp_reply()[0] == 220
            assert client.is_closed()
    wait_until(lambda: "PROXY header from outside proxy_networks" in _log(
        balanced, "gateway-smtp-mx"), 30, "the log says so")


def test_a_balancer_without_a_header(balanced: Platform) -> None:
    with RawClient(balanced.port("mx"), source=BALANCER) as client:
        client.send(b"EHLO client.test\r\n")
        assert client.is_closed()
    wait_until(lambda: "connection without a PROXY header" in _log(
        balanced, "gateway-smtp-mx"), 30, "the log says so")
