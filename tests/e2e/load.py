"""Clients that send as fast as they can, and what arrived of it."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import poplib
import smtplib
import threading
from collections.abc import Callable, Iterator

from tests.e2e.mail_clients import Clients, make_message
from tests.e2e.platform_under_test import Account
from tests.e2e.waiting import wait_until


@dataclasses.dataclass
class Load:
    """Clients that send until told to stop, each message once or, after a failure, another one."""

    connect: Callable[[], smtplib.SMTP]
    sender: str
    recipient: str
    accepted: set[str] = dataclasses.field(default_factory=set)
    stop: threading.Event = dataclasses.field(default_factory=threading.Event)
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def run(self, client: int) -> None:
        number = 0
        while not self.stop.is_set():
            with contextlib.suppress(OSError, smtplib.SMTPException):
                session = self.connect()
                with contextlib.closing(session):
                    while not self.stop.is_set():
                        number += 1
                        subject = f"load-{client}-{number}"
                        session.sendmail(self.sender, [self.recipient],
                                         make_message(self.sender, self.recipient, subject))
                        with self.lock:
                            self.accepted.add(subject)


def subjects(clients: Clients, account: Account, least: int) -> collections.Counter[str] | None:
    """None when there are fewer messages than `least`."""
    session = clients.pop3s(account)
    count = session.stat()[0]
    found: collections.Counter[str] = collections.Counter()
    for number in range(1, count + 1) if count >= least else ():
        for line in session.top(number, 0)[1]:
            if line.startswith(b"Subject: "):
                found[line.decode().removeprefix("Subject: ")] += 1
    session.quit()
    return found if count >= least else None


@contextlib.contextmanager
def running(*loads: Load, clients: int) -> Iterator[None]:
    """While in it, so many clients of each send."""
    threads = [threading.Thread(target=load.run, args=(number,))
               for load in loads for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for load in loads:
            load.stop.set()
        for thread in threads:
            thread.join()


def arrived(clients: Clients, account: Account, accepted: set[str]) -> collections.Counter[str]:
    """Waits until every message that was accepted is in the maildrop, as long as more of them come; what is there."""
    def more_than(count: int) -> int:
        try:
            with contextlib.closing(clients.pop3s(account)) as session:
                now = session.stat()[0]
                session.quit()
        except (poplib.error_proto, OSError):
            return 0
        return now if now > count else 0

    def found() -> collections.Counter[str] | None:
        try:
            there = subjects(clients, account, len(accepted))
        except (poplib.error_proto, OSError):
            return None
        return there if there is not None and set(there) >= accepted else None

    count = 0
    while count < len(accepted):
        before = count
        count = wait_until(lambda: more_than(before), 120, f"more than {before} of {len(accepted)} messages that got 250 "
                           "are in the maildrop")
    return wait_until(found, 120, "every message that got 250 is in the maildrop")
