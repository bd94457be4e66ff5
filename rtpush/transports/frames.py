"""WebSocket frames from a client: bytes in, one frame or message out at a time.

RFC 6455, section 5, and permessage-deflate without context takeover (RFC 7692).

Rules that hold here:

- Pure: no asyncio, no sockets, no clock. The caller decides when the next frame
  is read, so it can answer a ping at once and stop whenever it has done enough.
- A limit is checked before the work: the length when the header is there, the
  size of an inflated message while it is inflated.
- An unfinished message is kept as it came: a kilobyte that would inflate to a
  mebibyte takes a kilobyte until its last fragment is there.
"""

from __future__ import annotations

import zlib
from typing import Final

from websockets.frames import CloseCode, Opcode

try:
    from websockets.speedups import apply_mask
except ImportError:  # no C compiler when websockets was installed
    from websockets.utils import apply_mask

__all__ = ["FrameError", "FrameReader"]

_FIN: Final = 0x80
_RSV1: Final = 0x40
_RESERVED: Final = 0x70
_MASKED: Final = 0x80
_CONTROL: Final = 0x08
_KNOWN: Final = frozenset(int(opcode) for opcode in Opcode)
# Plain integers: looking an opcode up in the enumeration takes longer than the rest.
_CONT: Final = int(Opcode.CONT)
_TEXT: Final = int(Opcode.TEXT)
# The largest payload of a control frame (RFC 6455, section 5.5).
_MAX_CONTROL: Final = 125
# What a sender leaves out at the end of a compressed message (RFC 7692, section 7.2.1).
_EMPTY_BLOCK: Final = b"\x00\x00\xff\xff"


class FrameError(Exception):
    """The client broke the protocol or a limit; `code` closes the connection."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class FrameReader:
    """Reads one client's frames. Messages have at most `max_message` bytes, also inflated."""

    __slots__ = (
        "_at",
        "_buffer",
        "_compressed",
        "_deflate",
        "_max_message",
        "_message",
        "_opcode",
        "excess",
        "messages",
    )

    def __init__(self, max_message: int, *, deflate: bool) -> None:
        self._max_message = max_message
        # Was permessage-deflate negotiated?
        self._deflate = deflate
        # What was received; bytes as long as one read holds all of it.
        self._buffer: bytes | bytearray = b""
        # Where the next frame begins in it.
        self._at = 0
        # The fragments of an unfinished message, as they came.
        self._message = bytearray()
        # The opcode of that message; None between messages.
        self._opcode: int | None = None
        self._compressed = False
        # Bytes that messages had beyond their compressed ones, since the caller reset it.
        self.excess = 0
        # Messages that were finished.
        self.messages = 0

    @property
    def held(self) -> int:
        """Bytes received and not handed out."""
        return len(self._buffer) - self._at + len(self._message)

    def feed(self, data: bytes) -> None:
        """Take what has arrived."""
        if self._at == len(self._buffer):
            self._buffer = data
        else:
            if not isinstance(self._buffer, bytearray):
                self._buffer = bytearray(self._buffer)
            # A bytearray drops its beginning without moving the rest.
            del self._buffer[: self._at]
            self._buffer += data
        self._at = 0

    def next(self) -> tuple[int, bytes] | None:
        """The next frame that is whole, as opcode and payload; None when there is none.

        A message has the opcode TEXT or BINARY; each of its fragments before the
        last one is an empty CONT. Raises FrameError.
        """
        buffer, at = self._buffer, self._at
        left = len(buffer) - at
        if left < 2:
            return None
        first, second = buffer[at], buffer[at + 1]
        if first != 0x81 or self._opcode is not None:
            self._check(first, second)
        if not second & _MASKED:
            raise FrameError(CloseCode.PROTOCOL_ERROR, "frames of a client are masked")
        size, begin = second & 0x7F, at + 6
        if size >= 126:
            begin += 2 if size == 126 else 8
            if at + left < begin - 4:
                return None
            size = int.from_bytes(buffer[at + 2 : begin - 4], "big")
        if size > self._max_message - len(self._message) and not first & _CONTROL:
            raise self._too_big()
        end = begin + size
        if at + left < end:
            return None
        payload = apply_mask(buffer[begin:end], buffer[begin - 4 : begin])
        if at + left == end:
            self._buffer, self._at = b"", 0
        else:
            self._at = end
        opcode = first & 0x0F
        return (opcode, payload) if opcode & _CONTROL else self._data(first, payload)

    def _check(self, first: int, second: int) -> None:
        """RFC 6455, section 5.2: everything that one can tell from the first two bytes."""
        opcode, reserved = first & 0x0F, first & _RESERVED
        wrong = None
        if opcode not in _KNOWN:
            wrong = "unknown opcode"
        elif opcode & _CONTROL:
            if reserved:
                wrong = "reserved bits"
            elif not first & _FIN or second & 0x7F > _MAX_CONTROL:
                wrong = "control frames have one part of at most 125 bytes"
        elif (opcode == _CONT) is (self._opcode is None):
            wrong = "a fragment of no message" if opcode == _CONT else "a message within another"
        elif reserved and (reserved != _RSV1 or opcode == _CONT or not self._deflate):
            wrong = "reserved bits"
        if wrong is not None:
            raise FrameError(CloseCode.PROTOCOL_ERROR, wrong)

    def _data(self, first: int, payload: bytes) -> tuple[int, bytes]:
        opcode = first & 0x0F
        if opcode != _CONT:
            self._compressed = bool(first & _RSV1)
            if first & _FIN:
                return self._whole(opcode, payload)
            self._opcode = opcode
        self._message += payload
        if not first & _FIN or self._opcode is None:
            return _CONT, b""
        message, opcode = bytes(self._message), self._opcode
        self._message, self._opcode = bytearray(), None
        return self._whole(opcode, message)

    def _whole(self, opcode: int, payload: bytes) -> tuple[int, bytes]:
        self.messages += 1
        return opcode, self._inflate(payload) if self._compressed else payload

    def _inflate(self, payload: bytes) -> bytes:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = inflate.decompress(payload + _EMPTY_BLOCK, self._max_message + 1)
        except zlib.error:
            raise FrameError(CloseCode.PROTOCOL_ERROR, "the message is not deflated") from None
        if len(data) > self._max_message:
            raise self._too_big()
        self.excess += max(0, len(data) - len(payload))
        return data

    def _too_big(self) -> FrameError:
        return FrameError(
            CloseCode.MESSAGE_TOO_BIG, f"a message may have {self._max_message} bytes"
        )
