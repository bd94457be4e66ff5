"""What becomes of the envelopes that clients and publishers send.

Rules that hold here:

- Every envelope is answered exactly once, through its `Responder`: by a reply
  when it asked for one, by nothing or an `error` event when it did not.
- A reply to a logged event is sent when the event is stored, not before.
- The same code serves every transport: what a client may say does not depend
  on how it came.
- An event with a handler goes to the application and nowhere else, and once:
  sent again under the same idempotency key it gets the answer that the first
  one got, as long as the session is known and remembers it. While one
  of a session's events is handled, those behind it wait their turn; a `ping`,
  and the replies that a handler may be waiting for, do not.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from typing import Any, Final, Protocol

from orjson import Fragment, JSONEncodeError

from ..access.auth import OPEN, Authenticator, Grant
from ..cluster.nodes import Nodes
from ..config.settings import Settings
from ..errors import Reason, RtpushError
from ..handlers.registry import HandlerRegistry
from ..hub import Hub
from ..log.base import Log, Outcome
from ..log.board import TASK_EVENTS
from ..log.entry import Draft
from ..metrics import Metrics
from ..patterns import matches_any
from ..protocol import (
    RESERVED_EVENTS,
    Envelope,
    Incoming,
    Position,
    Reply,
    check_room,
    dumps,
    encode,
    encode_data,
    encode_error,
    encode_reply,
)
from ..sessions.session import Session

__all__ = ["Dispatcher", "Responder", "position_of"]

logger = logging.getLogger("rtpush.dispatcher")

# So many envelopes in a row that cannot be understood, and the client speaks
# another protocol: there is no point in going on.
MAX_BAD_ENVELOPES: Final = 20


class Responder(Protocol):
    """Where the outcome of one envelope goes. `done` is called exactly once."""

    def send(self, envelope: bytes) -> None:
        """An envelope for this client only (`pong`, a room's `active_tasks`)."""

    def done(self, reply: bytes | None) -> None:
        """The reply or error event; None when there is nothing to say."""


Command = Callable[[Session, Envelope, Responder], Any]


class Dispatcher:
    """Takes envelopes in. One for the whole server."""

    def __init__(
        self,
        log: Log,
        hub: Hub,
        nodes: Nodes,
        handlers: HandlerRegistry,
        auth: Authenticator,
        metrics: Metrics,
        settings: Settings,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._log = log
        self._hub = hub
        self._nodes = nodes
        self._handlers = handlers
        self._auth = auth
        self._metrics = metrics
        self._spawn = spawn
        # Takes replies that were not asked for here.
        self.on_stray_reply: Callable[[Session, Reply], None] = lambda _session, _reply: None
        # Sessions that have ended, until the application has been told.
        self.disconnecting: dict[str, Session] = {}
        self._relay = settings.relay
        self._commands: dict[str, Command] = {
            "ping": self._ping,
            "join": self._join,
            "leave": self._leave,
        }

    # -------------------------------------------------------- from a session

    def dispatch(self, session: Session, envelope: Incoming, responder: Responder) -> None:
        """Act on one envelope of a session, when its turn has come."""
        if isinstance(envelope, RtpushError):
            self._refuse(session, envelope, responder)
            return
        session.bad_envelopes = 0
        if isinstance(envelope, Reply):
            self._resolve_reply(session, envelope)
            responder.done(None)
        elif envelope.event == "ping" and not self._handlers.has("ping"):
            self._execute(session, envelope, responder)
        else:
            self._in_order(session, lambda: self._execute(session, envelope, responder))

    def _in_order(self, session: Session, act: Callable[[], Awaitable[None] | None]) -> None:
        """Now, or behind what the session has under way."""
        if session.handler_queue is not None:
            session.handler_queue.append(act)
            return
        work = act()
        if work is not None:
            session.handler_queue = deque()
            self._spawn(self._drain(session, session.handler_queue, work))

    async def _drain(
        self, session: Session, handler_queue: deque[Callable[[], Any]], work: Awaitable[None]
    ) -> None:
        await work
        while handler_queue:
            next_work = handler_queue.popleft()()
            if next_work is not None:
                await next_work
        session.handler_queue = None

    def _refusal(self, error: RtpushError, ack: int | float | str | None) -> bytes:
        self._metrics.refusals[error.code] += 1
        return encode_error(error, ack)

    def _resolve_reply(self, session: Session, reply: Reply) -> None:
        take = (
            session.pending_replies.pop(str(reply.ack), None) if session.pending_replies else None
        )
        if take is not None:
            take(reply)
        else:
            self.on_stray_reply(session, reply)

    def _refuse(self, session: Session, error: RtpushError, responder: Responder) -> None:
        session.bad_envelopes += 1
        responder.done(self._refusal(error, error.ack))
        if session.bad_envelopes >= MAX_BAD_ENVELOPES:
            self._hub.disconnect(
                session,
                RtpushError("bad_envelope", f"{MAX_BAD_ENVELOPES} bad envelopes in a row."),
            )

    def _execute(
        self, session: Session, envelope: Envelope, responder: Responder
    ) -> Awaitable[None] | None:
        """Act on it; returns what the session's next turn has to wait for, if anything."""
        try:
            _check_not_reserved(envelope.event)
            if self._handlers.has(envelope.event):
                return self._handle(session, envelope, responder)
            if envelope.event == "auth" or _brings_token(envelope):
                return self._use_token(session, envelope, responder)
            self._execute_builtin(session, envelope, responder)
        except RtpushError as error:
            responder.done(self._refusal(error, envelope.ack))
        return None

    def _execute_builtin(self, session: Session, envelope: Envelope, responder: Responder) -> None:
        command = self._commands.get(envelope.event)
        if command is not None:
            data = command(session, envelope, responder)
            responder.done(None if envelope.ack is None else encode_reply(envelope.ack, data))
            return
        self._check_open()
        self._check_allowed(session, envelope)
        if envelope.volatile:
            self._send_volatile(envelope)
            responder.done(None if envelope.ack is None else encode_reply(envelope.ack, None))
        else:
            self._append(envelope, responder)

    def _check_open(self) -> None:
        # Whoever stops waits until what was taken is delivered: that has to end.
        if self._hub.stopping:
            raise RtpushError("going_away", "The server is stopping; send it again in a moment.")

    def _check_allowed(self, session: Session, envelope: Envelope) -> None:
        event, room = envelope.event, envelope.room
        if session.grant is not OPEN:
            session.grant.check_event(event)
            if room is not None and room not in session.rooms:
                session.grant.check_room(room)
        if event in TASK_EVENTS:
            return
        if not matches_any(self._relay, event):
            raise RtpushError(
                "forbidden",
                "Clients may not send this event: the setting `relay` does not list it.",
            )

    def _append(self, envelope: Envelope, responder: Responder) -> None:
        appended = self._log.append([Draft.of(envelope)])
        appended.add_done_callback(lambda done: self._appended(envelope, responder, done))

    def _appended(
        self, envelope: Envelope, responder: Responder, done: asyncio.Future[list[Outcome]]
    ) -> None:
        if done.cancelled():
            return
        (outcome,) = done.result()
        if isinstance(outcome, RtpushError):
            responder.done(self._refusal(outcome, envelope.ack))
        elif envelope.ack is None:
            responder.done(None)
        else:
            data = {"id": position_of(self._log, outcome)}
            responder.done(encode_reply(envelope.ack, data))

    # --------------------------------------------------------- to an application

    async def admit(
        self, session: Session, environ: Callable[[], dict[str, Any]], auth: Any
    ) -> None:
        """Let the application decide whether a session may begin. Raises RtpushError."""
        if self._handlers.has("connect"):
            decided: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._in_order(session, lambda: self._decide(session.sid, environ(), auth, decided))
            await decided
        if self._hub.sessions.get(session.sid) is not session:
            raise RtpushError("forbidden", "The application ended the connection.")
        session.admitted = True

    async def _decide(
        self, sid: str, environ: dict[str, Any], auth: Any, decided: asyncio.Future[None]
    ) -> None:
        try:
            await self._handlers.connect(sid, environ, auth)
        except RtpushError as error:
            if not decided.done():
                decided.set_exception(error)
            return
        if not decided.done():
            decided.set_result(None)
        elif self._handlers.has("disconnect"):
            # It was let in, and has gone meanwhile: whoever counts is told.
            await self._handlers.disconnect(sid, Reason.TRANSPORT_CLOSE)

    def closed(self, session: Session, reason: str) -> None:
        """Tell the application that a session has ended."""
        if self._handlers.has("disconnect"):
            self.disconnecting[session.sid] = session
            self._in_order(session, lambda: self._run_disconnect_handler(session, reason))

    async def _run_disconnect_handler(self, session: Session, reason: str) -> None:
        try:
            await self._handlers.disconnect(session.sid, reason)
        finally:
            self.disconnecting.pop(session.sid, None)

    async def _handle(self, session: Session, envelope: Envelope, responder: Responder) -> None:
        ack, key = envelope.ack, envelope.idempotency_key
        result = session.results.get(key or "")
        if result is None:
            result = await self._result(session, envelope)
            if key is not None:
                session.remember(key, result)
        if isinstance(result, RtpushError):
            responder.done(self._refusal(result, ack))
        else:
            responder.done(None if ack is None else encode_reply(ack, Fragment(result)))

    async def _result(self, session: Session, envelope: Envelope) -> bytes | RtpushError:
        try:
            result = await self._handlers.event(envelope.event, session.sid, envelope.data)
            return dumps(result)
        except RtpushError as error:
            return error
        except JSONEncodeError:
            logger.exception("what the handler of %r returned is not JSON", envelope.event)
            return RtpushError("internal", "The application's answer cannot be sent.")

    # -------------------------------------------------------------- commands

    def _ping(self, _session: Session, envelope: Envelope, responder: Responder) -> None:
        encode_data(envelope.data)
        responder.send(encode("pong", envelope.data))

    def _join(self, session: Session, envelope: Envelope, responder: Responder) -> dict[str, str]:
        room = _room_of(envelope)
        session.grant.check_room(room)
        responder.send(self._hub.join(session, room))
        return {"room": room}

    def _leave(self, session: Session, envelope: Envelope, _answer: Responder) -> dict[str, str]:
        room = _room_of(envelope)
        self._hub.leave(session, room)
        return {"room": room}

    async def _use_token(self, session: Session, envelope: Envelope, responder: Responder) -> None:
        """`auth` renews what the session may do; a token with `join` is for that room alone."""
        try:
            if not self._auth.wants_tokens:
                raise RtpushError(
                    "forbidden", "This server has no authentication configured; send no token."
                )
            data = envelope.data if isinstance(envelope.data, dict) else {}
            token = data.get("token")
            grant = await self._auth.grant(token if isinstance(token, str) else None)
            if envelope.event == "auth":
                self._hub.renew(session, grant)
                result: dict[str, Any] = {"expires": grant.expires}
            else:
                result = self._join_with(session, grant, envelope, responder)
        except RtpushError as error:
            responder.done(self._refusal(error, envelope.ack))
            return
        responder.done(None if envelope.ack is None else encode_reply(envelope.ack, result))

    def _join_with(
        self, session: Session, grant: Grant, envelope: Envelope, responder: Responder
    ) -> dict[str, str]:
        room = _room_of(envelope)
        if grant.subject not in (None, session.grant.subject):
            raise RtpushError("forbidden", "The token is for somebody else.")
        grant.check_room(room)
        responder.send(self._hub.join(session, room))
        return {"room": room}

    # ------------------------------------------------------ from a publisher

    async def publish(self, envelopes: Sequence[Incoming]) -> list[Outcome | None]:
        """Log what a publisher sends; one outcome each (None: volatile, sent).

        The outcomes are known when everything that could be is stored.
        """
        judged = [self._draft(envelope) for envelope in envelopes]
        drafts = [draft for draft in judged if isinstance(draft, Draft)]
        stored = iter(await self._log.append(drafts) if drafts else ())
        return [next(stored) if isinstance(item, Draft) else item for item in judged]

    async def emit(
        self, envelope: Envelope, skip: tuple[str, ...] = (), ack: str | None = None
    ) -> str | None:
        """Log one event of the application's; returns its position (None: volatile, sent).

        `skip` names sessions that are not to see it; `ack` asks the session
        it is for to reply. Raises RtpushError.
        """
        _check_not_reserved(envelope.event)
        if envelope.volatile:
            self._send_volatile(envelope, skip)
            return None
        (outcome,) = await self._log.append([Draft.of(envelope, skip, ack)])
        if isinstance(outcome, RtpushError):
            raise outcome
        return position_of(self._log, outcome)

    def _draft(self, envelope: Incoming) -> Draft | RtpushError | None:
        if isinstance(envelope, RtpushError):
            return envelope
        try:
            if isinstance(envelope, Reply):
                raise RtpushError("bad_event", 'An event has a name: {"event": "…"}.')
            self._check_open()
            _check_not_reserved(envelope.event)
            if not envelope.volatile:
                return Draft.of(envelope)
            self._send_volatile(envelope)
        except RtpushError as error:
            return error
        return None

    def _send_volatile(self, envelope: Envelope, skip: Collection[str] = ()) -> None:
        if envelope.event in TASK_EVENTS:
            raise RtpushError("bad_task", "Task events are always logged; leave `volatile` out.")
        encode_data(envelope.data)
        self._nodes.send_volatile(envelope.event, envelope.data, envelope.room, skip)


def position_of(log: Log, seq: int) -> str:
    """The `id` of an entry of this log."""
    return str(Position(log.epoch, seq))


def _brings_token(envelope: Envelope) -> bool:
    data = envelope.data
    return envelope.event == "join" and isinstance(data, dict) and "token" in data


def _check_not_reserved(event: str) -> None:
    if event in RESERVED_EVENTS:
        raise RtpushError(
            "reserved_event", f'Only the server sends "{event}"; choose another name.'
        )


def _room_of(envelope: Envelope) -> str:
    """`{"room": …}` in the data, or the envelope's own room, or the bare name."""
    data = envelope.data
    if isinstance(data, dict):
        return check_room(data.get("room"))
    return check_room(envelope.room if data is None else data)
