"""WebSocket: websockets' Sans-I/O protocol on a plain asyncio transport.

Rules that hold here:

- Everything is a callback. There is no task and no queue per connection.
- What is shared is framed elsewhere and only written here; the Sans-I/O
  protocol sees what comes in, and makes control frames.
- A client that sends faster than it may, or than the log stores, or does not
  take its replies and pongs, is not read until it does: nothing of it is
  refused or lost, and what it can make us hold is bounded.
- Nothing keeps a dying connection: a close that the peer does not answer
  ends in an abort.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from aiohttp import web
from websockets.datastructures import Headers
from websockets.exceptions import NegotiationError
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import (
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import OPEN, SERVER, Protocol
from websockets.server import ServerProtocol
from websockets.typing import ExtensionParameter, Subprotocol

from ..errors import Reason, RtpushError
from ..protocol import DEFLATE_WINDOW, WEBSOCKET, WEBSOCKET_DEFLATE, Incoming, encode_error, parse
from .base import Front, StreamWire, Taken, read_opening, take_transport

__all__ = ["WebSocketTransport"]

logger = logging.getLogger("rtpush.websocket")
# The protocol's own log line for each closed connection says nothing new.
_quiet = logging.getLogger("rtpush.websocket.protocol")
_quiet.setLevel(logging.WARNING)

# Envelopes of one connection that may wait to be stored.
MAX_UNDER_WAY: Final = 64
# Heartbeats without a sign of life.
MAX_SILENT: Final = 2

# The headers that decide a handshake; a browser sends as many others again.
_HANDSHAKE: Final = (
    "Connection",
    "Upgrade",
    "Origin",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
)

_OURS: Final = Subprotocol("rtpush")
_PING: Final = Frame(Opcode.PING, b"").serialize(mask=False)
# With these a client says that it goes for good; a page that is left sends 1001.
_DELIBERATE: Final = (CloseCode.NORMAL_CLOSURE, CloseCode.NO_STATUS_RCVD)
_DATA: Final = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class _DeflateFactory(ServerPerMessageDeflateFactory):
    """permessage-deflate such that one compressed frame fits everybody."""

    def __init__(self) -> None:
        super().__init__(server_no_context_takeover=True, client_no_context_takeover=True)

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], PerMessageDeflate]:
        answer, extension = super().process_request_params(params, accepted_extensions)
        if extension.local_max_window_bits < DEFLATE_WINDOW:
            raise NegotiationError("the shared frames need a larger window")
        return answer, extension


class WebSocketTransport:
    """`GET /ws`."""

    def __init__(self, front: Front) -> None:
        self._front = front
        extensions = [_DeflateFactory()] if front.settings.compress else []
        # One for all: `accept` decides from the request alone.
        self._handshake = ServerProtocol(
            extensions=extensions,
            # A client may offer a token as another subprotocol; that one is not for saying back.
            select_subprotocol=lambda _, offered: _OURS if _OURS in offered else None,
            logger=_quiet,
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer the handshake, then carry on without aiohttp."""
        opening = read_opening(request)
        response = self._handshake.accept(_as_websockets(request))
        if response.status_code != 101:
            return _refusal(response)
        extensions = self._handshake.extensions
        head = response.serialize()
        try:
            session = await self._front.admit(request, opening)
        except RtpushError as error:
            transport, _ = take_transport(request)
            Connection(transport, extensions, self._front).refuse(error, head)
            return Taken()
        transport, early = take_transport(request)
        connection = Connection(transport, extensions, self._front)
        connection.start(session, opening.last, head)
        if early:
            connection.data_received(early)
        return Taken()


def _as_websockets(request: web.Request) -> Request:
    headers = Headers()
    for name in _HANDSHAKE:
        for value in request.headers.getall(name, ()):
            headers[name] = value
    version = "HTTP/{}.{}".format(*request.version)
    return Request(request.path_qs, headers, request.method, version)


def _refusal(response: Response) -> web.Response:
    code = {426: "upgrade_required", 405: "method_not_allowed"}.get(
        response.status_code, "bad_request"
    )
    body = bytes(response.body or b"").decode().strip().replace("\n", " ")
    error = RtpushError(code, body)
    refusal = web.json_response({"error": error.as_data()}, status=response.status_code)
    for name in ("Upgrade", "Sec-WebSocket-Version", "Allow"):
        if name in response.headers:
            refusal.headers[name] = response.headers[name]
    return refusal


class Connection(StreamWire):
    """One WebSocket: a wire of the hub, and where its client's envelopes are answered."""

    __slots__ = ("_ended", "_fragments", "_held", "_protocol", "_silent", "_under_way", "_waiting")

    def __init__(
        self, transport: asyncio.Transport, extensions: list[Extension], front: Front
    ) -> None:
        super().__init__(transport, WEBSOCKET_DEFLATE if extensions else WEBSOCKET, front)
        size = front.settings.max_message
        protocol = Protocol(SERVER, state=OPEN, max_size=size, logger=_quiet)
        protocol.extensions = extensions
        self._protocol = protocol
        # One growing buffer: a list would let a flood of empty fragments grow it.
        self._fragments = bytearray()
        self._silent = 0
        self._under_way = 0
        self._held = False
        self._waiting = False
        self._ended = False

    def refuse(self, error: RtpushError, head: bytes) -> None:
        """A browser cannot read the answer to a handshake: an `error` event and a close code."""
        self._front.metrics.refusals[error.code] += 1
        self._transport.write(head)
        self.send(encode_error(error, None))
        self.close(error.meaning.close, error.code)

    # ------------------------------------------------------ asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._silent = 0
        protocol = self._protocol
        protocol.receive_data(data)
        messages = 0
        for frame in protocol.events_received():
            assert isinstance(frame, Frame)
            if frame.opcode in _DATA and self._session is not None:
                messages += frame.fin
                self._take_frame(frame)
        self._flush()
        if self._session is not None:
            self._wait(self._front.charge(self._session, messages, len(data)))

    def _wait(self, seconds: float) -> None:
        if seconds and not self._waiting:
            self._waiting = True
            self._regulate()
            asyncio.get_running_loop().call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._waiting = False
        self._regulate()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        super().pause_writing()
        self._regulate()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        super().resume_writing()
        self._regulate()

    def _regulate(self) -> None:
        """Read only as long as what reading leads to has somewhere to go."""
        hold = self._full or self._waiting or self._under_way >= MAX_UNDER_WAY
        if hold == self._held or self._transport.is_closing():
            return
        self._held = hold
        if hold:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # -------------------------------------------------------------- incoming

    def _take_frame(self, frame: Frame) -> None:
        data = bytes(frame.data)
        if not frame.fin or frame.opcode is Opcode.CONT:
            self._fragments += data
            if not frame.fin:
                return
            data, self._fragments = bytes(self._fragments), bytearray()
        self._take_message(data, text=frame.opcode is not Opcode.BINARY)

    def _take_message(self, data: bytes, *, text: bool) -> None:
        envelope: Incoming
        try:
            envelope = parse(data.decode()) if text else _not_text()
        except RtpushError as error:
            envelope = error
        except UnicodeDecodeError as exc:
            # RFC 6455, section 8.1.
            self._protocol.fail(CloseCode.INVALID_DATA, f"invalid UTF-8 at byte {exc.start}")
            return
        self._under_way += 1
        self._regulate()
        assert self._session is not None
        self._front.intake.take(self._session, envelope, self)

    def send(self, envelope: bytes) -> None:
        """See intake.Answer."""
        # Also what answers a message that a close came right behind: it is
        # written ahead of our own close.
        if not self._ended and not self._transport.is_closing():
            self._transport.write(self.form.frame(envelope, None))

    def done(self, reply: bytes | None) -> None:
        """See intake.Answer."""
        self._under_way -= 1
        self._regulate()
        if reply is not None:
            self.send(reply)

    # -------------------------------------------------------------- hub.Wire

    def heartbeat(self) -> None:
        """See hub.Wire."""
        self._silent += 1
        if self._silent > MAX_SILENT:
            self._forget(Reason.PING_TIMEOUT)
            self._transport.abort()
        else:
            self._transport.write(_PING)

    def close(self, code: int, reason: str) -> None:
        """See hub.Wire."""
        self._session = None
        if self._protocol.state is OPEN:
            self._protocol.send_close(code, reason)
        self._flush()
        self._abort_later()

    def _flush(self) -> None:
        """Write what the Sans-I/O protocol has to say: pongs, closes, the end."""
        if self._transport.is_closing():
            return
        for data in self._protocol.data_to_send():
            if data:
                self._transport.write(data)
            else:
                self._end()
        if self._protocol.state is not OPEN:
            self._ended = True
            close = self._protocol.close_rcvd
            left = close is not None and close.code in _DELIBERATE
            self._forget(Reason.CLIENT_DISCONNECT if left else Reason.TRANSPORT_CLOSE)

    def _end(self) -> None:
        # Half-closed first: closing with unread input would reset the
        # connection, and the close frame might never be read.
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._abort_later()
        else:
            self._transport.close()


def _not_text() -> RtpushError:
    return RtpushError("bad_envelope", "Send envelopes as text frames, not binary ones.")
