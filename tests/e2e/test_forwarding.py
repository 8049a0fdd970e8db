"""Aliases that leave the platform: mail goes on, its sender an address of ours that leads back (SRS)."""

from __future__ import annotations

import contextlib
import re
import secrets
import smtplib

import pytest

from tests.e2e.mail_clients import make_message
from tests.e2e.remote_mta import ScriptedMta
from tests.e2e.waiting import wait_until
from tests.e2e.world import FIRST, SECOND, World

CAROL = "carol@elsewhere.test"
DAVE = "Dave@remote.test"


class Outside:
    """Where the alias leads, and where its mail comes from."""

    def __init__(self, world: World, replies: dict[str, str] | None = None):
        self._world = world
        world.names.add(f"remote.test. 60 IN A {FIRST}", f"elsewhere.test. 60 IN A {SECOND}")
        self.daves = world.mta(replies, FIRST)
        self.carols = world.mta(host=SECOND)

    def alias(self, *targets: str) -> str:
        alias = f"alias-{secrets.token_hex(4)}@example.test"
        self._world.platform.ctl("alias", "add", alias, *targets, "--forward", DAVE)
        return alias

    def give(self, *recipients: str, sender: str = CAROL, body: bytes = b"in\r\n") -> bytes:
        """To mx."""
        message = make_message(CAROL, recipients[0], "on", body)
        with self._world.clients.smtp_mx() as session:
            assert not session.sendmail(sender, list(recipients), message)
        return message

    def wait_for(self, mta: ScriptedMta, messages: int = 1) -> list[bytes]:
        wait_until(lambda: len(mta.bodies) >= messages, 60, "the message has gone on")
        wait_until(self._world.platform.queue_is_empty, 60, "nothing waits")
        assert len(mta.bodies) == messages
        return mta.bodies


def senders(mta: ScriptedMta) -> list[str]:
    """Of MAIL, without the angle brackets."""
    return [found[1] for command in mta.commands if (found := re.match(r"MAIL FROM:<([^>]*)>", command))]


@pytest.fixture
def outside(world: World) -> Outside:
    return Outside(world)


def test_mail_goes_on(outside: Outside) -> None:
    message = outside.give(outside.alias())
    [body] = outside.wait_for(outside.daves)
    assert body.endswith(message), body
    assert outside.daves.count(f"RCPT TO:<{DAVE}>") == 1
    # Ours, so that SPF holds, and nobody else's whatever the receiver makes of its case.
    [sender] = senders(outside.daves)
    assert re.fullmatch(r"SRS0=[a-z2-7]{6}=[A-Z2-7]{2}=elsewhere\.test=carol@example\.test", sender), sender


def test_a_refusal_elsewhere_comes_back_to_the_sender(world: World) -> None:
    outside = Outside(world, {"RCPT": "550 5.1.1 no dave here"})
    outside.give(outside.alias())
    [bounce] = outside.wait_for(outside.carols)
    assert senders(outside.carols) == [""]
    assert outside.carols.count(f"RCPT TO:<{CAROL}>") == 1
    assert b"multipart/report" in bounce
    assert b"no dave here" in bounce


def test_a_bounce_from_elsewhere_finds_the_sender(world: World, outside: Outside) -> None:
    outside.give(outside.alias())
    outside.wait_for(outside.daves)
    [srs] = senders(outside.daves)
    # Some write local parts small.
    for recipient in (srs, srs.lower()):
        outside.give(recipient, sender="", body=b"no such dave\r\n")
    bounces = outside.wait_for(outside.carols, 2)
    assert all(b"no such dave" in bounce for bounce in bounces)
    assert senders(outside.carols) == ["", ""]
    # Nothing but what bounces, and only by an address that we made.
    local, _, domain = srs.partition("@")
    with world.clients.smtp_mx() as session:
        for sender, recipient in ((DAVE, srs), ("", srs.replace("=carol@", "=mallory@")),
                                  ("", f"{local.replace('elsewhere', 'victim')}@{domain}")):
            with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
                session.sendmail(sender, [recipient], b"x\r\n")
            assert refused.value.recipients[recipient][0] == 550


def test_members_here_get_theirs(world: World, outside: Outside) -> None:
    here, other = world.platform.add_account(), world.platform.add_account()
    alias = outside.alias(here.address)
    # Another recipient of the same transaction, and a body that comes in pieces.
    message = outside.give(alias, other.address, body=(b"z" * 76 + b"\r\n") * 6000)
    [body] = outside.wait_for(outside.daves)
    assert body.endswith(message)
    for account in (here, other):
        [fetched] = world.clients.wait_for(account, 1)
        assert fetched.endswith(message)
        assert f"Return-Path: <{CAROL}>".encode() in fetched


def test_a_user_here_writes_to_it(world: World, outside: Outside) -> None:
    message = world.send(outside.alias())
    [body] = outside.wait_for(outside.daves)
    assert body.endswith(message)
    # Already an address of ours.
    assert senders(outside.daves) == [world.alice.address]


def test_a_catch_all_leads_elsewhere(world: World, outside: Outside) -> None:
    world.platform.ctl("domain", "add", "moved.test")
    world.platform.ctl("alias", "add", "@moved.test", "--forward", DAVE)
    outside.give("anybody@moved.test")
    outside.wait_for(outside.daves)
    assert senders(outside.daves)[0].endswith("@moved.test")


def test_nothing_is_lost_when_relay_svc_is_killed(world: World, outside: Outside) -> None:
    """Before the message is on, between the two commits, or while it leaves."""
    here = world.platform.add_account()
    alias = outside.alias(here.address)
    accepted: set[int] = set()
    for number in range(60):
        if number % 10 == 5:
            world.platform.kill("relay-svc")
        with contextlib.suppress(smtplib.SMTPException, OSError):
            outside.give(alias, body=f"number {number}.\r\n".encode())
            accepted.add(number)
    assert len(accepted) > 30

    def numbers(messages: list[bytes]) -> list[int]:
        return [int(re.findall(rb"^number (\d+)\.", message, re.MULTILINE)[0]) for message in messages]
    world.platform.wait_all_ready()
    # What a killed one had claimed is due again after claim_seconds.
    wait_until(world.platform.queue_is_empty, 150, "nothing waits")
    assert accepted <= set(numbers(outside.daves.bodies))
    # Elsewhere one may come twice, whose answer nobody read; here never.
    kept = numbers(world.clients.fetch(here))
    assert accepted <= set(kept)
    assert len(kept) == len(set(kept))


def test_a_loop_ends(outside: Outside) -> None:
    """By what elsewhere sends it back with: our own Received fields."""
    alias = outside.alias()
    message = outside.give(alias)
    for passed in range(5):
        message = outside.wait_for(outside.daves, passed + 1)[-1]
        if passed == 4:
            break
        _resend(outside, alias, message)
    with pytest.raises(smtplib.SMTPDataError) as refused:
        _resend(outside, alias, message)
    assert refused.value.smtp_code == 554
    assert b"5.4.6" in refused.value.smtp_error


def _resend(outside: Outside, alias: str, message: bytes) -> None:
    with outside._world.clients.smtp_mx() as session:
        session.sendmail(CAROL, [alias], message)


def test_nobody_sends_as_an_alias_that_leaves(world: World, outside: Outside) -> None:
    alias = outside.alias()
    with world.clients.smtp_submissions(world.alice) as session, pytest.raises(smtplib.SMTPSenderRefused):
        session.sendmail(alias, [DAVE], b"x\r\n")


def test_a_forward_is_outside(world: World, outside: Outside) -> None:
    refused = world.platform.try_ctl("alias", "add", "wrong@example.test", "--forward", "alice@example.test")
    assert refused.returncode != 0
    assert "target" in refused.stdout + refused.stderr
    outside.alias()
    refused = world.platform.try_ctl("domain", "add", "remote.test")
    assert refused.returncode != 0
    assert "alias-" in refused.stdout + refused.stderr
