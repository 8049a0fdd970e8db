"""A service that hangs (SIGSTOP: it has its connections and says nothing) is a service that is away:
whoever waits for it is told 4xx or [SYS/TEMP] within 5 s, and all goes on when it goes on."""

from __future__ import annotations

import concurrent.futures
import contextlib
import poplib
import smtplib
import time
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.hanging import hung
from tests.e2e.mail_clients import Clients, make_message
from tests.e2e.platform_under_test import Account, Platform
from tests.e2e.waiting import SLOWER, wait_until

SENDER = "carol@elsewhere.test"
# What a person waits for at most.
PATIENCE = 5.0 * SLOWER


@pytest.fixture(scope="module")
def hanging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    platform = Platform(tmp_path_factory.mktemp("hanging"))
    try:
        yield platform.start()
    finally:
        platform.stop()


def told(action: Callable[[], object]) -> float:
    """Runs what must be refused for now; how long that took."""
    began = time.monotonic()
    try:
        answer = action()
    except smtplib.SMTPResponseException as error:
        assert 400 <= error.smtp_code < 500, error
    except smtplib.SMTPRecipientsRefused as error:
        assert all(400 <= code < 500 for code, _ in error.recipients.values()), error
    except poplib.error_proto as error:
        assert b"[SYS/TEMP]" in error.args[0], error
    else:
        raise AssertionError(f"not refused: {answer!r}")
    return time.monotonic() - began


def all_told(**actions: Callable[[], object]) -> dict[str, float]:
    """At once, as people are."""
    with concurrent.futures.ThreadPoolExecutor(len(actions)) as pool:
        waits = {name: pool.submit(told, action) for name, action in actions.items()}
        return {name: wait.result() for name, wait in waits.items()}


def deliver(clients: Clients, account: Account, subject: str) -> None:
    with clients.smtp_mx() as session:
        session.sendmail(SENDER, [account.address], make_message(SENDER, account.address, subject))


def subjects(clients: Clients, account: Account) -> list[str]:
    found = []
    for message in clients.fetch(account):
        found += [line.decode().removeprefix("Subject: ") for line in message.split(b"\r\n")
                  if line.startswith(b"Subject: ")]
    return found


def works_again(clients: Clients, account: Account, before: set[str]) -> None:
    """Mail goes out and arrives, beside what was there before."""
    def tried() -> bool:
        try:
            with clients.smtp_submissions(account) as session:
                session.sendmail(account.address, [account.address],
                                 make_message(account.address, account.address, "again"))
            return True
        except (smtplib.SMTPException, OSError):
            return False

    def arrived() -> list[str]:
        with contextlib.suppress(poplib.error_proto):
            found = subjects(clients, account)
            return found if set(found) >= before | {"again"} else []
        return []
    wait_until(tried, 30 * SLOWER, "mail goes out again")
    found = wait_until(arrived, 60 * SLOWER, "it arrives")
    assert all(found.count(subject) == 1 for subject in before), found
    # What was in a hung service's hands when its sender was told 4xx may still be done, once.
    assert found.count("not taken") <= 1, found


def test_the_store_hangs(hanging: Platform) -> None:
    clients, account = Clients(hanging), hanging.add_account()
    other, newcomer = hanging.add_account(), hanging.add_account()
    deliver(clients, account, "one")
    deliver(clients, account, "two")
    deliver(clients, other, "for the other")
    reader, leaver = clients.pop3s(account), clients.pop3s(other)
    leaver.dele(1)
    sender = clients.smtp_mx()
    sender.ehlo()
    sender.mail(SENDER)
    assert sender.rcpt(account.address)[0] == 250
    with hung(hanging.pid("store-svc")):
        waits = all_told(DATA=lambda: deliver(clients, account, "not taken"),
                         RETR=lambda: reader.retr(1), QUIT=leaver.quit,
                         PASS=lambda: clients.pop3s(newcomer))
    assert max(waits.values()) < PATIENCE, waits
    # What was open goes on.

    def retrieved() -> bool:
        with contextlib.suppress(poplib.error_proto):
            return bool(reader.retr(2))
        return False
    wait_until(retrieved, 30 * SLOWER, "the session has its maildrop again")
    assert sender.data(make_message(SENDER, account.address, "three"))[0] == 250
    reader.quit()
    sender.quit()
    works_again(clients, account, {"one", "two", "three"})


def test_the_relay_hangs(hanging: Platform) -> None:
    clients, account = Clients(hanging), hanging.add_account()
    submitter = clients.smtp_submissions(account)
    with hung(hanging.pid("relay-svc")):
        waits = all_told(
            mx=lambda: deliver(clients, account, "not taken"),
            submission=lambda: submitter.sendmail(
                account.address, [SENDER], make_message(account.address, SENDER, "not taken")))
    assert max(waits.values()) < PATIENCE, waits
    works_again(clients, account, set())


def test_the_directory_hangs(hanging: Platform) -> None:
    clients, account = Clients(hanging), hanging.add_account()
    with hung(hanging.pid("auth-svc")):
        waits = all_told(RCPT=lambda: deliver(clients, account, "not taken"),
                         AUTH=lambda: clients.smtp_submissions(account),
                         PASS=lambda: clients.pop3s(account))
    assert max(waits.values()) < PATIENCE, waits
    works_again(clients, account, set())
