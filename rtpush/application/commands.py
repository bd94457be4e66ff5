"""The protocol's own words: what a client asks of the server itself. PROTOCOL.md, section 5."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Protocol

from orjson import Fragment

from ..errors import RtpushError
from ..payloads import is_args
from ..protocol import Envelope, check_room, check_size, encode, encode_data
from ..sessions.presence import check_info
from ..sessions.rewind import MAX_REWIND, RewindSpec
from ..sessions.session import Session
from .admission import Admission
from .history import ClientHistory

__all__ = ["Commands", "Responder"]


class Responder(Protocol):
    """Where the outcome of one envelope goes. `done` is called exactly once."""

    def send(self, envelope: bytes) -> None:
        """An envelope for this client only (`pong`, a room's `active_tasks`)."""

    def done(self, reply: bytes | None) -> None:
        """The reply or error event; None when there is nothing to say."""


# Returns the data of the reply, at once or in time; raises RtpushError.
Command = Callable[[Session, Envelope, Responder], Any]


class Commands:
    """Acts on `ping`, `join`, `leave`, `history` and `auth`."""

    def __init__(self, admission: Admission, history: ClientHistory, max_message: int) -> None:
        self._admission = admission
        self._history = history
        self._max_message = max_message
        self._by_event: dict[str, Command] = {
            "ping": self._ping,
            "join": self._join,
            "leave": self._leave,
            "history": self._read_history,
            "auth": self._auth,
        }

    def get(self, event: str) -> Command | None:
        """What to do for this event, if it is one of the protocol's words."""
        return self._by_event.get(event)

    def _ping(self, _session: Session, envelope: Envelope, responder: Responder) -> None:
        data, args = encode_data(envelope.data), is_args(envelope.data)
        check_size(self._max_message, "pong", data, args=args, logged=False)
        responder.send(encode("pong", Fragment(data), args=args))

    def _join(
        self, session: Session, envelope: Envelope, responder: Responder
    ) -> dict[str, str] | Awaitable[dict[str, Any]]:
        room = _room_of(envelope)
        data = envelope.data if isinstance(envelope.data, dict) else {}
        if data.get("rewind") is not None or data.get("presence") is not None:
            return self._join_with_more(session, room, data, responder)
        if self._admission.must_ask(session, room, envelope.data):
            return self._ask_and_join(session, room, envelope, responder)
        _answer(responder, self._admission.join(session, room))
        return {"room": room}

    async def _ask_and_join(
        self, session: Session, room: str, envelope: Envelope, responder: Responder
    ) -> dict[str, str]:
        data = envelope.data if isinstance(envelope.data, dict) else {"room": room}
        _answer(responder, await self._admission.ask_and_join(session, room, data))
        return {"room": room}

    async def _join_with_more(
        self, session: Session, room: str, data: dict[str, Any], responder: Responder
    ) -> dict[str, Any]:
        """Join, rewind, and be present, as the data asks for. Raises RtpushError."""
        spec = info = None
        if data.get("rewind") is not None:
            spec = RewindSpec.parse(data["rewind"])
            self._history.check_rewind(room)
            self._history.charge(session, spec.count or MAX_REWIND, monotonic())
        if data.get("presence") is not None:
            info = check_info(data["presence"])
            self._admission.check_presence(session, room, info)
        rewinds = spec is not None
        if self._admission.must_ask(session, room, data):
            snapshot = await self._admission.ask_and_join(session, room, data, rewinds=rewinds)
        else:
            snapshot = self._admission.join(session, room, rewinds=rewinds)
        reply: dict[str, Any] = {"room": room}
        if info is not None:
            reply["presence"] = {"id": self._admission.show(session, room, info)}
        _answer(responder, snapshot)
        return reply | (await self._history.rewind(session, room, spec) if spec else {})

    def _leave(
        self, session: Session, envelope: Envelope, _responder: Responder
    ) -> dict[str, str] | Awaitable[dict[str, str]]:
        room = _room_of(envelope)
        if self._admission.leave(session, room):
            return self._tell_left(session, room, envelope)
        return {"room": room}

    async def _tell_left(self, session: Session, room: str, envelope: Envelope) -> dict[str, str]:
        data = envelope.data if isinstance(envelope.data, dict) else {"room": room}
        await self._admission.tell_left(session, data)
        return {"room": room}

    async def _read_history(
        self, session: Session, envelope: Envelope, _responder: Responder
    ) -> dict[str, Any]:
        if envelope.ack is None:
            raise RtpushError("bad_request", "`history` is answered by a reply: send an `ack`.")
        return await self._history.page(session, envelope.data, monotonic())

    async def _auth(
        self, session: Session, envelope: Envelope, _responder: Responder
    ) -> dict[str, float | None]:
        data = envelope.data if isinstance(envelope.data, dict) else {}
        return {"expires": await self._admission.renew(session, data.get("token"))}


def _answer(responder: Responder, snapshot: bytes | None) -> None:
    if snapshot is not None:
        responder.send(snapshot)


def _room_of(envelope: Envelope) -> str:
    """`{"room": …}` in the data, or the envelope's own room, or the bare name."""
    data = envelope.data
    if isinstance(data, dict):
        return check_room(data.get("room"))
    return check_room(envelope.room if data is None else data)
