"""The cluster itself: what was started stays, what died is started again, and what others own is left alone."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from ctl.up.failure import Failure
from tests.cluster.local import layout, programs
from tests.cluster.local.cluster import Cluster
from tests.e2e.waiting import wait_until


def _pids(cluster: Cluster) -> dict[str, int | None]:
    return {name: cluster.processes.pid(name) for name in cluster.processes.names()}


def test_up_twice_changes_nothing(cluster: Cluster) -> None:
    before = _pids(cluster)
    cluster.up()
    assert _pids(cluster) == before and all(before.values())


def test_what_was_killed_is_started_again(cluster: Cluster) -> None:
    """The whole control plane at once, etcd too; pods don't notice."""
    before = _pids(cluster)
    dead = [name for name in before if not name.startswith(("containerd", "kubelet", "haproxy"))]
    assert len(dead) == 8
    for name in dead:
        pid = before[name]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(cluster.processes.pid(name) for name in dead), 30, "they are gone")
    cluster.up()
    after = _pids(cluster)
    assert all(after.values()) and all(after[name] != before[name] for name in dead)
    wait_until(lambda: all(node.ready for node in cluster.nodes()), 60, "both nodes are Ready")


def test_status_is_for_people_and_scripts(cluster: Cluster) -> None:
    def status(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "tests.cluster.local", "--data", str(cluster.folder.root), "status",
                               *arguments], capture_output=True, text=True, check=False, cwd=layout.ROOT)

    done = status("--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["nodes"] == {"node1": True, "node2": True}
    done = status()
    assert "node2                    Ready" in done.stdout and layout.INTERNET_BALANCER in done.stdout
    assert status("--jsn").returncode == 2


def test_another_cluster_is_refused(cluster: Cluster, tmp_path: pathlib.Path) -> None:
    with pytest.raises(Failure, match=f"the cluster of {cluster.folder.root} is up"):
        Cluster(tmp_path / "other").up()


def test_the_probe_reads_proxy_headers() -> None:
    assert "--- PASS: TestProxiedClient" in programs.run_go("probe", "test", "-v", ".")
