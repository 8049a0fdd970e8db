"""Which ports a platform listens on."""

from __future__ import annotations

import errno
import json
import pathlib
import random
import socket

from ctl.up import layout
from ctl.up.failure import Failure
from ctl.up.private_file import write_private

_EPHEMERAL = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST_FREE = 10000


def _refusal(port: int) -> OSError | None:
    """Why we can't listen there. Without SO_REUSEPORT, so that another gateway counts."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((layout.HOST, port))
            probe.listen(1)
        except OSError as error:
            return error
    return None


def is_free(port: int) -> bool:
    return _refusal(port) is None


def _words(name: str, port: int, refusal: OSError) -> str:
    why = (f"is taken on {layout.HOST} by another program" if refusal.errno == errno.EADDRINUSE
           else f"can't be had on {layout.HOST}: {refusal.strerror}")
    return f"port {port} ({name}) {why}"


class FreePorts:
    """Hands out ports that nobody listens on, each once.

    They lie below the kernel's ephemeral range: a service that is down for a moment doesn't find
    its port taken by somebody's outgoing connection.
    """

    def __init__(self) -> None:
        try:
            self._end = int(_EPHEMERAL.read_text(encoding="ascii").split()[0])
        except (OSError, ValueError, IndexError):
            self._end = 32768
        self._end = max(self._end, _LOWEST_FREE + 5000)
        self._taken: set[int] = set(listener.default_port for listener in layout.LISTENERS)

    def reserve(self, name: str, port: int) -> None:
        """Somebody chose it for `name`."""
        refusal = _refusal(port)
        if refusal is not None:
            raise Failure(_words(name, port, refusal) + f"\nchoose another one: --{name}-port PORT")
        self._taken.add(port)

    def take(self) -> int:
        for _ in range(1000):
            port = random.randrange(_LOWEST_FREE, self._end)
            if port not in self._taken and is_free(port):
                self._taken.add(port)
                return port
        raise Failure(f"no free port between {_LOWEST_FREE} and {self._end}")


def _kept(data: layout.DataDir) -> dict[str, int]:
    try:
        kept = json.loads(data.ports.read_text(encoding="utf-8"))
        return {listener.name: int(kept[listener.name]) for listener in layout.LISTENERS}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(f"{data.ports} is damaged ({error!r}): remove it, or use --ports") from error


def choose_listener_ports(data: layout.DataDir, mode: str | None, explicit: dict[str, int],
                          free: FreePorts) -> dict[str, int]:
    """The listeners' ports: given by option, else kept from `--ports auto`, else the usual ones."""
    kept = {} if mode == "default" else _kept(data)
    chosen: dict[str, int] = {}
    for listener in layout.LISTENERS:
        port = explicit.get(listener.name)
        if port is None:
            port = kept.get(listener.name)
            if mode == "auto" and (port is None or not is_free(port)):
                port = free.take()
        chosen[listener.name] = listener.default_port if port is None else port
    names: dict[int, str] = {}
    for name, port in chosen.items():
        if port in names:
            raise Failure(f"{names[port]} and {name} can't both listen on port {port}")
        names[port] = name
    for name, port in chosen.items():
        refusal = _refusal(port)
        if refusal is not None:
            raise Failure(
                f"{_words(name, port, refusal)}\n"
                f"choose another one: --{name}-port PORT, or let free ones be chosen: --ports auto")
    if mode == "auto":
        write_private(data.ports, json.dumps(chosen, indent=2) + "\n")
    elif mode == "default":
        data.ports.unlink(missing_ok=True)
    return chosen
