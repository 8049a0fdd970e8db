"""What is counted over all replicas, in Redis: rates, failed logins, the greylist."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import poplib
import smtplib
import socket
import ssl
import time
from collections.abc import Iterator

import pytest

from tests.e2e.hanging import hung
from tests.e2e.mail_clients import Clients, make_message
from tests.e2e.platform_under_test import Platform, run_up_command
from tests.e2e.waiting import SLOWER, wait_until

HOST = "127.0.0.1"
PER_NETWORK, PER_ACCOUNT, RECIPIENTS = 30, 10, 12
CONNECTIONS, MESSAGES = 12, 8
GREYLIST_SECONDS = 2
# What a person waits for at most.
PATIENCE = 5.0 * SLOWER


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Two of each process that count together; nothing comes back in the time of a test."""
    redis = {"redis": {"timeout_milliseconds": 1000}}
    platform = Platform(tmp_path_factory.mktemp("counting"), {
        "auth-svc": redis | {"login_limits": {
            "failures_per_network": PER_NETWORK, "failures_per_account": PER_ACCOUNT,
            "period_seconds": "1d"}},
        "relay-svc": redis | {
            "rate_limits": {
                "connections_per_network": {"count": CONNECTIONS, "seconds": "1d"},
                "messages_per_network": {"count": MESSAGES, "seconds": "1d"},
                "recipients_per_account": {"count": RECIPIENTS, "seconds": "1d"}},
            "greylisting": {"enabled": True, "delay_seconds": GREYLIST_SECONDS}},
    }, flags=("--postgresql", "--redis", "--replicas", "2"))
    try:
        yield platform.start()
    finally:
        platform.stop()


class _Networks:
    """Each a /24 of the loopback that nobody else uses."""

    def __init__(self) -> None:
        self._taken = 0

    def new(self) -> str:
        self._taken += 1
        assert self._taken < 250 * 200
        return f"127.{10 + self._taken // 250}.{1 + self._taken % 250}.1"


NETWORKS = _Networks()


def _log_in(platform: Platform, source: str, address: str, password: str) -> str:
    """OK, or the response code of POP3."""
    context = ssl.create_default_context(cafile=platform.ca_file)
    port = platform.port("pop3s")
    with contextlib.closing(_Pop3From(source, port, context)) as client:
        try:
            client.user(address)
            client.pass_(password)
        except poplib.error_proto as error:
            return error.args[0].decode().split("]")[0].removeprefix("-ERR [")
        client.quit()
    return "OK"


class _Pop3From(poplib.POP3_SSL):
    """From an address of its own."""

    def __init__(self, source: str, port: int, context: ssl.SSLContext):
        self._source = source
        super().__init__(HOST, port, context=context, timeout=60)

    def _create_socket(self, timeout: float) -> ssl.SSLSocket:
        plain = socket.create_connection((self.host, self.port), timeout, (self._source, 0))
        return self.context.wrap_socket(plain, server_hostname=self.host)

    def close(self) -> None:
        if getattr(self, "sock", None) is not None:
            super().close()


def _guess(platform: Platform, tries: list[tuple[str, str]]) -> collections.Counter[str]:
    """Wrong passwords of (source, address), eight at a time: what they were told."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return collections.Counter(pool.map(
            lambda one: _log_in(platform, one[0], one[1], "guessed"), tries))


def test_status_names_it(counting: Platform) -> None:
    status = counting.refresh()
    assert status["redis"]["ready"] and status["redis"]["pid"]
    assert status["redis"]["address"].startswith("127.0.0.1:")
    assert "redis" in run_up_command("status", "--data", str(counting.data)).stdout
    for service in ("auth-svc-0", "auth-svc-1", "relay-svc-0", "relay-svc-1"):
        wait_until(lambda service=service: counting.metrics(service)["postern_redis_up"] == 1,
                   30, f"{service} has Redis")


def test_guesses_from_one_address(counting: Platform) -> None:
    owner, home = counting.add_account(), NETWORKS.new()
    assert _log_in(counting, home, owner.address, owner.password) == "OK"
    guesser = NETWORKS.new()
    told = _guess(counting, [(guesser, f"user{n}@example.test") for n in range(3 * PER_NETWORK)])
    # Some are on their way when the last one that is looked at turns out to be wrong.
    assert PER_NETWORK <= told["AUTH"] <= PER_NETWORK + 8, told
    assert told["AUTH"] + told["SYS/TEMP"] == 3 * PER_NETWORK, told
    # The right password is not told from a wrong one there, and is good elsewhere.
    stranger = counting.add_account()
    assert _log_in(counting, guesser, stranger.address, stranger.password) == "SYS/TEMP"
    assert _log_in(counting, home, owner.address, owner.password) == "OK"
    assert _log_in(counting, NETWORKS.new(), stranger.address, stranger.password) == "OK"


def test_guesses_from_a_thousand_networks(counting: Platform) -> None:
    owner, home = counting.add_account(), NETWORKS.new()
    assert _log_in(counting, home, owner.address, owner.password) == "OK"
    told = _guess(counting, [(NETWORKS.new(), owner.address) for _ in range(1000)])
    assert told == {"AUTH": PER_ACCOUNT, "SYS/TEMP": 1000 - PER_ACCOUNT}
    assert _log_in(counting, home, owner.address, owner.password) == "OK"
    assert _log_in(counting, NETWORKS.new(), owner.address, owner.password) == "SYS/TEMP"
    # What was not looked at cost no hash.
    throttled = sum(counting.metrics(f"auth-svc-{n}")['postern_auth_logins_total{outcome="throttled"}'] for n in range(2))
    assert throttled >= 1000 - PER_ACCOUNT


def _greeting(platform: Platform, source: str) -> int:
    with contextlib.closing(smtplib.SMTP(timeout=60, source_address=(source, 0))) as client:
        return client.connect(HOST, platform.port("mx"))[0]


def test_connections_of_a_network(counting: Platform) -> None:
    source = NETWORKS.new()
    codes = [_greeting(counting, source) for _ in range(4 * CONNECTIONS)]
    # Each of the gateways may have been told what is left, before the other used it.
    assert CONNECTIONS <= codes.count(220) <= 2 * CONNECTIONS, codes
    assert codes[-CONNECTIONS:] == [421] * CONNECTIONS
    assert _greeting(counting, NETWORKS.new()) == 220


def test_messages_of_a_network(counting: Platform) -> None:
    source = NETWORKS.new()
    with smtplib.SMTP(HOST, counting.port("mx"), timeout=60, source_address=(source, 0)) as client:
        client.ehlo()
        codes = []
        for _ in range(2 * MESSAGES):
            code, text = client.mail("carol@elsewhere.test")
            codes.append(code)
            client.rset()
    assert codes == [250] * MESSAGES + [450] * MESSAGES
    assert text.startswith(b"4.7.1 ")


def test_recipients_of_an_account(counting: Platform) -> None:
    sender = counting.add_account()
    clients = Clients(counting)

    def send(recipients: int) -> int:
        with clients.smtp_submission(sender) as client:
            try:
                client.sendmail(sender.address, [f"x{n}@elsewhere.test" for n in range(recipients)],
                                make_message(sender.address, "x@elsewhere.test", "Many"))
            except smtplib.SMTPDataError as error:
                return error.smtp_code
        return 250

    half = RECIPIENTS // 2
    assert [send(half), send(half), send(1)] == [250, 250, 450]


def test_greylist(counting: Platform) -> None:
    account, source = counting.add_account(), NETWORKS.new()

    def rcpt(sender: str) -> int:
        with smtplib.SMTP(HOST, counting.port("mx"), timeout=60,
                          source_address=(source, 0)) as client:
            client.ehlo()
            client.mail(sender)
            return client.rcpt(account.address)[0]

    assert rcpt("carol@elsewhere.test") == 451
    again = time.monotonic() + GREYLIST_SECONDS
    assert rcpt("") == 250
    wait_until(lambda: time.monotonic() > again, 30, "it may pass")
    assert rcpt("carol@elsewhere.test") == 250
    # From now on its network is known.
    assert rcpt("dave@elsewhere.test") == 250


@pytest.mark.parametrize("trouble", ["hung", "killed"])
def test_nobody_waits_for_redis(counting: Platform, trouble: str) -> None:
    """Logins and mail go on, counted by each process alone; then all count together again."""
    account = counting.add_account()
    services = ("auth-svc-0", "auth-svc-1", "relay-svc-0", "relay-svc-1")

    def work() -> None:
        start = time.monotonic()
        assert _log_in(counting, NETWORKS.new(), account.address, account.password) == "OK"
        assert _log_in(counting, NETWORKS.new(), account.address, "guessed") == "AUTH"
        assert _greeting(counting, NETWORKS.new()) == 220
        assert time.monotonic() - start < PATIENCE

    def all_have(up: int) -> bool:
        return all(counting.metrics(service)["postern_redis_up"] == up for service in services)

    work()
    if trouble == "hung":
        with hung(counting.pid("redis")):
            for _ in range(3):
                work()
            wait_until(lambda: all_have(0), 30, "all know that Redis is away")
            work()
    else:
        counting.kill("redis")
        for _ in range(3):
            work()
    wait_until(lambda: all_have(1), 60, "all have Redis again")
    work()
