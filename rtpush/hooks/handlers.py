"""The hooks of a server: handlers that ask its backend.

Rules that hold here:

- Hooks are handlers like those of a program: they are registered, called and limited alike. A
  handler that a program adds for the same event takes the hook's place.
- What the backend says of a client when it connects (`subject`, `rooms`, `data`) is kept with
  the session, and told with each later request.
- A session that goes on stays with its subject, and leaves the rooms that the backend's newest
  answer lists no more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from ..application.application import Application
from ..config.hook_settings import HookSettings
from ..errors import RtpushError
from ..protocol import Envelope, to_envelope
from .answers import BadAnswer, ConnectAnswer, connect_answer
from .backend import Backend

__all__ = ["Hooks"]

T = TypeVar("T")

# Where a session keeps what the backend has said of its client.
_KEPT: Final = "rtpush.hooks"


class Hooks:
    """Asks the backend of one server; see the module's rules."""

    def __init__(self, settings: HookSettings, application: Application) -> None:
        self._settings = settings
        self._application = application
        self._backend = Backend(settings)
        own: dict[str, Callable[..., Any]] = {
            "connect": self._connect,
            "join": self._join,
            "leave": self._leave,
            "disconnect": self._disconnect,
            "*": self._event,
        }
        for name in settings.ask:
            application.on(name, own.get(name) or self._named(name))

    async def close(self) -> None:
        """Close the connections to the backend."""
        await self._backend.close()

    # ------------------------------------------------------------- handlers

    async def _connect(self, sid: str, environ: dict[str, Any], auth: Any) -> None:
        kept = await self._kept(sid)
        fields = {
            "session": _session(sid, kept, environ["rtpush.subject"]),
            "address": environ["REMOTE_ADDR"],
            "auth": auth,
        }
        headers = self._passed_on(environ)
        admitted = await self._backend.ask("connect", fields, connect_answer, headers)
        subject = admitted.subject or environ["rtpush.subject"]
        if kept and kept["subject"] != subject:
            raise RtpushError(
                "forbidden", "This session belongs to another user; connect without its `sid`."
            )
        await self._move(sid, kept.get("rooms", ()), admitted)
        await self._keep(sid, subject, admitted)

    async def _join(self, sid: str, data: Any) -> None:
        await self._ask(sid, "join", {"room": data["room"]}, _yes)

    async def _leave(self, sid: str, data: Any) -> None:
        await self._ask(sid, "leave", {"room": data["room"]}, _yes)

    async def _disconnect(self, sid: str, reason: str) -> None:
        session = _session(sid, await self._kept(sid))
        await self._backend.tell("disconnect", {"session": session, "reason": reason})

    async def _event(self, event: str, sid: str, *args: Any) -> Any:
        data = args[0] if len(args) == 1 else args
        fields = {"event": event, "data": data}
        answer, envelopes = await self._ask(sid, "event", fields, _event_answer)
        for envelope in envelopes:
            await self._application.emit(
                envelope.event,
                envelope.data,
                room=envelope.room,
                key=envelope.key,
                volatile=envelope.volatile,
                retain=envelope.retain,
            )
        return answer

    def _named(self, name: str) -> Callable[..., Any]:
        async def handle(sid: str, *args: Any) -> Any:
            return await self._event(name, sid, *args)

        return handle

    # -------------------------------------------------------------- helpers

    async def _ask(
        self, sid: str, hook: str, fields: dict[str, Any], read: Callable[[dict[str, Any]], T]
    ) -> T:
        session = _session(sid, await self._kept(sid))
        return await self._backend.ask(hook, {"session": session, **fields}, read)

    def _passed_on(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Headers of the client's request. Raises RtpushError (`bad_request`)."""
        names = (
            (name, "HTTP_" + name.upper().replace("-", "_")) for name in self._settings.headers
        )
        found = {name: environ[key] for name, key in names if key in environ}
        try:
            # A header's bytes need not be UTF-8. aiohttp would leave those that are none out, and
            # the backend would judge by another cookie than the client's.
            "".join(found.values()).encode()
        except UnicodeEncodeError:
            raise RtpushError("bad_request", f"One of {', '.join(found)} is no UTF-8.") from None
        return found

    async def _move(self, sid: str, before: Sequence[str], admitted: ConnectAnswer) -> None:
        for room in admitted.rooms:
            await self._application.enter_room(sid, room)
        for room in before:
            if room not in admitted.rooms:
                await self._application.leave_room(sid, room)

    async def _kept(self, sid: str) -> dict[str, Any]:
        try:
            data = await self._application.get_session(sid)
        except RtpushError:
            # It ended while its turn had not come.
            return {}
        kept: dict[str, Any] = data.get(_KEPT, {})
        return kept

    async def _keep(self, sid: str, subject: str | None, admitted: ConnectAnswer) -> None:
        kept = {"subject": subject, "rooms": admitted.rooms, "data": admitted.data}
        async with self._application.session(sid) as data:
            data[_KEPT] = kept


def _session(sid: str, kept: Mapping[str, Any], subject: str | None = None) -> dict[str, Any]:
    return {"sid": sid, "subject": kept.get("subject", subject), "data": kept.get("data")}


def _yes(_answer: dict[str, Any]) -> None:
    """A yes says nothing more."""


def _event_answer(answer: dict[str, Any]) -> tuple[Any, list[Envelope]]:
    """The acknowledgement, and the events that the backend has sent. Raises BadAnswer."""
    try:
        found = [to_envelope(value) for value in answer.get("emit") or ()]
    except (RtpushError, TypeError) as exc:
        raise BadAnswer(f"`emit` of its answer: {exc}") from None
    envelopes = [envelope for envelope in found if isinstance(envelope, Envelope)]
    if len(envelopes) < len(found):
        raise BadAnswer("`emit` of its answer: an event has a name")
    return answer.get("data"), envelopes
