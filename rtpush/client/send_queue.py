"""Envelopes that are to leave on one wire, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from typing import Final

__all__ = ["Lane"]

# What leaves at once: over HTTP, in one request. Many a proxy takes 1 MiB at most;
# a single envelope may be longer.
_BATCH: Final = 64
_BATCH_BYTES: Final = 1 << 19


class Lane:
    """A queue that is looked at before it is taken from; of more than `most` the oldest go."""

    def __init__(self, most: int | None = None) -> None:
        self._envelopes: deque[bytes] = deque(maxlen=most)
        self._some, self._none = asyncio.Event(), asyncio.Event()
        self._none.set()

    def __len__(self) -> int:
        return len(self._envelopes)

    def put(self, envelope: bytes) -> None:
        """Add one at the end."""
        self._envelopes.append(envelope)
        self._some.set()
        self._none.clear()

    async def waiting(self) -> list[bytes]:
        """What is to leave next; it stays until it is dropped."""
        await self._some.wait()
        batch: list[bytes] = []
        size = 0
        for envelope in islice(self._envelopes, _BATCH):
            size += len(envelope)
            if batch and size > _BATCH_BYTES:
                break
            batch.append(envelope)
        return batch

    def drop(self, count: int) -> None:
        """So many have left."""
        for _ in range(min(count, len(self._envelopes))):
            self._envelopes.popleft()
        if not self._envelopes:
            self._some.clear()
            self._none.set()

    async def empty(self) -> None:
        """Until all has left."""
        await self._none.wait()
