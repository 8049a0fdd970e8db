"""The Secrets that the chart's certificates.py makes, over years: made, renewed, and never distrusted in between."""

from __future__ import annotations

import copy
import datetime
import pathlib
import subprocess
from typing import Any

import pytest

from k8s.chart.files import certificates

_DAY = datetime.timedelta(days=1)


SPEC: dict[str, Any] = {
    "labels": {"app.kubernetes.io/name": "postern"},
    "days": 90, "renew_days": 30, "ca_days": 3650, "ca_renew_days": 365, "overlap_hours": 24, "token_days": 90,
    "ca_secret": "ca",
    "identities": [{"name": "auth-svc", "secret": "mtls-auth-svc", "serves": True},
                   {"name": "gateway-pop3", "secret": "mtls-gateway-pop3", "serves": False}],
    "servers": [{"name": "postgresql", "secret": "postgresql", "dns": ["db.mail.svc"]}],
    "public": [{"name": "mail.example.test", "secret": "public",
                "dns": ["mail.example.test", "mx.example.test"]}],
    "token_signing_secret": "token-signing", "token_verification_secret": "token-verification",
    "passwords": [{"secret": "passwords", "keys": ["auth-svc", "store-svc"]}],
}


class KeptSecrets:
    """As the API server keeps them: each version has a number, and an old one can't be replaced."""

    def __init__(self) -> None:
        self.all: dict[str, Any] = {}
        self.order: list[str] = []

    def get(self, name: str) -> Any:
        return copy.deepcopy(self.all.get(name))

    def put(self, secret: Any) -> None:
        there = self.all.get(secret.name)
        assert secret.version == (there.version if there is not None else None), secret.name
        kept = copy.deepcopy(secret)
        kept.version = str(int(kept.version or 0) + 1)
        self.all[secret.name] = kept
        self.order.append(secret.name)


class Years:
    """One namespace, and the time that its runs of certificates.py believe in."""

    def __init__(self, folder: pathlib.Path):
        self.now = datetime.datetime.now(datetime.timezone.utc)
        self.kept = KeptSecrets()
        self.spec = copy.deepcopy(SPEC)
        self._folder = folder

    def run(self) -> list[str]:
        self.kept.order.clear()
        made = certificates.Certificates(self.spec, self.kept, certificates.OpenSsl(self._folder), self.now)
        made.ensure()
        return list(made.said)

    def data(self, name: str) -> dict[str, bytes]:
        return self.kept.all[name].data

    def trusts(self, mine: str, other: str) -> bool:
        """Whether who has the Secret `mine` trusts who has `other`."""
        ca, leaf = self._folder / "mine", self._folder / "other"
        ca.write_bytes(self.data(mine)["ca.crt"])
        leaf.write_bytes(self.data(other)["tls.crt"])
        return subprocess.run(["openssl", "verify", "-CAfile", str(ca), str(leaf)],
                              capture_output=True, check=False).returncode == 0


@pytest.fixture(name="years")
def _years(tmp_path: pathlib.Path) -> Years:
    return Years(tmp_path)


def test_makes_all_and_then_nothing(years: Years) -> None:
    assert len(years.run()) == 8
    assert set(years.kept.all) == {"ca", "mtls-auth-svc", "mtls-gateway-pop3", "postgresql", "public",
                                   "token-signing", "token-verification", "passwords"}
    # Who doesn't know a key yet must not meet a token that it signed.
    assert years.kept.order.index("token-verification") < years.kept.order.index("token-signing")
    assert years.trusts("mtls-auth-svc", "mtls-gateway-pop3") and years.trusts("mtls-gateway-pop3", "public")
    text = subprocess.run(["openssl", "x509", "-noout", "-text"], check=True, capture_output=True,
                          input=years.data("mtls-auth-svc")["tls.crt"]).stdout.decode()
    assert "URI:spiffe://postern/auth-svc" in text and "DNS:auth-svc" in text and "CA:FALSE" in text
    assert "TLS Web Server Authentication" in text and "TLS Web Client Authentication" in text
    for name, word in (("mtls-gateway-pop3", "TLS Web Server Authentication"),
                       ("public", "TLS Web Client Authentication"), ("public", "spiffe")):
        text = subprocess.run(["openssl", "x509", "-noout", "-text"], check=True, capture_output=True,
                              input=years.data(name)["tls.crt"]).stdout.decode()
        assert word not in text, name
    assert len(set(years.data("passwords").values())) == 2
    assert years.run() == []


def test_other_names_and_more_passwords(years: Years) -> None:
    years.run()
    old = years.data("passwords")
    years.spec["public"][0]["dns"].append("pop.example.test")
    years.spec["passwords"][0]["keys"].append("relay-svc")
    assert years.run() == ["public: a new certificate: it has other names", "passwords: passwords of relay-svc"]
    assert old.items() < years.data("passwords").items()


def test_what_ends_soon_is_renewed(years: Years) -> None:
    years.spec["days"] = 30
    years.run()
    before = copy.deepcopy(years.kept.all)
    assert len(years.run()) == 4
    assert years.data("mtls-auth-svc")["tls.crt"] != before["mtls-auth-svc"].data["tls.crt"]
    assert years.data("ca") == before["ca"].data
    years.spec["days"] = 31
    assert len(years.run()) == 4
    assert years.run() == []


def test_a_new_ca_is_trusted_before_it_signs(years: Years) -> None:
    years.spec["ca_days"] = 300
    years.run()
    leaf = years.data("mtls-auth-svc")["tls.crt"]
    before = copy.deepcopy(years.kept.all)

    assert len(years.run()) == 5
    assert years.data("mtls-auth-svc")["tls.crt"] == leaf
    # Whoever has read its Secret again, and whoever has not yet, trust each other.
    after = copy.deepcopy(years.kept.all)
    for mine in (before, after):
        for other in (before, after):
            years.kept.all = {"mine": mine["mtls-auth-svc"], "other": other["mtls-gateway-pop3"]}
            assert years.trusts("mine", "other")
    years.kept.all = after

    years.now += _DAY / 2
    years.spec["ca_days"] = 3650
    assert years.run() == []
    years.now += _DAY / 2
    assert "ca: the new CA signs" in years.run()
    last = copy.deepcopy(years.kept.all)
    assert last["mtls-auth-svc"].data["tls.crt"] != leaf
    for mine in (after, last):
        for other in (after, last):
            years.kept.all = {"mine": mine["mtls-auth-svc"], "other": other["mtls-gateway-pop3"]}
            assert years.trusts("mine", "other")


def test_token_keys_overlap(years: Years) -> None:
    years.run()

    def known() -> int:
        return years.data("token-verification")["token-verification.pem"].count(b"BEGIN PUBLIC KEY")

    first = years.data("token-signing")["token-signing.pem"]
    years.now += 89 * _DAY
    assert years.run() == []
    years.now += _DAY
    years.run()
    assert known() == 2 and years.data("token-signing")["token-signing.pem"] == first
    assert years.kept.order == ["token-verification", "token-signing"]
    years.now += _DAY
    years.run()
    assert known() == 2 and years.data("token-signing")["token-signing.pem"] != first
    years.now += _DAY
    years.run()
    assert known() == 1
    assert years.data("token-verification")["token-verification.pem"] == subprocess.run(
        ["openssl", "pkey", "-pubout"], input=years.data("token-signing")["token-signing.pem"],
        capture_output=True, check=True).stdout


def test_what_others_made_is_left_alone(years: Years) -> None:
    years.run()
    for name in ("mtls-auth-svc", "public", "token-signing", "token-verification", "passwords"):
        years.kept.all[name].annotations.clear()
        years.kept.all[name].data = {"tls.crt": b"theirs"}
    years.spec["passwords"][0]["keys"].append("relay-svc")
    years.now += 400 * _DAY
    before = copy.deepcopy(years.kept.all)
    years.run()
    assert years.kept.all == before


def test_half_of_the_token_keys_is_refused(years: Years) -> None:
    years.run()
    years.kept.all["token-verification"].annotations.clear()
    with pytest.raises(certificates.Failure, match="token-verification was not made here, but token-signing was"):
        years.run()


def test_somebodys_ca_signs_until_it_ends(years: Years) -> None:
    years.run()
    ca = years.kept.all["ca"]
    years.kept = KeptSecrets()
    ca.annotations.clear()
    del ca.data["ca.crt"]
    years.kept.all["ca"] = ca
    assert len(years.run()) == 7
    assert years.data("mtls-auth-svc")["ca.crt"] == ca.data["tls.crt"]
    ca.data["tls.crt"] = b"no certificate"
    with pytest.raises(certificates.Failure, match="the CA in Secret ca has ended"):
        years.run()
