"""Long-poll: the same reader, one read per request.

Rules that hold here:

- A waiting request is a wire that is full after its first write.
- The cursor is the client's: it asks with `last`, and asking again with the
  same one gives the same events. The server may forget the session, or be
  another one: it then opens a new session at the client's position.
- What a client says comes by POST and is answered in the same exchange, so
  nothing waits here for a request that may never come.
"""

from __future__ import annotations

import asyncio
import math
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from aiohttp import web

from ..errors import RtpushError
from ..hub import Hub
from ..log.base import Position
from ..protocol import JSON, Incoming, parse_many
from ..sessions.session import Session
from .base import Front, Opening, read_opening

__all__ = ["LongPollTransport"]

# The longest wait that a client may ask for, in seconds: many proxies give up
# at 60.
MAX_TIMEOUT: Final = 55.0
# Requests of one session that may wait for their answers.
MAX_POSTS: Final = 8
# Seconds that another node has for the envelopes of a client of its own.
FORWARDED_FOR: Final = 30.0


class LongPollTransport:
    """`GET /poll` and `POST /poll`."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._hub = front.hub
        self._intake = front.intake
        self._settings = front.settings
        self._posting: Counter[Session] = Counter()
        front.nodes.bus.on("where", self._answer_where)
        front.nodes.bus.on("post", self._answer_post)

    async def read(self, request: web.Request) -> web.Response:
        """One read. Raises RtpushError."""
        opening = read_opening(request)
        timeout = _timeout(request, self._settings.poll_timeout)
        waiter = Waiter(self._hub)
        session = await self._find(request, opening, waiter)
        waiter.session = session
        try:
            if not waiter.frames:
                await waiter.wait(timeout)
            return self._answer(waiter, session)
        finally:
            self._release(session, waiter)

    async def _find(self, request: web.Request, opening: Opening, waiter: Waiter) -> Session:
        """The session to read for: a known one, a new one, or one for this read only."""
        await self._front.reach(opening.last)
        if opening.last is not None and opening.sid is None:
            grant, _ = await self._front.door.grant(request)
            for room in opening.rooms:
                grant.check_room(room)
            return self._hub.peek(waiter, opening.rooms, opening.last)
        session = self._hub.sessions.get(opening.sid or "")
        if session is None and opening.sid:
            grant, _ = await self._front.door.grant(request)
            session = await self._front.fetch(request, opening, grant)
        if session is None or session.expires is None or opening.last is None:
            session = await self._front.admit(request, opening)
            self._hub.open(session, waiter, opening.last)
        else:
            await self._front.check_owner(request, session)
            self._hub.reattach(session, waiter, opening.last)
        session.expires = self._hub.lease()
        return session

    def _answer(self, waiter: Waiter, session: Session) -> web.Response:
        position = waiter.upto or self._hub.position_of(session)
        body = b'{"events":[%b],"last":"%b"}' % (b",".join(waiter.frames), str(position).encode())
        return web.Response(
            body=body,
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    def _release(self, session: Session, waiter: Waiter) -> None:
        if not session.sid:
            self._hub.close(session)
        elif session.wire is waiter:
            self._hub.detach(session)
            session.expires = self._hub.lease()

    async def post(self, request: web.Request) -> web.Response:
        """Envelopes in; what they lead to for this client, out. Raises RtpushError."""
        sid = request.query.get("sid", "")
        session = self._hub.sessions.get(sid)
        if session is None:
            body = await self._forward(request, sid)
        else:
            await self._front.check_owner(request, session)
            body = await self._post(session, lambda: self._front.bodies.read(request))
        return web.Response(
            body=body, content_type="application/json", headers={"Cache-Control": "no-store"}
        )

    async def _post(self, session: Session, read: Callable[[], Awaitable[bytes]]) -> bytes:
        if not session.admitted:
            raise _no_session()
        self._check_rate(self._front.charge(session, 0, 0))
        with self._one_more(session):
            return b"[%b]" % b",".join(await self._answers(session, await read()))

    async def _forward(self, request: web.Request, sid: str) -> bytes:
        """Have the node that has the session take what its client sends here."""
        bus = self._front.nodes.bus
        node = await bus.ask_any("where", sid=sid) if sid else None
        if node is None:
            raise _no_session()
        grant, _ = await self._front.door.grant(request)
        body = b64encode(await self._front.bodies.read(request)).decode()
        fields = {"sid": sid, "subject": grant.subject, "body": body}
        answer: str = await bus.ask_node(node, "post", patience=FORWARDED_FOR, **fields)
        return answer.encode()

    async def _answer_where(self, fields: dict[str, Any]) -> str | None:
        return self._front.nodes.bus.node if fields["sid"] in self._hub.sessions else None

    async def _answer_post(self, fields: dict[str, Any]) -> str:
        session = self._hub.sessions.get(fields["sid"])
        if session is None:
            raise _no_session()
        if session.grant.subject != fields["subject"]:
            raise RtpushError("forbidden", "This session belongs to somebody else.")

        async def read() -> bytes:
            return b64decode(fields["body"])

        return (await self._post(session, read)).decode()

    async def _answers(self, session: Session, body: bytes) -> list[bytes]:
        envelopes, _ = parse_many(body)
        self._front.charge(session, len(envelopes), len(body))
        if len(envelopes) > self._settings.max_batch:
            raise RtpushError(
                "too_large", f"Send at most {self._settings.max_batch} envelopes at once."
            )
        if session.expires is not None:
            session.expires = self._hub.lease()
        return await self._take(session, envelopes)

    @contextmanager
    def _one_more(self, session: Session) -> Iterator[None]:
        """Bound what waits for slow handlers: the requests of one session at a time."""
        if self._posting[session] >= MAX_POSTS:
            raise RtpushError("rate_limited", "Wait for the answers to what was sent before.")
        self._posting[session] += 1
        try:
            yield
        finally:
            self._posting[session] -= 1
            if not self._posting[session]:
                del self._posting[session]

    def _check_rate(self, seconds: float) -> None:
        if seconds:
            raise RtpushError("rate_limited", "Too much at once; send less.", math.ceil(seconds))

    async def _take(self, session: Session, envelopes: Sequence[Incoming]) -> list[bytes]:
        exchange = Exchange(len(envelopes))
        for place, envelope in enumerate(envelopes):
            self._intake.take(session, envelope, Place(exchange, place))
        await exchange.finished()
        return exchange.answers()


def _no_session() -> RtpushError:
    return RtpushError(
        "not_found", "No such session: it ended. Connect again, then send with the new sid."
    )


class Waiter:
    """A request that waits: a wire of the hub which is full after one write."""

    def __init__(self, hub: Hub) -> None:
        self.form = JSON
        self.frames: list[bytes] = []
        self.session: Session | None = None
        # Where this read ended, when it ended before it was answered: the
        # session may be read on by another request by then.
        self.upto: Position | None = None
        self._hub = hub
        self._woken = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Until there is something to answer, or the time is up."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return

    def write(self, data: bytes) -> None:
        """See hub.Wire."""
        self.frames.append(data)
        self._woken.set()

    def backlog(self) -> int:
        """See hub.Wire."""
        return sum(map(len, self.frames))

    def heartbeat(self) -> None:
        """See hub.Wire. A request is short: its end is its heartbeat."""

    def close(self, code: int, reason: str) -> None:
        """See hub.Wire."""
        if self.session is not None:
            self.upto = self._hub.position_of(self.session)
        self._woken.set()


class Exchange:
    """The answers to the envelopes of one POST, in one array.

    They come as things get done; they go in the order of the envelopes.
    """

    def __init__(self, count: int) -> None:
        self.places: list[list[bytes]] = [[] for _ in range(count)]
        self._left = count
        self._finished = asyncio.Event()
        if not count:
            self._finished.set()

    async def finished(self) -> None:
        """Until every envelope is answered."""
        await self._finished.wait()

    def one_done(self) -> None:
        """One more envelope is answered."""
        self._left -= 1
        if not self._left:
            self._finished.set()

    def answers(self) -> list[bytes]:
        """All of them, in order."""
        return [answer for place in self.places for answer in place]


class Place:
    """The answer to one envelope of an exchange."""

    __slots__ = ("_answers", "_exchange")

    def __init__(self, exchange: Exchange, index: int) -> None:
        self._exchange = exchange
        self._answers = exchange.places[index]

    def send(self, envelope: bytes) -> None:
        """See intake.Answer."""
        self._answers.append(envelope)

    def done(self, reply: bytes | None) -> None:
        """See intake.Answer."""
        if reply is not None:
            self._answers.append(reply)
        self._exchange.one_done()


def _timeout(request: web.Request, default: float) -> float:
    text = request.query.get("timeout")
    if text is None:
        return default
    try:
        timeout = float(text)
    except ValueError:
        timeout = -1.0
    if not 0 <= timeout <= MAX_TIMEOUT:
        raise RtpushError(
            "bad_request", f'"timeout" is a number of seconds from 0 to {MAX_TIMEOUT:g}.'
        )
    return timeout
