"""Long-poll: the same reader, one read per request.

Rules that hold here:

- A waiting request is a connection that is full after its first write.
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
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from typing import Any, Final

from aiohttp import web

from ..access.auth import Grant
from ..access.rate_limits import owners_of
from ..errors import RtpushError
from ..json_limits import count_containers, weigh
from ..protocol import Envelope, Incoming, encode_error
from ..sessions.session import Session
from ..web.batch import Batch, parse_many
from ..web.body import checked
from ..web.request_keys import CALLER
from .connect_request import ConnectRequest, flag
from .context import TransportContext
from .goodbyes import Goodbyes, no_session
from .pending_poll import PendingPoll
from .sse import SseConnection

__all__ = ["LongPollTransport"]

# The longest wait that a client may ask for, in seconds: many proxies give up
# at 60.
MAX_TIMEOUT: Final = 55.0
# Requests of one session that may wait for their answers.
MAX_POSTS: Final = 8
# Bytes of answers from which the rest of a POST is refused: a snapshot that a `join`
# is answered with is much larger than the `join`.
MAX_ANSWERS: Final = 4 << 20
# Seconds that another node has for the envelopes of a client of its own.
FORWARD_TIMEOUT: Final = 30.0


class LongPollTransport:
    """`GET /poll` and `POST /poll`."""

    def __init__(self, context: TransportContext) -> None:
        self._context = context
        self._hub = context.hub
        self._intake = context.dispatcher
        self._settings = context.settings
        self._goodbyes = Goodbyes(context)
        self._posting: Counter[Session] = Counter()
        context.nodes.bus.on("where", self._answer_where)
        context.nodes.bus.on("post", self._answer_post)

    async def read(self, request: web.Request) -> web.StreamResponse:
        """One read. Raises RtpushError."""
        self._context.charge_request(request)
        connect_request = await self._context.read_connect_request(request)
        timeout = _timeout(request, self._settings.poll_timeout)
        once = flag(request, "once", default=False)
        poll = PendingPoll(self._hub, request.transport)
        session = await self._find(request, connect_request, poll)
        poll.session = session
        if session.snapshot is not None:
            self._hub.pause(session)
        try:
            if not poll:
                await poll.wait(timeout)
            if poll.in_parts:
                return await self._answer_in_parts(request, poll, session)
            return self._answer(poll, session)
        finally:
            self._release(session, poll, once)

    async def _find(
        self, request: web.Request, connect_request: ConnectRequest, poll: PendingPoll
    ) -> Session:
        """Find the session to read for: one that the client has, or a new one."""
        await self._context.wait_for_position(connect_request.last)
        session = None
        if connect_request.sid:
            grant, _ = await self._context.access.grant(request)
            session = self._hub.sessions.get(connect_request.sid)
            if session is None:
                session = await self._context.take_over(request, connect_request, grant)
            elif session.grant.subject != grant.subject:
                # Another person has logged in on the page.
                session = None
        if session is None or session.lease_until is None or connect_request.last is None:
            if flag(request, "known", default=False):
                raise no_session()
            session = await self._context.admit(request, connect_request)
            self._open(session, poll, connect_request.last)
        else:
            self._hub.renew(session, grant)
            session.confirm(request.query.get("receipt"))
            self._hub.reattach(session, poll, connect_request.last)
        session.lease_until = self._hub.lease()
        return session

    def _open(self, session: Session, poll: PendingPoll, last: str | None) -> None:
        try:
            self._hub.open(session, poll, last)
        except BaseException:
            self._hub.close(session)
            raise

    def _answer(self, poll: PendingPoll, session: Session) -> web.Response:
        return web.Response(
            body=b'{"events":[' + poll.take() + self._end(poll, session),
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    def _end(self, poll: PendingPoll, session: Session) -> bytes:
        position = poll.upto or self._hub.position_of(session)
        return b'],"last":"%b"%b}' % (str(position).encode(), self._receipt(poll, session))

    def _receipt(self, poll: PendingPoll, session: Session) -> bytes:
        """What the client confirms the answer by, if something in it has no position."""
        if session.connection is not poll or not (session.unconfirmed or session.rewinds):
            return b""
        session.receipt += 1
        return b',"receipt":%d' % session.receipt

    async def _answer_in_parts(
        self, request: web.Request, poll: PendingPoll, session: Session
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Cache-Control": "no-store"})
        response.content_type = "application/json"
        # The middleware is too late for an answer that has begun.
        response.headers.update(self._context.access.origins.cors(request.headers.get("Origin")))
        await response.prepare(request)
        await response.write(b'{"events":[' + poll.take())
        while session.snapshot is not None and session.connection is poll:
            await response.write(await poll.next_parts())
        await response.write(poll.take() + self._end(poll, session))
        await response.write_eof()
        return response

    def _release(self, session: Session, poll: PendingPoll, once: bool) -> None:
        if session.connection is not poll:
            return
        if once:
            self._hub.close(session)
        else:
            self._hub.detach(session)
            session.lease_until = self._hub.lease()

    async def post(self, request: web.Request) -> web.Response:
        """Envelopes in; what they lead to for this client, out. Raises RtpushError."""
        sid = request.query.get("sid", "")
        session = self._hub.sessions.get(sid)
        if request.query.get("close") == "away" and request.content_length == 0:
            await self._goodbyes.leave_page_of(request, sid)
            body = b"[]"
        elif session is None:
            body = await self._post_elsewhere(request, sid)
        else:
            await self._context.check_owner(request, session)
            body = await self._post(session, self._reading(request, session.grant))
            self._goodbyes.take(session, request.query.get("close"))
        return web.Response(
            body=body, content_type="application/json", headers={"Cache-Control": "no-store"}
        )

    def _reading(self, request: web.Request, grant: Grant) -> AbstractAsyncContextManager[bytes]:
        bodies = self._context.body_reader
        owners = owners_of(request[CALLER].address, grant.key_scope)
        return bodies.read(request, bodies.clients, owners)

    async def _post(self, session: Session, reading: AbstractAsyncContextManager[bytes]) -> bytes:
        if not session.admitted:
            raise no_session()
        self._check_rate(self._context.charge(session, 0, 0))
        with self._one_more(session):
            async with reading as body:
                return b"[%b]" % b",".join(await self._answers(session, body))

    async def _post_elsewhere(self, request: web.Request, sid: str) -> bytes:
        """Take what a client sends whose session is on another node, or has lost its connection."""
        node = await self._context.nodes.bus.ask_any("where", sid=sid) if sid else None
        if node is not None:
            return await self._forward(request, sid, node)
        if not request.query.get("last"):
            raise no_session()
        return await self._resume_and_post(request)

    async def _resume_and_post(self, request: web.Request) -> bytes:
        """Go on with a session for these envelopes alone: its page is being closed."""
        self._context.charge_request(request)
        asked = await self._context.read_connect_request(request)
        session = await self._context.admit(request, asked)
        session.lease_until = self._hub.lease()
        try:
            return await self._post(session, self._reading(request, session.grant))
        finally:
            # Unless its client has come back meanwhile.
            if session.connection is None:
                self._goodbyes.leave_page(session)

    async def _forward(self, request: web.Request, sid: str, node: str) -> bytes:
        """Have the node that has the session take what its client sends here."""
        bus = self._context.nodes.bus
        grant, _ = await self._context.access.grant(request)
        async with self._reading(request, grant) as body:
            fields = {"sid": sid, "subject": grant.subject, "body": b64encode(body).decode()}
            fields["close"] = request.query.get("close")
            answer: str = await bus.ask_node(node, "post", timeout=FORWARD_TIMEOUT, **fields)
        return answer.encode()

    async def _answer_where(self, fields: dict[str, Any]) -> str | None:
        return self._context.nodes.bus.node if fields["sid"] in self._hub.sessions else None

    async def _answer_post(self, fields: dict[str, Any]) -> str:
        session = self._hub.sessions.get(fields["sid"])
        if session is None:
            raise no_session()
        if session.grant.subject != fields["subject"]:
            raise RtpushError("forbidden", "This session belongs to another user.")
        answers = await self._post(session, nullcontext(b64decode(fields["body"])))
        self._goodbyes.take(session, fields["close"])
        return answers.decode()

    async def _answers(self, session: Session, body: bytes) -> list[bytes]:
        if self._hub.sessions.get(session.sid) is not session:
            # It ended while the body was on its way.
            raise no_session()
        settings, messages = self._settings, 0
        try:
            batch = parse_many(body, settings.max_batch, settings.max_message)
            messages = len(batch)
        finally:
            self._context.charge(session, messages, weigh(body, count_containers(body)))
        if session.lease_until is not None:
            session.lease_until = self._hub.lease()
        return await self._take(session, batch)

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

    async def _take(self, session: Session, batch: Batch) -> list[bytes]:
        response = BatchResponse(len(batch))
        index = 0
        async for envelope in checked(batch):
            responder = self._responder(session, envelope, response, index)
            index += 1
            if response.size > MAX_ANSWERS:
                responder.done(encode_error(_answers_too_large(), envelope.ack))
            else:
                self._intake.dispatch(session, envelope, responder)
        await response.finished()
        return response.answers()

    def _responder(
        self, session: Session, envelope: Incoming, response: BatchResponse, index: int
    ) -> EnvelopeResponder:
        is_ping = isinstance(envelope, Envelope) and envelope.event == "ping"
        if is_ping and isinstance(session.connection, SseConnection):
            return PingResponder(response, index, session.connection)
        return EnvelopeResponder(response, index)


def _answers_too_large() -> RtpushError:
    return RtpushError(
        "rate_limited", "The answers have become large; send the rest in a request of its own."
    )


class BatchResponse:
    """The answers to the envelopes of one POST, in one array.

    They come as things get done; they go in the order of the envelopes.
    """

    def __init__(self, count: int) -> None:
        self.places: list[list[bytes]] = [[] for _ in range(count)]
        # Bytes of answers that are there.
        self.size = 0
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
        return [answer for index in self.places for answer in index]


class EnvelopeResponder:
    """The answer to one envelope of an exchange."""

    __slots__ = ("_answers", "_batch")

    def __init__(self, batch: BatchResponse, index: int) -> None:
        self._batch = batch
        self._answers = batch.places[index]

    def send(self, envelope: bytes) -> None:
        """See dispatcher.Responder."""
        self._add(envelope)

    def _add(self, envelope: bytes) -> None:
        self._answers.append(envelope)
        self._batch.size += len(envelope)

    def done(self, reply: bytes | None) -> None:
        """See dispatcher.Responder."""
        if reply is not None:
            self._add(reply)
        self._batch.one_done()


class PingResponder(EnvelopeResponder):
    """The same for a ping over SSE: its `pong` shows that the stream lets events through."""

    __slots__ = ("_stream",)

    def __init__(self, batch: BatchResponse, index: int, stream: SseConnection) -> None:
        super().__init__(batch, index)
        self._stream = stream

    def send(self, envelope: bytes) -> None:
        """See dispatcher.Responder."""
        if not self._stream.pong(envelope):
            self._add(envelope)


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
