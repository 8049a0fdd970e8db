"""A release on any cluster, in a namespace of its own, which is removed: also on the one of KUBECONFIG, with the
values that it wants (`--values FILE`). The demo, unless those say otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cluster.any_cluster import AnyCluster, kubeconfig
from tests.cluster.release import BESIDE, VALUES, Release, in_own_namespace

pytestmark = pytest.mark.long


@pytest.fixture(name="trial", scope="module")
def _trial(any_cluster: AnyCluster, request: pytest.FixtureRequest) -> Iterator[Release]:
    given: list[str] = request.config.getoption("--values")
    demo = ["--set=demo.enabled=true"]
    arguments = [f"--values={file}" for file in given] or demo
    if not kubeconfig():
        arguments = [f"--values={VALUES}", *BESIDE, *arguments]
    with in_own_namespace(any_cluster, "postern-trial", arguments) as release:
        release.install()
        release.wait_all_ready()
        yield release


def _mail_goes(release: Release) -> None:
    assert "mail comes in, goes out and can be fetched" in release.helm("test", release.name, "--logs").stdout


def test_mail_comes_in_and_goes_out(trial: Release) -> None:
    _mail_goes(trial)


def test_it_is_changed_and_rolled_back(trial: Release) -> None:
    before = json.loads(trial.helm("history", trial.name, "--output=json").stdout)[-1]["revision"]
    trial.install("--set=logLevel=debug")
    trial.wait_all_ready()
    _mail_goes(trial)
    trial.helm("rollback", trial.name, str(before), "--timeout=5m")
    trial.wait_all_ready()
    _mail_goes(trial)


def test_nothing_runs_once_it_is_removed(trial: Release) -> None:
    trial.helm("uninstall", trial.name, "--wait")
    # The pod of `helm test` stays, and has ended.
    trial.kubectl("wait", "--for=delete", "pods", f"--selector=app.kubernetes.io/instance={trial.name}",
                  "--field-selector=status.phase=Running", "--timeout=120s")
    for kind in ("deployments", "statefulsets", "cronjobs", "networkpolicies"):
        assert not trial.get(kind)["items"], kind
