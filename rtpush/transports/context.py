"""What the transports of one server share: its parts, and the admission of clients."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from aiohttp import web

from ..access.addresses import is_loopback, rate_limit_address
from ..access.auth import Grant
from ..access.rate_limits import RateLimit
from ..application.admission import Admission
from ..application.claims import Claims
from ..application.dispatcher import Dispatcher
from ..cluster.nodes import Nodes
from ..config.settings import Settings
from ..errors import RtpushError
from ..hub import Hub
from ..metrics import Metrics
from ..protocol import Position
from ..sessions.session import Session
from ..web.body import BodyReader
from ..web.middleware import AccessControl
from ..web.request_keys import CALLER
from .connect_request import ConnectRequest, environ_of, read_connect_request
from .prepared import PreparedRequests, is_prepared, parse_prepared
from .work_queue import WorkQueue

__all__ = ["Abortable", "TransportContext"]

# All connections of one address together may send this many times what one may: a family or
# an office behind one router has about that many devices at work. Ten times would be half of
# what the loop can do.
ADDRESS_FACTOR: Final = 5
# And so many seconds' worth at once, twice what one connection may: 1,000 of them may come back
# together, and an attacker holds the loop for a second, not for five.
ADDRESS_BURST: Final = 4.0
# Envelopes that a request to connect or to read counts as: it takes 200 µs, an envelope 40.
REQUEST_WEIGHT: Final = 5
# Addresses whose rate limits are kept, about 300 bytes each.
MAX_ADDRESS_LIMITS: Final = 50_000


class Abortable(Protocol):
    """A connection that was hijacked, as the server sees it when it stops."""

    def abort(self) -> None:
        """End it now, whatever was written."""


@dataclass(eq=False, slots=True)
class TransportContext:
    """What the transports of one server share.

    `connections` are the connections taken over that are not lost yet; `drained`
    is set when the last one goes. `address_limits` is what each address may send,
    `work_queue` has the connections that have more to handle than one turn of the loop allows.
    """

    hub: Hub
    nodes: Nodes
    admission: Admission
    dispatcher: Dispatcher
    claims: Claims
    body_reader: BodyReader
    metrics: Metrics
    access: AccessControl
    settings: Settings
    connections: set[Abortable] = field(default_factory=set)
    drained: asyncio.Event = field(default_factory=asyncio.Event)
    address_limits: dict[str, RateLimit] = field(default_factory=dict)
    work_queue: WorkQueue = field(default_factory=WorkQueue)
    prepared: PreparedRequests = field(default_factory=PreparedRequests)

    async def read_connect_request(self, request: web.Request) -> ConnectRequest:
        """What a client asks for, in its address or ahead of it. Raises RtpushError."""
        asked = read_connect_request(request)
        if asked.sid is None or not is_prepared(asked.sid):
            return asked
        body = self.prepared.take(asked.sid)
        if body is None:
            body = await self.nodes.bus.ask_any("prepared", sid=asked.sid)
        if body is None:
            raise RtpushError(
                "unavailable", "Nothing is prepared under this `sid` any more: prepare it again."
            )
        return parse_prepared(body)

    async def admit(self, request: web.Request, connect_request: ConnectRequest) -> Session:
        """Admit a client: the session that it asks for. Raises RtpushError.

        The one way to a session for every transport and path.
        """
        grant, token = await self.access.grant(request)
        auth = self.access.auth_of(request, token)
        self.hub.check_connect_request(connect_request.rooms, connect_request.last)
        if connect_request.rewind is not None:
            self.hub.room_policy.check_rewind(connect_request.rooms)
        await self.hub.log.sync()
        await self.wait_for_position(connect_request.last)
        await self.take_over(request, connect_request, grant)
        session = self.hub.prepare(
            connect_request.last,
            conflate=connect_request.conflate,
            address=request[CALLER].address,
            sid=connect_request.sid,
            grant=grant,
        )
        try:
            await self.admission.admit(
                session,
                connect_request.rooms,
                lambda: environ_of(request, grant.subject),
                auth,
                connect_request.last,
            )
            session.rewind = connect_request.rewind
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError
        except BaseException:
            self.hub.close(session)
            raise
        return session

    async def take_over(
        self, request: web.Request, connect_request: ConnectRequest, grant: Grant
    ) -> Session | None:
        """Have the session that is to go on here, when another node has it; see `Nodes.take`."""
        if not connect_request.sid or connect_request.last is None:
            return None
        self.hub.check_connect_request(connect_request.rooms, connect_request.last)
        return await self.nodes.take(connect_request.sid, request[CALLER].address, grant)

    async def wait_for_position(self, last: str | None) -> None:
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
        """Check that a request's token is of the session's subject, and go on with it.

        Raises RtpushError.
        """
        if self.access.auth.wants_tokens:
            grant, _ = await self.access.grant(request)
            self.hub.renew(session, grant)

    def charge(self, session: Session, messages: int, size: int) -> float:
        """Note what a client has sent; seconds for which it should send no more."""
        now = time.monotonic()
        if not session.rate_limits:
            session.rate_limits = self._rate_limits_of(session.address, now)
        wait = max([one.charge(messages, size, now) for one in session.rate_limits])
        self.metrics.throttled += wait > 0
        return wait

    def _rate_limits_of(self, address: str, now: float) -> tuple[RateLimit, ...]:
        """A connection's own, and the one that it shares with all others of its address."""
        messages, size = self.settings.rate_messages, self.settings.rate_bytes
        own = RateLimit(messages, size, now)
        return (own,) if is_loopback(address) else (own, self._limit_of(address, now))

    def charge_request(self, request: web.Request) -> None:
        """Count a request to connect, or to read, against its address's rate.

        Raises RtpushError (`rate_limited`).
        """
        address, now = request[CALLER].address, time.monotonic()
        if is_loopback(address):
            return
        limit = self._limit_of(address, now)
        if wait := limit.charge(0, 0, now):
            self.metrics.throttled += 1
            raise RtpushError(
                "rate_limited", "This address sends too many requests; wait.", math.ceil(wait)
            )
        limit.charge(REQUEST_WEIGHT, 0, now)

    def _limit_of(self, address: str, now: float) -> RateLimit:
        """What all connections of an address may send together."""
        if len(self.address_limits) > MAX_ADDRESS_LIMITS:
            # All begin anew: better than to hold one for every address there is.
            self.address_limits.clear()
        address = rate_limit_address(address)
        shared = self.address_limits.get(address)
        if shared is None:
            settings = self.settings
            messages, size = settings.rate_messages, settings.rate_bytes
            shared = RateLimit(messages * ADDRESS_FACTOR, size * ADDRESS_FACTOR, now, ADDRESS_BURST)
            self.address_limits[address] = shared
        return shared

    async def wait_closed(self, seconds: float) -> None:
        """Until every connection is gone; those that stay longer are cut."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.connections:
                    self.drained.clear()
                    await self.drained.wait()
        self.abort()

    def abort(self) -> None:
        """Cut every connection now."""
        for connection in list(self.connections):
            connection.abort()
