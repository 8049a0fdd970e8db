"""Mail clients as users have them: smtplib, poplib, curl, swaks; and a raw line client."""

from __future__ import annotations

import base64
import contextlib
import poplib
import re
import secrets
import smtplib
import socket
import ssl
import subprocess
from types import TracebackType

from tests.e2e.platform_under_test import Account, Platform
from tests.e2e.waiting import wait_until

# Its own limit of 2048 octets is on what it fetches; messages have longer lines.
poplib._MAXLINE = 1 << 20

HOST = "127.0.0.1"
TIMEOUT = 60

# What Postern may put before a message.
_TRACE = re.compile(
    rb"(?:(?:Return-Path|Delivered-To|X-Original-To|Received):[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)+")


def make_message(sender: str, recipient: str, subject: str, body: bytes = b"Hello.\r\n") -> bytes:
    """Nothing is to be added to its header at submission."""
    return (f"From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: {subject}\r\n"
            "Date: Tue, 24 Nov 2026 12:00:00 +0000\r\n"
            f"Message-ID: <{secrets.token_hex(16)}@client.test>\r\n\r\n").encode() + body


def without_trace(fetched: bytes, original: bytes) -> bytes:
    """`fetched` less the trace headers that Postern put before it; none may be missing.

    `original` may begin with fields of these names itself, so it says where it begins.
    """
    assert fetched.endswith(original), (fetched[:2000], original[:2000])
    added = fetched[:len(fetched) - len(original)]
    assert _TRACE.fullmatch(added), added
    for name in (b"Return-Path:", b"Delivered-To:", b"Received:"):
        assert added.lower().count(b"\n" + name.lower()) + added.startswith(name) >= 1, added
    return fetched[len(added):]


class RawClient:
    """One connection, octet by octet: for what no well-behaved client sends."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None, source: str = ""):
        self.socket = socket.create_connection((HOST, port), TIMEOUT,
                                               (source, 0) if source else None)
        if context is not None:
            self.start_tls(context)
        self._buffer = b""

    def start_tls(self, context: ssl.SSLContext) -> None:
        self.socket = context.wrap_socket(self.socket, server_hostname=HOST)
        self._buffer = b""

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.socket.close()

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def line(self) -> bytes:
        """The next line without its CRLF; b"" at the end."""
        while b"\r\n" not in self._buffer:
            try:
                received = self.socket.recv(65536)
            except (ConnectionResetError, ssl.SSLEOFError):
                received = b""
            if not received:
                return b""
            self._buffer += received
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return line

    def smtp_reply(self) -> tuple[int, list[str]]:
        """One SMTP reply: its code and its lines. (0, []) when the server has closed."""
        lines: list[str] = []
        while True:
            line = self.line().decode()
            if not line:
                return 0, lines
            lines.append(line[4:])
            if line[3:4] != "-":
                return int(line[:3]), lines

    def smtp(self, command: str | bytes) -> tuple[int, str]:
        octets = command if isinstance(command, bytes) else command.encode()
        self.send(octets + b"\r\n")
        code, lines = self.smtp_reply()
        return code, "\n".join(lines)

    def pop3(self, command: str) -> str:
        """One single-line POP3 answer."""
        self.send(command.encode() + b"\r\n")
        return self.line().decode()

    def pop3_lines(self, command: str) -> list[str]:
        answer = self.pop3(command)
        assert answer.startswith("+OK"), answer
        lines: list[str] = []
        while (line := self.line().decode()) != ".":
            lines.append(line)
        return lines

    def is_closed(self) -> bool:
        """Waits for the server to close."""
        try:
            return self.socket.recv(1) == b""
        except (ConnectionResetError, ssl.SSLError):
            return True


def plain(account: Account, authzid: str = "") -> str:
    return base64.b64encode(
        f"{authzid}\0{account.address}\0{account.password}".encode()).decode()


class Clients:
    """Connections to one platform."""

    def __init__(self, platform: Platform):
        self.platform = platform
        self.tls = ssl.create_default_context(cafile=platform.ca_file)

    def address(self, listener: str) -> tuple[str, int]:
        """Host and port of a listener."""
        return HOST, self.platform.port(listener)

    def place(self, listener: str) -> contextlib.AbstractContextManager[None]:
        """Where its clients are when they connect."""
        del listener
        return contextlib.nullcontext()

    def smtp_mx(self, starttls: bool = False) -> smtplib.SMTP:
        with self.place("mx"):
            session = smtplib.SMTP(*self.address("mx"), "client.test", TIMEOUT)
        if starttls:
            session.starttls(context=self.tls)
        return session

    def smtp_submission(self, account: Account | None = None) -> smtplib.SMTP:
        with self.place("submission"):
            session = smtplib.SMTP(*self.address("submission"), "client.test", TIMEOUT)
        session.starttls(context=self.tls)
        return self._smtp_log_in(session, account)

    def smtp_submissions(self, account: Account | None = None) -> smtplib.SMTP_SSL:
        with self.place("submissions"):
            session = smtplib.SMTP_SSL(*self.address("submissions"), "client.test", timeout=TIMEOUT, context=self.tls)
        self._smtp_log_in(session, account)
        return session

    @staticmethod
    def _smtp_log_in(session: smtplib.SMTP, account: Account | None) -> smtplib.SMTP:
        if account is None:
            return session
        try:
            session.login(account.address, account.password)
        except BaseException:
            # smtplib keeps its error, and with it the connection, until the garbage is collected.
            session.close()
            raise
        return session

    def pop3(self, account: Account) -> poplib.POP3:
        with self.place("pop3"):
            session = poplib.POP3(*self.address("pop3"), TIMEOUT)
        session.stls(self.tls)
        return self._log_in(session, account)

    def pop3s(self, account: Account) -> poplib.POP3_SSL:
        session = self.pop3s_greeted()
        self._log_in(session, account)
        return session

    def pop3s_greeted(self) -> poplib.POP3_SSL:
        """Not logged in yet."""
        with self.place("pop3s"):
            return poplib.POP3_SSL(*self.address("pop3s"), timeout=TIMEOUT, context=self.tls)

    @staticmethod
    def _log_in(session: poplib.POP3, account: Account) -> poplib.POP3:
        try:
            session.user(account.address)
            session.pass_(account.password)
        except poplib.error_proto:
            session.close()
            raise
        return session

    def raw(self, listener: str, source: str = "") -> RawClient:
        """Connected to a listener, TLS done where it is implicit; the greeting is still to come."""
        implicit = self.platform.status["listeners"][listener]["tls"] == "implicit"
        return RawClient(self.platform.port(listener), self.tls if implicit else None, source)

    def raw_smtp(self, listener: str, starttls: bool = False,
                 account: Account | None = None) -> RawClient:
        """After the greeting and EHLO, and STARTTLS and AUTH where asked for."""
        client = self.raw(listener)
        assert client.smtp_reply()[0] == 220
        assert client.smtp("EHLO client.test")[0] == 250
        if starttls:
            assert client.smtp("STARTTLS")[0] == 220
            client.start_tls(self.tls)
            assert client.smtp("EHLO client.test")[0] == 250
        if account is not None:
            assert client.smtp(f"AUTH PLAIN {plain(account)}")[0] == 235
        return client

    def raw_pop3s(self, account: Account) -> RawClient:
        client = self.raw("pop3s")
        assert client.line().startswith(b"+OK")
        assert client.pop3(f"USER {account.address}").startswith("+OK")
        assert client.pop3(f"PASS {account.password}").startswith("+OK")
        return client

    def fetch(self, account: Account, delete: bool = False) -> list[bytes]:
        """Every message of a maildrop, exactly as RETR gives it less the dot-stuffing."""
        session = self.pop3s(account)
        messages = []
        for number in range(1, session.stat()[0] + 1):
            lines = session.retr(number)[1]
            messages.append(b"".join(line + b"\r\n" for line in lines))
            if delete:
                session.dele(number)
        session.quit()
        return messages

    def wait_for(self, account: Account, count: int, seconds: float = 60) -> list[bytes]:
        """Fetches when there are `count` messages: for mail that goes through the queue."""
        def arrived() -> list[bytes]:
            try:
                messages = self.fetch(account)
            except poplib.error_proto as error:
                assert b"IN-USE" in error.args[0] or b"SYS/TEMP" in error.args[0], error
                return []
            return messages if len(messages) >= count else []
        messages = wait_until(arrived, seconds, f"{count} messages for {account.address}")
        assert len(messages) == count
        return messages

    def curl(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["curl", "--silent", "--show-error", "--max-time", "120", "--cacert",
             self.platform.ca_file, *arguments],
            input=stdin, capture_output=True, timeout=150, check=False)

    def swaks(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["swaks", "--timeout", "60", "--tls-ca-path", self.platform.ca_file,
                               "--ehlo", "client.test", *arguments], input=stdin,
                              capture_output=True, timeout=120, check=False)
