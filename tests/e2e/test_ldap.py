"""People of an LDAP directory: a real slapd beside the platform, whose people nobody adds."""

from __future__ import annotations

import contextlib
import json
import poplib
import secrets
import smtplib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.ldap_server import LdapServer
from tests.e2e.mail_clients import Clients, make_message
from tests.e2e.platform_under_test import Account, Platform
from tests.e2e.waiting import SLOWER, too_slow_for_a_sanitizer, wait_until

STRANGER = "carol@elsewhere.test"
# After a change in the directory nobody gets a 250, and nobody logs in, any more.
REMOVED_SECONDS = 5.0 * SLOWER
# What a person waits for at most.
PATIENCE = 5.0 * SLOWER


@dataclass
class World:
    ldap: LdapServer
    platform: Platform
    clients: Clients

    def new_person(self, *more: str) -> Account:
        """With those addresses too."""
        uid = f"u{secrets.token_hex(4)}"
        self.ldap.add_person(uid, secret := secrets.token_hex(8), f"{uid}@staff.test", *more)
        return Account(f"{uid}@staff.test", secret)

    def uid(self, person: Account) -> str:
        return person.address.partition("@")[0]

    def deliver(self, recipient: str, subject: str) -> None:
        with self.clients.smtp_mx() as session:
            session.sendmail(STRANGER, [recipient], make_message(STRANGER, recipient, subject))

    def rcpt(self, recipient: str) -> int:
        with self.clients.smtp_mx() as session:
            session.ehlo("client.test")
            session.mail(STRANGER)
            return session.rcpt(recipient)[0]

    def logs_in(self, person: Account) -> bool:
        """False: refused. Whatever else is an error."""
        try:
            self.clients.pop3s(person).quit()
        except poplib.error_proto as error:
            assert b"[AUTH]" in error.args[0], error
            return False
        return True

    def app_password(self, person: Account, name: str) -> Account:
        return Account(person.address, self.platform.ctl("app-password", "add", person.address, name)["password"])

    def subjects(self, person: Account) -> list[str]:
        with contextlib.closing(self.clients.pop3s(person)) as session:
            found = []
            for number in range(1, len(session.list()[1]) + 1):
                lines = session.top(number, 0)[1]
                found += [line.decode().removeprefix("Subject: ") for line in lines if line.startswith(b"Subject: ")]
            session.quit()
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("ldap")
    ldap = LdapServer(folder / "slapd").start()
    platform = Platform(folder / "postern", {"auth-svc": {"ldap": [ldap.settings(timeout_seconds=1, retry_seconds=1)]}})
    try:
        platform.start()
        platform.ctl("domain", "add", "staff.test")
        wait_until(lambda: platform.metrics("auth-svc").get('postern_ldap_watched{directory="staff"}') == 1, 30,
                   "the directory is watched")
        yield World(ldap, platform, Clients(platform))
    finally:
        platform.stop()
        ldap.stop()


def test_mail_comes_in_is_fetched_and_goes_out(world: World) -> None:
    alias = f"other-{secrets.token_hex(4)}@staff.test"
    alice, bob = world.new_person(alias), world.new_person()
    for recipient in (alice.address, alice.address.upper(), alice.address.replace("@", "+list@"), alias):
        world.deliver(recipient, f"to {recipient}")
    assert world.rcpt("nobody-at-all@staff.test") == 550
    assert len(world.subjects(alice)) == 4
    # By another of her addresses, to somebody who has never been asked for.
    with world.clients.smtp_submission(alice) as session:
        session.sendmail(alias, [bob.address], make_message(alias, bob.address, "from alice"))
        with pytest.raises(smtplib.SMTPSenderRefused):
            session.sendmail(bob.address, [bob.address], make_message(bob.address, bob.address, "as bob"))
    wait_until(lambda: world.subjects(bob) == ["from alice"], 30, "bob has it")
    [listed] = [one for one in world.platform.ctl("account", "list", "--domain", "staff.test")["accounts"]
                if one["address"] == bob.address]
    assert listed["source"] == "staff"


def test_a_person_logs_in_before_any_mail_came(world: World) -> None:
    alice = world.new_person()
    assert not world.logs_in(Account(alice.address, "wrong"))
    assert world.logs_in(alice)
    assert world.logs_in(alice)
    for name in ("*@staff.test", "\"*)(mail=*\"@staff.test", "nobody@staff.test", "alice@dc=staff"):
        assert not world.logs_in(Account(name, alice.password))


def test_a_group_is_an_alias(world: World) -> None:
    alice, bob = world.new_person(), world.new_person()
    group = f"g{secrets.token_hex(4)}@staff.test"
    world.ldap.add_group(group, world.uid(alice), world.uid(bob))
    world.deliver(group, "to the group")
    for person in (alice, bob):
        assert world.subjects(person) == ["to the group"]
    # One of ours leads to people there, known or not.
    carol = world.new_person()
    world.platform.ctl("alias", "add", f"all-{secrets.token_hex(4)}@example.test", carol.address, group)
    refused = world.platform.try_ctl("alias", "add", "x@example.test", "nobody-at-all@staff.test")
    assert "neither an account nor an alias" in refused.stderr


def test_service_accounts_are_ours(world: World) -> None:
    robot = world.platform.add_account(f"robot-{secrets.token_hex(4)}@staff.test")
    assert world.logs_in(robot)
    world.deliver(robot.address, "to the robot")
    assert world.subjects(robot) == ["to the robot"]
    alice = world.new_person()
    assert world.logs_in(alice)
    refused = world.platform.try_ctl("account", "set-password", alice.address, "--password-stdin", password="x" * 9)
    assert f"{alice.address} comes from the directory staff: change it there" in refused.stderr


def _within(seconds: float, condition: Callable[[], bool], what: str) -> None:
    began = time.monotonic()
    wait_until(condition, seconds, what)
    assert time.monotonic() - began < seconds


def test_a_new_password_works_at_once_and_the_old_no_more(world: World) -> None:
    alice = world.new_person()
    assert world.logs_in(alice)
    new = Account(alice.address, secrets.token_hex(8))
    world.ldap.set(world.uid(alice), "userPassword", new.password)
    assert world.logs_in(new)
    assert not world.logs_in(alice)


def test_who_is_disabled_or_gone_is_out(world: World) -> None:
    alice, bob = world.new_person(), world.new_person()
    for person in (alice, bob):
        assert world.logs_in(person)
        assert world.rcpt(person.address) == 250
    world.ldap.set(world.uid(alice), "pwdAccountLockedTime", "000001010000Z")
    world.ldap.remove_person(world.uid(bob))
    for person in (alice, bob):
        _within(REMOVED_SECONDS, lambda one=person: world.rcpt(one.address) == 550, "no more mail")  # type: ignore[misc]
        _within(REMOVED_SECONDS, lambda one=person: not world.logs_in(one), "no more logins")  # type: ignore[misc]
    # And who comes back finds the mail that was there.
    world.ldap.set(world.uid(alice), "pwdAccountLockedTime")
    _within(REMOVED_SECONDS, lambda: world.logs_in(alice), "she is back")


def test_an_application_password_lasts_as_long_as_the_person(world: World) -> None:
    alias = f"other-{secrets.token_hex(4)}@staff.test"
    alice = world.new_person(alias)
    # Before anything else is known of her.
    phone = world.app_password(alice, "phone")
    assert world.logs_in(phone) and world.logs_in(Account(alias, phone.password))
    told = json.loads(world.platform.try_ctl("auth", "test", alias, "--password-stdin", password=phone.password).stdout)
    assert told["outcome"] == "accepted" and "application password phone" in " ".join(told["steps"])
    world.ldap.set(world.uid(alice), "pwdAccountLockedTime", "000001010000Z")
    _within(REMOVED_SECONDS, lambda: not world.logs_in(phone), "no more logins")
    world.ldap.set(world.uid(alice), "pwdAccountLockedTime")
    _within(REMOVED_SECONDS, lambda: world.logs_in(phone), "she is back")


def test_passwords_of_the_directory_may_be_no_way_in(world: World) -> None:
    alias = f"other-{secrets.token_hex(4)}@staff.test"
    alice, unseen = world.new_person(), world.new_person(alias)
    phone = world.app_password(alice, "phone")
    assert world.logs_in(alice)
    world.platform.ctl("domain", "set-login-policy", "staff.test", "no-passwords")
    try:
        for person in (alice, unseen, Account(alias, unseen.password)):
            assert not world.logs_in(person)
        assert world.logs_in(phone)
    finally:
        world.platform.ctl("domain", "set-login-policy", "staff.test", "any")
    assert world.logs_in(alice) and world.logs_in(unseen)


def test_the_log_says_why(world: World) -> None:
    alice = world.new_person()
    for _ in range(5):
        assert not world.logs_in(Account(alice.address, "wrong"))
    assert not world.logs_in(alice)
    said = [line for line in world.platform.log("auth-svc").splitlines() if alice.address in line]
    assert any("Account locked" in line for line in said), said
    assert alice.password not in world.platform.log("auth-svc")


def test_auth_test_says_what_happened(world: World) -> None:
    alice = world.new_person()
    group = f"g{secrets.token_hex(4)}@staff.test"
    world.ldap.add_group(group, world.uid(alice))

    def steps(address: str, password: str = "") -> tuple[str, list[str]]:
        flags = ("--password-stdin",) if password else ()
        told = json.loads(world.platform.try_ctl("auth", "test", address, *flags, password=password).stdout)
        return told["outcome"], told["steps"]

    where = ["staff.test is one of our domains", "its people are in the directory staff"]
    dn = f"that is uid={world.uid(alice)},ou=people,dc=staff,dc=test"
    outcome, said = steps(alice.address, alice.password)
    assert (outcome, said[:4]) == ("accepted", [*where, dn, "the password is right"])
    outcome, said = steps(alice.address)
    assert (outcome, said[:3]) == ("found", [*where, dn])
    outcome, said = steps(alice.address, "wrong")
    assert (outcome, said[:4]) == ("refused", [*where, dn, "the password is wrong"])
    world.ldap.set(world.uid(alice), "pwdAccountLockedTime", "000001010000Z")
    outcome, said = steps(alice.address, alice.password)
    assert (outcome, said[2:4]) == ("refused", [f"{dn}, disabled there", "the password is wrong (Account locked)"])
    outcome, said = steps(group)
    assert outcome == "refused" and "nobody logs in as a group" in said[2]
    outcome, said = steps("nobody-at-all@staff.test")
    assert (outcome, said[2:]) == ("refused", ["it has nobody under nobody-at-all@staff.test"])


@too_slow_for_a_sanitizer
def test_a_directory_that_hangs_stops_nobody_else(world: World) -> None:
    known, stranger = world.new_person(), world.new_person()
    ours = world.platform.add_account()
    used = world.app_password(world.new_person(), "phone")
    assert world.logs_in(known) and world.logs_in(used)
    world.ldap.hang()
    try:
        began = time.monotonic()
        # Whoever logged in of late goes on; ours never asked.
        for person in (known, ours, used):
            assert world.logs_in(person)
        world.deliver(ours.address, "to ours")
        with pytest.raises(poplib.error_proto, match=r"\[SYS/TEMP\]"):
            world.clients.pop3s(stranger)
        assert world.rcpt(stranger.address) in (450, 451)
        assert time.monotonic() - began < 2 * PATIENCE
    finally:
        world.ldap.go_on()

    def is_back() -> bool:
        try:
            world.clients.pop3s(stranger).quit()
        except poplib.error_proto as error:
            assert b"[SYS/TEMP]" in error.args[0], error
            return False
        return True

    wait_until(is_back, 30, "the directory answers again")


def test_a_wrong_setting_is_named(tmp_path_factory: pytest.TempPathFactory, world: World) -> None:
    ldap = world.ldap.settings(preset="opnldap")
    platform = Platform(tmp_path_factory.mktemp("wrong"), {"auth-svc": {"ldap": [ldap]}})
    done = platform.try_start()
    assert done.returncode != 0
    said = done.stdout + done.stderr + platform.log("auth-svc")
    assert "ldap[0].preset: \"opnldap\" is none of openldap, active_directory, freeipa; did you mean openldap?" in said
