"""Clients as people have them, over every port, with STARTTLS and implicit TLS."""

from __future__ import annotations

import email
import email.policy
import poplib
import re
import secrets
import smtplib
import ssl

import pytest

from tests.e2e.mail_clients import HOST, Clients, RawClient, make_message, without_trace
from tests.e2e.platform_under_test import Account, Platform
from tests.e2e.waiting import wait_until

STRANGER = "carol@elsewhere.test"


def _url(clients: Clients, scheme: str, listener: str) -> str:
    return f"{scheme}://{HOST}:{clients.platform.port(listener)}"


@pytest.mark.parametrize("starttls", [False, True])
def test_smtplib_sends_in(clients: Clients, account: Account, starttls: bool) -> None:
    message = make_message(STRANGER, account.address, "in")
    with clients.smtp_mx(starttls) as session:
        session.sendmail(STRANGER, [account.address], message)
    [fetched] = clients.fetch(account)
    assert without_trace(fetched, message) == message
    assert fetched.startswith(b"Return-Path: <carol@elsewhere.test>\r\n")
    assert b"\r\nDelivered-To: " + account.address.encode() + b"\r\n" in fetched
    received = fetched.split(b"Received:", 1)[1].split(b"\r\nFrom:", 1)[0]
    assert (b"with ESMTPS" in received) == starttls
    assert b"client.test" in received


@pytest.mark.parametrize("listener", ["submission", "submissions"])
def test_smtplib_sends_out(clients: Clients, account: Account, listener: str) -> None:
    recipient = clients.platform.add_account()
    message = make_message(account.address, recipient.address, "out")
    connect = {"submission": clients.smtp_submission, "submissions": clients.smtp_submissions}
    with connect[listener](account) as session:
        session.sendmail(account.address, [recipient.address], message)
    [fetched] = clients.wait_for(recipient, 1)
    assert without_trace(fetched, message) == message
    assert b"with ESMTPSA" in fetched


@pytest.mark.parametrize("listener", ["pop3", "pop3s"])
def test_poplib_fetches(clients: Clients, account: Account, listener: str) -> None:
    message = make_message(STRANGER, account.address, "fetch")
    with clients.smtp_mx() as session:
        session.sendmail(STRANGER, [account.address], message)
        session.sendmail(STRANGER, [account.address], message)
    session = {"pop3": clients.pop3, "pop3s": clients.pop3s}[listener](account)
    count, octets = session.stat()
    assert count == 2
    sizes = [int(line.split()[1]) for line in session.list()[1]]
    assert sum(sizes) == octets
    for number in (1, 2):
        fetched = b"".join(line + b"\r\n" for line in session.retr(number)[1])
        assert without_trace(fetched, message) == message
        assert len(fetched) == sizes[number - 1]
    uids = [line.split()[1] for line in session.uidl()[1]]
    assert len(set(uids)) == 2
    session.dele(1)
    session.quit()
    session = clients.pop3s(account)
    assert [line.split()[1] for line in session.uidl()[1]] == uids[1:]
    session.quit()


@pytest.mark.parametrize("tls", [(), ("--ssl-reqd",)])
def test_curl_sends_in(clients: Clients, account: Account, tls: tuple[str, ...]) -> None:
    message = make_message(STRANGER, account.address, "curl")
    done = clients.curl(*tls, "--mail-from", STRANGER, "--mail-rcpt", account.address,
                        "--upload-file", "-", _url(clients, "smtp", "mx"), stdin=message)
    assert done.returncode == 0, done.stderr
    [fetched] = clients.fetch(account)
    without_trace(fetched, message)


@pytest.mark.parametrize("scheme,listener,tls",
                         [("smtp", "submission", ("--ssl-reqd",)), ("smtps", "submissions", ())])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_curl_sends_out(clients: Clients, account: Account, scheme: str, listener: str,
                        tls: tuple[str, ...], mechanism: str) -> None:
    message = make_message(account.address, account.address, "curl")
    done = clients.curl(*tls, "--user", f"{account.address}:{account.password}",
                        "--login-options", f"AUTH={mechanism}", "--mail-from", account.address,
                        "--mail-rcpt", account.address, "--upload-file", "-",
                        _url(clients, scheme, listener), stdin=message)
    assert done.returncode == 0, done.stderr
    [fetched] = clients.wait_for(account, 1)
    without_trace(fetched, message)


@pytest.mark.parametrize("scheme,listener,tls",
                         [("pop3", "pop3", ("--ssl-reqd",)), ("pop3s", "pop3s", ())])
@pytest.mark.parametrize("login", [(), ("--login-options", "AUTH=PLAIN"),
                                   ("--login-options", "AUTH=PLAIN", "--sasl-ir")])
def test_curl_fetches(clients: Clients, account: Account, scheme: str, listener: str,
                      tls: tuple[str, ...], login: tuple[str, ...]) -> None:
    message = make_message(STRANGER, account.address, "curl", b".dot\r\n..two\r\nend\r\n")
    with clients.smtp_mx() as session:
        session.sendmail(STRANGER, [account.address], message)
    done = clients.curl(*tls, *login, "--user", f"{account.address}:{account.password}",
                        _url(clients, scheme, listener) + "/1")
    assert done.returncode == 0, done.stderr
    without_trace(done.stdout, message)


@pytest.mark.parametrize("tls", [(), ("--tls",)])
def test_swaks_sends_in(clients: Clients, account: Account, tls: tuple[str, ...]) -> None:
    done = clients.swaks(*tls, "--server", f"{HOST}:{clients.platform.port('mx')}", "--from",
                         STRANGER, "--to", account.address, "--body", "swaks was here")
    assert done.returncode == 0, done.stdout
    [fetched] = clients.fetch(account)
    assert b"swaks was here" in fetched


@pytest.mark.parametrize("listener,tls", [("submission", "--tls"),
                                          ("submissions", "--tls-on-connect")])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks_sends_out(clients: Clients, account: Account, listener: str, tls: str,
                         mechanism: str) -> None:
    word = secrets.token_hex(8)
    done = clients.swaks(tls, "--server", f"{HOST}:{clients.platform.port(listener)}", "--auth",
                         mechanism, "--auth-user", account.address, "--auth-password",
                         account.password, "--from", account.address, "--to", account.address,
                         "--pipeline", "--body", word)
    assert done.returncode == 0, done.stdout
    [fetched] = clients.wait_for(account, 1)
    assert word.encode() in fetched


def test_certificate_is_the_public_one(clients: Clients, platform: Platform) -> None:
    for name in ("localhost", "mail.example.test", HOST):
        context = ssl.create_default_context(cafile=platform.ca_file)
        with clients.raw("mx") as client:
            assert client.smtp_reply()[0] == 220
            client.smtp("EHLO client.test")
            client.smtp("STARTTLS")
            client.socket = context.wrap_socket(client.socket, server_hostname=name)
            assert client.socket.version() == "TLSv1.3"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_is_refused(clients: Clients, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context(cafile=clients.platform.ca_file)
    context.minimum_version = version
    context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        poplib.POP3_SSL(HOST, clients.platform.port("pop3s"), timeout=60, context=context)


@pytest.mark.parametrize("listener", ["mx", "submission", "pop3"])
def test_a_browser_that_was_sent_here_is_sent_away(clients: Clients, listener: str) -> None:
    """Of its POST nothing but the first line is read."""
    gateway = "gateway-pop3" if listener == "pop3" else f"gateway-smtp-{listener}"
    counter = f"postern_{'pop3' if listener == 'pop3' else 'smtp'}_sessions_foreign_total"
    before = clients.platform.metrics(gateway)[counter]
    done = clients.curl("--http0.9", "--max-time", "20", "--data-binary", "EHLO c\r\nMAIL FROM:<a@b.test>\r\nQUIT\r\n",
                        f"http://localhost:{clients.platform.port(listener)}/")
    lines = done.stdout.split(b"\r\n")
    assert len(lines) == 3 and lines[1].endswith(b", not HTTP"), done.stdout
    assert clients.platform.metrics(gateway)[counter] == before + 1
    wait_until(lambda: "client speaks another protocol" in clients.platform.log(gateway), 30, "it is in the log")


@pytest.mark.parametrize("listener", ["pop3s", "submissions"])
def test_another_protocol_in_tls_is_refused(clients: Clients, listener: str) -> None:
    def connect(*protocols: str) -> str | None:
        context = ssl.create_default_context(cafile=clients.platform.ca_file)
        context.set_alpn_protocols(protocols)
        with RawClient(clients.platform.port(listener), context) as client:
            assert isinstance(client.socket, ssl.SSLSocket)
            return client.socket.selected_alpn_protocol()

    assert connect("pop3", "smtp") == "pop3" and connect("http/1.1", "smtp") == "smtp"
    for foreign in ("http/1.1", "h2", "imap"):
        with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
            connect(foreign)


def test_alias_and_subaddress_reach_the_mailbox(clients: Clients, account: Account) -> None:
    alias = f"alias-{secrets.token_hex(4)}@example.test"
    clients.platform.ctl("alias", "add", alias, account.address)
    local, domain = account.address.split("@")
    for recipient in (alias, f"{local}+list@{domain}", account.address.upper()):
        with clients.smtp_mx() as session:
            session.sendmail(STRANGER, [recipient], make_message(STRANGER, recipient, "x"))
    assert len(clients.fetch(account)) == 3


def test_addresses_without_angle_brackets(clients: Clients, account: Account) -> None:
    """Printers, RAID controllers and scripts leave them out."""
    with clients.raw_smtp("mx") as client:
        assert client.smtp(f"MAIL FROM:{STRANGER}")[0] == 250
        assert client.smtp(f"RCPT TO: {account.address}")[0] == 250
        assert client.smtp("DATA")[0] == 354
        assert client.smtp("Subject: from a printer\r\n\r\nx\r\n.")[0] == 250
    [message] = clients.fetch(account)
    assert f"Return-Path: <{STRANGER}>".encode() in message


def test_a_client_whose_owner_named_it(clients: Clients, account: Account) -> None:
    """EHLO with a name that no DNS knows; what is stored stays ASCII."""
    for listener, name in (("mx", "Jürgens-PC"), ("submission", "Anna’s phone (old)")):
        with clients.raw(listener) as client:
            assert client.smtp_reply()[0] == 220
            assert client.smtp(f"EHLO {name}".encode())[0] == 250
            if listener == "mx":
                assert client.smtp(f"MAIL FROM:<{STRANGER}>")[0] == 250
                assert client.smtp(f"RCPT TO:<{account.address}>")[0] == 250
                assert client.smtp("DATA")[0] == 354
                assert client.smtp("Subject: x\r\n\r\nx\r\n.")[0] == 250
    [message] = clients.fetch(account)
    assert message.isascii() and b"Received: from J??rgens-PC" in message


def test_more_blanks_than_pop3_has(clients: Clients, account: Account) -> None:
    with clients.raw_pop3s(account) as client:
        assert client.pop3("STAT ") == "+OK 0 0"
        assert client.pop3_lines("LIST ") == []
        assert client.pop3("NOOP x").startswith("+OK")
        assert "SASL PLAIN LOGIN" in client.pop3_lines("CAPA")
        assert client.pop3("QUIT now").startswith("+OK")


def test_read_receipt_and_missing_from(clients: Clients, account: Account) -> None:
    """RFC 8098 3: the envelope of a receipt is empty. RFC 6409 8.1: what has no From gets one."""
    other = clients.platform.add_account()
    with clients.smtp_submissions(account) as session:
        session.sendmail("", [other.address],
                         make_message(account.address, other.address, "receipt"))
        session.sendmail(account.address, [other.address], b"Subject: bare\r\n\r\nx\r\n")
        with pytest.raises(smtplib.SMTPDataError) as refused:
            session.sendmail("", [other.address], b"Subject: nobody\r\n\r\nx\r\n")
    assert refused.value.smtp_error == b"5.6.0 The From field is missing"
    messages = clients.wait_for(other, 2)
    [bare] = [message for message in messages if b"Subject: bare" in message]
    assert f"\r\nFrom: <{account.address}>\r\n\r\n".encode() in bare


def test_submission_completes_the_header(clients: Clients, account: Account) -> None:
    """RFC 6409 8.2, 8.3; RFC 5322 3.6.3: blind copies are blind."""
    other = clients.platform.add_account()
    message = (f"From: {account.address}\r\nBcc: secret@elsewhere.test,\r\n more@elsewhere.test\r\n"
               "RESENT-BCC : secret@elsewhere.test\r\nReturn-Path: <secret@elsewhere.test>\r\n"
               "Delivered-To: secret@elsewhere.test\r\nSubject: s\r\n\r\nBcc: of the body\r\n")
    with clients.smtp_submissions(account) as session:
        session.sendmail(account.address, [other.address], message.encode())
        session.sendmail(account.address, [other.address], b"no header: at all\r\n")
    fetched = clients.wait_for(other, 2)
    [completed] = [message for message in fetched if b"Subject: s" in message]
    parsed = email.message_from_bytes(completed, policy=email.policy.default)
    assert b"secret@" not in completed and b"more@" not in completed
    assert parsed.get_all("Return-Path") == [f"<{account.address}>"]
    assert parsed.get_all("Delivered-To") == [other.address]
    assert parsed.get_payload() == "Bcc: of the body\r\n"
    [bare] = [message for message in fetched if b"no header" in message]
    assert email.message_from_bytes(bare).get_payload() == "no header: at all\r\n"
    for text in fetched:
        parsed = email.message_from_bytes(text, policy=email.policy.default)
        [date], [message_id] = parsed.get_all("Date"), parsed.get_all("Message-ID")
        assert date.datetime.tzinfo is not None and not parsed.defects
        assert re.fullmatch(r"<[0-9a-f]{32}@example\.test>", message_id), message_id
        assert [a.addr_spec for a in parsed["From"].addresses] == [account.address]


@pytest.mark.parametrize("header, words", [
    ("From: {0}\r\nFrom: {0}\r\n", "The From field stands more than once (RFC 5322 3.6)"),
    ("From: {0} <\r\n", "The From field is no list of addresses (RFC 5322 3.4)"),
    ("From: {0}\r\nno field\r\n", "The header has a line that is no field (RFC 5322 2.2)"),
])
def test_refused_content_is_named(clients: Clients, account: Account, header: str,
                                  words: str) -> None:
    with clients.smtp_submissions(account) as session:
        with pytest.raises(smtplib.SMTPDataError) as refused:
            session.sendmail(account.address, [account.address],
                             (header.format(account.address) + "\r\nx\r\n").encode())
    assert (refused.value.smtp_code, refused.value.smtp_error.decode()) == (554, f"5.6.0 {words}")


def test_vrfy_and_help(clients: Clients) -> None:
    with clients.smtp_mx() as session:
        assert session.verify("alice@example.test")[0] == 252
        assert session.docmd("HELP")[0] == 214
        assert session.noop()[0] == 250


def test_two_domains_are_separate_namespaces(clients: Clients, account: Account) -> None:
    domain = f"d{secrets.token_hex(4)}.test"
    clients.platform.ctl("domain", "add", domain)
    local = account.address.split("@")[0]
    other = clients.platform.add_account(f"{local}@{domain}")
    with clients.smtp_mx() as session:
        session.sendmail(STRANGER, [other.address], make_message(STRANGER, other.address, "x"))
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            session.sendmail(STRANGER, [f"nobody@{domain}"], b"x")
    assert len(clients.fetch(other)) == 1
    assert not clients.fetch(account)
