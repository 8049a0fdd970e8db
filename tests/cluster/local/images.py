"""Images without a registry: of one static program each, made here; and any OCI archive, imported into a node."""

from __future__ import annotations

import hashlib
import io
import json
import pathlib
import subprocess
import tarfile
from typing import Any

from ctl.up.command import run
from ctl.up.failure import Failure
from tests.cluster.local import programs
from tests.cluster.local.layout import Folder, Node

PAUSE = "localhost/pause:1"
# A name for each program that runs in a pod, and what its process gets as arguments unless its pod says so.
_OURS = {PAUSE: ("probe", ["pause"]), "localhost/probe:1": ("probe", []), "localhost/coredns:1": ("coredns", []),
         "localhost/metrics-server:1": ("metrics-server", [])}
_NONROOT = "65532:65532"


def _tar(files: dict[str, bytes], mode: int = 0o644) -> bytes:
    octets = io.BytesIO()
    with tarfile.open(fileobj=octets, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return octets.getvalue()


class _Blobs:
    """Contents by their digests (OCI image layout)."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def add(self, kind: str, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        self.files[f"blobs/sha256/{digest}"] = content
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}


def _archive(name: str, program: bytes, arguments: list[str]) -> bytes:
    blobs = _Blobs()
    layer = _tar({"program": program}, 0o755)
    config = {"architecture": "amd64", "os": "linux",
              "config": {"Entrypoint": ["/program"], "Cmd": arguments, "User": _NONROOT},
              "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}}
    manifest = blobs.add("manifest.v1+json", json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blobs.add("config.v1+json", json.dumps(config).encode()),
        "layers": [blobs.add("layer.v1.tar", layer)]}).encode())
    manifest["annotations"] = {"org.opencontainers.image.ref.name": name, "io.containerd.image.name": name}
    index = {"schemaVersion": 2, "manifests": [manifest]}
    return _tar(blobs.files | {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": json.dumps(index).encode()})


def _image(archive: pathlib.Path) -> tuple[str, str]:
    """The name and the manifest's digest of the image in an OCI archive."""
    try:
        with tarfile.open(archive) as opened:
            member = opened.extractfile("index.json")
            assert member is not None
            manifest = json.load(member)["manifests"][0]
        return manifest["annotations"]["org.opencontainers.image.ref.name"], manifest["digest"]
    except (KeyError, IndexError, ValueError, OSError, tarfile.TarError) as error:
        raise Failure(f"{archive} is no OCI archive of a named image: {error}") from error


def ctr(node: Node, *arguments: str) -> list[str]:
    """The command that asks a node's containerd, of what the kubelet made there."""
    return ["ctr", "--address", str(node.socket), "--namespace", "k8s.io", *arguments]


def answers(node: Node) -> bool:
    """Whether containerd does."""
    return subprocess.run(ctr(node, "version"), stdin=subprocess.DEVNULL,
                          capture_output=True, check=False).returncode == 0


def _digests(node: Node) -> dict[str, str]:
    rows = [line.split() for line in run(*ctr(node, "images", "list")).splitlines()[1:]]
    return {row[0]: row[2] for row in rows}


def _full(name: str) -> str:
    """As a kubelet asks for it: a name without a host is Docker Hub's."""
    host = name.split("/")[0]
    return name if "." in host or ":" in host or host == "localhost" else f"docker.io/{name}"


def load(nodes: tuple[Node, ...], archives: list[pathlib.Path]) -> list[str]:
    """Imports them where they are not there already; gives the names."""
    there = {node: _digests(node) for node in nodes}
    names = []
    for path in archives:
        name, digest = _image(path)
        full = _full(name)
        for node in nodes:
            if there[node].get(full) == digest:
                continue
            # ctr names an image by the archive's annotation, whatever it is.
            run(*ctr(node, "images", "import", "--no-unpack", str(path)))
            if full != name:
                run(*ctr(node, "images", "tag", "--force", name, full))
            there[node][full] = digest
        names.append(full)
    return names


def of_program(folder: Folder, name: str, program: pathlib.Path, arguments: list[str]) -> pathlib.Path:
    """The archive of an image with that program alone."""
    path = folder.images / (name.split("/")[1].replace(":", "-") + ".tar")
    path.write_bytes(_archive(name, program.read_bytes(), arguments))
    return path


def ours(folder: Folder) -> list[pathlib.Path]:
    """Archives of what the cluster itself runs."""
    return [of_program(folder, name, programs.path(program), arguments)
            for name, (program, arguments) in _OURS.items()]
