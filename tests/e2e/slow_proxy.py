"""A TCP proxy that can hold back what the server says."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

from ctl.up import layout

_PIECE = 1 << 16


class SlowProxy:
    """Forwards to one port of this machine; it looks into nothing, so that TLS passes through."""

    def __init__(self, target: int):
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._delay = 0.0
        self._server: asyncio.Server = self._run(
            asyncio.start_server(self._pass, layout.HOST, 0))
        # When set, nothing is held back.
        self._prompt = asyncio.Event()
        self._loop.call_soon_threadsafe(self._prompt.set)

    @property
    def port(self) -> int:
        return self._server.sockets[0].getsockname()[1]

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    @contextlib.contextmanager
    def slow(self, seconds: float) -> Iterator[None]:
        """While in it, all that the server says comes so much later; at the end what was held back."""
        self._delay = seconds
        self._loop.call_soon_threadsafe(self._prompt.clear)
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._prompt.set)

    async def _pass(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        writers = [to_client]
        try:
            server, to_server = await asyncio.open_connection(layout.HOST, self._target)
            writers.append(to_server)
            # Either's end is the end of both.
            copies = [asyncio.ensure_future(self._copy(client, to_server, held=False)),
                      asyncio.ensure_future(self._copy(server, to_client, held=True))]
            await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
            for copy in copies:
                copy.cancel()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for writer in writers:
                writer.close()

    async def _copy(self, source: asyncio.StreamReader, to: asyncio.StreamWriter, *,
                    held: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(_PIECE):
                if held and not self._prompt.is_set():
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(self._prompt.wait(), self._delay)
                to.write(piece)
                await to.drain()

    async def _end(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def stop(self) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
