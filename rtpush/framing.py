"""Framings: how an envelope's bytes look on each kind of connection.

Pure: bytes in, bytes out. An envelope is framed once for each `Framing`, and every
client that reads it gets the same bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = [
    "DEFLATE_WINDOW",
    "FRAMINGS",
    "JSON",
    "SSE",
    "WEBSOCKET",
    "WEBSOCKET_DEFLATE",
    "Framing",
    "close_frame",
    "control_frame",
    "sse_event",
    "text_frame",
]


@dataclass(frozen=True, slots=True, eq=False)
class Framing:
    """How an envelope looks on one kind of connection.

    `frame` takes the envelope's JSON and its position (None when it is not
    logged); `joiner` stands between framed envelopes that are sent together.
    `index` is the form's place in the cache that each log entry keeps.

    A large envelope can be sent in parts: `first_part` takes the beginning of its
    JSON and its position, `part` what is between, `last_part` the end. A part from
    between fits every envelope.
    """

    index: int
    name: str
    frame: Callable[[bytes, str | None], bytes]
    first_part: Callable[[bytes, str | None], bytes]
    part: Callable[[bytes], bytes]
    last_part: Callable[[bytes], bytes]
    joiner: bytes = b""


# Frames below this size leave plain: deflate takes 40 bytes off the 160 of a
# progress event, and costs every receiver an inflate. Off 512 it takes 216.
DEFLATE_FROM: Final = 512
# A compressor of this window holds 36 KiB at work and takes 13 µs for an
# envelope of 2 KiB. The largest holds 100 KiB, takes 27 µs (12 of them to be
# built), and gains less than 1 % on JSON of up to 32 KiB.
DEFLATE_WINDOW: Final = 12


def text_frame(payload: bytes, _position: str | None = None) -> bytes:
    """An unmasked, final text frame (RFC 6455, section 5.2)."""
    return _frame(b"\x81", payload)


def _frame(first: bytes, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return first + size.to_bytes(1, "big") + payload
    if size < 65536:
        return first + b"\x7e" + size.to_bytes(2, "big") + payload
    return first + b"\x7f" + size.to_bytes(8, "big") + payload


def control_frame(opcode: int, payload: bytes) -> bytes:
    """A ping, pong or close of at most 125 bytes (RFC 6455, section 5.5)."""
    return _frame(bytes([0x80 | opcode]), payload)


def close_frame(code: int, reason: str) -> bytes:
    """A close with its code and reason (RFC 6455, section 5.5.1)."""
    return control_frame(8, code.to_bytes(2, "big") + reason.encode())


def deflated_frame(payload: bytes, _position: str | None = None) -> bytes:
    """The same under permessage-deflate without context takeover (RFC 7692).

    No context is carried from frame to frame, so one compressed frame is
    right for every client that negotiated the extension.
    """
    if len(payload) < DEFLATE_FROM:
        return text_frame(payload)
    # 0xC1: final, RSV1 (compressed), text. The empty block at the end is left
    # out (RFC 7692, section 7.2.1).
    return _frame(b"\xc1", _deflate(payload)[:-4])


# Parts are fragments (RFC 6455, section 5.4): pings and closes may come between them.
_FIRST: Final = b"\x01"
_FIRST_DEFLATED: Final = b"\x41"
_BETWEEN: Final = b"\x00"
_LAST: Final = b"\x80"


def _deflate(payload: bytes) -> bytes:
    """Deflated, up to a byte's end, and looking at nothing before it."""
    deflate = zlib.compressobj(6, zlib.DEFLATED, -DEFLATE_WINDOW, 5)
    return deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH)


def sse_event(payload: bytes, position: str | None = None) -> bytes:
    """One Server-Sent Event (WHATWG HTML, section 9.2).

    JSON never holds a raw newline, so one `data:` line is always enough.
    """
    return _sse_begin(payload, position) + b"\n\n"


def _sse_begin(payload: bytes, position: str | None) -> bytes:
    head = b"" if position is None else b"id: " + position.encode() + b"\n"
    return head + b"data: " + payload


def _plain(payload: bytes, _position: str | None = None) -> bytes:
    return payload


WEBSOCKET: Final = Framing(
    0,
    "websocket",
    text_frame,
    lambda payload, _: _frame(_FIRST, payload),
    lambda payload: _frame(_BETWEEN, payload),
    lambda payload: _frame(_LAST, payload),
)
WEBSOCKET_DEFLATE: Final = Framing(
    1,
    "websocket",
    deflated_frame,
    lambda payload, _: _frame(_FIRST_DEFLATED, _deflate(payload)),
    lambda payload: _frame(_BETWEEN, _deflate(payload)),
    lambda payload: _frame(_LAST, _deflate(payload)[:-4]),
)
SSE: Final = Framing(2, "sse", sse_event, _sse_begin, _plain, lambda payload: payload + b"\n\n")
JSON: Final = Framing(3, "poll", _plain, _plain, _plain, _plain, b",")
FRAMINGS: Final = (WEBSOCKET, WEBSOCKET_DEFLATE, SSE, JSON)
