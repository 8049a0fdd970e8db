#!/usr/bin/python3
"""Makes and renews the Secrets that Postern's workloads need: a CA, a certificate for each identity, public
certificates, token keys, passwords. For clusters without cert-manager.

It runs in a Job before the workloads come, and then every day in a CronJob. What is good stays as it is; the
programs read a Secret again when it has changed. What somebody else made is never touched: only a Secret with
this program's annotation is changed.

    certificates.py SPEC.json

The specification:

    {"labels": {...},                       of every Secret
     "days": 90, "renew_days": 30,          of certificates: how long, and how long before their end they are renewed
     "ca_days": 3650, "ca_renew_days": 365,
     "overlap_hours": 24,                   a new CA or token key is known everywhere for this long before it is used
     "ca_secret": NAME,
     "identities": [{"name": "auth-svc", "secret": NAME, "serves": true}],
     "servers": [{"name": "postgresql", "secret": NAME, "dns": [...]}],      signed by the CA, without an identity
     "public": [{"name": "mail.example.org", "secret": NAME, "dns": [...]}], the same, for the listeners
     "token_signing_secret": NAME, "token_verification_secret": NAME, "token_days": 90,
     "passwords": [{"secret": NAME, "keys": [...]}]}

"servers", "public" and "passwords" may be absent.

A new CA comes in two steps, so that no two processes distrust each other at any moment: first everyone is told to
trust it (`ca.crt` of every Secret has both), a day later it signs. Token keys likewise.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import json
import os
import pathlib
import secrets
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from typing import Any, Protocol

# Says that this program made a Secret, and since when what is in it is known.
_MADE = "postern/made-by"
_MADE_BY = "certificates.py"
_NEXT_SINCE = "postern/next-since"
_SINCE = "postern/since"

Data = dict[str, bytes]


class Failure(Exception):
    """One line that says what is wrong."""


@dataclasses.dataclass
class Secret:
    """A Secret of the namespace. `version` is None for one that is to be made."""

    name: str
    data: Data
    annotations: dict[str, str] = dataclasses.field(default_factory=dict)
    type: str = "Opaque"
    version: str | None = None

    @property
    def ours(self) -> bool:
        return self.annotations.get(_MADE) == _MADE_BY


class Secrets(Protocol):
    """Where Secrets are."""

    def get(self, name: str) -> Secret | None:
        """None when there is none."""

    def put(self, secret: Secret) -> None:
        """Makes it, or replaces the version that was read."""


class ClusterSecrets:
    """Those of the pod's own namespace, by the API server."""

    _ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")

    def __init__(self, labels: dict[str, str]):
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        host = f"[{host}]" if ":" in host else host
        namespace = (self._ACCOUNT / "namespace").read_text(encoding="ascii").strip()
        self._url = f"https://{host}:{port}/api/v1/namespaces/{namespace}/secrets"
        self._tls = ssl.create_default_context(cafile=str(self._ACCOUNT / "ca.crt"))
        self._labels = labels

    def get(self, name: str) -> Secret | None:
        try:
            found = self._call("GET", f"{self._url}/{name}")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise
        meta = found["metadata"]
        return Secret(name, {key: base64.b64decode(value) for key, value in found.get("data", {}).items()},
                      meta.get("annotations", {}), found["type"], meta["resourceVersion"])

    def put(self, secret: Secret) -> None:
        meta = {"name": secret.name, "labels": self._labels, "annotations": secret.annotations}
        if secret.version is not None:
            meta["resourceVersion"] = secret.version
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": secret.type,
                "data": {key: base64.b64encode(value).decode() for key, value in secret.data.items()}}
        if secret.version is None:
            self._call("POST", self._url, body)
        else:
            self._call("PUT", f"{self._url}/{secret.name}", body)

    def _call(self, method: str, url: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            url, method=method, data=None if body is None else json.dumps(body).encode(),
            # Read each time: the kubelet renews it.
            headers={"Authorization": "Bearer " + (self._ACCOUNT / "token").read_text(encoding="ascii"),
                     "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30, context=self._tls) as answer:
            return json.load(answer)


class OpenSsl:
    """The openssl command, its files in a folder of their own."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder

    def run(self, *arguments: str, **files: bytes) -> bytes:
        """What it prints. `{name}` in an argument is a file with the octets of that name."""
        paths = {}
        for name, octets in files.items():
            paths[name] = self._folder / name
            paths[name].write_bytes(octets)
        done = subprocess.run(["openssl"] + [argument.format_map(paths) for argument in arguments],
                              stdin=subprocess.DEVNULL, capture_output=True, check=False, umask=0o077)
        if done.returncode != 0:
            raise Failure(f"openssl {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout

    def _certificate(self, days: int, subject: str, extensions: list[str], *signed_by: str,
                     **files: bytes) -> tuple[bytes, bytes]:
        key = self.run("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        added = [word for extension in extensions for word in ("-addext", extension)]
        certificate = self.run("req", "-x509", "-key", "{key}", "-sha256", "-days", str(days), "-subj", subject,
                               *signed_by, *added, key=key, **files)
        return certificate, key

    def make_ca(self, days: int) -> tuple[bytes, bytes]:
        """A certificate and its key. Each CA has a name of its own, so that chains of two are never mixed up."""
        return self._certificate(days, f"/O=Postern/CN=Postern CA {secrets.token_hex(4)}", [
            "basicConstraints=critical,CA:TRUE,pathlen:0", "keyUsage=critical,keyCertSign,cRLSign"])

    def issue(self, ca: tuple[bytes, bytes], days: int, name: str, names: list[str],
              usages: list[str]) -> tuple[bytes, bytes]:
        # A common name has at most 64 characters (RFC 5280 appendix A, ub-common-name).
        return self._certificate(days, f"/O=Postern/CN={name[:64]}", [
            "basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature",
            "extendedKeyUsage=" + ",".join(usages), "subjectAltName=" + ",".join(names),
        ], "-CA", "{ca}", "-CAkey", "{ca_key}", ca=ca[0], ca_key=ca[1])

    def good_for(self, certificate: bytes, days: int) -> bool:
        """Whether it is good for so many days more."""
        try:
            self.run("x509", "-in", "{x}", "-noout", "-checkend", str(days * 86400), x=certificate)
        except Failure:
            return False
        return True

    def signed_by(self, certificate: bytes, ca: bytes) -> bool:
        try:
            self.run("verify", "-CAfile", "{ca}", "{x}", ca=ca, x=certificate)
        except Failure:
            return False
        return True

    def names_of(self, certificate: bytes) -> set[str]:
        """Its subject alternative names, as `issue` takes them."""
        printed = self.run("x509", "-in", "{x}", "-noout", "-ext", "subjectAltName", x=certificate).decode()
        return {name.strip() for name in printed.splitlines()[-1].split(",")}

    def make_token_key(self) -> bytes:
        return self.run("genpkey", "-algorithm", "ed25519")

    def public_half(self, key: bytes) -> bytes:
        return self.run("pkey", "-in", "{key}", "-pubout", key=key)


class Certificates:
    """Brings all Secrets of a specification to what they should be. `now` is the time in UTC."""

    def __init__(self, spec: dict[str, Any], kept: Secrets, openssl: OpenSsl, now: datetime.datetime):
        self._spec = spec
        self._kept = kept
        self._openssl = openssl
        self._now = now
        self._overlap = datetime.timedelta(hours=spec["overlap_hours"])
        self.said: list[str] = []

    def ensure(self) -> None:
        ca, trusted = self._ensure_ca()
        for one in self._spec["identities"]:
            self._ensure_certificate(
                one, ca, trusted, [f"URI:spiffe://postern/{one['name']}", f"DNS:{one['name']}"],
                ["clientAuth"] + (["serverAuth"] if one["serves"] else []))
        for one in self._spec.get("servers", []) + self._spec.get("public", []):
            self._ensure_certificate(one, ca, trusted, [f"DNS:{name}" for name in one["dns"]], ["serverAuth"])
        self._ensure_token_keys()
        for one in self._spec.get("passwords", []):
            self._ensure_passwords(one["secret"], one["keys"])

    def _put(self, secret: Secret, what: str) -> None:
        secret.annotations[_MADE] = _MADE_BY
        self._kept.put(secret)
        self.said.append(f"{secret.name}: {what}")

    def _since(self, secret: Secret, annotation: str) -> datetime.timedelta:
        return self._now - datetime.datetime.fromisoformat(secret.annotations[annotation])

    def _ensure_ca(self) -> tuple[tuple[bytes, bytes], bytes]:
        """The CA that signs, and all that are trusted."""
        spec = self._spec
        found = self._kept.get(spec["ca_secret"])
        if found is None:
            certificate, key = self._openssl.make_ca(spec["ca_days"])
            found = Secret(spec["ca_secret"], {"ca.crt": certificate, "tls.crt": certificate, "tls.key": key},
                           type="kubernetes.io/tls")
            self._put(found, "a new CA")
        elif not found.ours:
            # Somebody's own CA: it signs, and is theirs to renew.
            if not self._openssl.good_for(found.data["tls.crt"], 0):
                raise Failure(f"the CA in Secret {found.name} has ended, and was not made here: renew it")
        elif "next.crt" not in found.data:
            if not self._openssl.good_for(found.data["tls.crt"], spec["ca_renew_days"]):
                certificate, key = self._openssl.make_ca(spec["ca_days"])
                found.data |= {"next.crt": certificate, "next.key": key,
                               "ca.crt": found.data["tls.crt"] + certificate}
                found.annotations[_NEXT_SINCE] = self._now.isoformat()
                self._put(found, f"it ends soon; a new CA signs in {self._overlap}")
                found = self._kept.get(found.name)
        elif self._since(found, _NEXT_SINCE) >= self._overlap:
            # The old one is trusted for as long as what it signed may be in use.
            found.data |= {"tls.crt": found.data.pop("next.crt"), "tls.key": found.data.pop("next.key")}
            del found.annotations[_NEXT_SINCE]
            self._put(found, "the new CA signs")
        assert found is not None
        return (found.data["tls.crt"], found.data["tls.key"]), found.data.get("ca.crt", found.data["tls.crt"])

    def _ensure_certificate(self, one: dict[str, Any], ca: tuple[bytes, bytes], trusted: bytes,
                            names: list[str], usages: list[str]) -> None:
        found = self._kept.get(one["secret"])
        if found is not None and not found.ours:
            return
        if found is None:
            found, what = Secret(one["secret"], {}, type="kubernetes.io/tls"), "a certificate"
        elif not self._openssl.good_for(found.data["tls.crt"], self._spec["renew_days"]):
            what = "a new certificate: the old one ends soon"
        elif not self._openssl.signed_by(found.data["tls.crt"], ca[0]):
            what = "a new certificate: another CA signs"
        elif self._openssl.names_of(found.data["tls.crt"]) != set(names):
            what = "a new certificate: it has other names"
        elif found.data["ca.crt"] != trusted:
            found.data["ca.crt"] = trusted
            self._put(found, "trusts a new CA")
            return
        else:
            return
        certificate, key = self._openssl.issue(ca, self._spec["days"], one["name"], names, usages)
        found.data = {"ca.crt": trusted, "tls.crt": certificate, "tls.key": key}
        self._put(found, what)

    def _ensure_token_keys(self) -> None:
        """The public halves go first: no token is signed with a key that somebody doesn't know."""
        spec = self._spec
        signing = self._kept.get(spec["token_signing_secret"])
        if signing is not None and not signing.ours:
            return
        what = ""
        if signing is None:
            signing = Secret(spec["token_signing_secret"], {"token-signing.pem": self._openssl.make_token_key()},
                             {_SINCE: self._now.isoformat()})
            what = "a key"
        elif "next.pem" in signing.data:
            if self._since(signing, _NEXT_SINCE) >= self._overlap:
                # What the old one signed has minutes to live: the next run but one forgets it.
                signing.data = {"token-signing.pem": signing.data["next.pem"],
                                "old.pem": signing.data["token-signing.pem"]}
                signing.annotations[_SINCE] = self._now.isoformat()
                del signing.annotations[_NEXT_SINCE]
                what = "the new key signs"
        elif self._since(signing, _SINCE) >= datetime.timedelta(days=spec["token_days"]):
            signing.data["next.pem"] = self._openssl.make_token_key()
            signing.annotations[_NEXT_SINCE] = self._now.isoformat()
            what = f"a new key signs in {self._overlap}"
        elif "old.pem" in signing.data and self._since(signing, _SINCE) >= self._overlap:
            del signing.data["old.pem"]
            what = "the old key is forgotten"
        public = b"".join(self._openssl.public_half(signing.data[name])
                          for name in ("token-signing.pem", "next.pem", "old.pem") if name in signing.data)
        known = self._kept.get(spec["token_verification_secret"])
        if known is None:
            known = Secret(spec["token_verification_secret"], {})
        elif not known.ours:
            raise Failure(f"Secret {known.name} was not made here, but {signing.name} was: "
                          "give both or none (token keys)")
        if known.data.get("token-verification.pem") != public:
            known.data = {"token-verification.pem": public}
            self._put(known, "public keys")
        if what:
            self._put(signing, what)

    def _ensure_passwords(self, name: str, keys: list[str]) -> None:
        """Made once; never changed."""
        found = self._kept.get(name) or Secret(name, {})
        missing = [key for key in keys if key not in found.data]
        if not missing or (found.version is not None and not found.ours):
            return
        found.data |= {key: secrets.token_urlsafe(24).encode() for key in missing}
        self._put(found, "passwords of " + ", ".join(missing))


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: certificates.py SPEC.json", file=sys.stderr)
        return 2
    spec = json.loads(pathlib.Path(arguments[0]).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        made = Certificates(spec, ClusterSecrets(spec["labels"]), OpenSsl(pathlib.Path(folder)),
                            datetime.datetime.now(datetime.timezone.utc))
        try:
            made.ensure()
        except urllib.error.HTTPError as error:
            said = error.read(2000).decode(errors="replace")
            print(f"certificates: {error.url}: {error.code} {error.reason}: {said}", file=sys.stderr)
            return 1
        except (Failure, OSError) as error:
            print(f"certificates: {error}", file=sys.stderr)
            return 1
        finally:
            for line in made.said:
                print(line, flush=True)
    print(f"{len(made.said)} Secrets changed" if made.said else "all is good")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
