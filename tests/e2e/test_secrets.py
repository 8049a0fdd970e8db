"""What is secret is in no log: passwords, tokens, bodies."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import poplib
import secrets
import smtplib
import subprocess
from typing import Any

import pytest

from ctl.up import layout, postgresql, redis
from tests.e2e.mail_clients import Clients, make_message, plain
from tests.e2e.platform_under_test import Account, Platform
from tests.e2e.waiting import wait_until

STRANGER = "carol@elsewhere.test"


def _everything_with_secrets(platform: Platform) -> list[str]:
    """Does what could leak, and gives what must not be seen."""
    clients, account = Clients(platform), platform.add_account()
    wrong = Account(account.address, secrets.token_hex(12))
    body = secrets.token_hex(24)
    with clients.smtp_submissions(account) as session:
        session.sendmail(account.address, [account.address],
                         make_message(account.address, account.address, "x",
                                      body.encode() + b"\r\n"))
    clients.wait_for(account, 1)
    with contextlib.suppress(poplib.error_proto):
        clients.pop3s(wrong)
    for candidate in (account, wrong):
        for listener in ("mx", "submission", "submissions"):
            with clients.raw_smtp(listener) as client:
                client.smtp(f"AUTH PLAIN {plain(candidate)}")
        with clients.raw_smtp("submissions") as client:
            client.smtp("AUTH LOGIN")
            client.smtp(base64.b64encode(candidate.address.encode()))
            client.smtp(base64.b64encode(candidate.password.encode()))
            # A password where a command is due.
            client.smtp(candidate.password)
        for listener in ("pop3", "pop3s"):
            with clients.raw(listener) as client:
                client.line()
                client.pop3(f"USER {candidate.address}")
                client.pop3(f"PASS {candidate.password}")
                client.pop3(f"AUTH PLAIN {plain(candidate)}")
    # Refused by size, shape and recipient, with the body's words in it.
    with clients.raw_smtp("mx") as client:
        client.smtp(f"MAIL FROM:<{STRANGER}>")
        client.smtp(f"RCPT TO:<{account.address}>")
        client.smtp("DATA")
        client.send(body.encode() + b"\nbare\r\n.\r\n")
        client.smtp_reply()
    encoded = [base64.b64encode(a.password.encode()).decode() for a in (account, wrong)]
    return [account.password, wrong.password, body, plain(account), plain(wrong), *encoded]


@pytest.mark.parametrize("level", ["info", "debug"])
def test_no_secret_in_any_log(make_platform: Any, level: str) -> None:
    services = ["auth-svc", "store-svc", "relay-svc", "gateway-pop3", "gateway-smtp-mx",
                "gateway-smtp-submission"]
    platform = make_platform({name: {"process": {"log_level": level}} for name in services})
    hidden = _everything_with_secrets(platform)
    hidden += [platform.built_in_account(user).password for user in ("alice", "bob")]
    private_keys = [
        line for file in (platform.data / "certificates").glob("*.key")
        for line in file.read_text(encoding="ascii").splitlines() if not line.startswith("---")]
    for name in services + ["up"]:
        log = platform.log(name)
        assert log, name
        for secret in hidden + private_keys:
            assert secret not in log, (name, secret)


def test_logs_are_json_and_follow_a_trace(make_platform: Any) -> None:
    """One JSON object a line; a message's trace id stands in the gateway's and the store's lines."""
    platform = make_platform(
        {name: {"process": {"log_level": "debug"}} for name in ("gateway-smtp-mx", "store-svc")})
    clients, account = Clients(platform), platform.add_account()
    with clients.smtp_mx() as session:
        session.sendmail(STRANGER, [account.address], make_message(STRANGER, account.address, "x"))

    def traces(name: str) -> set[str]:
        lines = [json.loads(line) for line in platform.log(name).splitlines()]
        for line in lines:
            assert {"time", "level", "service", "event"} <= set(line), line
        return {line["trace"] for line in lines if "trace" in line}
    wait_until(lambda: traces("gateway-smtp-mx") & traces("store-svc"), 30, "one trace in both")


def test_a_failed_login_leads_to_its_account_where_there_is_one(make_platform: Any) -> None:
    """The gateway's line has the client and a trace; auth-svc's has the account, if it is ours."""
    platform = make_platform(None)
    clients, account = Clients(platform), platform.add_account()
    stranger = f"{secrets.token_hex(8)}@example.test"
    for address in (account.address, stranger):
        wrong = Account(address, "a wrong password")
        with pytest.raises(smtplib.SMTPAuthenticationError):
            clients.smtp_submissions(wrong)
        with pytest.raises(poplib.error_proto):
            clients.pop3s(wrong)

    def lines(name: str, event: str) -> list[dict[str, Any]]:
        return [line for line in map(json.loads, platform.log(name).splitlines())
                if line["event"] == event]

    def account_of(trace: str) -> str | None:
        return next((line["account"] for line in lines("auth-svc", "login refused")
                     if line["trace"] == trace), None)
    for name, event in (("gateway-smtp-submission", "authentication failed"),
                        ("gateway-pop3", "login failed")):
        # smtplib goes on to another mechanism, so there may be more of them.
        wait_until(lambda: {account_of(line["trace"]) for line in lines(name, event)} ==
                   {account.address, ""}, 30, f"{name}'s lines lead to auth-svc's")
        assert {line["client"] for line in lines(name, event)} == {"127.0.0.1"}
        assert stranger not in platform.log(name)
        assert account.address not in platform.log(name)
    assert stranger not in platform.log("auth-svc")


def test_a_submitted_message_keeps_its_trace(make_platform: Any) -> None:
    """The same id in the gateway's line, relay-svc's, each delivery attempt's and the store's."""
    platform = make_platform(
        {name: {"process": {"log_level": "debug"}} for name in ("store-svc",)})
    clients, account = Clients(platform), platform.add_account()
    with clients.smtp_submissions(account) as session:
        session.sendmail(account.address, [account.address],
                         make_message(account.address, account.address, "x"))
    clients.wait_for(account, 1)

    def traces(name: str, event: str) -> set[str]:
        return {line["trace"] for line in map(json.loads, platform.log(name).splitlines())
                if line["event"] == event}
    [accepted] = wait_until(lambda: traces("gateway-smtp-submission", "message accepted"), 30,
                            "the gateway's line")
    for event in ("message spooled", "delivery attempt"):
        assert wait_until(lambda: traces("relay-svc", event), 30, event) == {accepted}
    wait_until(lambda: accepted in platform.log("store-svc"), 30, "the store's line")


@pytest.mark.parametrize("service", postgresql.SERVICES)
def test_a_services_role_enters_no_other_database(replicated: Platform, service: str) -> None:
    """With its own password, as one who has captured the service."""
    data = layout.DataDir(replicated.data)
    host, port = replicated.refresh()["postgresql"]["address"].split(":")
    password = data.database_password_file(service).read_text(encoding="utf-8").strip()
    for other in (*map(postgresql.name_of, postgresql.SERVICES), "postgres", "template1"):
        done = subprocess.run(
            ["psql", "-X", "-h", host, "-p", port, "-U", postgresql.name_of(service), "-d", other,
             "-c", "SELECT 1"], env=os.environ | {"PGPASSWORD": password, "PGSSLMODE": "require"},
            capture_output=True, text=True, check=False, timeout=60)
        if other == postgresql.name_of(service):
            assert done.returncode == 0, done.stderr
        else:
            assert "permission denied for database" in done.stderr, (other, done.stderr)


@pytest.mark.parametrize("service", redis.SERVICES)
def test_a_services_redis_user_reads_no_others_keys(replicated: Platform, service: str) -> None:
    data = layout.DataDir(replicated.data)
    host, port = replicated.refresh()["redis"]["address"].split(":")
    password = data.redis_password_file(service).read_text(encoding="utf-8").strip()

    def ask(*command: str) -> str:
        return subprocess.run(
            ["redis-cli", "--tls", "--cacert", str(data.ca_certificate), "-h", host, "-p", port,
             "--user", redis.name_of(service), "--no-auth-warning", *command],
            env=os.environ | {"REDISCLI_AUTH": password}, capture_output=True, text=True,
            check=False, timeout=60).stdout

    assert ask("GET", redis.prefix_of(service) + ":x").strip() == ""
    for refused in (("GET", "postern:other:x"), ("KEYS", "*"), ("CONFIG", "GET", "*"),
                    ("FLUSHALL",), ("SCAN", "0"), ("ACL", "LIST")):
        assert ask(*refused).startswith("NOPERM"), refused
