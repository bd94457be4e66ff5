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
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from ..access.auth import Grant
from ..access.origins import is_loopback
from ..access.rate_limits import Allowance
from ..application.dispatcher import Intake
from ..cluster.nodes import Nodes
from ..config.settings import Settings
from ..errors import Reason, RtpushError
from ..hub import Hub
from ..log.base import Position
from ..metrics import Metrics
from ..protocol import Form
from ..sessions.session import Session
from ..web.body import Bodies
from ..web.middleware import CALLER, Door

__all__ = ["Front", "Opening", "StreamWire", "Taken", "read_opening", "take_transport"]

# Seconds that a peer has to answer a close, and a last write to leave.
CLOSE_TIMEOUT: Final = 5.0
# So many times what one connection may send, all of one address together may.
ADDRESS_SHARE: Final = 10
# Addresses whose shares are kept, about 300 bytes each.
MAX_SHARES: Final = 50_000


@dataclass(frozen=True, slots=True)
class Opening:
    """What a client asks for when it connects. Query names as in PROTOCOL.md, section 4."""

    rooms: Sequence[str]
    last: str | None
    conflate: bool
    sid: str | None


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
    )


def _environ(request: web.Request, subject: str | None) -> dict[str, Any]:
    """What a `connect` handler is told of a request, in WSGI's names (PEP 3333)."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "PATH_INFO": request.path,
        "QUERY_STRING": request.query_string,
        "REMOTE_ADDR": request[CALLER].address,
        "SERVER_PROTOCOL": "HTTP/{}.{}".format(*request.version),
        "wsgi.url_scheme": request[CALLER].scheme,
        "rtpush.subject": subject,
        "aiohttp.request": request,
    }
    for name, value in request.headers.items():
        key = "HTTP_" + name.upper().replace("-", "_")
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ


def take_transport(request: web.Request) -> tuple[asyncio.Transport, bytes]:
    """Take a connection away from aiohttp: its transport, and bytes already read.

    aiohttp is told that the connection is lost, so it lets go of everything
    it keeps for it. The bytes are those that came with or right behind the
    request; they belong to the protocol that carries on.
    """
    handler = request.protocol
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError
    early = bytes(handler._message_tail)
    handler.transport = None
    handler.connection_lost(None)
    # aiohttp may have paused reading while bytes piled up behind the request.
    transport.resume_reading()
    return transport, early


class Taken(web.Response):
    """What a handler returns that took the transport: aiohttp has nothing left to write to."""

    async def prepare(self, _request: web.BaseRequest) -> None:
        """Nothing."""

    async def write_eof(self, _data: bytes = b"") -> None:
        """Nothing."""


@dataclass(eq=False, slots=True)
class Front:
    """What the transports of one server share.

    `wires` are the connections taken over that are not lost yet; `emptied`
    is set when the last one goes. `shares` is what each address may send.
    """

    hub: Hub
    nodes: Nodes
    intake: Intake
    bodies: Bodies
    metrics: Metrics
    door: Door
    settings: Settings
    wires: set[StreamWire] = field(default_factory=set)
    emptied: asyncio.Event = field(default_factory=asyncio.Event)
    shares: dict[str, Allowance] = field(default_factory=dict)

    async def admit(self, request: web.Request, opening: Opening) -> Session:
        """The session for an opening, if it may begin. Raises RtpushError."""
        grant, token = await self.door.grant(request)
        for room in opening.rooms:
            grant.check_room(room)
        await self.hub.log.sync()
        await self.reach(opening.last)
        await self.fetch(request, opening, grant)
        session = self.hub.prepare(
            opening.rooms,
            opening.last,
            conflate=opening.conflate,
            address=request[CALLER].address,
            sid=opening.sid,
            grant=grant,
        )
        auth = None if token is None else {"token": token}
        try:
            await self.intake.admit(session, lambda: _environ(request, grant.subject), auth)
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError
        except BaseException:
            self.hub.close(session)
            raise
        return session

    async def fetch(self, request: web.Request, opening: Opening, grant: Grant) -> Session | None:
        """Have the session that is to go on here, when another node has it; see `Nodes.take`."""
        if not opening.sid or opening.last is None:
            return None
        self.hub.check_opening(opening.rooms, opening.last)
        return await self.nodes.take(opening.sid, request[CALLER].address, grant)

    async def reach(self, last: str | None) -> None:
        """Catch up with the node that a reader comes from, if that was ahead of this one.

        Raises RtpushError (`unavailable`) when this one cannot now.
        """
        log = self.hub.log
        if last is None or log.covers(Position.parse(last)) not in ("ahead", "epoch"):
            return
        if not await log.sync() and log.covers(Position.parse(last)) is not None:
            raise RtpushError(
                "unavailable", "The log cannot be read as far as you have read it; try again."
            )

    async def check_owner(self, request: web.Request, session: Session) -> None:
        """Is a request from whom the session belongs to? Raises RtpushError."""
        if self.door.auth.wants_tokens:
            grant, _ = await self.door.grant(request)
            self.hub.renew(session, grant)

    def charge(self, session: Session, messages: int, size: int) -> float:
        """Note what a client has sent; seconds for which it should send no more."""
        now = time.monotonic()
        if not session.allowances:
            session.allowances = self._allowances_of(session.address, now)
        wait = max([one.charge(messages, size, now) for one in session.allowances])
        self.metrics.throttled += wait > 0
        return wait

    def _allowances_of(self, address: str, now: float) -> tuple[Allowance, ...]:
        """A connection's own, and the one that it shares with all others of its address."""
        messages, size = self.settings.rate_messages, self.settings.rate_bytes
        own = Allowance(messages, size, now)
        if is_loopback(address):
            return (own,)
        if len(self.shares) > MAX_SHARES:
            # All begin anew: better than to hold one for every address there is.
            self.shares.clear()
        shared = self.shares.get(address)
        if shared is None:
            shared = Allowance(messages * ADDRESS_SHARE, size * ADDRESS_SHARE, now)
            self.shares[address] = shared
        return own, shared

    async def wait_closed(self, seconds: float) -> None:
        """Until every connection is gone; those that stay longer are cut."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.wires:
                    self.emptied.clear()
                    await self.emptied.wait()
        for wire in list(self.wires):
            wire.abort()


class StreamWire(asyncio.Protocol, ABC):
    """A taken transport as a wire of the hub: what WebSocket and SSE share."""

    __slots__ = ("_front", "_full", "_session", "_transport", "form", "write")

    def __init__(self, transport: asyncio.Transport, form: Form, front: Front) -> None:
        self.form = form
        self._transport = transport
        # See hub.Wire. The transport's own, since no call is made more often.
        self.write = transport.write
        self._front = front
        self._session: Session | None = None
        self._full = False
        transport.set_write_buffer_limits(high=front.settings.high_water)
        transport.set_protocol(self)
        front.wires.add(self)

    def start(self, session: Session, last: str | None, head: bytes) -> None:
        """Begin the session, behind the head of the answer."""
        self._front.hub.open(session, self, last, head)
        self._session = session
        if self._full:
            # A large greeting has filled the wire before there was a session to pause.
            self._front.hub.pause(session)

    def eof_received(self) -> None:
        """See asyncio.Protocol. The transport closes itself."""
        self._forget(Reason.TRANSPORT_CLOSE)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._forget(Reason.TRANSPORT_CLOSE if exc is None else Reason.TRANSPORT_ERROR)
        self._front.wires.discard(self)
        if not self._front.wires:
            self._front.emptied.set()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._full = True
        if self._session is not None:
            self._front.hub.pause(self._session)

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._full = False
        if self._session is not None:
            self._front.hub.resume(self._session)

    def _forget(self, reason: str) -> None:
        """The reasons are those of Socket.IO: applications match on them."""
        session, self._session = self._session, None
        if session is not None:
            self._front.hub.close(session, reason)

    def backlog(self) -> int:
        """See hub.Wire."""
        return self._transport.get_write_buffer_size()

    @abstractmethod
    def heartbeat(self) -> None:
        """See hub.Wire."""

    @abstractmethod
    def close(self, code: int, reason: str) -> None:
        """See hub.Wire."""

    def abort(self) -> None:
        """End it now, whatever was written."""
        self._transport.abort()

    def _abort_later(self) -> None:
        asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self._transport.abort)


class SlowRequests:
    """Cuts connections that have not sent a whole request head for too long (Slowloris).

    aiohttp waits for a first request for ever. An idle kept-alive connection
    is the same to us: one that sends nothing.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # Since when each connection waits, and how many requests it had made by then.
        self._waiting: dict[RequestHandler, tuple[float, int]] = {}

    def tick(self, connections: Iterable[RequestHandler], now: float) -> None:
        """Once a second, with every connection that aiohttp still has."""
        waiting: dict[RequestHandler, tuple[float, int]] = {}
        for handler in connections:
            if handler._request_in_progress or handler.transport is None:
                continue
            requests = handler._request_count
            since, before = self._waiting.get(handler, (now, requests))
            if before != requests:
                since = now
            if now - since > self._seconds:
                handler.transport.abort()
            else:
                waiting[handler] = since, requests
        self._waiting = waiting
