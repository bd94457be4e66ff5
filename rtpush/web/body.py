"""Bodies of requests: read whole, within limits, and taken apart a piece at a time.

Rules that hold here:

- A body counts with what has arrived of it, from its first byte until the request
  is answered. Clients have a budget together, with a share for each address and each
  subject. Publishers have another, with a share for each address and each API key or
  subject: no client can keep them from publishing, nor one of them the others.
- Compressed bodies are refused: a kilobyte of them would cost what a mebibyte does.
- A client that sends a body byte by byte is not waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from ..access.rate_limits import MemoryBudget, Owners
from ..errors import RtpushError
from ..protocol import Incoming
from .batch import Batch

__all__ = ["TURN_BYTES", "BodyReader", "checked"]

# Bodies and messages of the largest size that may be on their way at the same time: of all,
# of one client's address or subject, and of one publisher's.
AT_ONCE: Final = 8
AT_ONCE_OF_CLIENT: Final = 2
AT_ONCE_OF_PUBLISHER: Final = 4
# A body may take its time at this many bytes a second.
SLOWEST: Final = 16 << 10
# Bytes of envelopes that are checked before other work has its turn.
TURN_BYTES: Final = 64 << 10


class BodyReader:
    """Reads bodies of at most `max_body` bytes that begin within `patience` seconds."""

    def __init__(self, max_body: int, max_message: int, patience: float) -> None:
        self._max_body = max_body
        self._patience = patience
        largest = max(max_body, max_message)
        # What clients have sent that is not answered yet: bodies, and on WebSockets
        # messages that are not whole.
        self.clients = MemoryBudget(AT_ONCE * largest, AT_ONCE_OF_CLIENT * largest)
        self.publishers = MemoryBudget(AT_ONCE * largest, AT_ONCE_OF_PUBLISHER * largest)

    @asynccontextmanager
    async def read(
        self, request: web.Request, budget: MemoryBudget, owners: Owners
    ) -> AsyncIterator[bytes]:
        """The body; it counts in the budget until the block ends.

        Raises RtpushError (`too_large`, `request_timeout`, `unavailable`, `unsupported_encoding`).
        """
        self._check_head(request)
        body = bytearray()
        try:
            await self._fill(body, request, lambda size: budget.take(owners, size))
            yield bytes(body)
        finally:
            budget.give_back(owners, len(body))

    def _check_head(self, request: web.Request) -> None:
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise RtpushError(
                "unsupported_encoding", "Send the body as it is: without Content-Encoding."
            )
        if (request.content_length or 0) > self._max_body:
            raise self._too_large()

    async def _fill(
        self, body: bytearray, request: web.Request, take: Callable[[int], bool]
    ) -> None:
        if request.content.is_eof():
            # It has come with the head, as small ones do: there is nothing to wait for.
            self._add(body, request.content.read_nowait(), take)
            return
        try:
            async with asyncio.timeout(self._patience) as deadline:
                begun = asyncio.get_running_loop().time()
                async for chunk in request.content.iter_any():
                    self._add(body, chunk, take)
                    deadline.reschedule(begun + self._patience + len(body) / SLOWEST)
        except TimeoutError:
            raise RtpushError(
                "request_timeout", "The body came too slowly; send it again."
            ) from None

    def _add(self, body: bytearray, chunk: bytes, take: Callable[[int], bool]) -> None:
        if len(body) + len(chunk) > self._max_body:
            raise self._too_large()
        if not take(len(chunk)):
            raise RtpushError("unavailable", "Too much is being sent at once; try again.")
        body += chunk

    def _too_large(self) -> RtpushError:
        return RtpushError(
            "too_large", f"The body may have {self._max_body} bytes; send it in parts."
        )


async def checked(batch: Batch) -> AsyncIterator[Incoming]:
    """Check the envelopes of a body one after the other; other work has its turn in between."""
    size = 0
    for envelope in batch:
        yield envelope
        size += batch.last_size
        if size >= TURN_BYTES:
            size = 0
            await asyncio.sleep(0)
