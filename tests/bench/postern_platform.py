"""Postern as `./dev up` starts it, under the bench's folder."""
import json
import os
import subprocess

import measure


# More than the load makes: each connection and each message is asked about, none is refused.
_RATE = {"count": 1_000_000}
_COUNTED = {"relay-svc": {"rate_limits": {"connections_per_network": _RATE, "messages_per_network": _RATE}}}


class Postern:
    """One platform; a context manager. `users` is a list of (address, password); `replicas` None: on SQLite; `redis`: it
    counts what each client sends."""

    def __init__(self, root, data, users, replicas=None, redis=False):
        self.name = "Postern" if replicas is None else f"PostgreSQL x{replicas}"
        if redis:
            self.name += " + Redis"
        self.replicas = replicas
        self.redis = redis
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
                       for service, names in listeners.items()} | (_COUNTED if self.redis else {}), overlay)
        subprocess.run([self.dev, "up", "--detach", "--data", self.data, "--ports", "auto",
                        *([] if self.replicas is None else ["--postgresql", "--replicas", str(self.replicas)]),
                        *(["--redis"] if self.redis else [])],
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
        servers = [self.status[name] for name in ("postgresql", "redis") if name in self.status]
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
