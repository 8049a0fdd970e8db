#!/usr/bin/python3
"""Brings people, aliases and mail from Postfix and Dovecot to a running Postern. docs/operate/moving.md

It reads Dovecot's passwd-file and Postfix's alias maps, virtual and local, makes the same domains, accounts (with the
passwords that they have) and aliases by posternctl, and hands each message of each Maildir to the mx listener, oldest first. Run it as
often as you like: a journal says what was brought already. It writes nothing on the side that it reads.
"""

from __future__ import annotations

import argparse
import dataclasses
import email.parser
import email.utils
import json
import os
import pathlib
import re
import secrets
import shlex
import smtplib
import subprocess
import sys
from collections.abc import Iterator

_SECONDS = 60
_ADDRESS = re.compile(r"[^\s@,]+@[^\s@,]+")
_QUOTED = r'"(?:[^"\\]|\\.)*"'
# "name: value, value"; the name may be quoted, and so may a value or a part of it.
_LOCAL_ALIAS = re.compile(rf'({_QUOTED}|[^\s:"]+)\s*:((?:{_QUOTED}|[^"])*)')
_VALUE = re.compile(rf'(?:{_QUOTED}|[^,"])+')
# How zstd, gzip, LZ4, xz and bzip2 begin, and no message does.
_COMPRESSED = (b"\x28\xb5\x2f\xfd", b"\x1f\x8b", b"\x04\x22\x4d\x18", b"\xfd7zXZ\0", b"BZh91AY&SY")
# What a local alias may lead to and an alias of Postern may not, by how it begins.
_NO_ADDRESS = {"|": "the pipe ", "/": "the file ", ":include:": "the list "}


class Failure(Exception):
    """One line that says what is wrong."""


@dataclasses.dataclass
class Summary:
    """What was done, by what it was."""

    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    faults: list[str] = dataclasses.field(default_factory=list)

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + number

    def fault(self, why: str) -> None:
        self.faults.append(why)
        print(f"not brought: {why}", file=sys.stderr, flush=True)


def _lines(file: pathlib.Path) -> list[tuple[int, str]]:
    """Numbered; those that say something."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Failure(f"{file}: is not UTF-8 ({error.reason} at octet {error.start})") from error
    return [(number, line) for number, line in enumerate(text.splitlines(), 1)
            if line.strip() and not line.lstrip().startswith("#")]


def read_people(file: pathlib.Path, domain: str, summary: Summary) -> dict[str, str]:
    """Hashes by address, of a passwd-file: "user:{SCHEME}hash:uid:gid:..."; empty where somebody has none."""
    people = {}
    for number, line in _lines(file):
        user, password = [*map(str.strip, line.split(":")), ""][:2]
        address = user if "@" in user else f"{user}@{domain}"
        if not _ADDRESS.fullmatch(address) or (not domain and "@" not in user):
            summary.fault(f"{file}:{number}: {user!r} is no address; --domain gives those without one theirs")
        else:
            people[address.lower()] = password
    return people


def _logical_lines(file: pathlib.Path) -> list[tuple[int, str]]:
    """Those of a Postfix table: one that begins with white space goes on with the one before."""
    logical: list[tuple[int, str]] = []
    for number, line in _lines(file):
        if line[0].isspace() and logical:
            logical[-1] = (logical[-1][0], logical[-1][1] + " " + line.strip())
        else:
            logical.append((number, line.strip()))
    return logical


def read_aliases(file: pathlib.Path, summary: Summary) -> dict[str, list[str]]:
    """As virtual(5): "address target, target ..."."""
    aliases = {}
    for number, line in _logical_lines(file):
        address, *rest = re.split(r"\s+", line, maxsplit=1)
        targets = list(dict.fromkeys(target for target in re.split(r"[\s,]+", "".join(rest)) if target))
        if not _ADDRESS.fullmatch(address) or not targets or not all(map(_ADDRESS.fullmatch, targets)):
            summary.fault(f"{file}:{number}: expected \"address target, target ...\", each with a domain")
        else:
            aliases[address.lower()] = [target.lower() for target in targets]
    return aliases


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if re.fullmatch(_QUOTED, text) else text


def _local_target(value: str, domain: str) -> str:
    """The address of "Name <address>", "address (name)" or "\\address", with its domain; empty: it is none."""
    angles = re.search(r"<([^<>]*)>", value)
    # The backslash says that a .forward does not count.
    target = (angles[1] if angles else re.sub(r"\([^()]*\)", "", value)).strip().removeprefix("\\").lower()
    target = target if "@" in target else f"{target}@{domain}"
    return target if _ADDRESS.fullmatch(target) else ""


def read_local_aliases(file: pathlib.Path, domain: str, summary: Summary) -> dict[str, list[str]]:
    """As aliases(5): "name: target, target ...", all of this domain. An alias keeps those targets that are addresses."""
    aliases: dict[str, list[str]] = {}
    for number, line in _logical_lines(file):
        parts = _LOCAL_ALIAS.fullmatch(line)
        address = f"{_unquoted(parts[1])}@{domain}".lower() if parts else ""
        values = [_unquoted(value) for value in map(str.strip, _VALUE.findall(parts[2])) if value] if parts else []
        if not _ADDRESS.fullmatch(address) or not values:
            summary.fault(f"{file}:{number}: expected \"name: target, target ...\", the name without a domain")
            continue
        if address in aliases:
            summary.fault(f"{file}:{number}: {address} is there already, and Postfix takes the first")
            continue
        aliases[address], left = [], []
        for value in values:
            kind = next((kind for begin, kind in _NO_ADDRESS.items() if value.lower().startswith(begin)), "")
            target = "" if kind else _local_target(value, domain)
            if target:
                aliases[address].append(target)
            else:
                left.append(kind + value)
        if left:
            summary.fault(f"{file}:{number}: {address}: addresses alone can be brought, not {', '.join(left)}")
    return {address: list(dict.fromkeys(targets)) for address, targets in aliases.items() if targets}


def merge_aliases(virtual: dict[str, list[str]], local: dict[str, list[str]], summary: Summary) -> dict[str, list[str]]:
    """Postfix asks the virtual ones first."""
    for address in sorted(virtual.keys() & local.keys()):
        if sorted(virtual[address]) != sorted(local[address]):
            summary.fault(f"local alias {address}: a virtual one of that name leads elsewhere, and counts")
    return local | virtual


class Postern:
    """By posternctl."""

    def __init__(self, command: str):
        self._command = shlex.split(command)
        # By domain, then by alias.
        self._listed: dict[str, dict[str, list[str]]] = {}

    def _run(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._command, *arguments], input=given, capture_output=True, text=True, check=False,
                              timeout=_SECONDS)

    def make(self, kind: str, name: str, *arguments: str, given: str = "") -> tuple[bool, str]:
        """Whether it was made, or else is there already, as what it should be; and what is wrong when neither."""
        done = self._run(kind, "add", name, *arguments, given=given)
        if done.returncode == 0:
            return True, ""
        said = (done.stderr or done.stdout).strip().splitlines()
        wrong = said[0] if said else f"posternctl ended with {done.returncode} and said nothing"
        # "a domain", "an account".
        return False, "" if re.match(rf"posternctl: there is an? {kind} ", wrong) else wrong

    def targets(self, alias: str) -> list[str]:
        """Where an alias leads that is there."""
        domain = alias.rpartition("@")[2]
        # One that is not in the list may be younger than it.
        if alias not in self._listed.get(domain, {}):
            self._listed[domain] = self._list(domain)
        return self._listed[domain].get(alias, [])

    def _list(self, domain: str) -> dict[str, list[str]]:
        done = self._run("--json", "alias", "list", domain)
        listed = json.loads(done.stdout)["aliases"] if done.returncode == 0 else []
        return {one["address"]: sorted([*one["targets"], *one.get("forwards", [])]) for one in listed}


class Journal:
    """What was brought: a file for each person, and the new passwords."""

    def __init__(self, folder: pathlib.Path):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._password_file = folder / "passwords"
        self._passwords: dict[str, str] = {}
        if self._password_file.exists():
            lines = self._password_file.read_text(encoding="utf-8").splitlines()
            self._passwords = dict(line.split() for line in lines)

    def password(self, address: str) -> str:
        """That of an earlier run; empty: none."""
        return self._passwords.get(address, "")

    def add_password(self, address: str, password: str) -> None:
        with os.fdopen(os.open(self._password_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a",
                       encoding="utf-8") as file:
            file.write(f"{address} {password}\n")
        self._passwords[address] = password

    def drop_password(self, address: str) -> None:
        """It was not used: somebody else made the account."""
        del self._passwords[address]
        self._password_file.write_text("".join(f"{one} {password}\n" for one, password in self._passwords.items()),
                                       encoding="utf-8")

    def _file(self, address: str) -> pathlib.Path:
        return self._folder / f"{address.replace('/', '_')}.brought"

    def brought(self, address: str) -> set[str]:
        file = self._file(address)
        return set(file.read_text(encoding="utf-8").splitlines()) if file.exists() else set()

    def add(self, address: str, name: str) -> None:
        with self._file(address).open("a", encoding="utf-8") as file:
            file.write(name + "\n")


def messages(maildir: pathlib.Path) -> Iterator[tuple[str, pathlib.Path]]:
    """Unique names and files, the oldest first: a name begins with the second of its delivery."""
    found = []
    for folder in ("cur", "new"):
        if (maildir / folder).is_dir():
            found += [path for path in (maildir / folder).iterdir() if path.is_file() and path.name[0] != "."]

    def when(path: pathlib.Path) -> tuple[int, int, str]:
        second, _, rest = path.name.partition(".")
        part = re.match(r"M(\d+)", rest)
        return (int(second) if second.isdigit() else int(path.stat().st_mtime), int(part[1]) if part else 0, path.name)

    for path in sorted(found, key=when):
        yield path.name.split(":")[0], path


def with_crlf(octets: bytes) -> bytes:
    """As RFC 5322 has lines; what has them already stays as it is."""
    return re.sub(rb"(?<!\r)\n", b"\r\n", octets)


def sender_of(octets: bytes) -> str:
    """The envelope's, as the last hop wrote it down; empty: none."""
    header = email.parser.BytesHeaderParser().parsebytes(octets)
    address = email.utils.parseaddr(str(header.get("Return-Path", "")))[1]
    return address if _ADDRESS.fullmatch(address) and address.isascii() else ""


class Mover:
    """Brings one person's mail after the other's."""

    def __init__(self, postern: Postern, mx: tuple[str, int], journal: Journal, summary: Summary):
        self._postern = postern
        self._mx = mx
        self._journal = journal
        self._summary = summary

    def make_domains(self, addresses: list[str]) -> set[str]:
        """Those that are there then."""
        there = set()
        for domain in sorted({address.rpartition("@")[2] for address in addresses}):
            made, wrong = self._postern.make("domain", domain)
            if wrong:
                self._summary.fault(f"domain {domain}: {wrong}")
                continue
            self._summary.count("domains made" if made else "domains that were there")
            there.add(domain)
        return there

    def make_account(self, address: str, password_hash: str) -> bool:
        """Whether it is there then."""
        # One that made a new password before keeps that.
        if password_hash and not self._journal.password(address):
            made, wrong = self._postern.make("account", address, "--password-hash-stdin", given=password_hash + "\n")
            if not wrong:
                self._summary.count("accounts made" if made else "accounts that were there")
                return True
            if "password hash" not in wrong:
                self._summary.fault(f"account {address}: {wrong}")
                return False
            self._summary.fault(f"the password of {address}, who has a new one: {wrong.removeprefix('posternctl: ')}")
        return self._make_with_new_password(address)

    def _make_with_new_password(self, address: str) -> bool:
        # Written down first: an interruption leaves no account whose password nobody has.
        known = self._journal.password(address)
        password = known or secrets.token_urlsafe(12)
        if not known:
            self._journal.add_password(address, password)
        made, wrong = self._postern.make("account", address, "--password-stdin", given=password + "\n")
        if not made and not known:
            self._journal.drop_password(address)
        if wrong:
            self._summary.fault(f"account {address}: {wrong}")
            return False
        self._summary.count("accounts made, with a new password" if made else "accounts that were there")
        return True

    def make_aliases(self, aliases: dict[str, list[str]], domains: set[str] | None) -> None:
        """An alias may lead to one that is made later: as many rounds as something is made. Targets outside of these domains
        are forwards; None: there are none."""
        left = dict(aliases)
        complaints: dict[str, str] = {}
        progress = True
        while left and progress:
            progress, complaints = False, {}
            for address, targets in list(left.items()):
                made, wrong = self._postern.make("alias", address, *(
                    target if domains is None or target.rpartition("@")[2] in domains else f"--forward={target}" for target in targets))
                if not made and not wrong and self._postern.targets(address) != sorted(targets):
                    wrong = "there is one that leads elsewhere"
                if wrong:
                    complaints[address] = wrong
                    continue
                self._summary.count("aliases made" if made else "aliases that were there")
                del left[address]
                progress = True
        for address, wrong in complaints.items():
            self._summary.fault(f"alias {address}: {wrong}")

    def bring(self, address: str, maildir: pathlib.Path) -> None:
        try:
            self._bring_all(address, maildir)
        except OSError as error:
            self._summary.fault(f"{address}: {error.filename or maildir}: {error.strerror}")

    def _bring_all(self, address: str, maildir: pathlib.Path) -> None:
        if not maildir.is_dir():
            self._summary.count("accounts without a Maildir")
            return
        folders = [folder for folder in maildir.iterdir() if folder.name.startswith(".") and (folder / "cur").is_dir()]
        if folders:
            self._summary.count("folders left, since POP3 has the inbox alone", len(folders))
        brought = self._journal.brought(address)
        waiting = [(name, path) for name, path in messages(maildir) if name not in brought]
        self._summary.count("messages that were brought before", len(brought))
        if not waiting:
            return
        try:
            with smtplib.SMTP(*self._mx, timeout=_SECONDS) as session:
                for name, path in waiting:
                    self._bring_one(session, address, name, path)
        except (OSError, smtplib.SMTPException) as error:
            self._summary.fault(f"{address}, what was left of {maildir}: {error}")

    def _bring_one(self, session: smtplib.SMTP, address: str, name: str, path: pathlib.Path) -> None:
        try:
            kept = path.read_bytes()
        except OSError as error:
            self._summary.fault(f"{path}: {error.strerror}")
            return
        if kept.startswith(_COMPRESSED):
            self._summary.fault(f"{path}: it is compressed (Dovecot's zlib or mail_compress): write it out plain, with "
                                "`doveadm sync` to a Maildir without it")
            return
        octets = with_crlf(kept)
        try:
            session.sendmail(sender_of(octets), [address], octets, ["BODY=8BITMIME"])
        except UnicodeError:
            self._summary.fault(f"{path}: {address} is not ASCII, and the mx listener takes no other")
            return
        except (smtplib.SMTPDataError, smtplib.SMTPSenderRefused, smtplib.SMTPRecipientsRefused) as error:
            said = next(iter(error.recipients.values())) if isinstance(error, smtplib.SMTPRecipientsRefused) else (
                error.smtp_code, error.smtp_error)
            self._summary.fault(f"{path}: {said[0]} {said[1].decode(errors='replace')}")
            return
        self._journal.add(address, name)
        self._summary.count("messages brought")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--passwd-file", type=pathlib.Path, required=True, help="Dovecot's, or one like it")
    parser.add_argument("--maildirs", required=True, metavar="PATTERN",
                        help="where each Maildir is: /var/mail/%%d/%%n/Maildir (%%d: domain, %%n: local part)")
    parser.add_argument("--domain", default="", help="of names without one")
    parser.add_argument("--aliases", type=pathlib.Path, help="Postfix's virtual_alias_maps, as text")
    parser.add_argument("--local-aliases", type=pathlib.Path, help="Postfix's alias_maps, such as /etc/aliases; of --domain")
    parser.add_argument("--forward-outside", action="store_true", help="aliases send on to targets in other domains")
    parser.add_argument("--posternctl", default="posternctl", metavar="COMMAND",
                        help="such as \"kubectl exec -i deploy/postern-posternctl -- posternctl\"")
    parser.add_argument("--mx", default="localhost:25", metavar="HOST:PORT", help="Postern's, for mail from the internet")
    parser.add_argument("--journal", type=pathlib.Path, default=pathlib.Path("moving"), metavar="DIR",
                        help="what was brought, and the new passwords (default: ./moving)")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    given = _parse(arguments)
    summary = Summary()
    host, _, port = given.mx.rpartition(":")
    try:
        if not host or not port.isdigit():
            raise Failure(f"--mx {given.mx}: expected HOST:PORT")
        if "%n" not in given.maildirs:
            raise Failure(f"--maildirs {given.maildirs}: everybody would have the same; name the local part by %n")
        if given.local_aliases and not given.domain:
            raise Failure(f"--local-aliases {given.local_aliases}: its names have no domain; --domain gives them theirs")
        people = read_people(given.passwd_file, given.domain, summary)
        aliases = read_aliases(given.aliases, summary) if given.aliases else {}
        if given.local_aliases:
            aliases = merge_aliases(aliases, read_local_aliases(given.local_aliases, given.domain.lower(), summary), summary)
        mover = Mover(Postern(given.posternctl), (host, int(port)), Journal(given.journal), summary)
        domains = mover.make_domains([*people, *aliases])
        known = [address for address, password_hash in people.items()
                 if address.rpartition("@")[2] in domains and mover.make_account(address, password_hash)]
        mover.make_aliases({address: targets for address, targets in aliases.items()
                            if address.rpartition("@")[2] in domains}, domains if given.forward_outside else None)
        for address in known:
            local, _, domain = address.partition("@")
            mover.bring(address, pathlib.Path(given.maildirs.replace("%d", domain).replace("%n", local)))
    except (Failure, OSError, subprocess.TimeoutExpired) as error:
        print(f"from_dovecot: {error}", file=sys.stderr)
        return 2
    for what, number in summary.counts.items():
        print(f"{number:8} {what}")
    print(f"{len(summary.faults):8} not brought")
    return 1 if summary.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
