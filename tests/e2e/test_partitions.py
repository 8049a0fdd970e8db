"""The network between two that talk loses every packet for a while: mail is counted afterwards.

All of it, platform and clients, is in a network namespace of its own."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator

import pytest

from ctl.up import layout
from tests.e2e import own_network
from tests.e2e.platform_under_test import Platform
from tests.e2e.trouble import RETRIES, People, mail_survives
from tests.e2e.waiting import too_slow_for_a_sanitizer

pytestmark = too_slow_for_a_sanitizer

# What began in it is waited for.
SECONDS = 6.0
REPLICAS = (0, 1)
# By its group a process's connections are known.
FIRST_GROUP = 60000
PROGRAMS = sorted({service.program for service in layout.SERVICES})
GATEWAYS = ("gateway-smtp", "gateway-pop3")


def group(program: str, replica: int) -> int:
    return FIRST_GROUP + PROGRAMS.index(program) * len(REPLICAS) + replica


def make_programs(folder: pathlib.Path) -> None:
    """Each program once more, to run in its replica's group."""
    for program in PROGRAMS:
        script = folder / program / program
        script.parent.mkdir(parents=True)
        # Its configuration, the last argument, ends with -0.yaml or -1.yaml. A change of the group
        # forgets the signal for the supervisor's death.
        script.write_text(f"""#!/bin/sh
for last; do :; done
replica="${{last%.yaml}}"
exec setpriv --regid "$(({group(program, 0)} + ${{replica##*-}}))" --clear-groups \\
    --pdeathsig TERM -- '{layout.PROGRAMS / program / program}' "$@"
""", encoding="utf-8")
        script.chmod(0o755)
    (folder / "ctl").mkdir()
    (folder / "ctl/posternctl").symlink_to(layout.POSTERNCTL)


@pytest.fixture(scope="module")
def networked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("partitions")
    groups = [group(program, replica) for program in PROGRAMS for replica in REPLICAS]
    with own_network.entered(groups):
        make_programs(folder / "programs")
        platform = Platform(
            folder / "postern", {"relay-svc": RETRIES},
            flags=("--postgresql", "--replicas", "2"),
            wrapper=("env", f"POSTERN_PROGRAMS={folder / 'programs'}"))
        try:
            yield platform.start()
        finally:
            platform.stop()


@pytest.mark.parametrize("callers,replicas,callee", [
    (GATEWAYS, REPLICAS, "auth-svc"), (GATEWAYS, REPLICAS, "store-svc"),
    (GATEWAYS, REPLICAS, "relay-svc"),
    (("relay-svc",), REPLICAS, "auth-svc"), (("relay-svc",), REPLICAS, "store-svc"),
    (("auth-svc",), REPLICAS, "postgresql"), (("store-svc",), REPLICAS, "postgresql"),
    (("relay-svc",), REPLICAS, "postgresql"),
    # The other one must not wait for what this one had begun.
    (("store-svc",), (0,), "postgresql"),
], ids=lambda value: value if isinstance(value, str) else "+".join(map(str, value)))
def test_a_partition_loses_nothing(networked: Platform, callers: tuple[str, ...],
                                   replicas: tuple[int, ...], callee: str) -> None:
    ports = json.loads((networked.data / "state.json").read_text(encoding="utf-8"))["ports"]
    if callee == "postgresql":
        listeners = [ports["postgresql"]]
    else:
        listeners = [ports["rpc"][f"{callee}-{replica}"] for replica in REPLICAS]
    groups = [group(caller, replica) for caller in callers for replica in replicas]

    def lasts(people: People) -> None:
        with own_network.partition(groups, listeners):
            people.try_for(SECONDS)

    mail_survives(networked, lasts)
