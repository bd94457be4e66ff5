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
from ..framing import DEFLATE_WINDOW, WEBSOCKET, WEBSOCKET_DEFLATE
from ..protocol import Incoming, encode_error, parse
from .connect_request import read_connect_request
from .context import TransportContext
from .hijack import HijackedResponse, hijack_transport
from .stream import StreamConnection

__all__ = ["WebSocketTransport"]

logger = logging.getLogger("rtpush.websocket")
# The protocol's own log line for each closed connection says nothing new.
_quiet = logging.getLogger("rtpush.websocket.protocol")
_quiet.setLevel(logging.WARNING)

# Envelopes of one connection that may wait to be stored.
MAX_IN_FLIGHT: Final = 64
# Heartbeats without a sign of life.
MAX_MISSED_HEARTBEATS: Final = 2

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

    def __init__(self, context: TransportContext) -> None:
        self._context = context
        extensions = [_DeflateFactory()] if context.settings.compress else []
        # One for all: `accept` decides from the request alone.
        self._handshake = ServerProtocol(
            extensions=extensions,
            # A client may offer a token as another subprotocol; that one is not for saying back.
            select_subprotocol=lambda _, offered: _OURS if _OURS in offered else None,
            logger=_quiet,
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer the handshake, then carry on without aiohttp."""
        connect_request = read_connect_request(request)
        response = self._handshake.accept(_as_websockets(request))
        if response.status_code != 101:
            return _refusal(response)
        extensions = self._handshake.extensions
        head = response.serialize()
        try:
            session = await self._context.admit(request, connect_request)
        except RtpushError as error:
            transport, _ = hijack_transport(request)
            WebSocketConnection(transport, extensions, self._context).refuse(error, head)
            return HijackedResponse()
        transport, early = hijack_transport(request)
        connection = WebSocketConnection(transport, extensions, self._context)
        connection.start(session, connect_request.last, head)
        if early:
            connection.data_received(early)
        return HijackedResponse()


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


class WebSocketConnection(StreamConnection):
    """One WebSocket: a connection of the hub, and where its client's envelopes are answered."""

    __slots__ = (
        "_ended",
        "_fragments",
        "_in_flight",
        "_missed_heartbeats",
        "_protocol",
        "_reading_paused",
        "_throttled",
    )

    def __init__(
        self, transport: asyncio.Transport, extensions: list[Extension], context: TransportContext
    ) -> None:
        super().__init__(transport, WEBSOCKET_DEFLATE if extensions else WEBSOCKET, context)
        size = context.settings.max_message
        protocol = Protocol(SERVER, state=OPEN, max_size=size, logger=_quiet)
        protocol.extensions = extensions
        self._protocol = protocol
        # One growing buffer: a list would let a flood of empty fragments grow it.
        self._fragments = bytearray()
        self._missed_heartbeats = 0
        self._in_flight = 0
        self._reading_paused = False
        self._throttled = False
        self._ended = False

    def refuse(self, error: RtpushError, head: bytes) -> None:
        """A browser cannot read the answer to a handshake: an `error` event and a close code."""
        self._context.metrics.refusals[error.code] += 1
        self._transport.write(head)
        self.send(encode_error(error, None))
        self.close(error.meaning.close, error.code)

    # ------------------------------------------------------ asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._missed_heartbeats = 0
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
            self._throttle(self._context.charge(self._session, messages, len(data)))

    def _throttle(self, seconds: float) -> None:
        if seconds and not self._throttled:
            self._throttled = True
            self._update_reading()
            asyncio.get_running_loop().call_later(seconds, self._unthrottle)

    def _unthrottle(self) -> None:
        self._throttled = False
        self._update_reading()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        super().pause_writing()
        self._update_reading()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        super().resume_writing()
        self._update_reading()

    def _update_reading(self) -> None:
        """Read only as long as what reading leads to has somewhere to go."""
        hold = self._full or self._throttled or self._in_flight >= MAX_IN_FLIGHT
        if hold == self._reading_paused or self._transport.is_closing():
            return
        self._reading_paused = hold
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
        self._in_flight += 1
        self._update_reading()
        assert self._session is not None
        self._context.dispatcher.dispatch(self._session, envelope, self)

    def send(self, envelope: bytes) -> None:
        """See dispatcher.Responder."""
        # Also what answers a message that a close came right behind: it is
        # written ahead of our own close.
        if not self._ended and not self._transport.is_closing():
            self._transport.write(self.framing.frame(envelope, None))

    def done(self, reply: bytes | None) -> None:
        """See dispatcher.Responder."""
        self._in_flight -= 1
        self._update_reading()
        if reply is not None:
            self.send(reply)

    # -------------------------------------------------------------- Connection

    def heartbeat(self) -> None:
        """See Connection."""
        self._missed_heartbeats += 1
        if self._missed_heartbeats > MAX_MISSED_HEARTBEATS:
            self._end_session(Reason.PING_TIMEOUT)
            self._transport.abort()
        else:
            self._transport.write(_PING)

    def close(self, code: int, reason: str) -> None:
        """See Connection."""
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
            self._end_session(Reason.CLIENT_DISCONNECT if left else Reason.TRANSPORT_CLOSE)

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
