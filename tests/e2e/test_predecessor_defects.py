"""The predecessor's defects that touch SMTP, delivery and POP3: none of them is back."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import poplib
import socket

import pytest

from tests.e2e.mail_clients import HOST, Clients, RawClient, make_message, plain, without_trace
from tests.e2e.platform_under_test import Account
from tests.e2e.waiting import wait_until

STRANGER = "carol@elsewhere.test"


def _deliver(clients: Clients, account: Account, count: int = 1) -> None:
    with clients.smtp_mx() as session:
        for number in range(count):
            session.sendmail(STRANGER, [account.address],
                             make_message(STRANGER, account.address, f"message {number}"))


def _begin(client: RawClient, account: Account) -> None:
    assert client.smtp(f"MAIL FROM:<{STRANGER}>")[0] == 250
    assert client.smtp(f"RCPT TO:<{account.address}>")[0] == 250
    assert client.smtp("DATA")[0] == 354


def test_size_limit_is_offered_and_enforced(make_platform, tmp_path) -> None:
    """Size limit never enforced and SIZE not offered."""
    platform = make_platform({"gateway-smtp-mx": {"limits": {"max_message_octets": "64KiB"}}})
    clients, account = Clients(platform), platform.add_account()
    with clients.raw_smtp("mx") as client:
        assert "SIZE 65536" in client.smtp("EHLO x.test")[1].splitlines()
        _begin(client, account)
        client.send(b"Subject: x\r\n\r\n" + b"0123456789abcde\r\n" * 5000 + b".\r\n")
        code, lines = client.smtp_reply()
        assert code == 552 and lines[0].startswith("5.3.4"), lines
        # The session is still in step.
        _begin(client, account)
        assert client.smtp("Subject: small\r\n\r\nx\r\n.")[0] == 250
    assert len(clients.fetch(account)) == 1


def test_data_keeps_the_login(clients: Clients, account: Account) -> None:
    """DATA wiped the login, so that a second message needed a new AUTH."""
    with clients.smtp_submissions(account) as session:
        for _ in range(3):
            session.sendmail(account.address, [account.address],
                             make_message(account.address, account.address, "again"))
    clients.wait_for(account, 3)


def test_rejected_body_is_not_parsed_as_commands(clients: Clients, account: Account) -> None:
    """A rejected message's body was left unread and parsed as commands."""
    with clients.raw_smtp("mx") as client:
        _begin(client, account)
        client.send(b"bare\nline feed\r\nRSET\r\nQUIT\r\nMAIL FROM:<x@y.test>\r\n.\r\nNOOP\r\n")
        assert client.smtp_reply()[0] // 100 == 5
        assert client.smtp_reply()[0] == 250
        client.send(b"NOOP\r\n")
        assert client.smtp_reply()[0] == 250
    assert not clients.fetch(account)


def test_empty_body_does_not_hang(clients: Clients, account: Account) -> None:
    """An empty body hung."""
    with clients.raw_smtp("mx") as client:
        _begin(client, account)
        assert client.smtp(".")[0] == 250
        assert client.smtp("NOOP")[0] == 250


def test_unknown_mechanism_gets_a_reply(clients: Clients, account: Account) -> None:
    """Unknown AUTH mechanism got no reply."""
    with clients.raw_smtp("submissions") as client:
        for mechanism in ("CRAM-MD5", "X", "GSSAPI", "plain2"):
            code, text = client.smtp(f"AUTH {mechanism}")
            assert code == 504 and text.startswith("5.5.4"), text
        assert client.smtp("AUTH")[0] == 501
        assert client.smtp(f"AUTH PLAIN {plain(account)}")[0] == 235
    with clients.raw("pop3s") as client:
        client.line()
        assert client.pop3("AUTH CRAM-MD5").startswith("-ERR")
        assert client.pop3(f"AUTH PLAIN {plain(account)}").startswith("+OK")


def test_plain_with_authzid(clients: Clients, account: Account) -> None:
    """PLAIN with authzid mis-parsed."""
    with clients.raw_smtp("submissions") as client:
        assert client.smtp(f"AUTH PLAIN {plain(account, authzid='bob@example.test')}")[0] == 535
        assert client.smtp(f"AUTH PLAIN {plain(account, authzid=account.address)}")[0] == 235
        assert client.smtp("MAIL FROM:<bob@example.test>")[0] in (250, 550)
        if client.smtp("RSET")[0] == 250:
            assert client.smtp(f"MAIL FROM:<{account.address}>")[0] == 250


@pytest.mark.parametrize("first", ["AUTH PLAIN", "AUTH LOGIN"])
def test_cancel_is_handled(clients: Clients, account: Account, first: str) -> None:
    """`*` cancel unhandled."""
    with clients.raw_smtp("submissions") as client:
        assert client.smtp(first)[0] == 334
        assert client.smtp("*")[0] == 501
        assert client.smtp("NOOP")[0] == 250
        assert client.smtp(f"AUTH PLAIN {plain(account)}")[0] == 235


def test_login_mechanism(clients: Clients, account: Account) -> None:
    """LOGIN asks for name and password, with an initial response or without."""
    def encode(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    for initial in (True, False):
        with clients.raw_smtp("submissions") as client:
            if initial:
                assert client.smtp(f"AUTH LOGIN {encode(account.address)}")[0] == 334
            else:
                assert client.smtp("AUTH LOGIN")[0] == 334
                assert client.smtp(encode(account.address))[0] == 334
            assert client.smtp(encode(account.password))[0] == 235


def test_one_reply_to_one_command(clients: Clients, account: Account) -> None:
    """Two replies to one command."""
    commands = [f"MAIL FROM:<{STRANGER}>", "RCPT TO:<nobody-here@example.test>",
                f"RCPT TO:<{account.address}>", f"MAIL FROM:<{STRANGER}>", "FOO", "", "RSET",
                "DATA", "VRFY x", "NOOP"]
    with clients.raw_smtp("mx") as client:
        client.send("".join(command + "\r\n" for command in commands).encode())
        codes = [client.smtp_reply()[0] for _ in commands]
        assert [code // 100 for code in codes] == [2, 5, 2, 5, 5, 5, 2, 5, 2, 2], codes
        assert client.smtp("QUIT")[0] == 221
        assert client.is_closed()


@pytest.mark.parametrize("listener", ["mx", "pop3s"])
def test_lines_are_bounded(clients: Clients, listener: str) -> None:
    """Lines of unbounded length."""
    with clients.raw(listener) as client:
        client.line()
        chunk = b"a" * 65536
        # Either it answers with an error, or it has had enough and closes; it never just takes.
        with contextlib.suppress(OSError):
            for _ in range(64):
                client.send(chunk)
            client.send(b"\r\n")
        answer = client.line()
        assert answer == b"" or answer.startswith((b"5", b"421", b"-ERR")), answer


def test_long_line_in_a_message(clients: Clients, account: Account) -> None:
    """A line of more than 1000 octets in DATA is taken whole, never cut."""
    message = make_message(STRANGER, account.address, "long", b"y" * 5000 + b"\r\n")
    with clients.smtp_mx() as session:
        session.sendmail(STRANGER, [account.address], message)
    [fetched] = clients.fetch(account)
    without_trace(fetched, message)


@pytest.mark.parametrize("ending", [b"\n", b"\r"])
def test_bare_cr_or_lf_ends_no_command(clients: Clients, ending: bytes) -> None:
    """Bare CR or LF ended a line: in a command."""
    with clients.raw_smtp("mx") as client:
        client.send(b"NOOP" + ending + b"MAIL FROM:<carol@elsewhere.test>\r\n")
        assert client.smtp_reply()[0] // 100 == 5
        # No second command was seen: there is no transaction. Or the server has had enough.
        assert client.smtp("RCPT TO:<alice@example.test>")[0] in (0, 503)


@pytest.mark.parametrize("end", [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r\n", b"\r\n.\r",
                                 b"\r.\r", b"\r\n\x00.\r\n", b"\n.\r"])
def test_no_smuggling(clients: Clients, account: Account, end: bytes) -> None:
    """Bare CR or LF ended a line: no end of data but CRLF.CRLF splits a message."""
    smuggled = (b"MAIL FROM:<evil@elsewhere.test>\r\nRCPT TO:<" + account.address.encode()
                + b">\r\nDATA\r\nSubject: smuggled\r\n\r\nboo\r\n.\r\n")
    with clients.raw_smtp("mx") as client:
        _begin(client, account)
        client.send(b"Subject: first\r\n\r\nbody" + end + smuggled)
        code = client.smtp_reply()[0]
        assert client.smtp("NOOP")[0] in (250, 500, 502)
    fetched = clients.fetch(account)
    assert len(fetched) <= 1
    if b"\x00" not in end:
        assert code // 100 == 5 and not fetched
    for message in fetched:
        assert not message.startswith(b"Return-Path: <evil@")


def test_implicit_tls_counts_as_secure(clients: Clients, account: Account) -> None:
    """Implicit TLS didn't count as secure."""
    with clients.raw_smtp("submissions") as client:
        assert "AUTH PLAIN LOGIN" in client.smtp("EHLO x.test")[1]
        assert client.smtp(f"AUTH PLAIN {plain(account)}")[0] == 235


def test_starttls_forgets_what_came_before(clients: Clients) -> None:
    """STARTTLS drops what was buffered: nothing from before TLS is taken as from within."""
    with clients.raw_smtp("mx") as client:
        client.send(b"STARTTLS\r\nNOOP\r\nMAIL FROM:<evil@elsewhere.test>\r\n")
        assert client.smtp_reply()[0] == 220
        try:
            client.start_tls(clients.tls)
        except OSError:
            return  # The plaintext broke the handshake: as good.
        assert client.smtp("RCPT TO:<alice@example.test>")[0] == 503


def test_stls_forgets_what_came_before(clients: Clients, account: Account) -> None:
    """The same for STLS."""
    with clients.raw("pop3") as client:
        client.line()
        client.send(f"STLS\r\nUSER {account.address}\r\n".encode())
        assert client.line().startswith(b"+OK")
        try:
            client.start_tls(clients.tls)
        except OSError:
            return
        assert client.pop3(f"PASS {account.password}").startswith("-ERR")


def test_login_name_counts_with_its_domain(clients: Clients, account: Account) -> None:
    """Login name compared with the sender's local part only, and only for remote recipients."""
    local = account.address.split("@")[0]
    with clients.raw_smtp("submissions", account=account) as client:
        code, _ = client.smtp(f"MAIL FROM:<{local}@other.test>")
        if code == 250:
            code, _ = client.smtp("RCPT TO:<bob@example.test>")
        assert code == 550


def test_existence_is_checked_at_rcpt(clients: Clients) -> None:
    """Users' existence never checked at RCPT."""
    with clients.raw_smtp("mx") as client:
        client.smtp(f"MAIL FROM:<{STRANGER}>")
        code, text = client.smtp("RCPT TO:<no-such-user@example.test>")
        assert code == 550 and text.startswith("5.1.1")


def test_nothing_bounces_to_nobody(clients: Clients, account: Account) -> None:
    """Bounces addressed to `<>`: the null sender's mail is taken, and makes no DSN."""
    with clients.raw_smtp("mx") as client:
        assert client.smtp("MAIL FROM:<>")[0] == 250
        assert client.smtp(f"RCPT TO:<{account.address}>")[0] == 250
        assert client.smtp("DATA")[0] == 354
        assert client.smtp("Subject: dsn\r\n\r\nx\r\n.")[0] == 250
    [fetched] = clients.fetch(account)
    assert fetched.startswith(b"Return-Path: <>\r\n")


def test_envelope_sender_is_not_the_headers(clients: Clients, account: Account) -> None:
    """Envelope sender taken from the From header."""
    with clients.smtp_mx() as session:
        session.sendmail("envelope@elsewhere.test", [account.address],
                         make_message("header@elsewhere.test", account.address, "x"))
    [fetched] = clients.fetch(account)
    assert fetched.startswith(b"Return-Path: <envelope@elsewhere.test>\r\n")


def test_uidl_numbers_and_stability(clients: Clients, account: Account) -> None:
    """UIDL numbered every line 1."""
    _deliver(clients, account, 3)
    first = clients.pop3s(account)
    lines = [line.decode().split() for line in first.uidl()[1]]
    first.quit()
    assert [number for number, _ in lines] == ["1", "2", "3"]
    assert len({uid for _, uid in lines}) == 3
    with contextlib.closing(clients.pop3s(account)) as second:
        assert [line.decode().split() for line in second.uidl()[1]] == lines
        assert second.uidl(2).decode().split()[1:] == lines[1]
        second.quit()


def test_deleted_messages_are_not_listed(clients: Clients, account: Account) -> None:
    """Deleted messages still listed."""
    _deliver(clients, account, 3)
    session = clients.pop3s(account)
    session.dele(2)
    assert [line.split()[0] for line in session.list()[1]] == [b"1", b"3"]
    assert [line.split()[0] for line in session.uidl()[1]] == [b"1", b"3"]
    assert session.stat()[0] == 2
    for command in (session.retr, session.dele, session.list, session.uidl):
        with pytest.raises(poplib.error_proto):
            command(2)
    session.rset()
    assert session.stat()[0] == 3
    session.dele(1)
    session.quit()
    assert len(clients.fetch(account)) == 2


def test_dropped_connection_deletes_nothing(clients: Clients, account: Account) -> None:
    """Deletions committed on a dropped connection."""
    _deliver(clients, account, 2)
    client = clients.raw_pop3s(account)
    assert client.pop3("DELE 1").startswith("+OK")
    client.socket.close()

    def count() -> int:
        try:
            return len(clients.fetch(account))
        except poplib.error_proto:
            return 0
    assert wait_until(count, 30, "the maildrop is free again") == 2


def test_maildrop_is_locked(clients: Clients, account: Account) -> None:
    """No maildrop lock."""
    with clients.raw_pop3s(account) as first:
        with pytest.raises(poplib.error_proto) as refused:
            clients.pop3s(account)
        assert b"[IN-USE]" in refused.value.args[0]
        assert first.pop3("NOOP").startswith("+OK")
        assert first.pop3("QUIT").startswith("+OK")
    # A clean end frees it at once.
    clients.pop3s(account).quit()


def test_apop_takes_no_login(clients: Clients, account: Account) -> None:
    """APOP ignored the TLS requirement and raced between sessions: it is not there."""
    for listener in ("pop3", "pop3s"):
        with clients.raw(listener) as client:
            assert b"<" not in client.line()
            assert client.pop3(f"APOP {account.address} " + "0" * 32).startswith("-ERR")


def test_user_again_after_a_failed_pass(clients: Clients, account: Account) -> None:
    """USER couldn't be sent again after a failed PASS."""
    with clients.raw("pop3s") as client:
        client.line()
        assert client.pop3(f"USER {account.address}").startswith("+OK")
        assert client.pop3("PASS wrong").startswith("-ERR [AUTH]")
        assert client.pop3(f"USER {account.address}").startswith("+OK")
        assert client.pop3(f"PASS {account.password}").startswith("+OK")


def test_many_idle_clients_shut_nobody_out(clients: Clients, account: Account) -> None:
    """Ten clients exhausted the thread pool."""
    with contextlib.ExitStack() as idle:
        for listener in ("mx", "submission", "pop3"):
            for number in range(200):
                # Of as many clients that no one has more connections than it may.
                source = (f"127.0.1.{number // 10 + 1}", 0)
                idle.enter_context(socket.create_connection(
                    (HOST, clients.platform.port(listener)), 60, source))
        _deliver(clients, account)
        assert len(clients.fetch(account)) == 1
        with clients.smtp_submission(account) as session:
            assert session.noop()[0] == 250


def test_concurrent_logins(clients: Clients) -> None:
    """Ten clients exhausted the thread pool: more than that log in at once."""
    accounts = [clients.platform.add_account() for _ in range(4)]

    def log_in(number: int) -> int:
        with clients.smtp_submissions(accounts[number % 4]) as session:
            return session.noop()[0]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert set(pool.map(log_in, range(80))) == {250}


def test_same_answer_for_unknown_user_and_wrong_password(clients: Clients,
                                                         account: Account) -> None:
    """Unknown user crashed delivery; and a login tells nobody which users exist."""
    answers = set()
    for name in (account.address, "no-such-user@example.test", "x@not-ours.test", "nodomain"):
        with clients.raw_smtp("submissions") as client:
            answers.add(client.smtp(f"AUTH PLAIN {plain(Account(name, 'wrong password'))}"))
    assert len(answers) == 1 and answers.pop()[0] == 535
