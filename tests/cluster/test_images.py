"""What is in an image, and that it runs: in containerd, with nothing to write to, killed and started again."""

from __future__ import annotations

import collections
import gzip
import io
import json
import pathlib
import poplib
import re
import secrets
import smtplib
import ssl
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from k8s.images import builder, libraries
from tests.cluster.local.cluster import Cluster
from tests.cluster.local.images import ctr
from tests.cluster.local.layout import CONTROL_PLANE, IMAGES, ROOT
from tests.cluster.places import inside
from tests.e2e.mail_clients import make_message
from tests.e2e.trouble import SENDER
from tests.e2e.waiting import wait_until

_PROGRAMS = [name for name in builder.NAMES if name not in ("postern-all", "demo-servers")]
_MAX_OCTETS = 45_000_000


class Image:
    """An OCI archive, read."""

    def __init__(self, path: pathlib.Path):
        with tarfile.open(path) as archive:
            self._blobs = {member.name: archive.extractfile(member).read()  # type: ignore[union-attr]
                           for member in archive.getmembers() if member.isfile()}
        index = json.loads(self._blobs["index.json"])
        self.manifest = self._json(index["manifests"][0])
        self.config = self._json(self.manifest["config"])
        self.digest = index["manifests"][0]["digest"]

    def _json(self, descriptor: dict[str, Any]) -> Any:
        return json.loads(self._blob(descriptor["digest"]))

    def _blob(self, digest: str) -> bytes:
        return self._blobs["blobs/" + digest.replace(":", "/")]

    @property
    def layers(self) -> list[str]:
        return [layer["digest"] for layer in self.manifest["layers"]]

    def files(self) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
        """Of all layers, the later over the earlier."""
        found = {}
        for layer in self.manifest["layers"]:
            octets = self._blob(layer["digest"])
            with tarfile.open(fileobj=io.BytesIO(gzip.decompress(octets) if octets[:2] == b"\x1f\x8b" else octets)) as tar:
                for member in tar.getmembers():
                    found[member.name.rstrip("/")] = (member, tar.extractfile(member).read()  # type: ignore[union-attr]
                                                      if member.isfile() else b"")
        return found

    def octets(self) -> int:
        return sum(len(content) for _, content in self.files().values())


@pytest.mark.parametrize("name", _PROGRAMS)
def test_an_image_has_its_program_and_nothing_else_that_runs(name: str) -> None:
    image = Image(IMAGES / f"{name}.tar")
    files = image.files()
    assert image.octets() < _MAX_OCTETS
    settings = image.config["config"]
    assert settings["User"] == "65532:65532" and settings["Entrypoint"] == [f"/usr/bin/{name}"]
    labels = settings["Labels"]
    assert labels["org.opencontainers.image.title"] == name
    assert labels["org.opencontainers.image.version"] == builder.version()
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    programs = {path for path, (member, content) in files.items()
                if member.isfile() and member.mode & 0o111 and ".so" not in path}
    assert programs == {f"usr/bin/{name}"}
    assert not [path for path, (member, _) in files.items() if member.mode & 0o6000]
    assert "etc/ssl/certs/ca-certificates.crt" in files and "usr/share/zoneinfo/Europe/Berlin" in files


@pytest.mark.parametrize("name", _PROGRAMS)
def test_the_list_of_packages_names_every_library(name: str) -> None:
    listed = json.loads(Image(IMAGES / f"{name}.tar").files()["usr/share/postern/sbom.spdx.json"][1])
    assert listed["spdxVersion"] == "SPDX-2.3"
    packages = {(package["name"], package["versionInfo"]) for package in listed["packages"]}
    assert (name, builder.version()) in packages
    program = builder.PROGRAMS[name]
    files = [*sorted(set(libraries.of([program]).values())), *libraries.linked_into(name)]
    for package in libraries.packages(files).values():
        assert (package.name, package.version) in packages


def test_every_static_library_is_known_to_the_list_of_packages() -> None:
    linked = re.findall(r'"-l:(lib\S+\.a)"', (ROOT / "WORKSPACE").read_text(encoding="utf-8"))
    assert set(linked) == {name for names in libraries.STATIC.values() for name in names}


def test_programs_share_a_layer_of_libraries() -> None:
    layers = collections.Counter(Image(IMAGES / f"{name}.tar").layers[0] for name in _PROGRAMS)
    assert list(layers.values()) == [len(_PROGRAMS)]


@pytest.mark.long
def test_the_same_inputs_give_the_same_digest(tmp_path: pathlib.Path) -> None:
    for folder in ("first", "second"):
        assert subprocess.run([sys.executable, "-m", "k8s.images", "--output", str(tmp_path / folder), "gateway-pop3"],
                              cwd=ROOT, check=False).returncode == 0
    assert Image(tmp_path / "first/gateway-pop3.tar").digest == Image(tmp_path / "second/gateway-pop3.tar").digest


def _ctr(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(ctr(CONTROL_PLANE, *arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                          timeout=120)
    assert not check or done.returncode == 0, f"ctr {arguments}: {done.stderr}"
    return done


def _name(image: str) -> str:
    return f"docker.io/postern/{image}:{builder.version()}"


@pytest.mark.parametrize("name", _PROGRAMS)
def test_a_program_runs_with_nothing_to_write_to(cluster: Cluster, name: str) -> None:
    assert cluster.is_up()
    done = _ctr("run", "--rm", "--read-only", _name(name), f"version-{secrets.token_hex(4)}", f"/usr/bin/{name}",
                "--version")
    assert done.stdout == f"{name} {builder.version()}\n"


class Container:
    """postern-all with a folder for its data, on the first node's network."""

    def __init__(self, data: pathlib.Path):
        self._data = data
        self._id = ""

    def start(self) -> None:
        self._id = f"postern-all-{secrets.token_hex(4)}"
        _ctr("run", "--detach", "--net-host", "--read-only",
             "--mount", f"type=bind,src={self._data},dst=/data,options=rbind:rw",
             "--mount", "type=tmpfs,src=tmpfs,dst=/tmp,options=rw:nosuid:nodev", _name("postern-all"), self._id)
        # The last that it does before it says that it is ready.
        wait_until(lambda: "bob@example.test" in self.run("ctl", "account", "list").stdout, 90, "all is ready")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return _ctr("task", "exec", "--exec-id", secrets.token_hex(4), self._id, "postern", arguments[0], "--data", "/data",
                    *arguments[1:], check=False)

    def kill(self) -> None:
        _ctr("task", "kill", "--signal", "SIGKILL", "--all", self._id)
        wait_until(lambda: _ctr("task", "delete", "--force", self._id, check=False).returncode == 0 or
                   self._id not in _ctr("task", "list").stdout, 30, "it is gone")
        _ctr("container", "delete", self._id)


@pytest.fixture(name="container")
def _container(cluster: Cluster, tmp_path: pathlib.Path) -> Iterator[Container]:
    assert cluster.is_up()
    data = tmp_path / "data"
    data.mkdir()
    # Whoever runs it owns its volume.
    data.chmod(0o777)
    made = Container(data)
    made.start()
    try:
        yield made
    finally:
        made.kill()


def test_postern_all_keeps_its_mail(container: Container, tmp_path: pathlib.Path) -> None:
    """Killed with all its processes, and started again with its volume."""
    message = make_message(SENDER, "alice@example.test", "kept")

    def session(port: int) -> Any:
        with inside(CONTROL_PLANE):
            # Not loopback: it listens everywhere.
            return (smtplib.SMTP if port == 2525 else poplib.POP3)(CONTROL_PLANE.address, port, timeout=30)

    with session(2525) as smtp:
        smtp.sendmail(SENDER, ["alice@example.test"], message)
    container.kill()
    container.start()
    context = ssl.create_default_context(cafile=str(tmp_path / "data/certificates/ca.crt"))
    context.check_hostname = False
    pop3 = session(1100)
    pop3.stls(context)
    pop3.user("alice@example.test")
    pop3.pass_((tmp_path / "data/passwords/alice.txt").read_text(encoding="utf-8").strip())
    assert pop3.stat()[0] == 1
    assert b"Subject: kept" in pop3.retr(1)[1]
    pop3.quit()
