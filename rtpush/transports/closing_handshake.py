"""The closing handshake of a WebSocket. RFC 6455, section 7.

Rules that hold here:

- A client that was refused, or sent away, is read for its close frame alone.
- Nothing keeps a dying connection: a close that the peer does not answer
  ends in an abort.
"""

from __future__ import annotations

import asyncio
from typing import Final

from websockets.exceptions import ProtocolError
from websockets.frames import Close, CloseCode, Opcode

from ..errors import Reason
from ..framing import WEBSOCKET, WEBSOCKET_DEFLATE, close_frame, control_frame
from .context import TransportContext
from .frames import FrameError, FrameReader
from .stream import StreamConnection

__all__ = ["BINARY", "CLOSE", "PING", "PONG", "TEXT", "ClosingConnection"]

# Bytes that are read behind our close frame, to find the client's.
MAX_AFTER_CLOSE: Final = 8 << 10

# Plain integers: looking an opcode up in the enumeration takes longer.
TEXT, BINARY, CLOSE, PING, PONG = (
    int(opcode) for opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CLOSE, Opcode.PING, Opcode.PONG)
)
# With these a client says that it goes for good; a page that is left sends 1001.
_DELIBERATE: Final = (CloseCode.NORMAL_CLOSURE, CloseCode.NO_STATUS_RCVD)
# A browser sends 1001 when a page is left. A script cannot, and sends 4001.
_PAGE_LEFT: Final = (CloseCode.GOING_AWAY, 4001)


class ClosingConnection(StreamConnection):
    """A WebSocket and how it ends: the close frames of both sides, then the connection."""

    __slots__ = ("_after_close", "_close_sent", "_ended", "_reader", "_reading_paused")

    def __init__(
        self, transport: asyncio.Transport, context: TransportContext, *, deflate: bool
    ) -> None:
        super().__init__(transport, WEBSOCKET_DEFLATE if deflate else WEBSOCKET, context)
        self._reader = FrameReader(context.settings.max_message, deflate=deflate)
        self._reading_paused = False
        self._close_sent = False
        # Bytes received since.
        self._after_close = 0
        # Nothing more is sent.
        self._ended = False

    def close(self, code: int, reason: str) -> None:
        """See Connection."""
        self._session = None
        if not self._close_sent:
            self._say(close_frame(code, reason))
            self._close_sent = True
            self._after_close = self._reader.held
            # The client's own may have come already.
            asyncio.get_running_loop().call_soon(self._read_close, b"")
        self._set_reading(True)
        self._abort_later()

    def _read_close(self, data: bytes) -> None:
        """Look for the client's close frame, and not for long: nothing else of it counts now."""
        self._after_close += len(data)
        if self._after_close > MAX_AFTER_CLOSE:
            self._end()
            self._set_reading(False)
            return
        self._reader.feed(data)
        try:
            while not self._ended and (found := self._reader.next()) is not None:
                if found[0] == CLOSE:
                    self._end()
        except FrameError:
            self._end()

    def _take_close(self, payload: bytes) -> None:
        """Echo it: "the endpoint typically echos the status code it received" (5.5.1)."""
        try:
            code = Close.parse(payload).code
        except ProtocolError as exc:
            self._fail(CloseCode.PROTOCOL_ERROR, str(exc))
            return
        except UnicodeDecodeError:
            self._fail(CloseCode.INVALID_DATA, "the reason is no UTF-8")
            return
        self._say(control_frame(CLOSE, payload))
        left = code in _DELIBERATE
        if code in _PAGE_LEFT and self._session is not None:
            self._context.hub.leave_page(self._session)
        self._end_session(Reason.CLIENT_DISCONNECT if left else Reason.TRANSPORT_CLOSE)
        self._end()

    def _fail(self, code: CloseCode, reason: str) -> None:
        """RFC 6455, section 7.1.7."""
        self._say(close_frame(code, reason))
        self._end_session(Reason.TRANSPORT_CLOSE)
        self._end()

    def _say(self, frame: bytes) -> None:
        if not self._ended and not self._transport.is_closing():
            self._transport.write(frame)

    def _end(self) -> None:
        if self._ended or self._transport.is_closing():
            return
        self._ended = self._close_sent = True
        # Half-closed first: closing with unread input would reset the
        # connection, and the close frame might never be read.
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._abort_later()
        else:
            self._transport.close()

    def _set_reading(self, on: bool) -> None:
        if on is not self._reading_paused or self._transport.is_closing():
            return
        self._reading_paused = not on
        if on:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()
