"""Two of each process on one PostgreSQL: whatever is killed or hangs, mail goes on and is counted."""

from __future__ import annotations

import json
import os
import poplib
import smtplib
import subprocess

import pytest

from ctl.up import layout, postgresql
from tests.e2e.hanging import hung
from tests.e2e.mail_clients import Clients, make_message
from tests.e2e.platform_under_test import Platform, run_up_command
from tests.e2e.trouble import SENDER, People, mail_survives
from tests.e2e.waiting import SLOWER, too_slow_for_a_sanitizer, wait_until

# Longer than a hung replica is waited for.
HANG_SECONDS = 4.0
SERVICES = ("auth-svc", "store-svc", "relay-svc", "gateway-pop3", "gateway-smtp-submission",
            "gateway-smtp-mx")


def test_status_names_them(replicated: Platform) -> None:
    status = json.loads(
        run_up_command("status", "--json", "--data", str(replicated.data)).stdout)
    assert set(status["services"]) == {f"{s}-{n}" for s in SERVICES for n in (0, 1)}
    assert all(s["ready"] and s["pid"] for s in status["services"].values())
    assert status["postgresql"]["ready"] and status["postgresql"]["pid"]
    assert status["postgresql"]["address"].startswith("127.0.0.1:")
    shown = run_up_command("status", "--data", str(replicated.data)).stdout
    assert "store-svc-1" in shown and "postgresql" in shown
    logged = run_up_command("logs", "--data", str(replicated.data), "store-svc").stdout
    assert "store-svc-0.log" in logged and "store-svc-1.log" in logged


def test_where_the_data_lives_is_kept(replicated: Platform) -> None:
    replicated.stop()
    refused = run_up_command("up", "--data", str(replicated.data), "--detach")
    assert refused.returncode == 1
    assert "lives in PostgreSQL: ./dev up --postgresql" in refused.stderr + refused.stdout
    replicated.start()


def test_several_replicas_want_a_server(tmp_path_factory: pytest.TempPathFactory) -> None:
    data = tmp_path_factory.mktemp("sqlite")
    refused = run_up_command("up", "--data", str(data), "--replicas", "2")
    assert refused.returncode == 1 and "--postgresql" in refused.stderr
    (data / "platform.json").write_text('{"database": "sqlite"}')
    refused = run_up_command("up", "--data", str(data), "--postgresql")
    assert refused.returncode == 1 and "lives in SQLite" in refused.stderr


@pytest.mark.parametrize("service", postgresql.SERVICES)
def test_a_role_enters_its_own_database_only(replicated: Platform, service: str) -> None:
    data = layout.DataDir(replicated.data)
    port = replicated.refresh()["postgresql"]["address"].split(":")[1]

    def enter(database: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["psql", "-XAtq", "-h", layout.HOST, "-p", port, "-U", postgresql.name_of(service), "-d", database,
             "-c", "SELECT current_user"],
            env=os.environ | {"PGPASSFILE": "/dev/null", "PGSSLMODE": "require",
                              "PGPASSWORD": data.database_password_file(service).read_text(encoding="ascii").strip()},
            text=True, capture_output=True, check=False)

    assert enter(postgresql.name_of(service)).stdout.strip() == postgresql.name_of(service)
    others = [postgresql.name_of(other) for other in postgresql.SERVICES if other != service]
    for other in [*others, "postgres", "template1"]:
        refused = enter(other)
        assert refused.returncode != 0 and "permission denied for database" in refused.stderr, refused


@pytest.mark.parametrize("service", [*SERVICES, "postgresql"])
def test_one_is_killed_while_clients_send(replicated: Platform, service: str) -> None:
    process = service if service == "postgresql" else f"{service}-1"

    def dies(people: People) -> None:
        dead = replicated.kill(process)
        people.try_once()
        wait_until(lambda: replicated.pid(process) not in (None, dead), 60 * SLOWER,
                   "it is started again")

    mail_survives(replicated, dies)


@too_slow_for_a_sanitizer
@pytest.mark.parametrize("service", SERVICES)
def test_one_hangs_while_clients_send(replicated: Platform, service: str) -> None:
    def hangs(people: People) -> None:
        with hung(replicated.pid(f"{service}-1")):
            # Whom the kernel gives to a hung gateway waits for it.
            people.try_for(HANG_SECONDS, but=service)

    mail_survives(replicated, hangs)


@pytest.mark.parametrize("service", ["store-svc", "relay-svc", "auth-svc"])
def test_one_hangs_and_its_callers_go_elsewhere(replicated: Platform, service: str) -> None:
    clients = Clients(replicated)
    account = replicated.add_account()
    failures: list[Exception] = []

    def works() -> bool:
        try:
            with clients.smtp_submissions(account) as session:
                session.sendmail(account.address, [account.address],
                                 make_message(account.address, account.address, "on"))
            clients.pop3s(account).quit()
        except (OSError, smtplib.SMTPException, poplib.error_proto) as error:
            failures.append(error)
            return False
        return True

    with hung(replicated.pid(f"{service}-0")):
        # What is on its way to it, or comes before it is known, goes to the other one.
        for _ in range(10):
            wait_until(works, 5 * SLOWER, "mail goes on within 5 s")
    # Programs under a sanitizer bear a silent replica for longer than a call is repeated.
    assert SLOWER > 1 or not failures, failures
    replicated.wait_all_ready()


def test_a_session_goes_on_when_its_store_is_killed(replicated: Platform) -> None:
    clients = Clients(replicated)
    account = replicated.add_account()
    with clients.smtp_mx() as session:
        for number in range(3):
            session.sendmail(SENDER, [account.address],
                             make_message(SENDER, account.address, f"message {number}"))

    def opened() -> poplib.POP3_SSL | None:
        try:
            return clients.pop3s(account)
        except poplib.error_proto as error:
            assert b"[IN-USE]" in error.args[0] or b"[SYS/TEMP]" in error.args[0], error
            return None

    def open_when_free() -> poplib.POP3_SSL:
        # A session that ended while its lease was being taken up again leaves that to the dead
        # replica's last heartbeat.
        return wait_until(opened, 15 * SLOWER, "the maildrop is free")

    for process in ("store-svc-0", "store-svc-1"):
        reader = open_when_free()
        assert len(reader.list()[1]) == 3
        replicated.kill(process)
        assert b"Subject: message 1" in reader.retr(2)[1]
        reader.quit()
        replicated.wait_all_ready()
    reader = open_when_free()
    replicated.kill("store-svc-0")
    reader.dele(1)
    reader.quit()
    replicated.wait_all_ready()
    reader = open_when_free()
    assert reader.stat()[0] == 2
    reader.quit()
