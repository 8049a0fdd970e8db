"""PodMonitor and PrometheusRule, given to the operator that they are for."""

from __future__ import annotations

import base64
import gzip
import json

import pytest
import yaml

from tests.cluster.local import prometheus_operator
from tests.cluster.local.cluster import Cluster
from tests.cluster.release import BESIDE, CHART, in_own_namespace
from tests.cluster.servers import Servers
from tests.e2e.waiting import wait_until

_NAME = "trial"
# Made, but never run: there is no image of it here.
_PROMETHEUS = {"apiVersion": "monitoring.coreos.com/v1", "kind": "Prometheus", "metadata": {"name": _NAME},
               "spec": {"replicas": 0, "podMonitorSelector": {}, "ruleSelector": {}}}


@pytest.mark.long
def test_the_operator_makes_a_configuration_of_them(cluster: Cluster, servers: Servers) -> None:
    with in_own_namespace(cluster, "operated") as release, prometheus_operator.running(cluster, release.namespace):
        release.install(*servers.give_to(release), *BESIDE, "--set=monitoring.podMonitor.enabled=true",
                        "--set=monitoring.prometheusRule.enabled=true")
        release.apply(_PROMETHEUS)

        def scraped() -> list[dict[str, object]]:
            found = release.kubectl("get", "secret", f"prometheus-{_NAME}", "--output=json", check=False)
            packed = json.loads(found)["data"]["prometheus.yaml.gz"] if found else ""
            config = yaml.safe_load(gzip.decompress(base64.b64decode(packed))) if packed else {}
            return config.get("scrape_configs", [])

        (job,) = wait_until(scraped, 60, "the operator has made a configuration")
        assert job["job_name"] == f"podMonitor/{release.namespace}/{release.name}/0"
        assert job["kubernetes_sd_configs"] == [{"role": "pod", "namespaces": {"names": [release.namespace]}}]
        assert [one["target_label"] for one in job["relabel_configs"] if one.get("source_labels") == [
            "__meta_kubernetes_pod_label_app_kubernetes_io_component"]] == ["component"]
        (rules,) = release.get("configmap", f"prometheus-{_NAME}-rulefiles-0")["data"].values()
        ours = yaml.safe_load((CHART / "files/alerts.yaml").read_text(encoding="utf-8"))["groups"]
        made = yaml.safe_load(rules)["groups"]
        assert [[rule["alert"] for rule in group["rules"]] for group in made] == [
            [rule["alert"] for rule in group["rules"]] for group in ours]
