"""The other ways: SQLite on volumes; an upgrade and a rollback; and what stays when a release is removed."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.local.cluster import Cluster
from tests.cluster.local.layout import CONTROL_PLANE
from tests.cluster.release import BESIDE, SERVICES, Release, in_own_namespace
from tests.cluster.servers import Servers
from tests.e2e.trouble import PATIENCE, People, Survives
from tests.e2e.waiting import wait_until

_USER = 65532


@pytest.fixture(name="make_release")
def _make_release(cluster: Cluster) -> Iterator[Callable[[str], Release]]:
    with contextlib.ExitStack() as stack:
        yield lambda namespace: stack.enter_context(in_own_namespace(cluster, namespace))


def _volume(release: Release, service: str, folder: pathlib.Path) -> dict[str, object]:
    folder.mkdir()
    # A provisioner would give it to the pod's group.
    os.chown(folder, _USER, _USER)
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"{release.namespace}-{service}"},
            "spec": {"capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "local",
                     "persistentVolumeReclaimPolicy": "Delete",
                     "claimRef": {"namespace": release.namespace, "name": f"data-{release.component(service)}-0"},
                     "hostPath": {"path": str(folder)},
                     "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                         {"key": "kubernetes.io/hostname", "operator": "In", "values": [CONTROL_PLANE.name]}]}]}}}}


@pytest.mark.long
def test_sqlite_on_volumes(make_release: Callable[[str], Release], tmp_path: pathlib.Path) -> None:
    """One process each; its volume is there again after its pod was killed."""
    release = make_release("sqlite")
    try:
        for service in SERVICES:
            release.apply(_volume(release, service, tmp_path / service))
        classes = [f"--set={name}.persistence.storageClass=local" for name in ("authSvc", "storeSvc", "relaySvc")]
        release.install(*classes, *BESIDE)
        release.wait_all_ready()
        release.ctl("domain", "add", "kept.test")
        [killed] = release.pods("auth-svc")
        release.kubectl("delete", "pod", killed["metadata"]["name"], "--force", "--grace-period=0")
        wait_until(lambda: any(pod["metadata"]["uid"] != killed["metadata"]["uid"] for pod in release.pods("auth-svc")),
                   60, "it is made again")
        # Ready comes before its name has an address.
        wait_until(lambda: "kept.test" in release.kubectl(
            "exec", f"deployment/{release.component('posternctl')}", "--", "posternctl", "domain", "list", check=False),
                   120, "what it kept is there again")
    finally:
        release.kubectl("delete", "persistentvolume", "--ignore-not-found", "--wait=false",
                        *(f"{release.namespace}-{service}" for service in SERVICES))


@pytest.mark.long
def test_an_upgrade_and_a_rollback(release: Release, survives: Survives, servers: Servers) -> None:
    """Every pod is replaced twice, under load; the hooks run before."""
    def steps(people: People) -> None:
        before = json.loads(release.helm("history", release.name, "--output=json").stdout)[-1]["revision"]
        release.install(*servers.give_to(release), "--set=logLevel=debug")
        people.try_for(5)
        release.wait_all_ready()
        release.helm("rollback", release.name, str(before), "--timeout=5m")
        people.try_for(5)
        release.wait_all_ready()

    survives(steps)


@pytest.mark.long
def test_an_upgrade_from_the_release_before(
        release: Release, survives: Survives, servers: Servers, request: pytest.FixtureRequest) -> None:
    """The schema goes a step on while the old pods run; they take it again after a rollback; and forward once more."""
    if request.config.getoption("--previous") is None:
        pytest.skip("wants --previous DIR, which tools/previous_release.sh makes")
    before = {service: servers.schema_version(service) for service in SERVICES}
    old = json.loads(release.helm("history", release.name, "--output=json").stdout)[-1]["revision"]

    def steps(people: People) -> None:
        for change in (lambda: release.install(*servers.give_to(release)),
                       lambda: release.helm("rollback", release.name, str(old), "--timeout=5m"),
                       lambda: release.install(*servers.give_to(release))):
            change()
            people.try_for(5)
            release.wait_all_ready()

    # Every pod is started three times over, beside a load that takes all of two cores.
    survives(steps, patience=2 * PATIENCE)
    after = {service: servers.schema_version(service) for service in SERVICES}
    assert any(after[service] > before[service] for service in SERVICES), (before, after)
    assert all(after[service] in (before[service], before[service] + 1) for service in SERVICES), (before, after)


@pytest.mark.long
def test_what_stays_when_it_is_removed(make_release: Callable[[str], Release], servers: Servers) -> None:
    """The databases and the Secrets; a release of the same name finds its people again."""
    release = make_release("again")
    arguments = (*servers.give_to(release), *BESIDE)
    release.install(*arguments)
    release.wait_all_ready()
    release.ctl("domain", "add", "stays.test")
    authority = release.secret(release.component("mtls-ca"), "tls.crt")
    release.helm("uninstall", release.name)
    assert not release.get("deployments")["items"] and not release.get("cronjobs")["items"]
    release.install(*arguments)
    release.wait_all_ready()
    assert "stays.test" in [domain["name"] for domain in release.ctl("domain", "list")["domains"]]
    assert release.secret(release.component("mtls-ca"), "tls.crt") == authority
    release.ctl("domain", "remove", "stays.test")
