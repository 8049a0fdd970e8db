"""Mail in both directions while something is in trouble, and every message counted afterwards."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import poplib
import smtplib
import ssl
import time
from collections.abc import Callable
from typing import Protocol, TypeAlias, TypeVar

from tests.e2e.load import Load, arrived, running
from tests.e2e.mail_clients import Clients, make_message
from tests.e2e.platform_under_test import Account, Platform
from tests.e2e.waiting import SLOWER, wait_until

T = TypeVar("T")

SENDER = "carol@elsewhere.test"
# In each direction.
CLIENTS = 5
# So many messages are accepted in each direction before the trouble, and after it.
BEFORE, AFTER = 50, 50
# What a person waits for at most.
PATIENCE = 5.0 * SLOWER
# In which mail is taken again, in both directions, when the trouble is over.
RECOVERY = 60.0 * SLOWER
_ROUNDS = 3
# Of relay-svc: what a killed one was sending, or what could not be delivered meanwhile, waits for no
# more than this.
RETRIES = {"claim_seconds": 10, "delivery": {"retry_seconds": [5]}}

# By a gateway that dies, or by one that has told 421 before. poplib says -ERR EOF too.
_HUNG_UP = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError, smtplib.SMTPServerDisconnected)


class People:
    """Whoever uses the platform meanwhile. They may be refused for now, not for good."""

    def __init__(self, clients: Clients, account: Account):
        self._clients = clients
        self._account = account
        # How long each answer took, by what was asked.
        self.waits: list[tuple[str, float]] = []
        # What those were told who were refused.
        self.refusals: list[str] = []

    def _ask(self, question: str, ask: Callable[[], T]) -> T:
        began = time.monotonic()
        try:
            return ask()
        finally:
            self.waits.append((question, round(time.monotonic() - began, 3)))

    def _send(self, name: str, connect: Callable[[], smtplib.SMTP], sender: str) -> None:
        address = self._account.address
        message = make_message(sender, address, "in trouble")
        with contextlib.suppress(*_HUNG_UP), contextlib.closing(self._ask(f"{name} connection", connect)) as session:
            session.ehlo_or_helo_if_needed()
            for question, ask in (("MAIL", lambda: session.mail(sender)),
                                  ("RCPT", lambda: session.rcpt(address)),
                                  ("DATA", lambda: session.data(message))):
                code, text = self._ask(f"{name} {question}", ask)
                if code != 250:
                    raise smtplib.SMTPResponseException(code, text)

    def _refusably(self, action: Callable[[], None]) -> None:
        try:
            action()
        except smtplib.SMTPResponseException as error:
            self.refusals.append(str(error))
            assert 400 <= error.smtp_code < 500, error
        except poplib.error_proto as error:
            self.refusals.append(str(error))
            if error.args[0] == "-ERR EOF":
                return
            # In use: by a session whose end could not be told either.
            assert b"[SYS/TEMP]" in error.args[0] or b"[IN-USE]" in error.args[0], error

    def _deliver(self) -> None:
        self._send("mx", self._clients.smtp_mx, SENDER)

    def _submit(self) -> None:
        self._send("submission", lambda: self._clients.smtp_submissions(self._account),
                   self._account.address)

    def _read(self) -> None:
        with contextlib.suppress(*_HUNG_UP):
            session = self._ask("pop3 PASS", lambda: self._clients.pop3s(self._account))
            with contextlib.closing(session):
                self._ask("pop3 QUIT", session.quit)

    def try_once(self, but: str = "") -> None:
        """One of each, all at once; not of those who are at this gateway."""
        actions = {"gateway-smtp-mx": self._deliver, "gateway-smtp-submission": self._submit,
                   "gateway-pop3": self._read}
        actions.pop(but, None)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for done in [pool.submit(self._refusably, action) for action in actions.values()]:
                done.result()

    def try_for(self, seconds: float = 0, but: str = "") -> None:
        """For so long, and three times at least."""
        until = time.monotonic() + seconds
        rounds = 0
        while rounds < _ROUNDS or time.monotonic() < until:
            self.try_once(but)
            rounds += 1


# mail_survives, of one system.
Survives: TypeAlias = Callable[..., None]


class MailSystem(Protocol):
    """What is in trouble: a platform, or a release on a cluster."""

    def wait_all_ready(self) -> None:
        """Until every part of it is."""

    def add_account(self) -> Account:
        """A new one."""


@dataclasses.dataclass(frozen=True)
class Figures:
    """How it went: messages that were accepted, and arrived once each; what people met."""

    accepted: int
    asked: int
    refused: int
    longest_wait: float


def mail_survives(system: MailSystem, trouble: Callable[[People], None],
                  patience: float = PATIENCE, clients: Clients | None = None) -> Figures:
    """Runs `trouble` under load: it makes it, lets people try, and ends it. Nobody waits for an
    answer for longer than `patience`; afterwards mail is taken again in both directions, and each
    message that was accepted is there once."""
    system.wait_all_ready()
    if clients is None:
        assert isinstance(system, Platform)
        clients = Clients(system)
    receiver, submitter = system.add_account(), system.add_account()
    people = People(clients, system.add_account())
    loads = {
        receiver: Load(clients.smtp_mx, SENDER, receiver.address),
        submitter: Load(lambda: clients.smtp_submissions(submitter), submitter.address,
                        submitter.address),
    }
    with running(*loads.values(), clients=CLIENTS):
        wait_until(lambda: all(len(load.accepted) >= BEFORE for load in loads.values()),
                   60 * SLOWER, "the load runs")
        trouble(people)
        by_then = {account: len(load.accepted) for account, load in loads.items()}
        wait_until(lambda: all(len(load.accepted) >= by_then[account] + AFTER
                               for account, load in loads.items()), RECOVERY, "mail is taken again")
    system.wait_all_ready()
    assert max(wait for _, wait in people.waits) < patience, people.waits
    for account, load in loads.items():
        # Who was refused, or cut off, sent another one: each was sent once.
        assert max(arrived(clients, account, load.accepted).values()) == 1
    return Figures(sum(len(load.accepted) for load in loads.values()), len(people.waits), len(people.refusals),
                   max(wait for _, wait in people.waits))
