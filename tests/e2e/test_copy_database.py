"""A platform moves from SQLite to PostgreSQL, and back, with all that is in it."""

from __future__ import annotations

import pathlib
import secrets
from typing import Any

import pytest

from tests.e2e.mail_clients import Clients, make_message, without_trace
from tests.e2e.platform_under_test import UP_FLAGS, Account, Platform, run_up_command
from tests.e2e.remote_mta import free_port
from tests.e2e.waiting import wait_until

pytestmark = pytest.mark.skipif(bool(UP_FLAGS), reason="it chooses its databases itself")


def _queue(platform: Platform) -> list[dict[str, Any]]:
    return platform.ctl("queue", "list")["entries"]


def _uidls(clients: Clients, account: Account) -> list[bytes]:
    session = clients.pop3s(account)
    uidls = session.uidl()[1]
    session.quit()
    return uidls


def _all(platform: Platform, accounts: list[Account]) -> dict[str, Any]:
    """What its users and operators can see."""
    clients = Clients(platform)
    return {
        "queue": _queue(platform),
        "domains": platform.ctl("domain", "list"),
        "accounts": platform.ctl("account", "list"),
        "aliases": platform.ctl("alias", "list"),
        "mailboxes": platform.ctl("mailbox", "list"),
        "maildrops": [(_uidls(clients, account), clients.fetch(account)) for account in accounts],
    }


def _copy(platform: Platform, kind: str) -> None:
    platform.stop()
    done = run_up_command("copy-database", "--data", str(platform.data), "--to", kind)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("account: 3 rows", "message: 2 rows", "comparing body"):
        assert line in done.stdout + done.stderr, done.stdout + done.stderr


def test_to_postgresql_and_back(tmp_path: pathlib.Path) -> None:
    nobody = free_port()
    overlay = {"relay-svc": {"delivery": {
        "retry_seconds": [3600],
        "next_hops": [{"domain": "*", "host": "127.0.0.1", "port": nobody}]}}}
    data = tmp_path / "d"
    platform = Platform(data, overlay)
    try:
        platform.start()
        alice = platform.built_in_account("alice")
        carol = platform.add_account()
        everyone = "everyone@example.test"
        platform.ctl("alias", "add", everyone, alice.address, carol.address)
        clients = Clients(platform)
        large = make_message("d@elsewhere.test", everyone, "large",
                             (secrets.token_hex(35).encode() + b"\r\n") * 20000)
        with clients.smtp_mx() as session:
            for number in range(3):
                session.sendmail("d@elsewhere.test", [alice.address],
                                 make_message("d@elsewhere.test", alice.address, str(number)))
            session.sendmail("d@elsewhere.test", [everyone], large)
        session = clients.pop3s(alice)
        session.dele(2)
        session.quit()
        for recipient in ("one@remote.test", "two@remote.test"):
            with clients.smtp_submission(alice) as session:
                session.sendmail(alice.address, [recipient],
                                 make_message(alice.address, recipient, "waits"))
        wait_until(lambda: all(recipient.get("attempts") for entry in _queue(platform)
                               for recipient in entry["recipients"]), 60,
                   "both were tried once")
        platform.ctl("queue", "hold", _queue(platform)[1]["queue_id"])
        before = _all(platform, [alice, carol])
        assert [bool(entry.get("held")) for entry in before["queue"]] == [False, True]
        assert len(before["maildrops"][0][0]) == 3

        running = run_up_command("copy-database", "--data", str(data), "--to", "postgresql")
        assert running.returncode == 1 and "it runs already" in running.stderr
        platform.stop()
        done = run_up_command("copy-database", "--data", str(data), "--to", "sqlite")
        assert done.returncode == 1 and "lives in SQLite already" in done.stderr

        _copy(platform, "postgresql")
        refused = platform.try_start()
        assert refused.returncode == 1 and "./dev up --postgresql" in refused.stdout
        platform = Platform(data, overlay, flags=("--postgresql",)).start()
        assert _all(platform, [alice, carol]) == before

        # It lives on there, and comes back with what came meanwhile.
        clients = Clients(platform)
        with clients.smtp_mx() as session:
            session.sendmail("d@elsewhere.test", [carol.address],
                             make_message("d@elsewhere.test", carol.address, "later"))
        before = _all(platform, [alice, carol])
        _copy(platform, "sqlite")
        platform = Platform(data, overlay).start()
        assert _all(platform, [alice, carol]) == before
        assert without_trace(Clients(platform).fetch(carol)[0], large) == large

        # What an earlier move left there is not in the way.
        _copy(platform, "postgresql")
        platform = Platform(data, overlay, flags=("--postgresql",)).start()
        assert _all(platform, [alice, carol]) == before
    finally:
        platform.stop()
