"""A relay between a client and a server that can be told to misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Relay:
    """Passes TCP on.

    `mute` swallows what the server says on WebSockets, but for the answer to
    the handshake; `deaf` swallows what it says on everything.
    A connection on which the server says nothing for `max_idle` seconds is cut.
    `cut()` ends what there is now; while `closed`, nobody is let in.
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self.port = 0
        self.mute = False
        self.deaf = False
        self.closed = False
        self.max_idle: float | None = None
        # What the server has said since the last was cut because of that, in chunks.
        self.chunks = 0
        self.accepted = 0
        self.websockets = 0
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client's."""
        self._writers.add(writer)
        self.accepted += 1
        try:
            if self.closed:
                return
            head = await reader.readuntil(b"\r\n\r\n")
            upgrade = b"upgrade: websocket" in head.lower()
            self.websockets += upgrade
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers.add(up_writer)
            up_writer.write(head)
            await asyncio.gather(
                self._copy(reader, up_writer, quiet=False, upgrade=upgrade),
                self._copy(up_reader, writer, quiet=True, upgrade=upgrade),
            )
            self._writers.discard(up_writer)
        except (OSError, asyncio.IncompleteReadError):
            # One of the two is gone, and so is what lay between them.
            return
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _copy(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        quiet: bool,
        upgrade: bool,
    ) -> None:
        if quiet and upgrade:
            writer.write(await reader.readuntil(b"\r\n\r\n"))
        try:
            while data := await asyncio.wait_for(
                reader.read(1 << 16), self.max_idle if quiet else None
            ):
                self.chunks += quiet
                if not (quiet and (self.deaf or (self.mute and upgrade))):
                    writer.write(data)
                    await writer.drain()
        except TimeoutError:
            self.chunks = 0
        finally:
            writer.close()

    def cut(self) -> None:
        """End every connection, without a word."""
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def relay(port: int) -> AsyncIterator[Relay]:
    """A relay to a port of this machine."""
    one = Relay(port)
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()
        one.cut()
        with suppress(TimeoutError):
            await asyncio.wait_for(server.wait_closed(), 5)
