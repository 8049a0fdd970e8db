"""Postern as `./dev up` starts it, under the bench's folder."""
import json
import os
import subprocess

import measure


class Postern:
    """One platform; a context manager. `users` is a list of (address, password); `replicas` None: on SQLite."""

    def __init__(self, root, data, users, replicas=None):
        self.name = "Postern" if replicas is None else f"PostgreSQL x{replicas}"
        self.replicas = replicas
        self.dev = str(root / "dev")
        self.ctl = str(root / "bazel-bin/ctl/posternctl")
        self.data = str(data)
        self.users = users
        self.status = None
        self.smtp_port = self.pop3s_port = 0

    def __enter__(self):
        # The load comes from one address.
        listeners = {"gateway-smtp-mx": ["mx"], "gateway-smtp-submission": ["submission", "submissions"],
                     "gateway-pop3": ["pop3", "pop3s"]}
        os.makedirs(self.data, exist_ok=True)
        with open(f"{self.data}/overlay.json", "w", encoding="utf-8") as overlay:
            json.dump({service: {"listeners": [{"name": name, "max_connections_per_client": 0} for name in names]}
                       for service, names in listeners.items()}, overlay)
        subprocess.run([self.dev, "up", "--detach", "--data", self.data, "--ports", "auto",
                        *([] if self.replicas is None else ["--postgresql", "--replicas", str(self.replicas)])],
                       check=True, capture_output=True, text=True)
        self.status = json.loads(subprocess.run([self.dev, "status", "--json", "--data", self.data], check=True,
                                                capture_output=True, text=True).stdout)
        self.smtp_port = self.status["listeners"]["mx"]["port"]
        self.pop3s_port = self.reused_pop3s_port = self.status["listeners"]["pop3s"]["port"]
        for address, password in self.users:
            subprocess.run([self.ctl, "--config", f"{self.data}/config/posternctl.yaml", "account", "add", address,
                            "--password-stdin"], input=password + "\n", check=True, capture_output=True, text=True)
        return self

    def __exit__(self, *_):
        subprocess.run([self.dev, "down", "--data", self.data], check=False, capture_output=True)

    def roots(self):
        servers = [self.status["postgresql"]] if "postgresql" in self.status else []
        return [one["pid"] for one in [*servers, *self.status["services"].values()]]

    def settle(self):
        """250 means that it is in the maildrop: there is nothing to wait for."""

    def commits(self):
        """(transactions of deliveries, deliveries in them) since the start."""
        urls = [f"{service['http']}/metrics" for name, service in self.status["services"].items()
                if name.startswith("store-svc")]
        return tuple(measure.metric_sum(urls, f"postern_storage_group_size_{part}") for part in ("count", "sum"))

    def rpcs(self):
        """Calls, and of calls that stay open each request."""
        urls = [f"{service['http']}/metrics" for name, service in self.status["services"].items()
                if not name.startswith("gateway-")]
        return sum(measure.metric_sum(urls, name) for name in ("postern_rpc_server_calls_total",
                                                               "postern_store_deliver_many_requests_total"))
