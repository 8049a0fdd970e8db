#!/usr/bin/python3
"""What `helm test` runs: mail in and out through the release's Services, as strangers and users send and fetch it.

    helm_test.py SPEC.json

    {"hostname": "mail.example.org",            the name that the public certificate has
     "ca_file": FILE,                           trusted beside the system's CAs; may be absent
     "mx": [HOST, PORT], "submission": [...], "submissions": [...], "pop3": [...], "pop3s": [...]}

Those that are absent are not tried, but for mx, submissions or submission, and pop3s or pop3. It makes a domain with
two accounts by posternctl (POSTERNCTL_CONFIG), and removes all again.
"""

from __future__ import annotations

import json
import pathlib
import poplib
import secrets
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

_SECONDS = 30
# Until what was sent can be fetched; the first pods of a fresh cluster are slow.
_DELIVERED_SECONDS = 60
# Until network policies know this pod.
_REACHABLE_SECONDS = 60

Address = tuple[str, int]


class Failed(Exception):
    """One line that says what is wrong."""


class _Smtp(smtplib.SMTP):
    """To an address whose certificate has another name."""

    def __init__(self, hostname: str, at: Address):
        self._at = at
        super().__init__(hostname, at[1], timeout=_SECONDS)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return socket.create_connection(self._at, timeout)


class _SmtpTls(smtplib.SMTP_SSL):
    """The same with TLS from the first octet."""

    def __init__(self, hostname: str, at: Address, context: ssl.SSLContext):
        self._at = at
        super().__init__(hostname, at[1], timeout=_SECONDS, context=context)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self.context.wrap_socket(socket.create_connection(self._at, timeout), server_hostname=host)


class _Pop3(poplib.POP3):
    """The same for POP3, with STLS."""

    def __init__(self, hostname: str, at: Address, context: ssl.SSLContext):
        self._at = at
        super().__init__(hostname, at[1], _SECONDS)
        self.stls(context)

    def _create_socket(self, timeout: float) -> socket.socket:
        return socket.create_connection(self._at, timeout)


class _Pop3Tls(poplib.POP3):
    """The same with TLS from the first octet."""

    def __init__(self, hostname: str, at: Address, context: ssl.SSLContext):
        self._at = at
        self._context = context
        super().__init__(hostname, at[1], _SECONDS)

    def _create_socket(self, timeout: float) -> socket.socket:
        return self._context.wrap_socket(socket.create_connection(self._at, timeout), server_hostname=self.host)


class Test:
    """Two accounts of a domain that nobody has (RFC 2606 2), and what they do."""

    def __init__(self, spec: dict[str, Any]):
        self._spec = spec
        self._hostname = spec["hostname"]
        self._tls = ssl.create_default_context()
        if "ca_file" in spec:
            self._tls.load_verify_locations(spec["ca_file"])
        self._domain = f"helm-test-{secrets.token_hex(4)}.test"
        self.anne, self.ben = f"anne@{self._domain}", f"ben@{self._domain}"
        self._passwords = {user: secrets.token_urlsafe(16) for user in (self.anne, self.ben)}

    def _ctl(self, *arguments: str, given: str = "") -> None:
        done = subprocess.run(["posternctl", *arguments], input=given, capture_output=True, text=True,
                              timeout=_SECONDS, check=False)
        if done.returncode != 0:
            raise Failed(done.stderr.strip())

    def _wait_for_services(self) -> None:
        deadline = time.monotonic() + _REACHABLE_SECONDS
        while True:
            try:
                self._ctl("domain", "list")
                self._ctl("mailbox", "list")
                return
            except Failed:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def make_accounts(self) -> None:
        self._wait_for_services()
        self._ctl("domain", "add", self._domain)
        for user, password in self._passwords.items():
            self._ctl("account", "add", user, "--password-stdin", given=password + "\n")

    def remove_accounts(self) -> None:
        for user in self._passwords:
            self._ctl("mailbox", "purge", user, "--yes")
            self._ctl("account", "remove", user)
        self._ctl("domain", "remove", self._domain)

    def _address(self, name: str) -> Address:
        host, port = self._spec[name]
        return host, port

    def _send(self, smtp: smtplib.SMTP, sender: str, recipient: str) -> str:
        word = secrets.token_hex(8)
        smtp.sendmail(sender, [recipient], f"From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: {word}\r\n\r\n"
                                           "Sent by helm test.\r\n")
        return word

    def _pop3(self) -> poplib.POP3:
        if "pop3s" in self._spec:
            return _Pop3Tls(self._hostname, self._address("pop3s"), self._tls)
        return _Pop3(self._hostname, self._address("pop3"), self._tls)

    def _has(self, user: str, word: str) -> bool:
        pop3 = self._pop3()
        try:
            pop3.user(user)
            pop3.pass_(self._passwords[user])
            for number in range(1, pop3.stat()[0] + 1):
                if f"Subject: {word}".encode() in pop3.retr(number)[1]:
                    pop3.dele(number)
                    return True
            return False
        finally:
            pop3.quit()

    def _fetch(self, user: str, word: str) -> None:
        deadline = time.monotonic() + _DELIVERED_SECONDS
        while not self._has(user, word):
            if time.monotonic() > deadline:
                raise Failed(f"what was sent to {user} is not there after {_DELIVERED_SECONDS} s")
            time.sleep(0.5)

    def _mx(self) -> smtplib.SMTP:
        return _Smtp(self._hostname, self._address("mx"))

    def a_stranger_writes(self) -> None:
        with self._mx() as smtp:
            smtp.ehlo()
            if smtp.has_extn("starttls"):
                smtp.starttls(context=self._tls)
            word = self._send(smtp, "stranger@example.net", self.anne)
        self._fetch(self.anne, word)

    def a_stranger_may_not_relay(self) -> None:
        with self._mx() as smtp:
            smtp.helo()
            smtp.mail("stranger@example.net")
            code, reply = smtp.rcpt("somebody@example.com")
        if not 500 <= code < 600:
            raise Failed(f"a stranger's RCPT for another domain got {code} {reply!r}")

    def a_user_sends(self, smtp: smtplib.SMTP) -> None:
        with smtp:
            smtp.login(self.anne, self._passwords[self.anne])
            word = self._send(smtp, self.anne, self.ben)
        self._fetch(self.ben, word)

    def by_submission(self) -> None:
        smtp = _Smtp(self._hostname, self._address("submission"))
        smtp.starttls(context=self._tls)
        self.a_user_sends(smtp)

    def by_submissions(self) -> None:
        self.a_user_sends(_SmtpTls(self._hostname, self._address("submissions"), self._tls))

    def a_wrong_password_is_refused(self) -> None:
        pop3 = self._pop3()
        try:
            pop3.user(self.anne)
            pop3.pass_("not " + self._passwords[self.anne])
        except poplib.error_proto:
            return
        finally:
            pop3.close()
        raise Failed("a wrong password was taken")

    def run(self) -> None:
        steps: list[tuple[str, Callable[[], None]]] = [
            ("a stranger writes, a user fetches it", self.a_stranger_writes),
            ("a stranger may not relay", self.a_stranger_may_not_relay),
            ("a wrong password is refused", self.a_wrong_password_is_refused),
        ]
        if "submission" in self._spec:
            steps.append(("a user sends with STARTTLS, another fetches it", self.by_submission))
        if "submissions" in self._spec:
            steps.append(("a user sends over TLS, another fetches it", self.by_submissions))
        for what, step in steps:
            try:
                step()
            except (OSError, smtplib.SMTPException, poplib.error_proto) as error:
                raise Failed(f"{what}: {type(error).__name__}: {error}") from error
            except Failed as failed:
                raise Failed(f"{what}: {failed}") from failed
            print(f"ok: {what}", flush=True)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: helm_test.py SPEC.json", file=sys.stderr)
        return 2
    test = Test(json.loads(pathlib.Path(arguments[0]).read_text(encoding="utf-8")))
    try:
        test.make_accounts()
        try:
            test.run()
        finally:
            test.remove_accounts()
    except Failed as failed:
        print(f"failed: {failed}", file=sys.stderr)
        return 1
    print("mail comes in, goes out and can be fetched")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
