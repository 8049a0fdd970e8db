"""Tokens of a real identity provider: beside the cluster's tests since Go builds it, for some minutes."""

from __future__ import annotations

import pathlib
import subprocess

import pytest

from tests.e2e.identity_provider import IdentityProvider
from tests.e2e.mail_clients import TIMEOUT
from tests.e2e.platform_under_test import Platform
from tests.e2e.waiting import wait_until

_ALICE = "alice@staff.test"


@pytest.mark.long
def test_dex_vouches_for_its_people(tmp_path: pathlib.Path) -> None:
    provider = IdentityProvider(tmp_path / "dex", _ALICE, "bob@staff.test").start()
    platform = Platform(tmp_path / "postern", {"auth-svc": {"oauth": [provider.settings()]}})
    try:
        platform.start()
        platform.ctl("domain", "add", "staff.test")
        platform.add_account(_ALICE)
        platform.ctl("domain", "set-login-policy", "staff.test", "no-passwords")

        def log_in(token: str) -> int:
            return subprocess.run(
                ["curl", "--silent", "--show-error", "--cacert", platform.ca_file, "--login-options",
                 "AUTH=OAUTHBEARER", "--user", f"{_ALICE}:", "--oauth2-bearer", token,
                 f"pop3s://localhost:{platform.port('pop3s')}/"], capture_output=True, timeout=TIMEOUT,
                check=False).returncode

        first = provider.token(_ALICE)
        assert log_in(first) == 0
        assert log_in(provider.token("bob@staff.test")) == 67, "of another"
        assert log_in(provider.token(_ALICE, scope="openid")) == 67, "without an address"
        # Whose keys are known goes on while it is away.
        provider.stop()
        assert log_in(first) == 0
        # With other keys, which the first token of them has fetched.
        provider.start()
        second = provider.token(_ALICE)
        wait_until(lambda: log_in(second) == 0, TIMEOUT, "its new keys are fetched")
        assert log_in(first) == 67, "a key that is its no more"
    finally:
        platform.stop()
        provider.stop()
