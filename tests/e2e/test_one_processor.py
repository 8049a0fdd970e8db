"""Services that have one processor for all their threads: the order of things is another one then."""

from __future__ import annotations

import os
import pathlib
from typing import Any

from tests.e2e.load import Load, arrived, running
from tests.e2e.mail_clients import Clients
from tests.e2e.waiting import SLOWER, wait_until

_MESSAGES = 400


def test_eight_submission_sessions(make_platform: Any) -> None:
    platform = make_platform(None)
    one = {min(os.sched_getaffinity(0))}
    before = {service: platform.pid(service) for service in ("relay-svc", "auth-svc")}
    for pid in before.values():
        # What they start later has it from them.
        for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), one)
    clients, account = Clients(platform), platform.add_account()
    load = Load(lambda: clients.smtp_submissions(account), account.address, account.address)
    with running(load, clients=8):
        wait_until(lambda: len(load.accepted) >= _MESSAGES, 120 * SLOWER, "so many are accepted")
    assert set(arrived(clients, account, load.accepted).values()) == {1}
    assert before == {service: platform.pid(service) for service in before}
