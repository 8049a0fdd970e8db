"""Mail that leaves the platform: by MX, to real servers on loopback; and what comes back."""

from __future__ import annotations

import secrets
import smtplib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.mail_clients import Clients, make_message, without_trace
from tests.e2e.nameserver import NameServer
from tests.e2e.platform_under_test import Account
from tests.e2e.remote_mta import ScriptedMta, SmtpSink
from tests.e2e.waiting import SLOWER, wait_until
from tests.e2e.world import FIRST, LOOPBACK, SECOND, World, status_of


def test_by_mx_to_smtp_sink(make_platform: Any, name_server: NameServer) -> None:
    sink = SmtpSink()
    try:
        platform = make_platform({"relay-svc": {"delivery": {
            "mx_port": sink.port, "name_servers": [name_server.address],
            "allowed_private_networks": LOOPBACK}}})
        name_server.add("remote.test. 60 IN MX 10 mx.remote.test.",
                        "mx.remote.test. 60 IN A 127.0.0.1")
        clients = Clients(platform)
        alice = platform.built_in_account("alice")
        message = make_message(alice.address, "dave@remote.test", "out", b".dot\r\n\r\nend\r\n")
        with clients.smtp_submission(alice) as session:
            session.sendmail(alice.address, ["dave@remote.test"], message)
        [taken] = wait_until(sink.messages, 60, "smtp-sink has the message")
        wait_until(platform.queue_is_empty, 30, "the queue is empty")
        assert b"X-Rcpt-Args: <dave@remote.test>" in taken
        assert b"X-Mail-Args: <alice@example.test>" in taken
        assert taken.rstrip(b"\n").endswith(message.replace(b"\r\n", b"\n").rstrip(b"\n")), taken
        # The way from the user's machine is nobody else's business, but that it went over TLS is.
        assert b"with ESMTPSA" in taken
    finally:
        sink.stop()


def test_to_a_second_postern_over_starttls(make_platform: Any, name_server: NameServer) -> None:
    remote = make_platform(None)
    remote.ctl("domain", "add", "remote.test")
    dave = remote.add_account("dave@remote.test")
    name_server.add("remote.test. 60 IN MX 10 mx.remote.test.",
                    "mx.remote.test. 60 IN A 127.0.0.1")
    here = make_platform({"relay-svc": {"delivery": {
        "mx_port": remote.port("mx"), "name_servers": [name_server.address],
        "allowed_private_networks": LOOPBACK}}})
    clients, alice = Clients(here), here.built_in_account("alice")
    message = make_message(alice.address, dave.address, "over there")
    with clients.smtp_submissions(alice) as session:
        session.sendmail(alice.address, [dave.address], message)
    [fetched] = Clients(remote).wait_for(dave, 1)
    without_trace(fetched, message)
    # Opportunistic: the second one's certificate is not checked, but the way is encrypted.
    newest = fetched.split(b"Received:", 1)[1].split(b"Received:", 1)[0]
    assert b"with ESMTPS" in newest, fetched


def test_an_mx_that_points_inwards_bounces(make_platform: Any, name_server: NameServer) -> None:
    """Without allowed_private_networks: nothing connects to loopback because a stranger's MX says so."""
    inward = World(make_platform, name_server, {"allowed_private_networks": []})
    try:
        trusting = inward.mta(host="127.0.0.1")
        name_server.add("evil.test. 60 IN MX 10 mx.evil.test.", "mx.evil.test. 60 IN A 127.0.0.1")
        inward.send("x@evil.test")
        [failed] = status_of(inward.bounce())
        assert failed["Status"] == "5.4.4"
        assert "127.0.0.1 (loopback)" in failed["Diagnostic-Code"].replace("\r\n", "")
        inward.send("x@[127.0.0.1]")
        inward.clients.wait_for(inward.alice, 2)
        assert not trusting.sessions
    finally:
        inward.stop()


def test_silent_hosts_hold_nobody_up(make_platform: Any, name_server: NameServer) -> None:
    """300 messages to hosts that take the connection and say nothing, then one to a live host."""
    silent: list[socket.socket] = []
    world = World(make_platform, name_server)
    try:
        for number in range(300):
            host = f"127.1.{number // 250}.{number % 250 + 1}"
            silent.append(socket.create_server((host, world.mx_port), backlog=50))
            name_server.add(f"s{number}.test. 60 IN MX 10 mx.s{number}.test.",
                            f"mx.s{number}.test. 60 IN A {host}")
        name_server.add("live.test. 60 IN MX 10 mx.live.test.", f"mx.live.test. 60 IN A {FIRST}")
        live = world.mta(host=FIRST)
        with world.clients.smtp_submissions(world.alice) as session:
            for number in range(300):
                address = f"x@s{number}.test"
                session.sendmail(world.alice.address, [address],
                                 make_message(world.alice.address, address, "silent"))
        world.send("x@live.test")
        wait_until(lambda: live.bodies, 10 * SLOWER, "the live host has its message")
    finally:
        world.stop()
        for listener in silent:
            listener.close()


def test_mx_in_preference_order(world: World) -> None:
    first, second = world.mta(host=FIRST), world.mta(host=SECOND)
    world.names.add("remote.test. 60 IN MX 20 second.remote.test.",
                    "remote.test. 60 IN MX 10 first.remote.test.",
                    f"first.remote.test. 60 IN A {FIRST}", f"second.remote.test. 60 IN A {SECOND}")
    for number in range(5):
        world.send(f"d{number}@remote.test")
    wait_until(lambda: len(first.bodies) == 5, 60, "the best MX has them all")
    assert second.sessions == 0


def test_next_mx_when_the_first_is_away(world: World) -> None:
    second = world.mta(host=SECOND)
    world.names.add("remote.test. 60 IN MX 10 first.remote.test.",
                    "remote.test. 60 IN MX 20 second.remote.test.",
                    f"first.remote.test. 60 IN A {FIRST}", f"second.remote.test. 60 IN A {SECOND}")
    world.send("dave@remote.test")
    wait_until(lambda: second.bodies, 60, "the second MX has it")


# What happens at once does not wait for the schedule.
LATER = {"retry_seconds": [600]}


@pytest.fixture
def patient_world(make_platform: Any, name_server: NameServer) -> Iterator[World]:
    world = World(make_platform, name_server, LATER)
    yield world
    world.stop()


def five_at(domain: str) -> list[str]:
    return [f"d{number}@{domain}" for number in range(5)]


def test_a_5xx_greeting_and_a_421_lead_to_the_next_mx(patient_world: World) -> None:
    """RFC 5321 3.8: at any stage, and nobody gets it twice."""
    world = patient_world
    second = world.mta(host=SECOND)
    world.names.add(f"second.test. 60 IN A {SECOND}")
    scripts = {
        "refused": {"greeting": "554 5.7.1 No SMTP service here"},
        "greeting": {"greeting": "421 4.3.2 bye"},
        "ehlo": {"EHLO": "421 4.3.2 bye"},
        "mail": {"MAIL": "421 4.3.2 bye"},
        "rcpt": {"RCPT TO:<d3@": "421 4.3.2 bye"},
        "data": {"DATA": "421 4.3.2 bye"},
        "body": {".": "421 4.3.2 bye"},
    }
    for number, (name, script) in enumerate(scripts.items()):
        host = f"127.0.1.{number + 1}"
        world.mta(script, host=host)
        world.names.add(f"{name}.test. 60 IN MX 10 mx.{name}.test.",
                        f"{name}.test. 60 IN MX 20 second.test.", f"mx.{name}.test. 60 IN A {host}")
        world.send(*five_at(f"{name}.test"))
    wait_until(world.platform.queue_is_empty, 60 * SLOWER, "all is sent")
    assert len(second.bodies) == len(scripts)
    assert second.count("RCPT") == 5 * len(scripts)
    assert not world.clients.fetch(world.alice)


def test_a_5xx_greeting_of_every_mx_bounces(patient_world: World) -> None:
    world = patient_world
    for host in (FIRST, SECOND):
        world.mta({"greeting": "554 5.7.1 No SMTP service here"}, host=host)
    world.names.add("remote.test. 60 IN MX 10 first.remote.test.",
                    "remote.test. 60 IN MX 20 second.remote.test.",
                    f"first.remote.test. 60 IN A {FIRST}", f"second.remote.test. 60 IN A {SECOND}")
    world.send("dave@remote.test")
    [recipient] = status_of(world.bounce())
    assert (recipient["Action"], recipient["Status"]) == ("failed", "5.7.1")


@pytest.mark.parametrize("too_many", ["452 4.5.3 too many", "552 5.5.3 too many"])
def test_too_many_recipients_go_in_further_transactions_at_once(
        patient_world: World, too_many: str) -> None:
    """RFC 5321 4.5.3.1.10."""
    world = patient_world
    mta = world.mta()
    mta.max_recipients, mta.too_many = 2, too_many
    world.names.add(f"remote.test. 60 IN A {FIRST}")
    world.send(*five_at("remote.test"))
    wait_until(world.platform.queue_is_empty, 60 * SLOWER, "all is sent")
    assert (mta.sessions, len(mta.bodies)) == (1, 3)
    assert not world.clients.fetch(world.alice)


def test_recipients_beyond_the_limit_go_in_further_transactions(
        make_platform: Any, name_server: NameServer) -> None:
    world = World(make_platform, name_server, LATER | {"max_recipients_per_transaction": 2})
    try:
        mta = world.mta()
        name_server.add(f"remote.test. 60 IN A {FIRST}")
        world.send(*five_at("remote.test"))
        wait_until(world.platform.queue_is_empty, 60 * SLOWER, "all is sent")
        assert (mta.sessions, len(mta.bodies), mta.count("RCPT")) == (1, 3, 5)
    finally:
        world.stop()


def test_552_to_rcpt_is_tried_again(world: World) -> None:
    mta = world.mta({"RCPT TO": "552 5.2.2 full"})
    world.names.add(f"remote.test. 60 IN A {FIRST}")
    world.send("dave@remote.test")
    wait_until(lambda: mta.count("RCPT") >= 2, 60, "it is tried again")
    mta.replies = {}
    wait_until(world.platform.queue_is_empty, 60 * SLOWER, "it arrives at last")
    assert len(mta.bodies) == 1
    assert not world.clients.fetch(world.alice)


def test_replies_that_end_in_a_bare_lf_are_read(patient_world: World) -> None:
    mta = patient_world.mta()
    mta.line_end = b"\n"
    patient_world.names.add(f"remote.test. 60 IN A {FIRST}")
    patient_world.send("dave@remote.test")
    wait_until(lambda: mta.bodies, 60 * SLOWER, "it has it")
    wait_until(patient_world.platform.queue_is_empty, 30 * SLOWER, "the queue is empty")


def test_without_mx_the_address_counts(world: World) -> None:
    mta = world.mta()
    world.names.add(f"remote.test. 60 IN A {FIRST}")
    world.send("dave@remote.test")
    wait_until(lambda: mta.bodies, 60, "the host itself has it")


def test_over_ipv6(world: World) -> None:
    mta = world.mta(host="::1")
    world.names.add("remote.test. 60 IN MX 10 mx.remote.test.", "mx.remote.test. 60 IN AAAA ::1")
    world.send("dave@remote.test")
    wait_until(lambda: mta.bodies, 60, "the IPv6 host has it")


def test_null_mx_bounces_at_once(world: World) -> None:
    world.names.add("remote.test. 60 IN MX 0 .", f"remote.test. 60 IN A {FIRST}")
    world.send("dave@remote.test")
    [recipient] = status_of(world.bounce())
    assert recipient["Action"] == "failed"
    assert recipient["Status"] in ("5.1.10", "5.7.27"), recipient["Status"]


def test_unknown_domain_bounces(world: World) -> None:
    world.send("dave@nowhere.test")
    [recipient] = status_of(world.bounce())
    assert recipient["Action"] == "failed" and recipient["Status"].startswith("5.")


def test_bounce_names_the_recipient_and_the_answer(world: World) -> None:
    mta = world.mta({"RCPT TO:<gone@": "550 5.1.1 no gone here"})
    world.names.add(f"remote.test. 60 IN A {FIRST}")
    world.send("gone@remote.test", "here@remote.test")
    bounce = world.bounce()
    [recipient] = status_of(bounce)
    assert recipient["Final-Recipient"].endswith("gone@remote.test")
    assert recipient["Status"] == "5.1.1"
    assert "no gone here" in recipient["Diagnostic-Code"]
    assert len(mta.bodies) == 1
    assert mta.count(r"RCPT TO:<gone@") == 1, "a permanent failure is not tried again"


def test_temporary_failure_is_tried_again(world: World) -> None:
    mta = world.mta({"RCPT TO": "451 4.3.0 later"})
    world.names.add(f"remote.test. 60 IN A {FIRST}")
    world.send("dave@remote.test")
    wait_until(lambda: mta.count("RCPT") >= 2, 60, "it is tried again")
    mta.replies = {}
    wait_until(lambda: mta.bodies, 60, "it arrives at last")
    wait_until(world.platform.queue_is_empty, 30, "the queue is empty")
    assert not world.clients.fetch(world.alice)


def test_it_bounces_when_it_has_waited_too_long(make_platform: Any,
                                                name_server: NameServer) -> None:
    world = World(make_platform, name_server, {"queue_lifetime_seconds": 3})
    mta = world.mta({"RCPT TO": "451 4.3.0 never"})
    name_server.add(f"remote.test. 60 IN A {FIRST}")
    world.send("dave@remote.test")
    [recipient] = status_of(world.bounce())
    assert recipient["Action"] == "failed"
    assert mta.count("RCPT") >= 2
    world.stop()


def test_a_sender_is_told_of_a_delay(make_platform: Any, name_server: NameServer) -> None:
    """Once, and the message still arrives."""
    slow = World(make_platform, name_server, {"delay_warning_seconds": 2})
    try:
        mta = slow.mta({"RCPT TO": "450 4.2.1 come back later"})
        name_server.add("remote.test. 60 IN MX 10 mx.remote.test.", f"mx.remote.test. 60 IN A {FIRST}")
        slow.send("dave@remote.test")
        notice = slow.bounce()
        assert notice["Subject"].startswith("Delayed mail")
        [delayed] = status_of(notice)
        assert (delayed["Action"], delayed["Status"]) == ("delayed", "4.2.1")
        assert delayed["Will-Retry-Until"] and "come back later" in delayed["Diagnostic-Code"]
        told_after = mta.count("RCPT")
        wait_until(lambda: mta.count("RCPT") > told_after + 1, 30 * SLOWER, "it is tried on")
        mta.replies = {}
        wait_until(slow.platform.queue_is_empty, 30 * SLOWER, "the queue is empty")
        assert len(slow.clients.fetch(slow.alice)) == 1
    finally:
        slow.stop()


def test_server_failure_of_dns_is_temporary(world: World) -> None:
    world.names.fail("remote.test.")
    world.send("dave@remote.test")
    entry = wait_until(lambda: [e for e in world.platform.ctl("queue", "list")["entries"]
                                if e["recipients"][0].get("last_result")], 60, "a first try")[0]
    assert entry["recipients"][0]["state"] == "waiting"
    assert not world.clients.fetch(world.alice)
    world.platform.ctl("queue", "delete", entry["queue_id"])
    assert not world.platform.ctl("queue", "list")["entries"]


def test_queue_survives_a_restart(world: World) -> None:
    world.names.add(f"remote.test. 60 IN A {FIRST}")
    message = world.send("dave@remote.test")
    world.platform.stop()
    mta = world.mta()
    world.platform.start()
    wait_until(lambda: mta.bodies, 60, "it is sent after the restart")
    assert mta.bodies[0].endswith(message)


def test_next_hop_instead_of_mx(make_platform: Any) -> None:
    hop = ScriptedMta()
    platform = make_platform({"relay-svc": {"delivery": {
        "next_hops": [{"domain": "*", "host": "127.0.0.1", "port": hop.port}]}}})
    clients, alice = Clients(platform), platform.built_in_account("alice")
    with clients.smtp_submissions(alice) as session:
        session.sendmail(alice.address, ["x@far.test", "y@away.test"],
                         make_message(alice.address, "x@far.test", "hop"))
    wait_until(lambda: hop.count("RCPT TO:<[xy]@") == 2, 60, "the smart host has both")
    hop.stop()


def test_local_and_remote_in_one_message(world: World) -> None:
    mta = world.mta()
    world.names.add(f"remote.test. 60 IN A {FIRST}")
    bob = world.platform.built_in_account("bob")
    message = world.send(bob.address, "dave@remote.test")
    [fetched] = world.clients.wait_for(bob, 1)
    without_trace(fetched, message)
    wait_until(lambda: mta.bodies, 60, "the remote one arrives")
    assert mta.count("RCPT") == 1


def test_too_many_received_fields_are_a_loop(clients: Clients, account: Account) -> None:
    trace = b"Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\n" * 101
    with clients.smtp_mx() as session:
        with pytest.raises(smtplib.SMTPDataError) as refused:
            session.sendmail("carol@elsewhere.test", [account.address],
                             trace + b"Subject: x\r\n\r\nx\r\n")
    assert refused.value.smtp_code == 554 and refused.value.smtp_error.startswith(b"5.4.6")


def test_queue_is_shown_and_retried(patient_world: World) -> None:
    world = patient_world
    mta = world.mta({"RCPT TO": "451 4.3.0 later"})
    world.names.add(f"remote.test. 60 IN A {FIRST}")
    word = secrets.token_hex(4)
    world.send(f"{word}@remote.test")
    [entry] = wait_until(lambda: [e for e in world.platform.ctl("queue", "list")["entries"]
                                  if e["recipients"][0].get("last_result")], 30, "a first try")
    shown = world.platform.ctl("queue", "show", entry["queue_id"])
    assert word in str(shown)
    mta.replies = {}
    world.platform.ctl("queue", "retry", entry["queue_id"])
    wait_until(lambda: mta.bodies, 30, "the retry sends it")
