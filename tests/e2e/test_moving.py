"""Moving from Postfix and Dovecot: people, aliases and Maildirs, twice, and with bad input."""

from __future__ import annotations

import gzip
import os
import pathlib
import poplib
import re
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ctl.up import layout
from ctl.up.ports import FreePorts
from tests.bench.dovecot import Dovecot
from tests.e2e.mail_clients import HOST, TIMEOUT, Clients, without_trace
from tests.e2e.platform_under_test import ROOT, Account, Platform
from tests.e2e.waiting import wait_until

_SCRIPT = ROOT / "ctl/moving/from_dovecot.py"

# How Dovecot names what it delivers.
_NAME = re.compile(r"\d+\.M\d+P\d+\.[^,:]+,S=\d+,W=\d+")


class Old:
    """Another mail system: a Dovecot, and tables of a Postfix."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.domain = f"moved-{secrets.token_hex(4)}.test"
        self.passwd = folder / "passwd"
        self.aliases = folder / "virtual"
        self.journal = folder / "journal"
        self.passwd.write_text("", encoding="utf-8")
        self.aliases.write_text("", encoding="utf-8")
        mail = folder / "mail" / self.domain
        mail.mkdir(parents=True)
        if os.geteuid() == 0:
            shutil.chown(mail, "dovecot", "dovecot")
        self._port = FreePorts().take()
        self._dovecot = Dovecot(folder / "dovecot", self._port, self.passwd, f"{mail}/%n/Maildir", rootless=True,
                                more="auth_username_chars =\n")

    def start(self) -> None:
        self._dovecot.start()
        wait_until(self._listens, 30, "Dovecot listens")

    def stop(self) -> None:
        self._dovecot.stop()

    def _listens(self) -> bool:
        assert not self._dovecot.has_ended(), self._dovecot.log
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self._port)) == 0

    def maildir(self, local: str) -> pathlib.Path:
        return self.folder / "mail" / self.domain / local / "Maildir"

    def deliver(self, user: str, message: bytes, sender: str = "sender@elsewhere.test", folder: str = "") -> pathlib.Path:
        """By Dovecot, to somebody of its passwd-file, as Postfix's pipe(8) hands it over with flags=DR; gives the file."""
        local = user.partition("@")[0]
        there = self.maildir(local) / (f".{folder}" if folder else "") / "new"
        before = set(there.iterdir()) if there.exists() else set()
        into = ["-m", folder, "-o", "lda_mailbox_autocreate=yes"] if folder else []
        # It wants an address, and takes no name that is not ASCII for one.
        trace = f"Return-Path: <{sender}>\nDelivered-To: {local}@{self.domain}\n".encode()
        self._dovecot.deliver(user, sender, trace + message, "-a", f"someone@{self.domain}", *into)
        [file] = set(there.iterdir()) - before
        return file

    def flags(self, local: str) -> dict[str, str]:
        """What follows each name in cur."""
        names = [path.name.partition(":") for path in (self.maildir(local) / "cur").iterdir()]
        return {name: flags for name, _, flags in names}

    def pop3(self, user: str, password: str) -> poplib.POP3:
        session = poplib.POP3(HOST, self._port, TIMEOUT)
        session.user(user)
        session.pass_(password)
        return session

    def fetch(self, user: str, password: str, *numbers: int) -> list[bytes]:
        """Those messages, as the old system's users have them."""
        session = self.pop3(user, password)
        fetched = [b"".join(line + b"\r\n" for line in session.retr(number)[1]) for number in numbers]
        session.quit()
        return fetched

    def command(self, platform: Platform, *arguments: str) -> list[str]:
        return [
            sys.executable, str(_SCRIPT), f"--passwd-file={self.passwd}", f"--domain={self.domain}",
             f"--maildirs={self.folder}/mail/%d/%n/Maildir", f"--aliases={self.aliases}", f"--journal={self.journal}",
             f"--posternctl={layout.POSTERNCTL} --config {platform.data}/config/posternctl.yaml",
             f"--mx={HOST}:{platform.port('mx')}", *arguments]

    def move(self, platform: Platform, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(platform, *arguments), capture_output=True, text=True, check=False, timeout=300)

    def account(self, local: str) -> Account:
        address = f"{local}@{self.domain}"
        passwords = dict(line.split() for line in (self.journal / "passwords").read_text(encoding="utf-8").splitlines())
        return Account(address, passwords[address])


def _less_trace(original: bytes) -> bytes:
    """Postern writes these itself."""
    header, empty, body = original.partition(b"\r\n\r\n")
    return re.sub(rb"(?m)^(?:Return-Path|Delivered-To): [^\r\n]*\r\n", b"", header) + empty + body


@pytest.fixture(name="old")
def _old(tmp_path: pathlib.Path) -> Iterator[Old]:
    system = Old(tmp_path)
    try:
        system.start()
        yield system
    finally:
        system.stop()


def _message(number: int) -> bytes:
    return (f"From: <sender@elsewhere.test>\nSubject: {number}\n\n"
            f".a line with a dot\nb\u00fccher\n").encode()


def _hash(scheme: str, password: str) -> str:
    return subprocess.run(["doveadm", "pw", "-s", scheme, "-p", password], capture_output=True, text=True,
                          check=True).stdout.strip()


@pytest.mark.parametrize("scheme", ["SSHA", "SSHA256", "SSHA512", "MD5-CRYPT", "SHA256-CRYPT", "SHA512-CRYPT", "BLF-CRYPT",
                                    "CRYPT", "ARGON2ID"])
def test_a_hash_of_dovecot_logs_in(platform: Platform, scheme: str) -> None:
    account = platform.add_account()
    platform.ctl("account", "set-password", account.address, "--password-hash-stdin",
                 password=_hash(scheme, "correct horse"))
    clients = Clients(platform)
    clients.pop3s(Account(account.address, "correct horse")).quit()
    with pytest.raises(poplib.error_proto, match="AUTH"):
        clients.pop3s(account)


def test_people_aliases_and_mail_move(platform: Platform, old: Old) -> None:
    clients = Clients(platform)
    ben = f"ben@{old.domain}"
    hashes = _hash("SHA512-CRYPT", "anne's"), _hash("SSHA256", "ben's")
    old.passwd.write_text(f"# people\nanne:{hashes[0]}:1000:1000::/home/anne::\n{ben}:{hashes[1]}\n", encoding="utf-8")
    old.aliases.write_text(f"# one leads to another\nall@{old.domain}  team@{old.domain}\n"
                           f"team@{old.domain} anne@{old.domain},\n  {ben}\n", encoding="utf-8")
    names = {number: old.deliver("anne", _message(number), f"sender-{number}@elsewhere.test").name for number in range(1, 6)}
    assert all(map(_NAME.fullmatch, names.values()))
    old.deliver("anne", _message(0), folder="Sent")
    old.deliver("anne", _message(0), folder="Work.2024")
    old.deliver(ben, _message(4).replace(b"\n", b"\r\n"))
    # Two are read, one is gone, and one comes later.
    before = old.fetch("anne", "anne's", 1, 2)
    session = old.pop3("anne", "anne's")
    session.dele(3)
    session.quit()
    assert old.flags("anne") == {names[1]: "2,S", names[2]: "2,S", names[4]: "2,", names[5]: "2,"}
    assert (old.maildir("anne") / "dovecot-uidlist").is_file()
    old.deliver("anne", _message(6), "sender-6@elsewhere.test")
    # Older than the others, and after them by name.
    fifth = old.maildir("anne") / f"cur/{names[5]}:2,"
    fifth.rename(fifth.with_name(re.sub(r"^\d+", "999999999", fifth.name)))

    done = old.move(platform)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("1 domains made", "2 accounts made", "2 aliases made", "6 messages brought", "2 folders left", "0 not brought"):
        assert line in done.stdout, done.stdout
    after = old.fetch("anne", "anne's", 1, 2, 3, 4, 5)
    assert all(message in after for message in before)
    # With the passwords that they have.
    anne_now, ben_now = Account(f"anne@{old.domain}", "anne's"), Account(ben, "ben's")
    fetched = clients.fetch(anne_now)
    assert len(fetched) == 5
    for number, message in zip((5, 1, 2, 4, 6), fetched, strict=True):
        [original] = [one for one in after if f"\r\nSubject: {number}\r\n".encode() in one]
        assert original.startswith(f"Return-Path: <sender-{number}@elsewhere.test>\r\n".encode())
        assert without_trace(message, _less_trace(original))
        assert message.startswith(f"Return-Path: <sender-{number}@elsewhere.test>".encode())
    [message], [original] = clients.fetch(ben_now), old.fetch(ben, "ben's", 1)
    assert without_trace(message, _less_trace(original)) and original.endswith(_message(4).replace(b"\n", b"\r\n"))
    assert not (old.journal / "passwords").exists()

    # Once more, with one message that came meanwhile; those that were read meanwhile have other names.
    old.deliver(ben, _message(7))
    assert list(old.flags("anne").values()) == ["2,S"] * 5
    done = old.move(platform)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("1 domains that were there", "2 accounts that were there", "2 aliases that were there",
                 "1 messages brought\n", "6 messages that were brought before"):
        assert line in done.stdout, done.stdout
    assert len(clients.fetch(ben_now)) == 2 and len(clients.fetch(anne_now)) == 5


def test_what_is_wrong_is_named_and_the_rest_moves(platform: Platform, old: Old) -> None:
    old.passwd.write_text("anne:{PLAIN}secret:1000:\nnot an address::\n", encoding="utf-8")
    old.aliases.write_text(f"away@{old.domain} somebody@elsewhere.test\nnonsense\nok@{old.domain} anne@{old.domain}\n",
                           encoding="utf-8")
    large = old.deliver("anne", b"Subject: too large\n\n" + b"x" * 70 * (1 << 20))
    old.deliver("anne", _message(2))
    compressed = old.deliver("anne", _message(3))
    compressed.write_bytes(gzip.compress(compressed.read_bytes()))
    done = old.move(platform)
    assert done.returncode == 1
    for words in (f"the password of anne@{old.domain}, who has a new one: password hashes of scheme {{PLAIN}} are not taken",
                  f"{old.passwd}:2: 'not an address' is no address", f"alias away@{old.domain}: ",
                  f"{old.aliases}:2: expected", f"{large}: 552", f"{compressed}: it is compressed"):
        assert words in done.stderr, done.stderr
    for line in ("1 messages brought", "1 aliases made", "1 accounts made, with a new password",
                 "6 not brought"):
        assert line in done.stdout, done.stdout
    assert (old.journal / "passwords").stat().st_mode & 0o077 == 0
    assert len(Clients(platform).fetch(old.account("anne"))) == 1


def test_targets_elsewhere_are_forwards_when_asked_for(platform: Platform, old: Old) -> None:
    old.passwd.write_text("anne::\n", encoding="utf-8")
    old.aliases.write_text(f"away@{old.domain} anne@{old.domain} Somebody@elsewhere.test\n", encoding="utf-8")
    assert "--forward" in old.move(platform).stderr
    for line in ("1 aliases made", "1 aliases that were there"):
        done = old.move(platform, "--forward-outside")
        assert done.returncode == 0, done.stderr
        assert line in done.stdout, done.stdout
    [alias] = platform.ctl("alias", "list", old.domain)["aliases"]
    assert (alias["targets"], alias["forwards"]) == ([f"anne@{old.domain}"], ["somebody@elsewhere.test"])


def test_what_is_somebody_elses_already_is_named(platform: Platform, old: Old) -> None:
    """A forward on a person's own address, an alias that leads elsewhere, a person who is an alias; tabs are white space."""
    old.passwd.write_text("anne::\nben::\n", encoding="utf-8")
    old.aliases.write_text(f"all@{old.domain}\tben@{old.domain}\n", encoding="utf-8")
    assert old.move(platform).returncode == 0
    old.passwd.write_text("anne::\nall::\n", encoding="utf-8")
    old.aliases.write_text(f"anne@{old.domain} ben@{old.domain}\nall@{old.domain} anne@{old.domain}\n", encoding="utf-8")
    passwords = (old.journal / "passwords").read_text(encoding="utf-8")
    done = old.move(platform)
    assert done.returncode == 1
    for words in (f"account all@{old.domain}: posternctl: there is an alias", f"alias anne@{old.domain}: posternctl: there is an account",
                  f"alias all@{old.domain}: there is one that leads elsewhere"):
        assert words in done.stderr, done.stderr
    assert (old.journal / "passwords").read_text(encoding="utf-8") == passwords


def test_local_aliases_move_beside_the_virtual_ones(platform: Platform, old: Old) -> None:
    """Of aliases(5), what is an address; Postfix takes a virtual one first."""
    old.passwd.write_text("anne::\nben::\n", encoding="utf-8")
    old.aliases.write_text(f"info@{old.domain} anne@{old.domain}\nboth@{old.domain} ben@{old.domain}\n", encoding="utf-8")
    local = old.folder / "aliases"
    local.write_text("# of the system\nPostmaster:    root\nroot: Anne <anne>,\n  \\ben (the other)\nboth: anne\ninfo: ANNE\n"
                     'tickets: ben, "|/usr/bin/tickets --queue \\"a, b\\""\n'
                     'gone: |/usr/bin/vacation, /dev/null, ":include:/etc/a list", one two\ngone: anne\n'
                     "no colon\nopen: \"anne\nben: anne\n", encoding="utf-8")
    done = old.move(platform, f"--local-aliases={local}")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    alone = "addresses alone can be brought, not"
    assert done.stderr.splitlines() == [f"not brought: {fault}" for fault in (
        f'{local}:7: tickets@{old.domain}: {alone} the pipe |/usr/bin/tickets --queue "a, b"',
        f"{local}:8: gone@{old.domain}: {alone} the pipe |/usr/bin/vacation, the file /dev/null, "
        "the list :include:/etc/a list, one two",
        f"{local}:9: gone@{old.domain} is there already, and Postfix takes the first",
        f'{local}:10: expected "name: target, target ...", the name without a domain',
        f'{local}:11: expected "name: target, target ...", the name without a domain',
        f"local alias both@{old.domain}: a virtual one of that name leads elsewhere, and counts",
        f"alias ben@{old.domain}: posternctl: there is an account ben@{old.domain}")]
    listed = platform.ctl("alias", "list", old.domain)["aliases"]
    assert {one["address"].partition("@")[0]: sorted(target.partition("@")[0] for target in one["targets"]) for one in listed} == {
        "info": ["anne"], "both": ["ben"], "postmaster": ["root"], "root": ["anne", "ben"], "tickets": ["ben"]}


def test_one_who_cannot_be_brought_stops_nobody_else(platform: Platform, old: Old) -> None:
    old.passwd.write_text("anne@bad..domain::\nb\u00fccher::\ncarl::\n", encoding="utf-8")
    old.deliver("b\u00fccher", _message(1))
    old.deliver("carl", _message(2))
    done = old.move(platform)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "domain bad..domain: " in done.stderr
    assert len(Clients(platform).fetch(old.account("carl"))) == 1


def test_an_interrupted_run_goes_on(platform: Platform, old: Old) -> None:
    """Its journal lacks what was in flight; a password that was written down is the account's."""
    old.passwd.write_text("anne::\n", encoding="utf-8")
    for number in range(1, 21):
        old.deliver("anne", _message(number))
    old.journal.mkdir()
    (old.journal / "passwords").write_text(f"anne@{old.domain} written-before-the-account\n", encoding="utf-8")
    running = subprocess.Popen(old.command(platform), stdout=subprocess.DEVNULL)
    brought = old.journal / f"anne@{old.domain}.brought"
    wait_until(lambda: brought.exists() and len(brought.read_text(encoding="utf-8").splitlines()) >= 3, 60, "it runs")
    running.kill()
    running.wait()
    assert old.move(platform).returncode == 0
    fetched = Clients(platform).fetch(Account(f"anne@{old.domain}", "written-before-the-account"))
    assert 20 <= len(fetched) <= 21


def test_the_aliases_of_a_domain_are_listed_once(platform: Platform, old: Old) -> None:
    """However many of them are there already."""
    old.passwd.write_text("anne::\n", encoding="utf-8")
    old.aliases.write_text("".join(f"{name}@{old.domain} anne@{old.domain}\n" for name in ("a", "b", "c")), encoding="utf-8")
    assert old.move(platform).returncode == 0
    calls, command = old.folder / "calls", old.folder / "posternctl"
    command.write_text(f"#!/bin/sh\necho \"$@\" >>{calls}\n"
                       f"exec {layout.POSTERNCTL} --config {platform.data}/config/posternctl.yaml \"$@\"\n", encoding="utf-8")
    command.chmod(0o755)
    done = old.move(platform, f"--posternctl={command}")
    assert done.returncode == 0 and "3 aliases that were there" in done.stdout, done.stdout + done.stderr
    assert calls.read_text(encoding="utf-8").count("alias list") == 1


def test_a_posternctl_that_says_nothing_made_nothing(platform: Platform, old: Old) -> None:
    old.passwd.write_text("anne::\n", encoding="utf-8")
    done = old.move(platform, "--posternctl=/bin/false")
    assert done.returncode == 1 and "said nothing" in done.stderr and "made" not in done.stdout


@pytest.mark.parametrize(("argument", "says"), [
    ("--mx=nowhere", "--mx nowhere: expected HOST:PORT"), ("--maildirs=/var/mail", "everybody would have the same"),
    ("--passwd-file=/nonexistent", "/nonexistent"), ("--local-aliases=/nonexistent", "/nonexistent"), ("--posternctl=/nonexistent", "/nonexistent")])
def test_what_cannot_work_is_said_at_once(platform: Platform, old: Old, argument: str, says: str) -> None:
    old.passwd.write_text("anne::\n", encoding="utf-8")
    done = old.move(platform, argument)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr


def test_local_aliases_want_a_domain(platform: Platform, old: Old) -> None:
    old.passwd.write_text("", encoding="utf-8")
    done = old.move(platform, "--domain=", f"--local-aliases={old.aliases}")
    assert done.returncode == 2 and "its names have no domain" in done.stderr
