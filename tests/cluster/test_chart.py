"""The chart without a cluster: what it takes, what it refuses, and that the programs take what it renders."""

from __future__ import annotations

import copy
import pathlib
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from ctl.up import ca, layout
from tests.cluster.local import programs
from tests.cluster.release import CHART

_VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
_CIDRS = {"networkPolicy": {"clusterCidrs": ["10.0.0.0/8"]}}
_BASE: dict[str, Any] = {"hostname": "mail.example.test", **_CIDRS}
_DEMO = _BASE | {"demo": {"enabled": True}}
_POSTGRESQL = {"hosts": ["db.example.test:5432"], "existingSecret": "passwords", "caSecret": "ca"}
_PEERS = [{"ipBlock": {"cidr": "192.0.2.1/32"}}]
_ON_POSTGRESQL = _BASE | {"postgresql": _POSTGRESQL,
                          "networkPolicy": _CIDRS["networkPolicy"] | {"postgresql": {"to": _PEERS}}}
_ON_LDAP = _BASE | {"ldap": [{"name": "staff", "existingSecret": "staff-ldap", "config": {
    "domains": ["staff.test"], "servers": ["ldaps://ldap.staff.test"], "base_dn": "dc=staff,dc=test",
    "bind_dn": "cn=postern,dc=staff,dc=test"}}],
    "networkPolicy": _CIDRS["networkPolicy"] | {"ldap": {"to": _PEERS}}}
_PROVIDER = {"domains": ["staff.test"], "issuer": "https://login.test", "audiences": ["mail"]}
_ON_OAUTH = _BASE | {"oauth": [
    {"name": "login", "existingSecret": "login-ca", "config": _PROVIDER | {"jwks_url": "https://login.test/keys"}},
    {"name": "public", "config": _PROVIDER | {"jwks_url": "https://login.example.test/keys"}},
    {"name": "keys", "existingSecret": "keys", "config": _PROVIDER}],
    "networkPolicy": _CIDRS["networkPolicy"] | {"oauth": {"to": _PEERS}},
    "authSvc": {"config": {"password_hashing": {"scram_iterations": 4096}}}}
_ON_CERTIFICATES = _BASE | {"clientCertificates": {"caSecret": "people-ca"}}
_TOKENS = {"existingSigningSecret": "signing", "existingVerificationSecret": "verification"}


def _helm(*arguments: str, values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(programs.path("helm")), *arguments, "--values=-"], input=yaml.safe_dump(values),
                          capture_output=True, text=True, check=False, timeout=60)


def _render(values: dict[str, Any], *arguments: str) -> list[dict[str, Any]]:
    done = _helm("template", "postern", str(CHART), "--namespace=mail", *arguments, values=values)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def _with(base: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """As Helm merges: mappings by key."""
    merged = copy.deepcopy(base)
    for key, value in changed.items():
        merged[key] = merged.get(key, {}) | value if isinstance(value, dict) else value
    return merged


@pytest.mark.parametrize("values", [_BASE, _DEMO, _ON_POSTGRESQL], ids=["sqlite", "demo", "postgresql"])
def test_lint(values: dict[str, Any]) -> None:
    done = _helm("lint", "--strict", str(CHART), values=values)
    assert done.returncode == 0, done.stdout


_REFUSALS = [
    ({**_BASE, "hostname": ""}, "hostname is empty"),
    (_with(_BASE, hostname="no name"), "/hostname"),
    (_with(_BASE, storeSvc={"replicas": 2}), "storeSvc.replicas is 2, but without postgresql.hosts"),
    (_with(_BASE, networkPolicy={"clusterCidrs": []}), "networkPolicy.clusterCidrs is empty"),
    (_with(_BASE, networkPolicy={"clusterCidrs": ["everything"]}), "/networkPolicy/clusterCidrs/0"),
    (_with(_ON_POSTGRESQL, networkPolicy={"postgresql": {"to": []}}), "networkPolicy.postgresql.to is empty"),
    (_with(_ON_POSTGRESQL, postgresql={"existingSecret": ""}), "postgresql.existingSecret is empty"),
    (_with(_ON_POSTGRESQL, postgresql={"caSecret": ""}), "postgresql.caSecret is empty"),
    (_with(_BASE, redis={"addresses": ["redis:6379"]}), "redis.existingSecret is empty"),
    (_with(_ON_LDAP, networkPolicy={"ldap": {"to": []}}), "networkPolicy.ldap.to is empty"),
    (_with(_ON_LDAP, ldap=[{"name": "staff", "config": {}}]), "ldap staff has no existingSecret"),
    (_with(_ON_LDAP, ldap=[{"name": "no name", "config": {}}]), "/ldap/0/name"),
    (_with(_ON_OAUTH, networkPolicy={"oauth": {"to": []}}), "could not fetch the keys of oauth login"),
    (_with(_ON_OAUTH, oauth=[{"name": "keys", "config": _PROVIDER}]), "oauth keys has neither existingSecret nor"),
    (_with(_DEMO, postgresql=_POSTGRESQL), "demo.enabled brings PostgreSQL and Redis along"),
    (_with(_DEMO, mtls={"source": "existing"}), "demo.enabled wants mtls.source: job"),
    (_with(_BASE, mtls={"source": "existing"}), "nobody makes token keys"),
    (_with(_BASE, mtls={"source": "existing"}, tokens=_TOKENS), "security domain public has no existingSecret"),
    (_with(_BASE, mtls={"source": "certManager"}, tokens=_TOKENS), "the cluster has no cert-manager.io/v1"),
    (_with(_BASE, mtls={"source": "magic"}), "/mtls/source"),
    (_with(_BASE, tokens={"existingSigningSecret": "signing"}), "give both tokens.existingSigningSecret"),
    (_with(_BASE, smtpMx={"securityDomain": "secret"}), 'smtpMx.securityDomain is "secret"; securityDomains has public'),
    (_with(_BASE, pop3={"autoscaling": {"minReplicas": 9}}), "pop3.autoscaling.minReplicas is more than maxReplicas"),
    (_with(_BASE, loadBalancer={"proxyProtocol": {"networks": ["0.0.0.0/0"]}}), "anybody could claim any address"),
    (_with(_BASE, loadBalancer={"proxyProtocol": {"networks": ["192.0.2.1/32"]}, "externalTrafficPolicy": "Cluster"}),
     "every pod could send a PROXY header"),
]


@pytest.mark.parametrize(("values", "says"), _REFUSALS, ids=[says for _, says in _REFUSALS])
def test_what_cannot_work_is_refused(values: dict[str, Any], says: str) -> None:
    done = _helm("template", "postern", str(CHART), values=values)
    assert done.returncode != 0
    assert says in done.stderr


# Kubernetes' own words, or a process's: the API server and the process look at them.
_FREE = ("labels", "annotations", "podLabels", "podAnnotations", "nodeSelector", "affinity", "config", "listener",
         "requests", "limits")


def _keys(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        yield (*path, key)
        if isinstance(value, dict) and key not in _FREE:
            yield from _keys(value, (*path, key))


@pytest.mark.parametrize("path", [".".join(path) for path in _keys(_VALUES)])
def test_every_misspelling_is_refused(path: str) -> None:
    """One letter too many in any key."""
    *above, key = path.split(".")
    changed: dict[str, Any] = {key + "x": "x"}
    for name in reversed(above):
        changed = {name: changed}
    done = _helm("template", "postern", str(CHART), values=changed)
    assert done.returncode != 0
    assert f"additional properties '{key}x' not allowed" in done.stderr


def _configurations(documents: list[dict[str, Any]]) -> dict[str, str]:
    prefix = "postern-"
    return {document["metadata"]["name"].removeprefix(prefix): document["data"]["config.yaml"]
            for document in documents
            if document["kind"] == "ConfigMap" and "config.yaml" in document["data"]
            and "helm.sh/hook" not in document["metadata"].get("annotations", {})}


@pytest.mark.parametrize("values", [
    _BASE, _DEMO, _ON_POSTGRESQL, _ON_LDAP, _ON_OAUTH, _ON_CERTIFICATES,
    _with(_ON_POSTGRESQL, loadBalancer={"proxyProtocol": {"networks": ["192.0.2.0/24"]}},
          relaySvc={"config": {"rate_limits": {"messages_per_network": {"count": 10}}}},
          smtpMx={"listener": {"max_connections": 10}}),
], ids=["sqlite", "demo", "postgresql", "ldap", "oauth", "certificates", "more"])
def test_the_programs_take_their_configurations(values: dict[str, Any], tmp_path: pathlib.Path) -> None:
    """Files of `./dev up` stand in for the Secrets."""
    data = layout.DataDir(tmp_path / "up")
    data.create()
    ca.ensure(data)
    keys = tmp_path / "jwks.json"
    keys.write_text('{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",'
                    '"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}', encoding="ascii")
    files = {"/etc/postern/client-ca/ca.crt": data.ca_certificate, "/etc/postern/oauth-login/ca.crt": data.ca_certificate, "/etc/postern/oauth-keys/jwks.json": keys,
             "/etc/postern/mtls/ca.crt": data.ca_certificate, "/etc/postern/tls/tls.crt": data.certificate("public"),
             "/etc/postern/tls/tls.key": data.key("public"),
             "/etc/postern/token/token-signing.pem": data.token_signing_key,
             "/etc/postern/token/token-verification.pem": data.token_verification_keys,
             "/etc/postern/postgresql/password": data.certificate("public"),
             "/etc/postern/postgresql-ca/ca.crt": data.ca_certificate,
             "/etc/postern/ldap-staff/password": data.certificate("public"),
             "/etc/postern/ldap-staff/ca.crt": data.ca_certificate,
             "/etc/postern/redis/password": data.certificate("public"), "/data/": f"{tmp_path}/"}
    names = {"smtp-mx": "gateway-smtp-mx", "smtp-submission": "gateway-smtp-submission", "pop3": "gateway-pop3"}
    found = _configurations(_render(values))
    assert len(found) == 6
    for component, text in found.items():
        service = next(service for service in layout.SERVICES if service.name == names.get(component, component))
        own = {"/etc/postern/mtls/tls.crt": data.certificate(service.name), "/etc/postern/mtls/tls.key": data.key(service.name)}
        for name, file in (files | own).items():
            text = text.replace(name, str(file))
        config = tmp_path / f"{component}.yaml"
        config.write_text(text, encoding="utf-8")
        done = subprocess.run([str(service.binary), "--check-config", str(config)], capture_output=True, text=True,
                              check=False, timeout=60)
        assert done.returncode == 0, (component, done.stderr, text)


def test_users_alone_are_asked_for_certificates() -> None:
    """And auth-svc alone has the CA."""
    documents = _render(_ON_CERTIFICATES)
    found = {name: yaml.safe_load(text) for name, text in _configurations(documents).items()}
    assert {name for name, config in found.items()
            for domain in config.get("security_domains", []) if domain.get("request_client_certificates")} == {
                "smtp-submission", "pop3"}
    assert {name for name, config in found.items() if "client_certificates" in config} == {"auth-svc"}
    holders = {document["metadata"]["name"] for document in documents if document["kind"] in ("Deployment", "StatefulSet")
               for volume in document["spec"]["template"]["spec"]["volumes"]
               if volume.get("secret", {}).get("secretName") == "people-ca"}
    assert holders == {"postern-auth-svc"}
    assert "client_certificates" not in "".join(text for name, text in _configurations(_render(_BASE)).items())


def test_policies_cover_every_pod() -> None:
    """Each pod has a policy of its own beside the one that denies all."""
    documents = _render(_ON_POSTGRESQL)
    selectors = [document["spec"]["podSelector"]["matchLabels"] for document in documents
                 if document["kind"] == "NetworkPolicy"]
    denied = {"app.kubernetes.io/name": "postern", "app.kubernetes.io/instance": "postern"}
    assert denied in selectors
    templates = [document["spec"]["template"] for document in documents if document["kind"] in ("Deployment", "Job")]
    templates += [document["spec"]["jobTemplate"]["spec"]["template"] for document in documents
                  if document["kind"] == "CronJob"]
    templates += [document for document in documents if document["kind"] == "Pod"]
    assert len(templates) >= 12
    for template in templates:
        labels = template["metadata"]["labels"].items()
        own = [selector for selector in selectors if selector.items() <= labels
               and "app.kubernetes.io/component" in selector]
        assert len(own) == 1, template["metadata"]


def test_notes_tell_what_to_do_next() -> None:
    done = _helm("install", "postern", str(CHART), "--dry-run=client", values=_DEMO)
    assert done.returncode == 0, done.stderr
    for words in ("MX     10 mail.example.test.", "helm --namespace default test postern",
                  "posternctl account add", "pods that keep nothing", "mail clients don't trust it"):
        assert words in done.stdout, words
    assert not re.search(r"<nil>|<no value>", done.stdout)
