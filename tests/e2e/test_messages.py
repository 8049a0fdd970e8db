"""Messages of every size and kind come out as they went in."""

from __future__ import annotations

import concurrent.futures
import email
import hashlib
import pathlib
import random
import secrets
import smtplib

import pytest

from tests.e2e.mail_clients import HOST, Clients, make_message, without_trace
from tests.e2e.platform_under_test import Account, Platform
from tests.e2e.waiting import wait_until

STRANGER = "carol@elsewhere.test"

AWKWARD = {
    "8-bit": b"Gr\xc3\xbc\xc3\x9fe\r\n\xff\xfe\x80 not UTF-8\r\n",
    "dots": b".\r\n..\r\n...\r\n.a\r\na.\r\n.\r\n",
    "a line of 998 octets": b"x" * 998 + b"\r\nshort\r\n",
    "dots in a line of 998 octets": b"." * 998 + b"\r\n",
    "a line of 300 000 octets": b"x" * 300_000 + b"\r\n." + b"." * 70_000 + b"\r\nshort\r\n",
    "empty body": b"",
    "only empty lines": b"\r\n\r\n\r\n",
    "QUIT and RSET in the body": b"QUIT\r\nRSET\r\nMAIL FROM:<x@y.test>\r\n",
    "a mail inside": b"From: a\r\n\r\n.\r\n",
    "control characters": b"\x01\x02\x07\x1b[2J\x7f\t\r\n",
    "trailing spaces": b"space \r\ntab\t\r\n",
    "mbox From": b"From me\r\n>From me\r\n",
}


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("way", ["in", "out"])
def test_awkward_contents(clients: Clients, account: Account, name: str, way: str) -> None:
    message = make_message(account.address, account.address, "awkward", AWKWARD[name])
    if way == "in":
        with clients.smtp_mx() as session:
            session.sendmail(STRANGER, [account.address], message, ["BODY=8BITMIME"])
    else:
        with clients.smtp_submissions(account) as session:
            session.sendmail(account.address, [account.address], message, ["BODY=8BITMIME"])
    [fetched] = clients.wait_for(account, 1)
    without_trace(fetched, message)


def test_no_header_at_all(clients: Clients, account: Account) -> None:
    with clients.smtp_mx() as session:
        session.sendmail(STRANGER, [account.address], b"\r\nonly a body\r\n")
    [fetched] = clients.fetch(account)
    without_trace(fetched, b"\r\nonly a body\r\n")


@pytest.mark.parametrize("content", [
    b"hello world\r\n", b"hello world\r\nSubject: x\r\n\r\ny\r\n", b" by evil.test; Mon\r\n", b"\thello\r\n"])
def test_what_is_no_header_is_body(clients: Clients, account: Account, content: bytes) -> None:
    with clients.smtp_mx() as session:
        session.sendmail(STRANGER, [account.address], content)
    [fetched] = clients.fetch(account)
    without_trace(fetched, b"\r\n" + content)
    assert email.message_from_bytes(fetched).get_payload().encode() == content


def test_from_line_of_a_mailbox(clients: Clients, account: Account) -> None:
    line, message = b"From carol Tue Nov 24 23:12:54 2026\r\n", make_message(STRANGER, account.address, "x")
    with clients.smtp_mx() as session:
        session.sendmail(STRANGER, [account.address], line + message)
    [fetched] = clients.fetch(account)
    without_trace(fetched, b"X-Mailbox-Line: " + line + message)


def test_fields_that_end_here(clients: Clients, account: Account) -> None:
    message = make_message(STRANGER, account.address, "x", b"Bcc: of the body\r\n")
    ending = (b"Return-Path: <x@evil.test>\r\nbcc: y@evil.test,\r\n\tz@evil.test\r\n"
              b"Delivered-To: w@evil.test\r\nResent-Bcc : v@evil.test\r\n")
    with clients.smtp_mx() as session:
        session.sendmail(STRANGER, [account.address], ending + message)
    [fetched] = clients.fetch(account)
    without_trace(fetched, message)
    assert fetched.lower().count(b"\r\nreturn-path:") == 0 and b"evil.test" not in fetched


def test_nothing_at_all(clients: Clients, account: Account) -> None:
    with clients.raw_smtp("mx") as client:
        client.smtp(f"MAIL FROM:<{STRANGER}>")
        client.smtp(f"RCPT TO:<{account.address}>")
        assert client.smtp("DATA")[0] == 354
        assert client.smtp(".")[0] == 250
    [fetched] = clients.fetch(account)
    assert fetched.startswith(b"Return-Path:")


def test_no_trailing_newline(clients: Clients, account: Account) -> None:
    message = make_message(STRANGER, account.address, "x", b"the last line has no end")
    done = clients.curl("--mail-from", STRANGER, "--mail-rcpt", account.address, "--upload-file",
                        "-", f"smtp://{HOST}:{clients.platform.port('mx')}", stdin=message)
    assert done.returncode == 0, done.stderr
    [fetched] = clients.fetch(account)
    without_trace(fetched, message + b"\r\n")


def test_smtputf8(clients: Clients, account: Account) -> None:
    sender = "jürgen@elsewhere.test"
    message = f"From: <{sender}>\r\nSubject: Grüße\r\n\r\nx\r\n".encode()
    with clients.smtp_mx() as session:
        session.command_encoding = "utf-8"
        session.ehlo()
        assert session.has_extn("smtputf8")
        assert session.mail(sender, ["SMTPUTF8", "BODY=8BITMIME"])[0] == 250
        assert session.rcpt(account.address)[0] == 250
        assert session.data(message)[0] == 250
    [fetched] = clients.fetch(account)
    without_trace(fetched, message)
    assert b"with UTF8SMTP" in fetched


def _large(octets: int) -> bytes:
    line = random.Random(3).randbytes(octets)
    text = line.hex().encode()[:octets]
    return b"\r\n".join(text[at:at + 76] for at in range(0, len(text), 78)) + b"\r\n"


@pytest.mark.parametrize("way", ["in", "out"])
def test_40_mib(clients: Clients, account: Account, tmp_path: pathlib.Path, way: str) -> None:
    message = make_message(account.address, account.address, "large", _large(40 << 20))
    assert len(message) > 39 << 20
    source, target = tmp_path / "message", tmp_path / "fetched"
    source.write_bytes(message)
    user = ("--user", f"{account.address}:{account.password}")
    to = (("smtp", "mx", ()) if way == "in" else ("smtps", "submissions", user))
    done = clients.curl(*to[2], "--mail-from", account.address, "--mail-rcpt", account.address,
                        "--upload-file", str(source),
                        f"{to[0]}://{HOST}:{clients.platform.port(to[1])}")
    assert done.returncode == 0, done.stderr
    if way == "out":
        clients.wait_for(account, 1, 120)
    done = clients.curl(*user, "--output", str(target),
                        f"pop3s://{HOST}:{clients.platform.port('pop3s')}/1")
    assert done.returncode == 0, done.stderr
    fetched = target.read_bytes()
    assert hashlib.sha256(fetched[-len(message):]).digest() == hashlib.sha256(message).digest()


def test_larger_than_the_limit_is_refused(clients: Clients, account: Account) -> None:
    with clients.smtp_mx() as session:
        session.ehlo()
        limit = int(session.esmtp_features["size"])
        assert limit == 50 << 20
        code, text = session.mail(STRANGER, [f"SIZE={limit + 1}"])
        assert code == 552 and text.startswith(b"5.3.4"), text


def test_1000_messages_over_50_connections(clients: Clients, platform: Platform) -> None:
    accounts = [platform.add_account() for _ in range(5)]
    sent: dict[str, list[bytes]] = {account.address: [] for account in accounts}

    def send(connection: int) -> list[tuple[str, bytes]]:
        done = []
        with clients.smtp_mx(starttls=connection % 2 == 0) as session:
            for number in range(20):
                recipient = accounts[(connection + number) % len(accounts)].address
                message = make_message(STRANGER, recipient, f"{connection}-{number}",
                                       secrets.token_hex(50 + number).encode() + b"\r\n")
                session.sendmail(STRANGER, [recipient], message)
                done.append((recipient, message))
        return done

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        for batch in pool.map(send, range(50)):
            for recipient, message in batch:
                sent[recipient].append(message)

    for account in accounts:
        expected = sorted(sent[account.address])
        assert len(expected) == 200
        bodies = {message.split(b"\r\n\r\n", 1)[1]: message for message in expected}
        fetched = clients.fetch(account, delete=True)
        got = [without_trace(text, bodies[text.split(b"\r\n\r\n", 1)[1]]) for text in fetched]
        assert sorted(got) == expected
        assert not clients.fetch(account)


def test_many_recipients_get_one_each(clients: Clients, platform: Platform) -> None:
    accounts = [platform.add_account() for _ in range(10)]
    message = make_message(STRANGER, "all@elsewhere.test", "to many")
    with clients.smtp_mx() as session:
        session.sendmail(STRANGER, [account.address for account in accounts], message)
    for account in accounts:
        [fetched] = clients.fetch(account)
        without_trace(fetched, message)
        # Bcc stays blind: nobody else's address stands in it.
        assert sum(other.address.encode() in fetched for other in accounts) == 1


def test_too_many_recipients(clients: Clients, account: Account) -> None:
    with clients.smtp_mx() as session:
        session.ehlo()
        session.mail(STRANGER)
        codes = [session.rcpt(account.address.replace("@", f"+{number}@"))[0]
                 for number in range(101)]
        assert codes[:100] == [250] * 100
        assert codes[100] == 452


def test_over_quota(make_platform) -> None:
    small = make_platform({"store-svc": {"quota_messages": 2}})
    clients = Clients(small)
    account = small.add_account()
    message = make_message(STRANGER, account.address, "x")
    with clients.smtp_mx() as session:
        for _ in range(2):
            session.sendmail(STRANGER, [account.address], message)
    # What the gateway remembers of the recipient holds for seconds; a full mailbox is said at RCPT
    # or, if that was remembered, at DATA.
    with clients.smtp_mx() as session:
        with pytest.raises((smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError)) as refused:
            session.sendmail(STRANGER, [account.address], message)
    error = refused.value
    code, text = (error.recipients[account.address] if isinstance(
        error, smtplib.SMTPRecipientsRefused) else (error.smtp_code, error.smtp_error))
    assert code in (452, 552) and b".2.2" in text, (code, text)
    assert len(clients.fetch(account)) == 2
    assert small.ctl("mailbox", "set-quota", account.address, "5GiB", "--messages", "3")["quota_octets"] == 5 << 30

    def has_room() -> bool:
        with clients.smtp_mx() as asking:
            asking.ehlo_or_helo_if_needed()
            asking.mail(STRANGER)
            return asking.rcpt(account.address)[0] == 250

    wait_until(has_room, 10, "it has room, and the gateway knows")
    with clients.smtp_mx() as session:
        session.sendmail(STRANGER, [account.address], message)
    assert len(clients.wait_for(account, 3)) == 3
    assert small.ctl("mailbox", "set-quota", account.address, "--default")["quota_messages"] == 2
