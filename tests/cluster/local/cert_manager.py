"""cert-manager on the cluster, by its own chart: for trying Postern's with the certificates that it makes.

Version 1.11, which is old: the last whose programs are packages of its main module. Later ones have a module each, and
those have no versions to ask for. What Postern's chart uses of it (cert-manager.io/v1) is the same since.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import tempfile

from ctl.up.command import run
from tests.cluster.local import images, programs
from tests.cluster.local.cluster import Cluster
from tests.cluster.local.layout import MANIFESTS
from tests.cluster.local.processes import wait_until

_NAME = "cert-manager"
_MODULE = "github.com/cert-manager/cert-manager"
_READY_SECONDS = 120.0
# Created on trial: its webhooks are asked about it.
_ISSUER = json.dumps({"apiVersion": "cert-manager.io/v1", "kind": "Issuer",
                      "metadata": {"name": "trial", "namespace": _NAME}, "spec": {"selfSigned": {}}})


def _chart(folder: pathlib.Path) -> None:
    """Its chart as its source has it: without a version, and with the resource definitions elsewhere."""
    module = json.loads(programs.run_go(_NAME, "mod", "download", "-json", _MODULE))
    source = pathlib.Path(module["Dir"]) / "deploy"
    shutil.copytree(source / "charts" / _NAME, folder)
    for definition in (source / "crds").glob("*.yaml"):
        shutil.copy(definition, folder / "templates")
    (folder / "Chart.yaml").write_text(json.dumps({
        "apiVersion": "v2", "name": _NAME, "version": module["Version"], "appVersion": module["Version"]}),
        encoding="ascii")


def _answers(cluster: Cluster) -> bool:
    return subprocess.run(cluster.kubectl("create", "--dry-run=server", "--filename=-"), input=_ISSUER, text=True,
                          capture_output=True, check=False).returncode == 0


def install(cluster: Cluster) -> None:
    """Builds it the first time. Returns when it takes Certificates."""
    cluster.load_images([
        images.of_program(cluster.folder, f"localhost/{_NAME}-{program.name}:1", programs.built(program), [])
        for program in programs.CERT_MANAGER])
    with tempfile.TemporaryDirectory() as temporary:
        chart = pathlib.Path(temporary) / _NAME
        _chart(chart)
        run(*cluster.helm("upgrade", "--install", _NAME, str(chart), f"--namespace={_NAME}", "--create-namespace",
                          f"--values={MANIFESTS / 'cert-manager.yaml'}", "--wait", f"--timeout={_READY_SECONDS:g}s"))
    # Its webhooks are refused until the injector has told the API server whom to trust.
    wait_until(lambda: _answers(cluster), _READY_SECONDS, "cert-manager's webhooks answer")


def uninstall(cluster: Cluster) -> None:
    """Its definitions too, and so every Certificate; the Secrets with the certificates stay."""
    run(*cluster.helm("uninstall", _NAME, f"--namespace={_NAME}", "--wait"))
    run(*cluster.kubectl("delete", "namespace", _NAME))
