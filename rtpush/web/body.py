"""BodyReader of requests: read whole, within limits.

Rules that hold here:

- No body is larger than it may be, and all that are being read at the same
  time have a bound together: a thousand slow uploads must not fill memory.
- Who sends a body byte by byte is not waited for.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from ..errors import RtpushError

__all__ = ["BodyReader"]

# BodyReader of the largest size that may be on their way at the same time.
AT_ONCE: Final = 8
# A body may take its time at this many bytes a second.
SLOWEST: Final = 16 << 10


class BodyReader:
    """Reads bodies of at most `largest` bytes that begin within `patience` seconds."""

    def __init__(self, largest: int, patience: float) -> None:
        self._largest = largest
        self._patience = patience
        self._held = 0

    async def read(self, request: web.Request) -> bytes:
        """The body. Raises RtpushError (`too_large`, `request_timeout`, `unavailable`)."""
        if (request.content_length or 0) > self._largest:
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(self._patience) as deadline:
                begun = asyncio.get_running_loop().time()
                async for chunk in request.content.iter_any():
                    self._hold(body, chunk)
                    deadline.reschedule(begun + self._patience + len(body) / SLOWEST)
        except TimeoutError:
            raise RtpushError(
                "request_timeout", "The body came too slowly; send it again."
            ) from None
        finally:
            self._held -= len(body)
        return bytes(body)

    def _hold(self, body: bytearray, chunk: bytes) -> None:
        if len(body) + len(chunk) > self._largest:
            raise self._too_large()
        if self._held + len(chunk) > AT_ONCE * self._largest:
            raise RtpushError("unavailable", "Too much is being sent at once; try again.")
        body += chunk
        self._held += len(chunk)

    def _too_large(self) -> RtpushError:
        return RtpushError(
            "too_large", f"The body may have {self._largest} bytes; send it in parts."
        )
