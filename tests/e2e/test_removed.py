"""Removed means removed: who is deleted or disabled gets no mail and does not log in, on every replica."""

from __future__ import annotations

import poplib
import secrets
import smtplib
import time
from collections.abc import Callable

import pytest

from tests.e2e.mail_clients import Clients, make_message
from tests.e2e.platform_under_test import Account, Platform
from tests.e2e.waiting import SLOWER

STRANGER = "carol@elsewhere.test"
# After the change, the last 250 at the very latest.
REMOVED_SECONDS = 5.0 if SLOWER == 1 else 15.0


def _remove(platform: Platform, account: Account) -> None:
    platform.ctl("account", "remove", account.address)


def _disable(platform: Platform, account: Account) -> None:
    platform.ctl("account", "disable", account.address)


def _disable_domain(platform: Platform, account: Account) -> None:
    platform.ctl("domain", "disable", account.address.partition("@")[2])


@pytest.mark.parametrize("change", [_remove, _disable, _disable_domain], ids=["account", "disabled", "domain"])
def test_no_mail_and_no_login(replicated: Platform, change: Callable[[Platform, Account], None]) -> None:
    clients = Clients(replicated)
    domain = f"d{secrets.token_hex(4)}.test"
    replicated.ctl("domain", "add", domain)
    account = replicated.add_account(f"alice@{domain}")
    message = make_message(STRANGER, account.address, "late")

    # Each knows the recipient: two gateways, and sessions that are open already.
    sessions = [clients.smtp_mx() for _ in range(6)]
    for session in sessions:
        session.sendmail(STRANGER, [account.address], message)
    # One has its 250 to RCPT, and sends the message when all is over.
    late = clients.smtp_mx()
    late.ehlo("client.test")
    late.mail(STRANGER)
    assert late.rcpt(account.address)[0] == 250
    sender = clients.smtp_submission(account)
    clients.pop3s(account).quit()

    change(replicated, account)
    changed = time.monotonic()
    for login in (lambda: clients.pop3s(account), lambda: clients.smtp_submission(account)):
        with pytest.raises((poplib.error_proto, smtplib.SMTPAuthenticationError)):
            login()
    with pytest.raises(smtplib.SMTPException):
        sender.sendmail(account.address, [f"x@{domain}"], message)

    last = changed
    while time.monotonic() < changed + 1.5 * REMOVED_SECONDS:
        for number, session in enumerate(sessions):
            try:
                session.sendmail(STRANGER, [account.address], message)
                last = time.monotonic()
            except (smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError):
                pass
            except smtplib.SMTPServerDisconnected:
                # 421, after so many unknown recipients.
                sessions[number] = clients.smtp_mx()
    assert last - changed < REMOVED_SECONDS
    assert late.data(message)[0] >= 400
    for open_one in (*sessions, late, sender):
        open_one.close()
