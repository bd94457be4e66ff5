"""History: pages of what was logged, for the API and for clients. PROTOCOL.md, sections 5 and 8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import orjson

from ..errors import RtpushError
from ..hub import Hub
from ..log.base import Log, Page
from ..log.entry import Entry
from ..protocol import Position, check_room
from ..sessions.history_bounds import HistoryBounds
from ..sessions.rewind import RewindSpec
from ..sessions.session import Session

__all__ = ["API_LIMITS", "ClientHistory", "HistoryQuery", "read_history"]

# A page for a publisher: events by default, at most, and bytes of JSON after which it ends.
API_LIMITS: Final = (100, 1000, 4 << 20)
# A page for a client, which may have 64 such requests under way.
CLIENT_LIMITS: Final = (50, 100, 64 << 10)
# Events asked for that count as one envelope against the client's rate.
EVENTS_PER_CHARGE: Final = 10


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """What is asked for. Either `after` is a position, or `newest` is set, or neither."""

    room: str | None
    after: Position | None
    before: Position | None
    newest: bool
    limit: int

    @classmethod
    def parse(cls, given: Mapping[str, Any], default: int, most: int) -> Self:
        """Of a query or an event's data. Raises RtpushError."""
        room = given.get("room")
        after, before = (_position(given.get(name)) for name in ("after", "before"))
        order = given.get("order", "oldest" if before is None else "newest")
        if order not in ("oldest", "newest"):
            raise RtpushError("bad_request", '"order" is oldest or newest.')
        if (after if order == "newest" else before) is not None:
            raise RtpushError(
                "bad_request", 'Give "after" with order=oldest, or "before" with order=newest.'
            )
        return cls(
            None if room is None else check_room(room),
            after,
            before,
            order == "newest",
            _limit(given.get("limit", default), most),
        )


def _position(given: Any) -> Position | None:
    if given is None:
        return None
    if not isinstance(given, str):
        raise RtpushError("bad_position", 'A position is a string like "9f86d081884c-41".')
    return Position.parse(given)


def _limit(given: Any, most: int) -> int:
    text = str(given)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= most:
        raise RtpushError("bad_request", f'"limit" is a whole number from 1 to {most}.')
    return int(text)


async def read_history(
    log: Log, bounds: HistoryBounds, query: HistoryQuery, max_bytes: int, sid: str | None = None
) -> dict[str, Any]:
    """A page as it is answered; for the session `sid`, what it may see of its room alone.

    Raises RtpushError (`not_found`, `unavailable`).
    """
    if not await log.sync():
        raise _unreadable()
    rooms = (query.room,) if query.room is not None or sid is not None else None
    bound = await _bound(bounds, query)
    reading = _Newest(log, query, bound) if query.newest else _Oldest(log, query, bound)
    epoch, found, size = log.epoch, list[Entry](), 0
    while len(found) < query.limit and size <= max_bytes and reading.more():
        page = await reading.read(query.limit - len(found), rooms)
        if log.epoch != epoch:
            # What was found is of another log than what would be said of it.
            raise _unreadable()
        reading.at = page.upto
        seen = [
            entry
            for entry in page.entries
            if entry.seq > bound and (sid is None or sid not in entry.skip)
        ]
        found += seen
        size += sum(len(entry.json) for entry in seen)
    return {
        "events": [orjson.Fragment(entry.json) for entry in found],
        reading.name: str(Position(epoch, reading.at)),
        "more": reading.more(),
    }


async def _bound(bounds: HistoryBounds, query: HistoryQuery) -> int:
    """The number up to which nothing is given of the room. Raises RtpushError."""
    room, after = query.room, query.after
    bound = await bounds.of(room)
    if room is not None and after is not None and await bounds.passed((room,), after):
        raise _out_of_reach("expired")
    return bound


def _out_of_reach(why: str) -> RtpushError:
    return RtpushError(
        "not_found",
        f"The log does not reach that position ({why}); leave `after` out to begin with the "
        "oldest event.",
    )


def _unreadable() -> RtpushError:
    return RtpushError("unavailable", "The log cannot be read now; try again.")


class _Oldest:
    """Reads on after a position; `last` in the answer is where to ask on."""

    name = "last"

    def __init__(self, log: Log, query: HistoryQuery, bound: int) -> None:
        self._log = log
        lost = None if query.after is None else log.covers(query.after)
        if lost is not None:
            raise _out_of_reach(lost)
        begin = log.first - 1 if query.after is None else query.after.seq
        self.at = max(begin, bound)

    def more(self) -> bool:
        return self.at < self._log.last

    async def read(self, limit: int, rooms: tuple[str | None] | None) -> Page:
        return await self._log.read(self.at, limit, rooms=rooms)


class _Newest:
    """Reads back before a position; `first` in the answer is where to ask on."""

    name = "first"

    def __init__(self, log: Log, query: HistoryQuery, bound: int) -> None:
        self._log = log
        self._bound = bound
        before = query.before
        if before is not None and log.covers(before) in ("epoch", "ahead"):
            raise RtpushError(
                "not_found",
                f"The log has no such position ({log.covers(before)}); leave `before` out to "
                "begin with the newest event.",
            )
        self.at = log.last + 1 if before is None else before.seq

    def more(self) -> bool:
        return self.at > max(self._log.first, self._bound + 1)

    async def read(self, limit: int, rooms: tuple[str | None] | None) -> Page:
        return await self._log.read_before(self.at, limit, rooms)


class ClientHistory:
    """What a client may read of the log: rooms that it is in, or may enter unasked."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def page(self, session: Session, data: Any, now: float) -> dict[str, Any]:
        """The answer to `history`. Raises RtpushError."""
        default, most, max_bytes = CLIENT_LIMITS
        query = HistoryQuery.parse(data if isinstance(data, dict) else {}, default, most)
        self._check(session, query.room)
        if session.paused:
            # Else what it does not read would pile up, 64 answers at a time.
            raise RtpushError("rate_limited", "Read what was sent to you first.", 1.0)
        self.charge(session, query.limit, now)
        answer = await read_history(
            self._hub.log, self._hub.history_bounds, query, max_bytes, session.sid
        )
        self._check(session, query.room)
        return answer

    def check_rewind(self, room: str) -> None:
        """Raises RtpushError (`forbidden`) when the room's rule does not allow rewinds."""
        self._hub.room_policy.check_rewind((room,))

    def charge(self, session: Session, events: int, now: float) -> None:
        """Count the events that a client asks for against its rate, before they are read."""
        for limit in session.rate_limits:
            limit.charge(events // EVENTS_PER_CHARGE, 0, now)

    async def rewind(self, session: Session, room: str, spec: RewindSpec) -> dict[str, Any]:
        """Begin the rewind of a room that the session has entered; what its reply says of it.

        Raises RtpushError.
        """
        for rewind in session.rewinds:
            if rewind.room == room and rewind.at is None:
                complete = await self._hub.begin_rewind(session, rewind, spec)
                return {"rewind": {"complete": complete}}
        # It has had them.
        return {}

    def _check(self, session: Session, room: str | None) -> None:
        if room is None or room == session.sid:
            return
        policy = self._hub.room_policy
        policy.check_rewind((room,))
        if room in session.rooms:
            return
        policy.check_entry(session.grant, room)
        if policy.asks(room):
            raise RtpushError("forbidden", "You read rooms that you are in: join it first.")
