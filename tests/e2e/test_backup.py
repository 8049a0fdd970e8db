"""Backups as docs/operate/backup.md has them: made under load, restored elsewhere, and every message is there."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from ctl.up import configs, layout, postgresql
from ctl.up.ports import FreePorts
from tests.e2e import postgresql_server
from tests.e2e.load import Load, arrived, running
from tests.e2e.mail_clients import Clients, make_message
from tests.e2e.platform_under_test import ROOT, Account, Platform
from tests.e2e.remote_mta import free_port
from tests.e2e.trouble import SENDER
from tests.e2e.waiting import SLOWER, wait_until

_LEAST = 50
# In the order of the document.
_SERVICES = {"relay-svc": "spool", "store-svc": "mail", "auth-svc": "directory"}


def _documented(command: str) -> list[str]:
    """The document's commands that begin so."""
    text = (ROOT / "docs/operate/backup.md").read_text(encoding="utf-8")
    return [line.strip() for line in re.findall(r"^    (.*)$", text, re.M) if line.strip().startswith(command + " ")]


def _run(command: str | list[str]) -> None:
    done = subprocess.run(command, shell=isinstance(command, str), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"


def _under_load(platform: Platform, backup: Callable[[], None]) -> dict[Account, set[str]]:
    """Whose mail was acknowledged before the backup began."""
    clients = Clients(platform)
    receiver, submitter = platform.add_account(), platform.add_account()
    loads = {receiver: Load(clients.smtp_mx, SENDER, receiver.address),
             submitter: Load(lambda: clients.smtp_submissions(submitter), submitter.address, submitter.address)}
    with running(*loads.values(), clients=2):
        wait_until(lambda: all(len(load.accepted) >= _LEAST for load in loads.values()), 60 * SLOWER, "the load runs")
        accepted = {account: set(load.accepted) for account, load in loads.items()}
        backup()
    return accepted


def _all_there(platform: Platform, accepted: dict[Account, set[str]]) -> None:
    clients = Clients(platform)
    for account, subjects in accepted.items():
        there = arrived(clients, account, subjects)
        assert {there[subject] for subject in subjects} == {1}


def _restored(source: Platform, to: pathlib.Path) -> pathlib.Path:
    """A data folder with the files that are beside the databases."""
    for name in ("certificates", "keys", "passwords"):
        shutil.copytree(source.data / name, to / name, dirs_exist_ok=True)
    return to


def test_sqlite(make_platform: Callable[..., Platform], tmp_path: pathlib.Path) -> None:
    # Where nobody listens: what goes there waits in the queue.
    away = {"relay-svc": {"delivery": {"next_hops": [{"domain": "away.test", "host": "127.0.0.1", "port": free_port()}]}}}
    platform = make_platform(away)
    if (platform.data / "postgresql").exists():
        pytest.skip("the platform is on PostgreSQL")
    copies = tmp_path / "backup"
    copies.mkdir()

    def backup() -> None:
        commands = _documented("sqlite3")
        assert [re.search(r"/(\w+)\.db ", command)[1] for command in commands] == list(  # type: ignore[index]
            _SERVICES.values())
        for command in commands:
            _run(command.replace(".postern/", f"{platform.data}/").replace("BACKUP", str(copies)))

    sender = platform.add_account()
    with Clients(platform).smtp_submissions(sender) as session:
        session.sendmail(sender.address, ["waits@away.test"], make_message(sender.address, "waits@away.test", "waits"))
    waiting = [entry["queue_id"] for entry in platform.ctl("queue", "list")["entries"]]
    assert len(waiting) == 1
    accepted = _under_load(platform, backup)
    platform.stop()
    data = layout.DataDir(_restored(platform, tmp_path / "restored"))
    for service, name in _SERVICES.items():
        file = configs.database_file(data, service)
        file.parent.mkdir()
        shutil.copyfile(copies / f"{name}.db", file)
    restored = Platform(data.root, away)
    try:
        _all_there(restored.start(), accepted)
        assert waiting[0] in [entry["queue_id"] for entry in restored.ctl("queue", "list")["entries"]]
    finally:
        restored.stop()


def test_postgresql(tmp_path: pathlib.Path) -> None:
    flags = ("--postgresql",)
    platform, restored = Platform(tmp_path / "platform", flags=flags), Platform(tmp_path / "restored", flags=flags)
    copies = tmp_path / "backup"
    copies.mkdir()
    try:
        platform.start()
        port = platform.refresh()["postgresql"]["address"].split(":")[1]
        reach = f"--host={platform.data}/postgresql/socket --port={port} --username=postgres"

        def backup() -> None:
            commands = _documented("pg_dump")
            assert [command.split()[-1] for command in commands] == [postgresql.name_of(one) for one in _SERVICES]
            for command in commands:
                _run(command.replace("pg_dump", f"pg_dump {reach}").replace("BACKUP", str(copies)))

        accepted = _under_load(platform, backup)
        platform.stop()
        restored.start()
        restored.stop()
        _restored(platform, restored.data)
        _restore(layout.DataDir(restored.data), copies)
        _all_there(restored.start(), accepted)
    finally:
        restored.stop()
        platform.stop()


def _settings(copies: pathlib.Path) -> dict[str, str]:
    """Those of the document, as ALTER SYSTEM takes them."""
    text = (ROOT / "docs/operate/backup.md").read_text(encoding="utf-8")
    return {name: value.replace("BACKUP", str(copies)) for name, value in re.findall(r"^    (\w+) = (.*)$", text, re.M)}


def test_archived_wal(tmp_path: pathlib.Path) -> None:
    """All that was acknowledged before the last archived file: nothing is lost with the night's."""
    platform, restored = (Platform(tmp_path / name, flags=("--postgresql",)) for name in ("platform", "restored"))
    copies = tmp_path / "backup"
    (copies / "wal").mkdir(parents=True)
    try:
        platform.start()
        settings, server = _settings(copies), postgresql_server.of(platform)
        assert set(settings) == {"archive_mode", "archive_command", "archive_timeout", "restore_command"}
        for name in ("archive_mode", "archive_command"):
            server.sql(f"ALTER SYSTEM SET {name} = {settings[name]}")
        server.let_others_follow()
        before = platform.end("postgresql", signal.SIGINT)
        wait_until(lambda: platform.pid("postgresql") not in (None, before), 60, "it is started again")
        platform.wait_all_ready()
        port = platform.status["postgresql"]["address"].split(":")[1]
        _run(_documented("pg_basebackup")[0].replace("BACKUP", str(copies)).split() +
             [f"--host={platform.data}/postgresql/socket", f"--port={port}", "--username=postgres"])
        accepted = _under_load(platform, lambda: None)
        # Instead of the minute.
        last = server.sql("SELECT pg_walfile_name(pg_switch_wal())")
        wait_until(lambda: (copies / "wal" / last).exists(), 60 * SLOWER, "it is archived")
        platform.stop()
        restored.start()
        restored.stop()
        _restored(platform, restored.data)
        data = restored.data / "postgresql/data"
        owner = data.stat()
        shutil.rmtree(data)
        shutil.copytree(copies / "base", data)
        (data / "recovery.signal").touch()
        # What ALTER SYSTEM wrote counts more than postgresql.conf.
        with (data / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
            file.write(f"restore_command = {settings['restore_command']}\narchive_mode = off\n")
        for path in (data, *data.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        _all_there(restored.start(), accepted)
    finally:
        restored.stop()
        platform.stop()


def _restore(data: layout.DataDir, copies: pathlib.Path) -> None:
    """With no service running."""
    command = _documented("pg_restore")[0]
    with _alone(data) as reach:
        for service, name in _SERVICES.items():
            _run(command.replace("pg_restore", f"pg_restore {reach}")
                 .replace("postern_relay", postgresql.name_of(service))
                 .replace("BACKUP/spool.dump", str(copies / f"{name}.dump")))


@contextlib.contextmanager
def _alone(data: layout.DataDir) -> Iterator[str]:
    """A platform's PostgreSQL without the platform, and by which arguments it is reached."""
    port = FreePorts().take()
    server = postgresql.Server(data, port, 1)
    server.prepare()
    process = subprocess.Popen(server.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: server.ready()[0], 60, "PostgreSQL answers")
        yield f"--host={data.postgresql / 'socket'} --port={port} --username=postgres"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
