"""A real OpenID Connect provider for tests: dex, built once by Go."""

from __future__ import annotations

import base64
import json
import pathlib
import ssl
import subprocess
import urllib.parse
import urllib.request
from typing import Any

from tests.cluster.local import programs
from tests.e2e.certificate_authority import CertificateAuthority
from tests.e2e.remote_mta import free_port
from tests.e2e.waiting import wait_until

_HOST = "127.0.0.1"
_CLIENT = "mail-client"
_CLIENT_SECRET = "of-the-client"
# Everybody's. dex takes hashes of bcrypt, of a cost of 10 at least.
PASSWORD = "of the provider"
_HASH = "$2b$10$QdIyPJ3gWmC1f0aBxUuEyufCjAD7ReZJ5UK6IZyVEEQC/v4rLdG.C"


class IdentityProvider:
    """Has the people whose addresses it is given. Its keys live as long as its process."""

    def __init__(self, folder: pathlib.Path, *addresses: str, token_seconds: int = 3600):
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        authority = CertificateAuthority(folder)
        self._ca_file = authority.file
        certificate, key = authority.issue("server", f"subjectAltName=IP:{_HOST}")
        configuration = {
            "issuer": self.issuer,
            "storage": {"type": "memory"},
            "web": {"https": f"{_HOST}:{self._port}", "tlsCert": str(certificate), "tlsKey": str(key)},
            "expiry": {"idTokens": f"{token_seconds}s"},
            "oauth2": {"passwordConnector": "local"},
            "enablePasswordDB": True,
            "staticClients": [{"id": _CLIENT, "name": _CLIENT, "secret": _CLIENT_SECRET}],
            "staticPasswords": [{"email": address, "hash": _HASH, "username": address, "userID": f"id of {address}"}
                                for address in addresses],
        }
        # JSON is YAML.
        (folder / "dex.yaml").write_text(json.dumps(configuration), encoding="ascii")
        self._tls = ssl.create_default_context(cafile=self._ca_file)

    @property
    def issuer(self) -> str:
        return f"https://{_HOST}:{self._port}/dex"

    def settings(self, **others: Any) -> dict[str, Any]:
        """How auth-svc is told of it."""
        return {"name": "login", "domains": ["staff.test"], "issuer": self.issuer, "audiences": [_CLIENT],
                "jwks_url": f"{self.issuer}/keys", "ca_file": str(self._ca_file)} | others

    def start(self) -> "IdentityProvider":
        """With new keys each time."""
        self._process = subprocess.Popen([str(programs.built(programs.DEX)), "serve", str(self._folder / "dex.yaml")])
        wait_until(self._answers, 30, "dex answers")
        return self

    def stop(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, "dex ended"
        try:
            with urllib.request.urlopen(f"{self.issuer}/healthz", context=self._tls, timeout=5):
                return True
        except OSError:
            return False

    def token(self, address: str, scope: str = "openid email") -> str:
        """An access token, by the password grant (RFC 6749 4.3)."""
        client = base64.b64encode(f"{_CLIENT}:{_CLIENT_SECRET}".encode()).decode()
        form = {"grant_type": "password", "scope": scope, "username": address, "password": PASSWORD}
        request = urllib.request.Request(f"{self.issuer}/token", data=urllib.parse.urlencode(form).encode(),
                                         headers={"Authorization": f"Basic {client}"})
        with urllib.request.urlopen(request, context=self._tls, timeout=30) as answer:
            token: str = json.load(answer)["access_token"]
            return token
