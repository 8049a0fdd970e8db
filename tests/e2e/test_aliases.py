"""Aliases of several mailboxes, one of which is full: the others get their mail."""

from __future__ import annotations

import secrets
import smtplib
from collections.abc import Iterator

import pytest

from tests.e2e.mail_clients import Clients, make_message
from tests.e2e.platform_under_test import Account, Platform
from tests.e2e.waiting import wait_until

STRANGER = "carol@elsewhere.test"
QUOTA = 3


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Mailboxes of three messages, and a queue that tries again at once."""
    platform = Platform(tmp_path_factory.mktemp("small"), {
        "store-svc": {"quota_messages": QUOTA},
        "relay-svc": {"delivery": {"retry_seconds": [1]}}})
    try:
        yield platform.start()
    finally:
        platform.stop()


def _alias(platform: Platform, *accounts: Account) -> str:
    alias = f"alias-{secrets.token_hex(4)}@example.test"
    platform.ctl("alias", "add", alias, *(account.address for account in accounts))
    return alias


def _fill(clients: Clients, account: Account) -> None:
    with clients.smtp_mx() as session:
        for _ in range(QUOTA):
            session.sendmail(STRANGER, [account.address],
                             make_message(STRANGER, account.address, "fill"))


def test_mx_takes_mail_for_an_alias_with_a_full_member(small: Platform) -> None:
    clients = Clients(small)
    full, empty = small.add_account(), small.add_account()
    alias = _alias(small, full, empty)
    _fill(clients, full)
    with clients.smtp_mx() as session:
        session.sendmail(STRANGER, [alias], make_message(STRANGER, alias, "to all"))
        # At DATA where RCPT's good answer is still remembered.
        with pytest.raises((smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError)) as refused:
            session.sendmail(STRANGER, [full.address],
                             make_message(STRANGER, full.address, "to one"))
    assert "452" in str(refused.value)
    assert len(clients.fetch(empty)) == 1
    # It got 250, so the full one has it, too.
    assert len(clients.fetch(full)) == QUOTA + 1


def test_a_submitted_message_reaches_who_has_room_and_waits_for_the_full_one(
        small: Platform) -> None:
    """The alias and its other member are both recipients: each has its own copy or its own wait."""
    clients = Clients(small)
    full, other, sender = small.add_account(), small.add_account(), small.add_account()
    alias = _alias(small, full, other)
    _fill(clients, full)
    with clients.smtp_submissions(sender) as session:
        session.sendmail(sender.address, [alias, other.address],
                         make_message(sender.address, alias, "to all"))
    [message] = clients.wait_for(other, 1)
    assert b"Subject: to all" in message

    def waiting() -> list[str]:
        return [recipient["address"] for entry in small.ctl("queue", "list")["entries"]
                for recipient in entry["recipients"] if recipient["state"] == "waiting"]
    wait_until(lambda: waiting() == [full.address], 30, "the full one waits alone")
    clients.fetch(full, delete=True)
    clients.wait_for(full, 1)
    wait_until(small.queue_is_empty, 30, "nothing waits")
    assert len(clients.fetch(other)) == 1


def test_a_catch_all_has_the_rest(platform: Platform, clients: Clients) -> None:
    domain = f"d{secrets.token_hex(4)}.test"
    platform.ctl("domain", "add", domain)
    alice, rest = platform.add_account(f"alice@{domain}"), platform.add_account(f"rest@{domain}")
    platform.ctl("alias", "add", f"@{domain}", rest.address)
    with clients.smtp_mx() as session:
        for recipient in (f"anybody@{domain}", alice.address):
            session.sendmail(STRANGER, [recipient], make_message(STRANGER, recipient, recipient))
    assert len(clients.fetch(alice)) == 1
    [message] = clients.fetch(rest)
    assert f"X-Original-To: anybody@{domain}".encode() in message
    with clients.smtp_submission(rest) as session, pytest.raises(smtplib.SMTPSenderRefused):
        session.sendmail(f"anybody@{domain}", [alice.address], make_message(alice.address, alice.address, "as another"))


def test_a_group_has_those_who_speak_for_it(platform: Platform, clients: Clients) -> None:
    member, speaker = platform.add_account(), platform.add_account()
    group = _alias(platform, member)

    def may_send(account: Account) -> bool:
        with clients.smtp_submissions(account) as session:
            try:
                session.sendmail(group, [member.address], make_message(group, member.address, "for us all"))
            except smtplib.SMTPSenderRefused as refused:
                assert refused.smtp_code == 550
                return False
            return True
    assert (may_send(member), may_send(speaker)) == (True, False)
    platform.ctl("alias", "set-senders", group, speaker.address)
    assert (may_send(member), may_send(speaker)) == (False, True)
    platform.ctl("account", "disable", speaker.address)
    platform.ctl("alias", "set-senders", group, "--members")
    assert may_send(member)
