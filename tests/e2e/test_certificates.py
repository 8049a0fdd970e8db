"""Certificates and keys are swapped under running processes, without a dropped connection."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import ssl
import subprocess
import time
from typing import Any

from ctl.up import ca, layout
from tests.e2e.mail_clients import HOST, Clients, make_message
from tests.e2e.platform_under_test import Platform
from tests.e2e.waiting import wait_until

STRANGER = "carol@elsewhere.test"


def _serial(platform: Platform, listener: str) -> int:
    context = ssl.create_default_context(cafile=platform.ca_file)
    with socket.create_connection((HOST, platform.port(listener)), 60) as connection:
        with context.wrap_socket(connection, server_hostname=HOST) as session:
            return int(session.getpeercert()["serialNumber"], 16)


def test_public_certificate_swap(make_platform: Any) -> None:
    platform = make_platform(None)
    clients, account = Clients(platform), platform.add_account()
    before = {listener: _serial(platform, listener) for listener in ("submissions", "pop3s")}
    with clients.raw_pop3s(account) as open_pop3, clients.raw_smtp("submissions",
                                                                   account=account) as open_smtp:
        ca.issue_public(layout.DataDir(platform.data))
        for listener, serial in before.items():
            wait_until(lambda at=listener, old=serial: _serial(platform, at) != old, 30,
                       f"{listener} shows the new certificate")
        assert open_pop3.pop3("NOOP").startswith("+OK")
        assert open_smtp.smtp("NOOP")[0] == 250


def test_broken_certificate_keeps_the_old_one(make_platform: Any) -> None:
    platform = make_platform(None)
    serial = _serial(platform, "pop3s")
    certificate = layout.DataDir(platform.data).certificate(ca.PUBLIC)
    certificate.write_text("no PEM\n", encoding="ascii")
    # A file is looked at when a session begins.
    wait_until(lambda: _serial(platform, "pop3s") == serial
               and '"level":"error"' in platform.log("gateway-pop3").replace(" ", ""), 30,
               "gateway-pop3 says that the new file is broken, and shows the old one")
    assert _serial(platform, "pop3s") == serial


def test_identity_certificate_swap(make_platform: Any) -> None:
    """All identities get new certificates while mail flows."""
    platform = make_platform(None)
    clients, account = Clients(platform), platform.add_account()
    data = layout.DataDir(platform.data)
    with clients.smtp_mx() as session:
        for identity in layout.IDENTITIES:
            ca.issue_identity(data, identity)
            session.sendmail(STRANGER, [account.address],
                             make_message(STRANGER, account.address, identity))
    # A process that is started now has only the new ones.
    dead = platform.kill("store-svc")
    wait_until(lambda: platform.pid("store-svc") not in (None, dead), 60, "store-svc is back")
    platform.wait_all_ready()
    assert len(clients.wait_for(account, len(layout.IDENTITIES))) == len(layout.IDENTITIES)


def test_token_keys_rotate_with_overlap(make_platform: Any, tmp_path: pathlib.Path) -> None:
    platform = make_platform(None)
    clients, account = Clients(platform), platform.add_account()
    data = layout.DataDir(platform.data)
    clients.fetch(account)
    new_key = tmp_path / "new.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(new_key)],
                   check=True)
    public = subprocess.run(["openssl", "pkey", "-in", str(new_key), "-pubout"], check=True,
                            capture_output=True, text=True).stdout
    old_public = data.token_verification_keys.read_text(encoding="ascii")
    with clients.raw_pop3s(account) as session:
        # First those who verify learn of the new key, then auth-svc signs with it.
        for path, text in ((data.token_verification_keys, old_public + public),
                           (data.token_signing_key, new_key.read_text(encoding="ascii"))):
            new = path.with_suffix(".new")
            new.write_text(text, encoding="ascii")
            new.chmod(0o600)
            os.replace(new, path)
            for _ in range(5):
                with clients.smtp_submissions(account) as smtp:
                    assert smtp.mail(account.address)[0] == 250
        assert session.pop3("NOOP").startswith("+OK")
        assert session.pop3("QUIT").startswith("+OK")
    clients.fetch(account)


def test_no_certificate_no_rpc(platform: Platform) -> None:
    """Without a certificate of the CA nobody gets a connection to a service."""
    ports = json.loads((platform.data / "state.json").read_text(encoding="utf-8"))["ports"]["rpc"]
    for service, port in ports.items():
        context = ssl.create_default_context(cafile=platform.ca_file)
        context.set_alpn_protocols(["h2"])
        with socket.create_connection((HOST, port), 60) as connection:
            try:
                with context.wrap_socket(connection, server_hostname=service) as session:
                    session.settimeout(60)
                    # TLS 1.3: the refusal comes with the first read.
                    assert session.recv(1) == b"", service
            except (ssl.SSLError, ConnectionError):
                pass


def _ends(platform: Platform, service: str) -> dict[str, float]:
    """What a process says of its certificates."""
    prefix, suffix = 'postern_certificate_expiry_timestamp_seconds{certificate="', '"}'
    return {name.removeprefix(prefix).removesuffix(suffix): end for name, end in platform.metrics(service).items()
            if name.startswith(prefix)}


def _end_of(file: pathlib.Path) -> float:
    said = subprocess.run(["openssl", "x509", "-in", str(file), "-noout", "-enddate"], capture_output=True, text=True,
                          check=True).stdout
    return float(ssl.cert_time_to_seconds(said.strip().removeprefix("notAfter=")))


def test_every_process_says_when_its_certificates_end(make_platform: Any) -> None:
    platform = make_platform(None)
    data = layout.DataDir(platform.data)
    for service in layout.SERVICES:
        ends = {"mtls": _end_of(data.certificate(service.name))}
        if not service.serves_rpc:
            ends[f"public:{ca.PUBLIC}"] = _end_of(data.certificate(ca.PUBLIC))
        assert _ends(platform, service.name) == ends, service.name
    # A new one, which ends later by as much as the test has run.
    old = _ends(platform, "relay-svc")["mtls"]
    wait_until(lambda: time.time() + 397 * 86400 > old + 2, 30, "a certificate of now ends later")
    ca.issue_identity(data, "relay-svc")
    assert _end_of(data.certificate("relay-svc")) > old
    wait_until(lambda: _ends(platform, "relay-svc")["mtls"] == _end_of(data.certificate("relay-svc")), 30,
               "the new one's end is told")
