"""The send queue of one transport: envelopes that have not left yet, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from typing import Final

__all__ = ["SendQueue"]

# Envelopes and bytes that leave at once: over HTTP, in one request. Many proxies take
# at most 1 MiB; a single envelope may be larger.
_BATCH: Final = 64
_BATCH_BYTES: Final = 1 << 19


class SendQueue:
    """A FIFO queue. An envelope stays in it until it has left."""

    def __init__(self, max_length: int | None = None) -> None:
        """When it is longer than `max_length`, the oldest envelopes go; None: no limit."""
        self._envelopes: deque[bytes] = deque(maxlen=max_length)
        self._filled, self._empty = asyncio.Event(), asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._envelopes)

    def put(self, envelope: bytes) -> None:
        """Add an envelope at the end."""
        self._envelopes.append(envelope)
        self._filled.set()
        self._empty.clear()

    async def peek(self) -> list[bytes]:
        """Wait for envelopes, and return the next batch without removing it."""
        await self._filled.wait()
        batch: list[bytes] = []
        size = 0
        for envelope in islice(self._envelopes, _BATCH):
            size += len(envelope)
            if batch and size > _BATCH_BYTES:
                break
            batch.append(envelope)
        return batch

    def remove(self, count: int) -> None:
        """Remove the first `count` envelopes: they have left."""
        for _ in range(min(count, len(self._envelopes))):
            self._envelopes.popleft()
        if not self._envelopes:
            self._filled.clear()
            self._empty.set()

    async def drain(self) -> None:
        """Wait until every envelope has left."""
        await self._empty.wait()
