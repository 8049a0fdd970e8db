"""Installing, trying, upgrading: what a platform engineer does in the first ten minutes."""

from __future__ import annotations

import re

from tests.cluster.local.layout import INTERNET, LAN
from tests.cluster.release import WORKLOADS, Release, WorldClients
from tests.e2e.mail_clients import make_message
from tests.e2e.trouble import SENDER


def test_helm_test_sends_mail_in_and_out(release: Release) -> None:
    done = release.helm("test", release.name, "--logs")
    assert "mail comes in, goes out and can be fetched" in done.stdout


def test_mail_from_the_internet_is_fetched_on_the_lan(release: Release, world: WorldClients) -> None:
    account, other = release.add_account(), release.add_account()
    message = make_message(SENDER, account.address, "from the internet")
    with world.smtp_mx() as session:
        session.sendmail(SENDER, [account.address], message)
    fetched = world.wait_for(account, 1)[0]
    assert fetched.endswith(message)
    # Neither a node's nor the balancer's.
    assert f"[{INTERNET.address}]".encode() in re.findall(rb"^Received: from (?s:.*?)by ", fetched, re.M)[0]

    message = make_message(account.address, other.address, "from the LAN")
    with world.smtp_submissions(account) as session:
        session.sendmail(account.address, [other.address], message)
    with world.smtp_submission(account) as session:
        session.sendmail(account.address, [other.address], message)
    for fetched in world.wait_for(other, 2):
        assert fetched.endswith(message)
        # Nobody's but the user's own.
        assert f"[{LAN.address}]".encode() in re.findall(rb"^Received: from (?s:.*?)by ", fetched, re.M)[-1]


def test_pods_have_no_rights(release: Release) -> None:
    """The namespace enforces `restricted`; what that doesn't ask for is asked for here."""
    pods = release.get("pods", f"--selector=app.kubernetes.io/instance={release.name}")["items"]
    assert len(pods) >= 12
    for pod in pods:
        name, spec = pod["metadata"]["name"], pod["spec"]
        if pod["metadata"]["labels"]["app.kubernetes.io/component"] != "certificates":
            assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsUser"] == 65532, name
        for container in spec["containers"] + spec.get("initContainers", []):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
            assert container["resources"]["limits"]["memory"], name


def test_replicas_are_on_both_nodes(release: Release) -> None:
    for component in WORKLOADS:
        assert len({pod["spec"]["nodeName"] for pod in release.pods(component)}) == 2, component
