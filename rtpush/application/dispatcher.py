"""Dispatch envelopes from clients and publishers.

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
from collections.abc import Awaitable, Callable, Collection, Sequence
from inspect import isawaitable
from typing import Any, Final

from orjson import Fragment

from ..access.auth import OPEN
from ..access.charges import charge_client, charge_publisher
from ..access.key_scope import PUBLISHERS
from ..cluster.nodes import Nodes
from ..config.settings import Settings
from ..errors import RtpushError
from ..handlers.registry import HandlerRegistry
from ..hub import Hub
from ..log.accounts import APPLICATION
from ..log.base import Log, Outcome
from ..log.entry import Draft
from ..log.retained import check_retain
from ..log.task import ENDS, REQUEUED, TASK_EVENTS, task_key
from ..log.task_states import SERVER, Sender
from ..metrics import Metrics
from ..payloads import JsonDefault, default_of, is_args
from ..protocol import (
    LOGGED_ONLY,
    RESERVED_EVENTS,
    Envelope,
    Incoming,
    Position,
    Reply,
    check_size,
    encode,
    encode_answer,
    encode_data,
    encode_error,
    encode_reply,
    with_ack,
)
from ..sessions.session import Session
from .commands import Commands, Responder
from .session_claims import CLAIM, SessionClaims
from .turns import Spawn, Turns

__all__ = ["Dispatcher", "position_of"]

logger = logging.getLogger("rtpush.dispatcher")

# So many envelopes in a row that cannot be understood, and the client speaks
# another protocol: there is no point in going on.
MAX_BAD_ENVELOPES: Final = 20


class Dispatcher:
    """Takes envelopes in. One for the whole server."""

    def __init__(
        self,
        log: Log,
        hub: Hub,
        nodes: Nodes,
        handlers: HandlerRegistry,
        commands: Commands,
        turns: Turns,
        claims: SessionClaims,
        spawn: Spawn,
        metrics: Metrics,
        settings: Settings,
        json_default: JsonDefault | None = None,
    ) -> None:
        self._json_default = default_of(json_default)
        self._log = log
        self._hub = hub
        self._nodes = nodes
        self._handlers = handlers
        self._commands = commands
        self._turns = turns
        self._claims = claims
        self._spawn = spawn
        self._metrics = metrics
        # Takes replies that were not asked for here.
        self.on_stray_reply: Callable[[Session, Reply], None] = lambda _session, _reply: None
        self._max_message = settings.max_message

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
        elif envelope.event == "ping":
            self._execute(session, envelope, responder)
        else:
            self._turns.take(session, lambda: self._execute(session, envelope, responder))

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
            _check_not_reserved(envelope)
            command = self._commands.get(envelope.event)
            if command is not None:
                result = command(session, envelope, responder)
                if isawaitable(result):
                    return self._reply_later(envelope, responder, result)
                responder.done(_reply(envelope, result))
                return None
            self._check_event(session, envelope.event)
            if self._handlers.has(envelope.event):
                return self._handle(session, envelope, responder)
            if envelope.event == CLAIM:
                self._check_open()
                claiming = self._claims.begin(session, envelope)
                self._spawn(self._reply_later(envelope, responder, claiming))
            else:
                self._relay_event(session, envelope, responder)
        except RtpushError as error:
            responder.done(self._refusal(error, envelope.ack))
        return None

    async def _reply_later(
        self, envelope: Envelope, responder: Responder, result: Awaitable[Any]
    ) -> None:
        try:
            reply = _reply(envelope, await result)
        except RtpushError as error:
            reply = self._refusal(error, envelope.ack)
        responder.done(reply)

    def _relay_event(self, session: Session, envelope: Envelope, responder: Responder) -> None:
        self._check_open()
        self._check_room(session, envelope.room)
        if envelope.room != session.sid:
            self._hub.room_policy.check_event(envelope.event, envelope.room)
        if self._is_volatile(envelope):
            self._send_volatile(envelope)
            responder.done(_reply(envelope, None))
        else:
            self._append(session, envelope, responder)

    def _check_open(self) -> None:
        # A stop waits until what was taken is delivered: that has to end.
        if self._hub.stopping:
            raise RtpushError("going_away", "The server is stopping; send it again in a moment.")

    def _check_event(self, session: Session, event: str) -> None:
        if session.grant is not OPEN:
            session.grant.check_event(event)

    def _check_room(self, session: Session, room: str | None) -> None:
        if room is None or room in session.rooms or room == session.sid:
            return
        policy = self._hub.room_policy
        if not policy.is_open(room) and not policy.reaches_all(session.grant):
            raise RtpushError("forbidden", "You send into rooms that you are in: join it first.")

    def _is_volatile(self, envelope: Envelope) -> bool:
        """Is it not to be logged? Rules are about rooms, not about a session's own."""
        room = envelope.room
        return envelope.volatile or not (
            self._hub.room_policy.keeps(room) or self._hub.knows(room or "")
        )

    def _append(self, session: Session, envelope: Envelope, responder: Responder) -> None:
        grant = session.grant
        account = charge_client(grant, session.address)
        draft = self._draft_of(
            envelope,
            key_scope=grant.key_scope,
            account=account,
            sender=Sender(grant.subject, grant.publish),
        )
        appended = self._log.append([draft])
        appended.add_done_callback(
            lambda done: self._appended(session, draft, envelope, responder, done)
        )

    def _appended(
        self,
        session: Session,
        draft: Draft,
        envelope: Envelope,
        responder: Responder,
        done: asyncio.Future[list[Outcome]],
    ) -> None:
        if done.cancelled():
            return
        (outcome,) = done.result()
        if isinstance(outcome, RtpushError):
            responder.done(self._refusal(outcome, envelope.ack))
            return
        if draft.event in TASK_EVENTS:
            _note_claim(session, draft)
        if envelope.ack is None:
            responder.done(None)
        else:
            data = {"id": position_of(self._log, outcome)}
            responder.done(encode_reply(envelope.ack, data))

    # --------------------------------------------------------- to an application

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
            responder.done(None if ack is None else with_ack(result, ack))

    async def _result(self, session: Session, envelope: Envelope) -> bytes | RtpushError:
        try:
            result = await self._handlers.event(envelope.event, session.sid, envelope.data)
        except RtpushError as error:
            return error
        try:
            return encode_answer(result, self._json_default)
        except RtpushError:
            logger.exception("what the handler of %r returned is not JSON", envelope.event)
            return RtpushError("internal", "The application's answer cannot be sent.")

    # ------------------------------------------------------ from a publisher

    async def publish(
        self, envelopes: Sequence[Incoming], key_scope: str = PUBLISHERS
    ) -> list[Outcome | None]:
        """Log what a publisher sends; one outcome each (None: volatile, sent).

        `key_scope` says whose the idempotency keys are. The outcomes are known when
        everything that could be is stored.
        """
        judged = [self._draft(envelope, key_scope) for envelope in envelopes]
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
        _check_not_reserved(envelope)
        if ack is None and self._is_volatile(envelope):
            self._send_volatile(envelope, skip)
            return None
        (outcome,) = await self._log.append([self._draft_of(envelope, skip, ack)])
        if isinstance(outcome, RtpushError):
            raise outcome
        return position_of(self._log, outcome)

    def _draft_of(
        self,
        envelope: Envelope,
        skip: tuple[str, ...] = (),
        ack: str | None = None,
        key_scope: str = "",
        account: str = APPLICATION,
        sender: Sender = SERVER,
    ) -> Draft:
        if envelope.retain:
            self._check_retained(envelope, skip, ack)
        default = self._json_default
        draft = Draft.of(envelope, skip, ack, key_scope, account, sender, default)
        limit, args = self._max_message, draft.args
        check_size(limit, draft.event, draft.encoded, draft.room, draft.key, ack, args=args)
        return draft

    def _check_retained(self, envelope: Envelope, skip: tuple[str, ...], ack: str | None) -> None:
        check_retain(envelope.event, envelope.key)
        if skip or ack is not None or self._hub.knows(envelope.room or ""):
            raise RtpushError(
                "bad_envelope",
                "A retained event is for everyone or a whole room, not for a session.",
            )

    def _draft(self, envelope: Incoming, key_scope: str) -> Draft | RtpushError | None:
        if isinstance(envelope, RtpushError):
            return envelope
        try:
            if isinstance(envelope, Reply):
                raise RtpushError("bad_event", 'An event has a name: {"event": "…"}.')
            self._check_open()
            _check_not_reserved(envelope)
            if not self._is_volatile(envelope):
                account = charge_publisher(key_scope)
                return self._draft_of(envelope, key_scope=key_scope, account=account)
            self._send_volatile(envelope)
        except RtpushError as error:
            return error
        return None

    def _send_volatile(self, envelope: Envelope, skip: Collection[str] = ()) -> None:
        if envelope.retain:
            raise RtpushError(
                "bad_envelope",
                "A volatile event is not retained: leave one of the two out, or take a room whose "
                "rule has no `volatile`.",
            )
        if envelope.event in TASK_EVENTS:
            raise RtpushError(
                "bad_task",
                "Task events are always logged: leave `volatile` out, here or in the room's rule.",
            )
        _check_not_logged_only(envelope.event)
        data, args = encode_data(envelope.data, self._json_default), is_args(envelope.data)
        limit, event, room = self._max_message, envelope.event, envelope.room
        check_size(limit, event, data, room, args=args, logged=False)
        encoded = encode(event, Fragment(data), room=room, args=args)
        self._nodes.send_volatile(encoded, room, skip)


def position_of(log: Log, seq: int) -> str:
    """The `id` of an entry of this log."""
    return str(Position(log.epoch, seq))


def _note_claim(session: Session, draft: Draft) -> None:
    """A session has told of a task: does its client work on it?"""
    key, attempt = task_key(draft.data), draft.data.get("attempt")
    if draft.event == "task_progress" and isinstance(attempt, int):
        session.hold(key, attempt)
    elif draft.event in ENDS or draft.event == REQUEUED:
        session.let_go(key)


def _reply(envelope: Envelope, data: Any) -> bytes | None:
    return None if envelope.ack is None else encode_reply(envelope.ack, data)


def _check_not_reserved(envelope: Envelope) -> None:
    event = envelope.event
    if event in RESERVED_EVENTS:
        raise RtpushError(
            "reserved_event", f'Only the server sends "{event}"; choose another name.'
        )
    if envelope.volatile:
        _check_not_logged_only(event)


def _check_not_logged_only(event: str) -> None:
    if event in LOGGED_ONLY:
        raise RtpushError(
            "reserved_event",
            f'Only the server sends "{event}" without an id; choose another name, or leave '
            "`volatile` out, here or in the room's rule.",
        )
