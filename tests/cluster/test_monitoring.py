"""A real Prometheus scrapes the pods: every query of the dashboard and of the alerts finds what it asks for."""

from __future__ import annotations

import json
import pathlib
import poplib
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.cluster.local.layout import CONTROL_PLANE
from tests.cluster.places import inside
from tests.cluster.release import CHART, Release, WorldClients
from tests.e2e.load import Load, running
from tests.e2e.platform_under_test import Account
from tests.e2e.trouble import SENDER
from tests.e2e.waiting import wait_until

_PORT = 9090
_INTERVAL_SECONDS = 2


def _configuration(release: Release) -> dict[str, Any]:
    """The pods with the labels that the chart's PodMonitor gives them: Debian's Prometheus asks no API server."""
    targets = []
    for pod in release.get("pods", f"--selector=app.kubernetes.io/instance={release.name}")["items"]:
        ports = [port for container in pod["spec"]["containers"] for port in container.get("ports", [])]
        targets += [{"targets": [f"{pod['status']['podIP']}:{port['containerPort']}"], "labels": {
            "namespace": release.namespace, "pod": pod["metadata"]["name"],
            "component": pod["metadata"]["labels"]["app.kubernetes.io/component"]}}
            for port in ports if port.get("name") == "http"]
    return {"global": {"scrape_interval": f"{_INTERVAL_SECONDS}s", "scrape_timeout": f"{_INTERVAL_SECONDS}s"},
            "scrape_configs": [{"job_name": "postern", "static_configs": targets}]}


class Prometheus:
    """On the first node."""

    def query(self, expression: str) -> list[Any]:
        url = f"http://{CONTROL_PLANE.address}:{_PORT}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        with inside(CONTROL_PLANE), urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]["result"]

    def is_up(self) -> bool:
        try:
            return bool(self.query("vector(1)"))
        except OSError:
            return False


@pytest.fixture(name="prometheus")
def _prometheus(release: Release, tmp_path: pathlib.Path) -> Iterator[Prometheus]:
    config = tmp_path / "prometheus.yaml"
    config.write_text(yaml.safe_dump(_configuration(release)), encoding="utf-8")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(CONTROL_PLANE.inside(
            "prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address={CONTROL_PLANE.address}:{_PORT}"), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            made = Prometheus()
            wait_until(made.is_up, 60, "Prometheus answers")
            yield made
        finally:
            process.terminate()
            process.wait(timeout=30)


def _dashboard_queries() -> dict[str, str]:
    panels = json.loads((CHART / "files/dashboard.json").read_text(encoding="utf-8"))["panels"]
    return {f"{panel['title']} {target['refId']}": target["expr"] for panel in panels if panel["type"] != "row"
            for target in panel["targets"]}


def _selectors() -> set[str]:
    """Every series that an alert asks for."""
    rules = yaml.safe_load((CHART / "files/alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    return {name for rule in rules for name in re.findall(r"\b((?:postern|process)_[a-z_0-9]+)", rule["expr"])}


def _logs_in(world: WorldClients, account: Account) -> bool:
    try:
        world.pop3s(account).quit()
    except (OSError, poplib.error_proto):
        return False
    return True


def test_every_query_returns_data(release: Release, world: WorldClients, prometheus: Prometheus) -> None:
    account = release.add_account()
    wait_until(lambda: len(prometheus.query("up == 1")) >= 12, 60, "all pods are scraped")

    def expression(query: str) -> str:
        return query.replace("$namespace", release.namespace).replace("$__rate_interval", f"{10 * _INTERVAL_SECONDS}s")

    def empty() -> list[str]:
        return [name for name, query in _dashboard_queries().items() if not prometheus.query(expression(query))]

    loads = (Load(world.smtp_mx, SENDER, account.address),
             Load(lambda: world.smtp_submissions(account), account.address, account.address))
    with running(*loads, clients=2):
        wait_until(lambda: _logs_in(world, account), 60, "a login")
        wait_until(lambda: not empty(), 60, "every panel has data")
    missing = [name for name in _selectors() if not prometheus.query(name)]
    assert not missing
    # A number, not only a series: what is sent is seen.
    assert any(float(row["value"][1]) > 0 for row in prometheus.query(
        expression(_dashboard_queries()["Messages accepted and refused A"])))
