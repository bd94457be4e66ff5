"""A TCP proxy that does what networks do: hold, delay, cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

__all__ = ["FaultProxy", "fault_proxy"]


class FaultProxy:
    """Between a client and `target`, a port of this machine.

    `delay` is in seconds, each way. What is on hold is neither lost nor
    refused: it waits, as behind a dead switch.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay = 0.0
        self.port = 0
        self._asks = asyncio.Event()
        self._answers = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.heal()

    def hold(self) -> None:
        """Nothing gets through any more, in neither direction."""
        self._asks.clear()
        self._answers.clear()

    def hold_answers(self) -> None:
        """What is asked still arrives; what is answered does not."""
        self._answers.clear()

    def heal(self) -> None:
        """All is well again; what was held goes on."""
        self.delay = 0.0
        self._asks.set()
        self._answers.set()

    def cut(self) -> None:
        """End every connection. New ones are as they would be anyway."""
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        await self._asks.wait()
        try:
            theirs, ours = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(ours)
        with suppress(OSError):
            await asyncio.gather(
                self._pump(reader, ours, self._asks), self._pump(theirs, writer, self._answers)
            )
        for end in (writer, ours):
            self._writers.discard(end)
            end.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flowing: asyncio.Event
    ) -> None:
        while data := await reader.read(1 << 16):
            if self.delay:
                await asyncio.sleep(self.delay)
            await flowing.wait()
            writer.write(data)
            await writer.drain()
        await flowing.wait()
        # An end is passed on, too.
        raise ConnectionResetError

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """See asyncio.start_server."""
        task = asyncio.get_running_loop().create_task(self._connected(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End everything."""
        for task in list(self._tasks):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self.cut()


@asynccontextmanager
async def fault_proxy(target: int) -> AsyncIterator[FaultProxy]:
    """A running proxy."""
    proxy = FaultProxy(target)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
