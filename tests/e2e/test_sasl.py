"""Every way to log in, by clients that are not ours: gsasl, msmtp, mpop, curl."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import poplib
import smtplib
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.certificate_authority import CertificateAuthority
from tests.e2e.mail_clients import HOST, TIMEOUT, Clients, make_message
from tests.e2e.platform_under_test import Account, Platform
from tests.e2e.waiting import wait_until

ISSUER = "https://login.test"
STAFF = "alice@staff.test"


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


class Issuer:
    """Keys in a file, and tokens that they sign (RFC 7515, RS256)."""

    def __init__(self, folder: pathlib.Path):
        self._key = folder / "issuer.pem"
        self.jwks_file = folder / "jwks.json"
        subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out",
                        str(self._key)], check=True, capture_output=True)
        modulus = subprocess.run(["openssl", "rsa", "-in", str(self._key), "-noout", "-modulus"], check=True,
                                 capture_output=True, text=True).stdout.strip().removeprefix("Modulus=")
        key = {"kty": "RSA", "kid": "1", "n": _base64url(bytes.fromhex(modulus)), "e": "AQAB"}
        self.jwks_file.write_text(json.dumps({"keys": [key]}), encoding="ascii")

    def settings(self) -> dict[str, Any]:
        return {"name": "login", "domains": ["staff.test"], "issuer": ISSUER, "audiences": ["mail"],
                "jwks_file": str(self.jwks_file)}

    def token(self, address: str, **others: Any) -> str:
        claims = {"iss": ISSUER, "aud": "mail", "sub": address, "email": address, "exp": int(time.time()) + 600}
        parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "kid": "1"}, claims | others)]
        signed = ".".join(_base64url(part) for part in parts)
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", str(self._key)], input=signed.encode(),
                                   check=True, capture_output=True).stdout
        return f"{signed}.{_base64url(signature)}"


def _issue(authority: CertificateAuthority, name: str, *addresses: str) -> tuple[pathlib.Path, pathlib.Path]:
    names = ",".join(f"email:{address}" for address in addresses)
    return authority.issue(name, f"subjectAltName={names}", "extendedKeyUsage=clientAuth")


@dataclass
class World:
    platform: Platform
    clients: Clients
    issuer: Issuer
    # Signs for people.
    people: CertificateAuthority
    folder: pathlib.Path
    # Whose domain has SCRAM, since everybody there has logged in with a password since it was switched on.
    alice: Account

    def gsasl(self, mechanism: str, account: Account) -> subprocess.CompletedProcess[str]:
        """On the submission port, after STARTTLS."""
        # It does not go without a binding where it could have one.
        unbound = [] if mechanism.endswith("-PLUS") else ["--no-cb"]
        return subprocess.run(
            ["gsasl", "--smtp", *unbound, "--mechanism", mechanism, "--authentication-id", account.address, "--password",
             account.password, "--x509-ca-file", self.platform.ca_file, "--connect",
             f"localhost:{self.platform.port('submission')}"],
            input="", capture_output=True, text=True, timeout=TIMEOUT, check=False)

    def msmtp(self, method: str, account: Account, *recipients: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["msmtp", "--host=localhost", f"--port={self.platform.port('submission')}", "--tls=on", "--tls-starttls=on",
             f"--tls-trust-file={self.platform.ca_file}", f"--auth={method}", f"--user={account.address}",
             f"--passwordeval=echo {account.password}", f"--from={account.address}", *recipients],
            input=make_message(account.address, account.address, f"by {method}").decode(), capture_output=True,
            text=True, timeout=TIMEOUT, check=False)

    def mpop(self, method: str, account: Account) -> subprocess.CompletedProcess[str]:
        mailbox = self.folder / "mailbox"
        mailbox.touch()
        return subprocess.run(
            ["mpop", "--host=localhost", f"--port={self.platform.port('pop3s')}", "--tls=on", "--tls-starttls=off",
             f"--tls-trust-file={self.platform.ca_file}", f"--auth={method}", f"--user={account.address}",
             f"--passwordeval=echo {account.password}", "--keep=on", f"--uidls-file={self.folder / 'uidls'}",
             f"--delivery=mbox,{mailbox}"],
            capture_output=True, text=True, timeout=TIMEOUT, check=False)

    def curl(self, url: str, mechanism: str, address: str, token: str, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["curl", "--silent", "--show-error", "--cacert", self.platform.ca_file, "--login-options",
             f"AUTH={mechanism}", "--user", f"{address}:", "--oauth2-bearer", token, *more, url],
            capture_output=True, text=True, timeout=TIMEOUT, check=False)

    def offered(self, server_name: str) -> list[str]:
        """What pop3s offers to who asks for that name."""
        context = ssl.create_default_context(cafile=self.platform.ca_file)
        context.check_hostname = False

        class Session(poplib.POP3_SSL):
            def _create_socket(self, timeout: float) -> ssl.SSLSocket:
                return context.wrap_socket(poplib.POP3._create_socket(self, timeout), server_hostname=server_name)

        session = Session(HOST, self.platform.port("pop3s"), timeout=TIMEOUT, context=context)
        try:
            return session.capa()["SASL"]
        finally:
            session.quit()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("sasl")
    issuer = Issuer(folder)
    people = CertificateAuthority(folder, "people")
    asking = {"security_domains": [{"name": "public", "request_client_certificates": True}]}
    platform = Platform(folder / "postern", {
        "auth-svc": {"password_hashing": {"scram_iterations": 4096}, "oauth": [issuer.settings()],
                     "client_certificates": {"ca_file": str(people.file)}},
        "gateway-smtp-submission": asking, "gateway-pop3": asking})
    try:
        platform.start()
        for domain in ("staff.test", "scram.test", "apps.test"):
            platform.ctl("domain", "add", domain)
        platform.add_account(STAFF)
        yield World(platform, Clients(platform), issuer, people, folder, platform.add_account("alice@scram.test"))
    finally:
        platform.stop()


def _new_app_password(world: World, account: Account, name: str, *more: str) -> Account:
    made = world.platform.ctl("app-password", "add", account.address, name, *more)
    return Account(account.address, made["password"])


def _may_fetch(world: World, account: Account) -> bool:
    try:
        world.clients.pop3s(account).quit()
    except poplib.error_proto as error:
        assert b"[AUTH]" in error.args[0], error
        return False
    return True


def _may_send(world: World, account: Account) -> bool:
    try:
        world.clients.smtp_submission(account).quit()
    except smtplib.SMTPAuthenticationError as error:
        assert error.smtp_code == 535, error
        return False
    return True


def test_an_application_password_is_for_its_protocol_and_can_be_revoked(world: World) -> None:
    account = world.platform.add_account("apps@scram.test")
    both = _new_app_password(world, account, "laptop")
    fetching = _new_app_password(world, account, "phone", "--for", "pop3")
    assert _may_fetch(world, both) and _may_send(world, both)
    assert _may_fetch(world, fetching) and not _may_send(world, fetching)
    # As people copy it: without its dashes, in capitals.
    assert _may_fetch(world, Account(account.address, both.password.replace("-", "").upper()))
    wait_until(lambda: all(one["last_used_at"] > 0 for one in
                           world.platform.ctl("app-password", "list", account.address)["app_passwords"]),
               TIMEOUT, "the use of both is noted")
    world.platform.ctl("app-password", "remove", account.address, "phone")
    assert not _may_fetch(world, fetching) and _may_fetch(world, both) and _may_fetch(world, account)
    log = world.platform.log("auth-svc")
    assert "application password phone is not for this protocol" in log
    for secret in (both.password, fetching.password):
        assert secret not in log


def test_a_domain_may_take_no_passwords_but_those_of_applications(world: World) -> None:
    account = world.platform.add_account("alice@apps.test")
    program = _new_app_password(world, account, "laptop")
    assert _may_fetch(world, account), "remembered from now on"
    world.platform.ctl("domain", "set-login-policy", "apps.test", "no-passwords")
    assert not _may_fetch(world, account) and not _may_send(world, account)
    assert _may_fetch(world, program) and _may_send(world, program)
    world.platform.ctl("domain", "set-login-policy", "apps.test", "any")
    assert _may_fetch(world, account)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "PLAIN", "LOGIN"])
def test_gsasl_logs_in(world: World, mechanism: str) -> None:
    done = world.gsasl(mechanism, world.alice)
    assert "235 2.7.0" in done.stdout, (done.stdout, done.stderr)
    refused = world.gsasl(mechanism, Account(world.alice.address, "not the password"))
    assert "535 5.7.8" in refused.stdout + refused.stderr and "235" not in refused.stdout
    nobody = world.gsasl(mechanism, Account("nobody@scram.test", "not the password"))
    assert "535 5.7.8" in nobody.stdout + nobody.stderr


def test_msmtp_and_mpop_log_in_by_scram(world: World) -> None:
    sent = world.msmtp("scram-sha-256", world.alice, world.alice.address)
    assert sent.returncode == 0, sent.stderr
    wait_until(lambda: "by scram-sha-256" in _mailbox(world, world.alice), TIMEOUT, "the message is there")
    wrong = Account(world.alice.address, "not the password")
    refused = world.msmtp("scram-sha-256", wrong, world.alice.address)
    assert refused.returncode != 0 and "535 5.7.8" in refused.stderr, refused.stderr
    refused = world.mpop("scram-sha-256", wrong)
    assert refused.returncode == os.EX_NOPERM and "authentication failed" in refused.stderr, refused.stderr


def _mailbox(world: World, account: Account) -> str:
    fetched = world.mpop("scram-sha-256", account)
    assert fetched.returncode == 0, fetched.stderr
    return (world.folder / "mailbox").read_text(encoding="utf-8")


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
def test_curl_logs_in_with_a_token(world: World, mechanism: str, tmp_path: pathlib.Path) -> None:
    message = tmp_path / "message"
    message.write_bytes(make_message(STAFF, STAFF, f"by {mechanism}"))
    token = world.issuer.token(STAFF)
    sending = ("--ssl-reqd", "--mail-from", STAFF, "--mail-rcpt", STAFF, "--upload-file", str(message))
    submission = f"smtp://localhost:{world.platform.port('submission')}"
    sent = world.curl(submission, mechanism, STAFF, token, *sending)
    assert sent.returncode == 0, sent.stderr
    pop3s = f"pop3s://localhost:{world.platform.port('pop3s')}"
    wait_until(lambda: world.curl(f"{pop3s}/", mechanism, STAFF, token).stdout != "", TIMEOUT, "the message is there")
    fetched = world.curl(f"{pop3s}/1", mechanism, STAFF, token)
    assert fetched.returncode == 0 and "Subject: by " in fetched.stdout, (fetched.stdout, fetched.stderr)

    for why, wrong in (("expired", world.issuer.token(STAFF, exp=int(time.time()) - 600)),
                       ("another audience", world.issuer.token(STAFF, aud="calendar")),
                       ("nobody here", world.issuer.token("nobody@staff.test")),
                       ("another's", world.issuer.token("alice@scram.test")),
                       ("no signature of ours", token[:-8] + "AAAAAAAA")):
        refused = world.curl(f"{pop3s}/", mechanism, STAFF, wrong)
        assert refused.returncode == 67, (why, refused.stdout, refused.stderr)
    assert token not in world.platform.log("auth-svc")


def test_msmtp_logs_in_with_a_token(world: World) -> None:
    for method in ("oauthbearer", "xoauth2"):
        sent = world.msmtp(method, Account(STAFF, world.issuer.token(STAFF)), STAFF)
        assert sent.returncode == 0, sent.stderr
        refused = world.msmtp(method, Account(STAFF, world.issuer.token(STAFF, aud="calendar")), STAFF)
        assert refused.returncode != 0 and "535 5.7.8" in refused.stderr, refused.stderr


def test_a_client_certificate_logs_in_whose_address_it_has(world: World) -> None:
    def curl(certificate: tuple[pathlib.Path, pathlib.Path], named: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["curl", "--silent", "--show-error", "--cacert", world.platform.ca_file, "--cert", certificate[0], "--key",
             certificate[1], "--login-options", "AUTH=EXTERNAL", "--user", f"{named}:",
             f"pop3s://localhost:{world.platform.port('pop3s')}/"],
            capture_output=True, text=True, timeout=TIMEOUT, check=False)

    address = world.alice.address
    mine = _issue(world.people, "mine", address)
    for named in ("", address):
        assert curl(mine, named).returncode == 0, curl(mine, named).stderr
    several = _issue(world.people, "several", address, "a@elsewhere.test")
    assert curl(several, address).returncode == 0
    for why, certificate, named in (("another's", mine, STAFF), ("which of them", several, ""),
                                    ("nobody here", _issue(world.people, "nobody", "nobody@scram.test"), ""),
                                    ("of another CA", _issue(CertificateAuthority(world.folder, "others"), "foreign", address), "")):
        refused = curl(certificate, named)
        assert refused.returncode == 67, (why, refused.stdout, refused.stderr)
    log = world.platform.log("auth-svc")
    assert "unable to get local issuer certificate" in log and "has not one address, and the client names none" in log

    sent = subprocess.run(
        ["msmtp", "--host=localhost", f"--port={world.platform.port('submission')}", "--tls=on", "--tls-starttls=on",
         f"--tls-trust-file={world.platform.ca_file}", "--auth=external", f"--user={address}",
         f"--tls-cert-file={mine[0]}", f"--tls-key-file={mine[1]}", f"--from={address}", address],
        input=make_message(address, address, "by external").decode(), capture_output=True, text=True, timeout=TIMEOUT,
        check=False)
    assert sent.returncode == 0, sent.stderr


def test_what_is_offered_is_what_the_domain_can_do(world: World) -> None:
    scram = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]
    passwords = ["PLAIN", "LOGIN"]
    tokens = ["OAUTHBEARER", "XOAUTH2"]
    assert world.offered("mail.scram.test") == scram + passwords
    assert world.offered("staff.test") == scram + passwords + tokens
    # Somebody's password is kept as another system kept it: until the next login with it, SCRAM can't be done. Each time by
    # another name, since a gateway keeps the answer to one for half a minute.
    imported = world.platform.add_account("imported@staff.test")
    world.platform.ctl("account", "set-password", imported.address, "--password-hash-stdin",
                       password="{SSHA}DURtlrYNoqi6N86XLd9vAEUA2DwLSx6M\n")
    assert world.offered("before.staff.test") == passwords + tokens
    assert _may_fetch(world, Account(imported.address, "correct horse"))
    assert world.offered("after.staff.test") == scram + passwords + tokens
