"""Parse a stream of Server-Sent Events; pure.

Only what the server sends (PROTOCOL.md, section 4): lines end with LF, and all
that counts is an event's data.
"""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_MESSAGE", "MessageTooLarge", "SseParser"]

# Bytes of one message. A snapshot of the task board has up to 64 MiB.
MAX_MESSAGE: Final = 128 << 20


class MessageTooLarge(Exception):
    """The stream has more than `MAX_MESSAGE` bytes without the end of an event."""


class SseParser:
    """Splits a stream that comes in pieces into the data of its events."""

    def __init__(self) -> None:
        # The start of an event whose end has not come yet.
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """Add a piece of the stream; the data of each event that is complete.

        Raises MessageTooLarge.
        """
        self._buffer += chunk
        # Search only in the new piece: a large message comes in thousands of them.
        if b"\n\n" not in self._buffer[-len(chunk) - 1 :]:
            if len(self._buffer) > MAX_MESSAGE:
                raise MessageTooLarge
            return []
        *blocks, self._buffer = self._buffer.split(b"\n\n")
        return [data for block in blocks if (data := _data_of(block))]


def _data_of(block: bytearray) -> bytes:
    """The data of one event (WHATWG HTML, 9.2.6)."""
    lines = [line[5:] for line in block.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines)
