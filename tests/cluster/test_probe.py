"""The pods' probe reads what balancers write. Its own tests, in Go; they need no cluster."""

from __future__ import annotations

from tests.cluster.local import programs


def test_probe() -> None:
    assert "--- PASS: TestProxiedClient" in programs.run_go("probe", "test", "-v", ".")
