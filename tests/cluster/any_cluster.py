"""The cluster that tests use: that of KUBECONFIG when it is given, else one of our own."""

from __future__ import annotations

import os
from typing import Protocol

from tests.cluster.local import programs


class AnyCluster(Protocol):
    """What every cluster has: commands to run."""

    def kubectl(self, *arguments: str) -> list[str]: ...

    def helm(self, *arguments: str) -> list[str]: ...


class GivenCluster:
    """The one of KUBECONFIG: somebody's. Nothing of it is started, stopped or broken."""

    def kubectl(self, *arguments: str) -> list[str]:
        return [str(programs.path("kubectl")), *arguments]

    def helm(self, *arguments: str) -> list[str]:
        return [str(programs.path("helm")), *arguments]


def kubeconfig() -> str:
    """KUBECONFIG; empty when no cluster is given."""
    return os.environ.get("KUBECONFIG", "")
