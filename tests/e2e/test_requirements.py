"""The predecessor's requirements, R1 to R13, each by a test that names it."""

from __future__ import annotations

import contextlib
import pathlib
import poplib
import re
import smtplib
import socket
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from ctl.up import ca, layout
from tests.e2e.mail_clients import Clients, make_message, plain
from tests.e2e.platform_under_test import UP_FLAGS, Account, Platform
from tests.e2e.remote_mta import free_port

MakePlatform = Callable[[dict[str, Any] | None], Platform]
STRANGER = "carol@elsewhere.test"
SUBMISSION = ["submission", "submissions"]


def _last_log_line(output: str) -> str:
    return output.strip().splitlines()[-1]


def _fails_to_start(tmp_path: pathlib.Path, overlay: dict[str, Any]) -> str:
    """What a platform with this overlay says instead of starting."""
    platform = Platform(tmp_path / "refused", overlay)
    done = platform.try_start()
    assert done.returncode == 1, done.stdout
    return done.stdout + done.stderr


def test_r1_listeners_side_by_side(make_platform: MakePlatform) -> None:
    """R1: several listeners, each with its own address, port and policy, in one process."""
    port = free_port()
    platform = make_platform({"gateway-smtp-mx": {"listeners": [
        {"name": "second", "address": "127.0.0.2", "port": port, "tls_enabled": True,
         "require_tls": True, "security_domain": "public"}]}})
    with Clients(platform).raw_smtp("mx") as client:
        assert client.smtp(f"MAIL FROM:<{STRANGER}>")[0] == 250
    with contextlib.closing(socket.create_connection(("127.0.0.2", port), 60)) as connection:
        file = connection.makefile("rwb")
        assert file.readline().startswith(b"220 ")
        file.write(f"HELO x\r\nMAIL FROM:<{STRANGER}>\r\n".encode())
        file.flush()
        assert file.readline().startswith(b"250")
        assert file.readline().startswith(b"530 5.7.0")


@pytest.mark.parametrize("setting", ["auth_required", "verify_identity"])
def test_r2_no_single_setting_opens_a_relay(tmp_path: pathlib.Path, setting: str) -> None:
    """R2: a configuration that would relay for strangers is refused; the error names the setting."""
    said = _fails_to_start(tmp_path, {"gateway-smtp-submission": {setting: False}})
    assert "gateway-smtp-submission could not start (exit code 2)" in said
    assert setting in said


def test_r2_not_an_open_relay(clients: Clients) -> None:
    """R2: out of the box nobody relays through any listener."""
    for recipient in ("x@far.test", "x%far.test@example.test", "@example.test:x@far.test",
                      '"x@far.test"@example.test', "x!far.test@example.test"):
        with clients.raw_smtp("mx") as client:
            assert client.smtp("MAIL FROM:<alice@example.test>")[0] == 250
            assert client.smtp(f"RCPT TO:<{recipient}>")[0] // 100 == 5, recipient


def test_r3_unauthenticated_only_to_local_recipients(clients: Clients, account: Account) -> None:
    """R3: an unauthenticated client reaches local, existing recipients only."""
    with clients.raw_smtp("mx") as client:
        assert client.smtp(f"MAIL FROM:<{STRANGER}>")[0] == 250
        assert client.smtp(f"RCPT TO:<{account.address}>")[0] == 250
        code, text = client.smtp("RCPT TO:<nobody-here@example.test>")
        assert code == 550 and text.startswith("5.1.1"), text
        code, text = client.smtp("RCPT TO:<x@far.test>")
        assert code == 550 and text.startswith("5.7.1"), text


@pytest.mark.parametrize("listener", SUBMISSION)
def test_r4_sending_out_needs_authentication(clients: Clients, account: Account,
                                             listener: str) -> None:
    """R4: MAIL before AUTH is refused on the submission listeners."""
    with clients.raw_smtp(listener, starttls=listener == "submission") as client:
        code, text = client.smtp(f"MAIL FROM:<{account.address}>")
        assert code == 530 and text.startswith("5.7.0"), text
        assert client.smtp(f"AUTH PLAIN {plain(account)}")[0] == 235
        assert client.smtp(f"MAIL FROM:<{account.address}>")[0] == 250
        assert client.smtp("RCPT TO:<x@far.test>")[0] == 250


def test_r5_mx_never_takes_auth(clients: Clients, account: Account) -> None:
    """R5: the port-25 listener never offers or accepts AUTH, before TLS or after."""
    for starttls in (False, True):
        with clients.raw_smtp("mx", starttls) as client:
            _, text = client.smtp("EHLO client.test")
            assert "AUTH" not in text
            assert ("STARTTLS" in text) == (not starttls)
            assert client.smtp(f"AUTH PLAIN {plain(account)}")[0] in (502, 503)
            assert client.smtp(f"MAIL FROM:<{STRANGER}>")[0] == 250


def test_r5_mx_starts_without_a_certificate(make_platform: MakePlatform) -> None:
    """R5: with tls_enabled false it starts without a certificate and does not offer STARTTLS."""
    platform = make_platform({"gateway-smtp-mx": {
        "security_domains": [],
        "listeners": [{"name": "mx", "tls_enabled": False, "security_domain": ""}]}})
    with Clients(platform).raw_smtp("mx") as client:
        _, text = client.smtp("EHLO client.test")
        assert "STARTTLS" not in text and "AUTH" not in text
        assert client.smtp("STARTTLS")[0] in (454, 502, 503)
        assert client.smtp("NOOP")[0] == 250


def test_r6_auth_only_after_starttls(clients: Clients, account: Account) -> None:
    """R6: AUTH is offered only after STARTTLS, 538 5.7.11 before it."""
    with clients.raw("submission") as client:
        assert client.smtp_reply()[0] == 220
        _, text = client.smtp("EHLO client.test")
        assert "STARTTLS" in text and "AUTH" not in text
        code, text = client.smtp(f"AUTH PLAIN {plain(account)}")
        assert code == 538 and text.startswith("5.7.11"), text
        assert client.smtp("STARTTLS")[0] == 220
        client.start_tls(clients.tls)
        _, text = client.smtp("EHLO client.test")
        assert "AUTH PLAIN LOGIN" in text and "STARTTLS" not in text
        assert client.smtp(f"AUTH PLAIN {plain(account)}")[0] == 235


def test_r6_plain_inbound_mail_works(clients: Clients, account: Account) -> None:
    """R6: plaintext inbound mail works on the port that offers STARTTLS."""
    with clients.smtp_mx() as session:
        session.sendmail(STRANGER, [account.address], make_message(STRANGER, account.address, "x"))
    assert len(clients.fetch(account)) == 1


def test_r6_require_tls(make_platform: MakePlatform) -> None:
    """R6: with require_tls everything but what leads to TLS gets 530 5.7.0."""
    platform = make_platform({"gateway-smtp-mx": {"listeners": [
        {"name": "mx", "require_tls": True}]}})
    clients = Clients(platform)
    with clients.raw_smtp("mx") as client:
        for command in (f"MAIL FROM:<{STRANGER}>", "RCPT TO:<alice@example.test>", "DATA",
                        "VRFY alice"):
            code, text = client.smtp(command)
            assert code == 530 and text.startswith("5.7.0"), (command, code, text)
        for command in ("NOOP", "RSET", "EHLO again.test", "HELO again.test"):
            assert client.smtp(command)[0] == 250
        assert client.smtp("STARTTLS")[0] == 220
        client.start_tls(clients.tls)
        client.smtp("EHLO client.test")
        assert client.smtp(f"MAIL FROM:<{STRANGER}>")[0] == 250
        assert client.smtp("QUIT")[0] == 221


def test_r7_implicit_tls(clients: Clients, account: Account) -> None:
    """R7: over implicit TLS users authenticate and send; STARTTLS is neither offered nor taken."""
    with clients.raw("submissions") as client:
        assert client.smtp_reply()[0] == 220
        _, text = client.smtp("EHLO client.test")
        assert "STARTTLS" not in text and "AUTH PLAIN LOGIN" in text
        assert client.smtp("STARTTLS")[0] in (454, 502, 503)
        assert client.smtp(f"AUTH PLAIN {plain(account)}")[0] == 235
        assert client.smtp(f"MAIL FROM:<{account.address}>")[0] == 250


def test_r8_no_credentials_in_clear(clients: Clients, account: Account) -> None:
    """R8: on the plain POP3 port USER, PASS and AUTH are refused until STLS."""
    with clients.raw("pop3") as client:
        assert client.line().startswith(b"+OK")
        capabilities = client.pop3_lines("CAPA")
        assert "STLS" in capabilities
        assert not any(line.startswith(("USER", "SASL")) for line in capabilities)
        for command in (f"USER {account.address}", f"PASS {account.password}",
                        f"AUTH PLAIN {plain(account)}", "AUTH PLAIN"):
            assert client.pop3(command).startswith("-ERR"), command
        assert client.pop3("STLS").startswith("+OK")
        client.start_tls(clients.tls)
        capabilities = client.pop3_lines("CAPA")
        assert "USER" in capabilities and "STLS" not in capabilities
        assert client.pop3(f"USER {account.address}").startswith("+OK")
        assert client.pop3(f"PASS {account.password}").startswith("+OK")


def test_r8_pop3_over_tls(clients: Clients, account: Account) -> None:
    """R8: POP3 over TLS from the first octet."""
    session = clients.pop3s(account)
    assert session.stat() == (0, 0)
    session.quit()
    with pytest.raises(poplib.error_proto):
        clients.pop3s(Account(account.address, "wrong"))


@pytest.mark.parametrize("setting", [{"require_tls_for_auth": False}])
@pytest.mark.parametrize("service,listener", [("gateway-pop3", "pop3"),
                                              ("gateway-smtp-submission", "submission")])
def test_r8_no_listener_takes_credentials_in_clear(tmp_path: pathlib.Path, service: str,
                                                   listener: str,
                                                   setting: dict[str, bool]) -> None:
    """R8: a listener that would take a credential in clear does not start."""
    said = _fails_to_start(tmp_path, {service: {"listeners": [{"name": listener} | setting]}})
    assert "require_tls_for_auth" in said


@pytest.mark.parametrize("recipient", ["local", "remote"])
@pytest.mark.parametrize("listener", SUBMISSION)
def test_r9_envelope_sender_is_the_users(clients: Clients, account: Account, listener: str,
                                         recipient: str) -> None:
    """R9: MAIL FROM must be the user's own, for local and remote recipients alike."""
    to = "bob@example.test" if recipient == "local" else "x@far.test"
    with clients.raw_smtp(listener, listener == "submission", account) as client:
        for foreign in ("bob@example.test", "x@far.test", account.address.split("@")[0] + "@far.test"):
            code, text = client.smtp(f"MAIL FROM:<{foreign}>")
            if code == 250:
                code, text = client.smtp(f"RCPT TO:<{to}>")
            assert code == 550 and text.startswith("5.7.1"), (foreign, code, text)
            client.smtp("RSET")
        assert client.smtp(f"MAIL FROM:<{account.address}>")[0] == 250


@pytest.mark.parametrize("header", ["From: <bob@example.test>",
                                    "From: {own}\r\nSender: <bob@example.test>",
                                    "From: {own}, <bob@example.test>",
                                    "From: \"{own}\" <bob@example.test>"])
def test_r9_header_sender_is_the_users(clients: Clients, account: Account, header: str) -> None:
    """R9: the header's From and Sender must be the user's own too."""
    text = header.replace("{own}", account.address).encode() + b"\r\nSubject: x\r\n\r\nx\r\n"
    with clients.smtp_submissions(account) as session:
        with pytest.raises(smtplib.SMTPDataError) as refused:
            session.sendmail(account.address, [account.address], text)
    assert refused.value.smtp_code == 550
    assert refused.value.smtp_error.startswith(b"5.7.1")


def test_r9_own_aliases_and_subaddresses(clients: Clients, account: Account) -> None:
    """R9: an alias that leads to the account, and its sub-addresses, are its own."""
    alias = account.address.replace("user-", "also-")
    clients.platform.ctl("alias", "add", alias, account.address)
    own = [alias, account.address.replace("@", "+tag@")]
    for sender in own:
        with clients.smtp_submissions(account) as session:
            session.sendmail(sender, [account.address],
                             make_message(sender, account.address, "mine"))
    clients.wait_for(account, len(own))


def test_r10_profile_is_shared_and_named(tmp_path: pathlib.Path) -> None:
    """R10: a listener that names a missing security domain refuses to start, naming it."""
    said = _fails_to_start(tmp_path, {"gateway-smtp-mx": {"listeners": [
        {"name": "mx", "security_domain": "not-there"}]}})
    assert "not-there" in said


@pytest.mark.parametrize("broken", ["absent", "no PEM", "another's key"])
def test_r10_broken_profile(make_platform: MakePlatform, tmp_path: pathlib.Path,
                            broken: str) -> None:
    """R10: a broken security domain stops the start, naming the profile or its file."""
    file = tmp_path / "broken.pem"
    setting = "certificate_file"
    if broken == "no PEM":
        file.write_text("no PEM\n")
    elif broken == "another's key":
        data = layout.DataDir(tmp_path / "elsewhere")
        data.create()
        ca.ensure(data)
        file, setting = data.key(ca.PUBLIC), "private_key_file"
    said = _fails_to_start(tmp_path, {"gateway-pop3": {"security_domains": [
        {"name": "public", setting: str(file)}]}})
    assert "gateway-pop3 could not start" in said
    assert str(file) in said or "public" in _last_log_line(said)


def test_r11_address_binds_exactly(make_platform: MakePlatform) -> None:
    """R11: a listener on one address is not reachable on another."""
    port = free_port()
    make_platform({"gateway-smtp-mx": {"listeners": [
        {"name": "one", "address": "127.0.0.5", "port": port}]}})
    with contextlib.closing(socket.create_connection(("127.0.0.5", port), 60)) as connection:
        assert connection.recv(100).startswith(b"220 ")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 60)


def test_r11_failed_bind_stops_the_process(tmp_path: pathlib.Path) -> None:
    """R11: an address that is not this machine's stops the start, naming the listener."""
    said = _fails_to_start(tmp_path, {"gateway-smtp-mx": {"listeners": [
        {"name": "far", "address": "192.0.2.1", "port": free_port()}]}})
    assert "far" in said and "192.0.2.1" in said


def test_r12_users_are_in_a_database(make_platform: MakePlatform) -> None:
    """R12: accounts come from the directory's database, and changes there count at once."""
    platform = make_platform(None)
    clients, account = Clients(platform), platform.add_account()
    clients.pop3s(account).quit()
    platform.ctl("account", "set-password", account.address, "--password-stdin",
                 password="another password\n")
    with pytest.raises(poplib.error_proto):
        clients.pop3s(account)
    clients.pop3s(Account(account.address, "another password")).quit()
    platform.ctl("account", "remove", account.address)
    with pytest.raises(poplib.error_proto):
        clients.pop3s(Account(account.address, "another password"))
    with clients.raw_smtp("mx") as client:
        client.smtp(f"MAIL FROM:<{STRANGER}>")
        assert client.smtp(f"RCPT TO:<{account.address}>")[0] == 550


@pytest.mark.skipif(bool(UP_FLAGS), reason="of SQLite, or of `up` alone")
def test_r13_passwords_are_only_hashes(make_platform: MakePlatform) -> None:
    """R13: no file of the platform holds a password but the two that `up` keeps for the user."""
    platform = make_platform(None)
    clients, account = Clients(platform), platform.add_account()
    clients.pop3s(account).quit()
    with clients.smtp_submissions(account) as session:
        session.noop()
    secret = account.password.encode()
    for file in platform.data.rglob("*"):
        if file.is_file():
            octets = file.read_bytes()
            assert secret not in octets, file
            assert plain(account).encode() not in octets, file
    # Hashed by argon2id.
    database = platform.data / "auth-svc" / "directory.db"
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    with contextlib.closing(connection):
        dump = "\n".join(connection.iterdump())
    assert re.search(r"\$argon2id\$", dump)
