"""Certificates by cert-manager."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.cluster.local import cert_manager
from tests.cluster.local.cluster import Cluster
from tests.cluster.release import BESIDE, Release, in_own_namespace
from tests.cluster.servers import Servers


@pytest.fixture(name="issued")
def _issued(cluster: Cluster) -> Iterator[Release]:
    """A namespace, with cert-manager on the cluster."""
    cert_manager.install(cluster)
    try:
        with in_own_namespace(cluster, "issued") as release:
            yield release
    finally:
        cert_manager.uninstall(cluster)


def _openssl(*arguments: str, given: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=True).stdout


@pytest.mark.long
def test_cert_manager_makes_and_renews_them(issued: Release, servers: Servers) -> None:
    key = _openssl("genpkey", "-algorithm", "ed25519")
    for name, file, octets in (("signing", "token-signing.pem", key),
                               ("verification", "token-verification.pem", _openssl("pkey", "-pubout", given=key))):
        issued.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {file: octets.decode()}})
    issued.install(*servers.give_to(issued), *BESIDE, "--set=mtls.source=certManager",
                   "--set=tokens.existingSigningSecret=signing", "--set=tokens.existingVerificationSecret=verification")
    issued.wait_all_ready()
    assert "mail comes in, goes out" in issued.helm("test", issued.name, "--logs").stdout
    assert not issued.get("cronjobs")["items"]
    certificates = issued.get("certificates.cert-manager.io")["items"]
    # Each identity's, the public one, and the CA.
    assert len(certificates) == 9
