"""./dev cluster: up, status, kubectl, helm, load-images, down."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys

from ctl.up.failure import Failure
from tests.cluster.any_cluster import GivenCluster, kubeconfig
from tests.cluster.local import layout
from tests.cluster.local.cluster import Cluster

_HELP = """\
commands:
  up                 starts it, or what is missing of it; the first time builds it (15 minutes on two cores)
  status [--json]    nodes, processes, addresses
  kubectl ...        kubectl, inside it
  helm ...           helm, inside it
  load-images [FILE...]
                     imports OCI archives into both nodes; without any, those that ./dev images made
  down               ends and removes it; its logs stay

With KUBECONFIG set, status, kubectl, helm and ./dev test cluster go to that cluster, and up starts none.
"""


def _status(cluster: Cluster, as_json: bool) -> int:
    nodes = cluster.nodes()
    running = {name: cluster.processes.pid(name) for name in cluster.processes.names()}
    if as_json:
        print(json.dumps({
            "nodes": {node.name: node.ready for node in nodes}, "processes": running,
            "kubeconfig": str(cluster.folder.kubeconfig),
            "namespaces": {host.name: host.namespace for host in layout.HOSTS}}))
    elif not running:
        print("there is no cluster; ./dev cluster up starts one")
    else:
        for node in nodes:
            print(f"{node.name:24} {'Ready' if node.ready else 'not ready'}")
        for name, pid in running.items():
            print(f"{name:24} {f'pid {pid}' if pid else 'does not run; ' + str(cluster.processes.log(name))}")
        for host in layout.HOSTS:
            print(f"{host.name:24} {host.address:16} nsenter --net=/run/netns/{host.namespace} ...")
        print(f"mail from the internet goes to {layout.INTERNET_BALANCER}:25, from the LAN to "
              f"{layout.LAN_BALANCER}")
    return 0 if nodes and all(node.ready for node in nodes) and all(running.values()) else 1


def _exec(command: list[str]) -> int:
    try:
        os.execvp(command[0], command)
    except OSError as error:
        raise Failure(f"{command[0]}: {error.strerror}") from error


def _load(cluster: Cluster, files: list[str]) -> int:
    if kubeconfig():
        raise Failure("the cluster of KUBECONFIG has a way of its own to get images: push .images/*.tar to its "
                      "registry, or `kind load image-archive FILE`, `minikube image load FILE`")
    archives = [pathlib.Path(file) for file in files] or sorted(layout.IMAGES.glob("*.tar"))
    if not archives:
        raise Failure(f"{layout.IMAGES} has no images; ./dev images makes them")
    for name in cluster.load_images(archives):
        print(name)
    return 0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./dev cluster", epilog=_HELP,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="DIR", default=str(layout.ROOT / ".cluster"),
                        help="where it lives (default: .cluster)")
    parser.add_argument("command", choices=("up", "status", "kubectl", "helm", "load-images", "down"))
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.rest and given.command in ("up", "down"):
        parser.error(f"{given.command} takes no argument: {given.rest[0]}")
    if given.command == "status" and given.rest not in ([], ["--json"]):
        parser.error(f"status takes --json alone: {given.rest[0]}")
    cluster = Cluster(pathlib.Path(given.data))
    try:
        if given.command == "status":
            if kubeconfig():
                return _exec(GivenCluster().kubectl("get", "nodes", *(["--output=json"] if given.rest else [])))
            return _status(cluster, given.rest == ["--json"])
        if given.command == "load-images":
            return _load(cluster, given.rest)
        if given.command in ("kubectl", "helm"):
            chosen = GivenCluster() if kubeconfig() else cluster
            return _exec(chosen.kubectl(*given.rest) if given.command == "kubectl" else chosen.helm(*given.rest))
        if kubeconfig():
            print(f"KUBECONFIG is {kubeconfig()}: that cluster is used, none is started or stopped")
        elif given.command == "up":
            cluster.up()
            print(f"ready; KUBECONFIG inside it: {cluster.folder.kubeconfig}")
        elif not cluster.down():
            print("there was none")
        return 0
    except Failure as failure:
        print(f"./dev cluster: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
