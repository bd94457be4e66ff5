"""Servers in the process of the tests: quick to start, and gone with the block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple

from processes import PATIENCE

from rtpush.server import Server


class Local(NamedTuple):
    """Where a server is."""

    url: str
    port: int

    @classmethod
    def of(cls, server: Server) -> Local:
        return cls(server.url.rstrip("/"), server.port)


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Local]:
    """A server with these settings, on the loop of the test."""
    async with Server(port=0, **{"log": "memory:"} | options) as server:
        yield Local.of(server)


@contextmanager
def in_thread(server: Server) -> Iterator[Local]:
    """Run a server on a loop of its own, for tests that block theirs or have none."""
    loop, found = asyncio.new_event_loop(), Future[Local]()
    over = asyncio.Event()

    async def serve() -> None:
        async with server:
            found.set_result(Local.of(server))
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()], name="server")
    thread.start()
    try:
        yield found.result(PATIENCE)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(PATIENCE)
        loop.close()
