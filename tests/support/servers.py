"""Servers in the process of the tests: quick to start, and gone with the block."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple

from rtpush.server import Server
from rtpush.testing import running


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
    with running(server):
        yield Local.of(server)
