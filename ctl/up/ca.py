"""The development CA, by the openssl command line.

One CA signs a certificate for each identity (URI SAN spiffe://postern/<identity>, and the identity
and localhost as DNS SANs) and one public certificate for the listeners. The public one carries no
identity, so nobody can call a service with it.
"""

from __future__ import annotations

import os
import pathlib
import subprocess

from ctl.up import layout
from ctl.up.command import run

_CA_DAYS = "3650"
_LEAF_DAYS = "397"
# A certificate that ends sooner than this is made anew at the next start.
_RENEW_SECONDS = str(30 * 24 * 3600)

PUBLIC = "public"


def _openssl(*arguments: str) -> None:
    run("openssl", *arguments, what=f"openssl {arguments[0]}", umask=0o077)


def _good_for_long(certificate: pathlib.Path, key: pathlib.Path) -> bool:
    if not certificate.exists() or not key.exists():
        return False
    check = subprocess.run(
        ("openssl", "x509", "-in", str(certificate), "-noout", "-checkend", _RENEW_SECONDS),
        capture_output=True, check=False)
    return check.returncode == 0


def _replace(pairs: list[tuple[pathlib.Path, pathlib.Path]]) -> None:
    for new, target in pairs:
        new.chmod(0o600 if target.suffix == ".key" else 0o644)
        os.replace(new, target)


def _new(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f".{path.name}.new")


def _make_ca(data: layout.DataDir) -> None:
    key, certificate = _new(data.ca_key), _new(data.ca_certificate)
    _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-sha256", "-days", _CA_DAYS, "-subj", "/CN=Postern development CA",
             "-addext", "basicConstraints=critical,CA:TRUE,pathlen:0",
             "-addext", "keyUsage=critical,keyCertSign,cRLSign",
             "-keyout", str(key), "-out", str(certificate))
    _replace([(key, data.ca_key), (certificate, data.ca_certificate)])


def issue(data: layout.DataDir, name: str, subject_alt_names: list[str],
          usages: list[str]) -> None:
    """Makes (or replaces) one certificate and its key; each file is swapped in one step."""
    key, certificate = _new(data.key(name)), _new(data.certificate(name))
    _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-sha256", "-days", _LEAF_DAYS, "-subj", f"/CN={name}",
             "-CA", str(data.ca_certificate), "-CAkey", str(data.ca_key),
             "-addext", "basicConstraints=critical,CA:FALSE",
             "-addext", "keyUsage=critical,digitalSignature",
             "-addext", "extendedKeyUsage=" + ",".join(usages),
             "-addext", "subjectAltName=" + ",".join(subject_alt_names),
             "-keyout", str(key), "-out", str(certificate))
    _replace([(key, data.key(name)), (certificate, data.certificate(name))])


def issue_public(data: layout.DataDir) -> None:
    issue(data, PUBLIC, ["DNS:localhost", f"DNS:{layout.MAIL_HOST}", f"IP:{layout.HOST}", "IP:::1"],
          ["serverAuth"])


def issue_identity(data: layout.DataDir, identity: str) -> None:
    serves = any(s.name == identity and s.serves_rpc for s in layout.SERVICES)
    issue(data, identity,
          [f"URI:spiffe://postern/{identity}", f"DNS:{identity}", "DNS:localhost"],
          ["clientAuth"] + (["serverAuth"] if serves else []))


def ensure_server(data: layout.DataDir, name: str) -> None:
    """A certificate for a server of others' make, on the loopback; made when absent or it ends soon."""
    if not _signed_by_ca(data, name) or not _good_for_long(data.certificate(name), data.key(name)):
        issue(data, name, ["DNS:localhost", f"IP:{layout.HOST}"], ["serverAuth"])


def _signed_by_ca(data: layout.DataDir, name: str) -> bool:
    check = subprocess.run(("openssl", "verify", "-CAfile", str(data.ca_certificate),
                            str(data.certificate(name))), capture_output=True, check=False)
    return check.returncode == 0


def _make_token_keys(data: layout.DataDir) -> None:
    signing, verification = _new(data.token_signing_key), _new(data.token_verification_keys)
    _openssl("genpkey", "-algorithm", "ed25519", "-out", str(signing))
    _openssl("pkey", "-in", str(signing), "-pubout", "-out", str(verification))
    signing.chmod(0o600)
    # The public half goes first: a token is never signed with a key that nobody knows.
    os.replace(verification, data.token_verification_keys)
    os.replace(signing, data.token_signing_key)


def ensure(data: layout.DataDir) -> bool:
    """Makes what is absent or ends soon. True when it made a CA, which is news to clients."""
    new_ca = not _good_for_long(data.ca_certificate, data.ca_key)
    if new_ca:
        _make_ca(data)
    for identity in layout.IDENTITIES:
        if new_ca or not _good_for_long(data.certificate(identity), data.key(identity)):
            issue_identity(data, identity)
    if new_ca or not _good_for_long(data.certificate(PUBLIC), data.key(PUBLIC)):
        issue_public(data)
    if not (data.token_signing_key.exists() and data.token_verification_keys.exists()):
        _make_token_keys(data)
    return new_ca
