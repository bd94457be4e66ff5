"""What becomes of the envelopes that clients and publishers send.

Rules that hold here:

- Every envelope is answered exactly once, through its `Answer`: by a reply
  when it asked for one, by nothing or an `error` event when it did not.
- A reply to a logged event is sent when the event is stored, not before.
- The same code serves every transport: what a client may say does not depend
  on how it came.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final, Protocol

from .config import Settings
from .errors import RtpushError
from .hub import Hub
from .log import Draft, Log, Outcome, Position
from .protocol import (
    RESERVED_EVENTS,
    Envelope,
    check_room,
    encode,
    encode_data,
    encode_error,
    encode_reply,
)
from .session import Session
from .tasks import TASK_EVENTS

__all__ = ["Answer", "Intake", "position_of"]

logger = logging.getLogger("rtpush.intake")

# So many envelopes in a row that cannot be understood, and the client speaks
# another protocol: there is no point in going on.
MAX_STRIKES: Final = 20


class Answer(Protocol):
    """Where the outcome of one envelope goes. `done` is called exactly once."""

    def send(self, envelope: bytes) -> None:
        """An envelope for this client only (`pong`, a room's `active_tasks`)."""

    def done(self, reply: bytes | None) -> None:
        """The reply or error event; None when there is nothing to say."""


Command = Callable[[Session, Envelope, Answer], Any]


class Intake:
    """Takes envelopes in. One for the whole server."""

    def __init__(self, log: Log, hub: Hub, settings: Settings) -> None:
        self._log = log
        self._hub = hub
        self._relay = settings.relay
        self._commands: dict[str, Command] = {
            "ping": self._ping,
            "join": self._join,
            "leave": self._leave,
            "auth": self._auth,
        }

    # -------------------------------------------------------- from a session

    def take(self, session: Session, envelope: Envelope | RtpushError, answer: Answer) -> None:
        """Act on one envelope of a session."""
        if isinstance(envelope, RtpushError):
            self._refuse(session, envelope, answer)
            return
        session.strikes = 0
        try:
            self._act(session, envelope, answer)
        except RtpushError as error:
            answer.done(encode_error(error, envelope.ack))

    def _refuse(self, session: Session, error: RtpushError, answer: Answer) -> None:
        session.strikes += 1
        answer.done(encode_error(error, error.ack))
        if session.strikes >= MAX_STRIKES:
            self._hub.disconnect(
                session,
                RtpushError("bad_envelope", f"{MAX_STRIKES} bad envelopes in a row."),
            )

    def _act(self, session: Session, envelope: Envelope, answer: Answer) -> None:
        command = self._commands.get(envelope.event)
        if command is not None:
            data = command(session, envelope, answer)
            answer.done(None if envelope.ack is None else encode_reply(envelope.ack, data))
            return
        self._check_allowed(envelope)
        if envelope.volatile:
            self.send_volatile(envelope)
            answer.done(None if envelope.ack is None else encode_reply(envelope.ack, None))
        else:
            self._append(envelope, answer)

    def _check_allowed(self, envelope: Envelope) -> None:
        event = envelope.event
        _check_not_reserved(event)
        if event in TASK_EVENTS:
            return
        if not any(fnmatchcase(event, pattern) for pattern in self._relay):
            raise RtpushError(
                "forbidden",
                "Clients may not send this event: the setting `relay` does not list it.",
            )

    def _append(self, envelope: Envelope, answer: Answer) -> None:
        appended = self._log.append([Draft.of(envelope)])
        appended.add_done_callback(lambda done: self._appended(envelope, answer, done))

    def _appended(
        self, envelope: Envelope, answer: Answer, done: asyncio.Future[list[Outcome]]
    ) -> None:
        if done.cancelled():
            return
        (outcome,) = done.result()
        if isinstance(outcome, RtpushError):
            answer.done(encode_error(outcome, envelope.ack))
        elif envelope.ack is None:
            answer.done(None)
        else:
            data = {"id": position_of(self._log, outcome)}
            answer.done(encode_reply(envelope.ack, data))

    # -------------------------------------------------------------- commands

    def _ping(self, _session: Session, envelope: Envelope, answer: Answer) -> None:
        encode_data(envelope.data)
        answer.send(encode("pong", envelope.data))

    def _join(self, session: Session, envelope: Envelope, answer: Answer) -> dict[str, str]:
        room = _room_of(envelope)
        answer.send(self._hub.join(session, room))
        return {"room": room}

    def _leave(self, session: Session, envelope: Envelope, _answer: Answer) -> dict[str, str]:
        room = _room_of(envelope)
        self._hub.leave(session, room)
        return {"room": room}

    def _auth(self, _session: Session, _envelope: Envelope, _answer: Answer) -> None:
        raise RtpushError(
            "forbidden", "This server has no authentication configured; leave `auth` out."
        )

    # ------------------------------------------------------ from a publisher

    async def publish(self, envelopes: Sequence[Envelope | RtpushError]) -> list[Outcome | None]:
        """Log what a publisher sends; one outcome each (None: volatile, sent).

        The outcomes are known when everything that could be is stored.
        """
        judged = [self._draft(envelope) for envelope in envelopes]
        drafts = [draft for draft in judged if isinstance(draft, Draft)]
        stored = iter(await self._log.append(drafts) if drafts else ())
        return [next(stored) if isinstance(item, Draft) else item for item in judged]

    def _draft(self, envelope: Envelope | RtpushError) -> Draft | RtpushError | None:
        if isinstance(envelope, RtpushError):
            return envelope
        try:
            _check_not_reserved(envelope.event)
            if not envelope.volatile:
                return Draft.of(envelope)
            self.send_volatile(envelope)
        except RtpushError as error:
            return error
        return None

    def send_volatile(self, envelope: Envelope) -> None:
        """Raises RtpushError when the event may not be volatile or the data is unfit."""
        if envelope.event in TASK_EVENTS:
            raise RtpushError("bad_task", "Task events are always logged; leave `volatile` out.")
        encode_data(envelope.data)
        self._hub.send_volatile(envelope.event, envelope.data, envelope.room)


def position_of(log: Log, seq: int) -> str:
    """The `id` of an entry of this log."""
    return str(Position(log.epoch, seq))


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
