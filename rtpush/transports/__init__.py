"""Three wires, one session: what WebSocket, SSE and long-poll have in common.

Rules that hold here:

- A request is read once, here, into an `Opening`; what it asks for is checked
  by the hub, the same for all transports.
- A WebSocket and an event stream take the TCP transport away from the HTTP
  server (`take_transport`) and are callbacks from then on: no task, no HTTP
  machinery stays behind for an idle connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, cast

from aiohttp import web

from ..config import Settings
from ..errors import RtpushError
from ..hub import Hub, Session
from ..protocol import Form

__all__ = ["Opening", "StreamWire", "read_opening", "take_transport"]

# Seconds that a peer has to answer a close, and a last write to leave.
CLOSE_TIMEOUT: Final = 5.0


@dataclass(frozen=True, slots=True)
class Opening:
    """What a client asks for when it connects. Query names as in PROTOCOL.md, section 4."""

    rooms: Sequence[str]
    last: str | None
    conflate: bool
    sid: str | None
    address: str


def read_opening(request: web.Request) -> Opening:
    """The query of /ws, /sse and /poll; raises RtpushError (`bad_request`)."""
    query = request.query
    conflate = query.get("conflate", "1")
    if conflate not in ("0", "1"):
        raise RtpushError("bad_request", '"conflate" is 0 or 1 (1 when it is left out).')
    return Opening(
        query.getall("room", []),
        # A browser's EventSource repeats the newest id by itself; it is newer
        # than what stands in the address it was opened with.
        request.headers.get("Last-Event-ID") or query.get("last") or None,
        conflate == "1",
        query.get("sid"),
        request.remote or "",
    )


def take_transport(request: web.Request) -> tuple[asyncio.Transport, bytes]:
    """Take a connection away from aiohttp: its transport, and bytes already read.

    aiohttp is told that the connection is lost, so it lets go of everything
    it keeps for it. The bytes are those that came with or right behind the
    request; they belong to the protocol that carries on.
    """
    handler = request.protocol
    transport = cast("asyncio.Transport | None", request.transport)
    if transport is None or transport.is_closing():
        raise ConnectionResetError
    early = bytes(handler._message_tail)
    handler.transport = None
    handler.connection_lost(None)
    # aiohttp may have paused reading while bytes piled up behind the request.
    transport.resume_reading()
    return transport, early


class StreamWire(asyncio.Protocol):
    """A taken transport as a wire of the hub: what WebSocket and SSE share.

    `open_wires` holds every one that has not lost its connection yet.
    """

    __slots__ = ("_hub", "_session", "_transport", "form")

    open_wires: ClassVar[set[StreamWire]] = set()

    def __init__(
        self, transport: asyncio.Transport, form: Form, hub: Hub, settings: Settings
    ) -> None:
        self.form = form
        self._transport = transport
        self._hub = hub
        self._session: Session | None = None
        transport.set_write_buffer_limits(high=settings.high_water)
        transport.set_protocol(self)
        self.open_wires.add(self)

    def _open(self, opening: Opening) -> None:
        """Begin the session; raises RtpushError as `Hub.open` does."""
        self._session = self._hub.open(
            self,
            opening.rooms,
            opening.last,
            conflate=opening.conflate,
            address=opening.address,
        )

    def eof_received(self) -> None:
        """See asyncio.Protocol. The transport closes itself."""
        self._forget()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._forget()
        self.open_wires.discard(self)

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        if self._session is not None:
            self._hub.pause(self._session)

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        if self._session is not None:
            self._hub.resume(self._session)

    def _forget(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            self._hub.close(session)

    def write(self, data: bytes) -> None:
        """See hub.Wire."""
        self._transport.write(data)

    def backlog(self) -> int:
        """See hub.Wire."""
        return self._transport.get_write_buffer_size()

    def _abort_later(self) -> None:
        asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self._transport.abort)
