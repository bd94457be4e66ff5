"""Sessions, and the index of who reads the same.

Rules that hold here:

- A session is a cursor, a set of rooms and a wire. It holds no queue: what it
  has not been given yet is in the log.
- Every session with a wire is in exactly one group: that of its rooms and its
  form of wire. A group that nobody is in does not exist.
- Nothing here reads the log or writes to a wire; the hub does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

from ..access.auth import OPEN
from ..access.rate_limits import Allowance
from ..errors import RtpushError
from ..log.base import Entry
from ..protocol import Form, Reply

__all__ = ["Group", "Groups", "Session", "Wire"]


# What is remembered of a session's handled events, so that one that is sent
# again, because its answer was lost, is not handled again.
MAX_ANSWERS: Final = 64
MAX_ANSWER_BYTES: Final = 16 << 10
# Most sessions have none, and an empty dictionary each would be 64 bytes.
_NONE: Final[dict[str, bytes | RtpushError]] = {}


class Wire(Protocol):
    """One connection to one client, as the hub sees it."""

    form: Form

    def write(self, data: bytes) -> None:
        """Send framed bytes. Never blocks, never raises for a peer that is gone."""

    def backlog(self) -> int:
        """Bytes that were written and have not left."""

    def heartbeat(self) -> None:
        """Called every `heartbeat` seconds: show life, and see whether there is any."""

    def close(self, code: int, reason: str) -> None:
        """End it, after what was written has left (soon: a deadline holds)."""


class Group:
    """The sessions that read the same rooms on the same form of wire.

    They get the same bytes, so these are made once for all of them.
    """

    __slots__ = ("form", "rooms", "sessions")

    def __init__(self, rooms: frozenset[str], form: Form) -> None:
        self.rooms = rooms
        self.form = form
        self.sessions: dict[Session, None] = {}


class Session:
    """One client's place in the log.

    `rooms` maps each room to the number after which the session sees it; the
    room that is named like its `sid` is its own. `whole_until` is the end of
    what it was owed when it came (back): up to there nothing is conflated.
    `grant` is what its client may do, and `allowances` how much it may send,
    once it has sent something. Until it is `admitted` it hears nothing and
    nobody hears it. `goodbye` is what it is told when it comes back though it was
    thrown out.

    What an application keeps with it: `data`; `turns`, what waits while one
    of its envelopes is handled; `answers`, what the last of them came to, by
    idempotency key; `asks`, who waits for a reply; `owed`, rooms that it was
    put in while it had no wire.
    """

    __slots__ = (
        "address",
        "admitted",
        "allowances",
        "answers",
        "asks",
        "conflate",
        "cursor",
        "data",
        "expires",
        "goodbye",
        "grant",
        "group",
        "lagging",
        "live",
        "opened",
        "owed",
        "paused",
        "reading",
        "rooms",
        "sid",
        "slot",
        "strikes",
        "turns",
        "whole_until",
        "wire",
    )

    def __init__(self, sid: str, conflate: bool, address: str, opened: float) -> None:
        self.sid = sid
        self.conflate = conflate
        self.address = address
        self.opened = opened
        self.rooms: dict[str, int] = {}
        self.wire: Wire | None = None
        self.group: Group | None = None
        self.cursor = 0
        self.whole_until = 0
        self.live = False
        self.lagging = False
        self.paused = False
        self.reading = False
        self.strikes = 0
        self.slot = 0
        self.expires: float | None = None
        self.goodbye: RtpushError | None = None
        self.admitted = False
        self.grant = OPEN
        self.allowances: tuple[Allowance, ...] = ()
        self.data: dict[str, Any] | None = None
        self.turns: deque[Callable[[], Any]] | None = None
        self.answers: dict[str, bytes | RtpushError] = _NONE
        self.asks: dict[str, Callable[[Reply], None]] | None = None
        self.owed: tuple[str, ...] = ()

    def remember(self, key: str, answer: bytes | RtpushError) -> None:
        """What an event with this idempotency key came to: JSON, or why it was refused."""
        if self.answers is _NONE:
            self.answers = {}
        self.answers[key] = answer
        size = sum(len(one) for one in self.answers.values() if isinstance(one, bytes))
        while len(self.answers) > MAX_ANSWERS or size > MAX_ANSWER_BYTES:
            oldest = self.answers.pop(next(iter(self.answers)))
            size -= len(oldest) if isinstance(oldest, bytes) else 0

    def sees(self, entry: Entry) -> bool:
        """Is the entry for this session?"""
        if entry.skip and self.sid in entry.skip:
            return False
        if entry.room is None or entry.room == self.sid:
            return True
        since = self.rooms.get(entry.room)
        return since is not None and entry.seq > since


class Groups:
    """All groups, by what they read and by room."""

    def __init__(self) -> None:
        self._all: dict[tuple[frozenset[str], Form], Group] = {}
        self._by_room: dict[str, set[Group]] = {}

    def __iter__(self) -> Iterator[Group]:
        return iter(list(self._all.values()))

    def of(self, rooms: set[str | None]) -> list[Group]:
        """The groups that any of these rooms concerns; None is the room of everyone."""
        if None in rooms:
            return list(self._all.values())
        found = [self._by_room[room] for room in rooms if room in self._by_room]
        return list(set().union(*found))

    def members(self, room: str) -> list[Session]:
        """Who is in a room; readers without a session of their own are not listed."""
        groups = self._by_room.get(room, ())
        return [session for group in groups for session in group.sessions if session.sid]

    def rooms(self) -> dict[str, int]:
        """Every room that somebody is in, and how many are."""
        return {room: len(self.members(room)) for room in self._by_room}

    def place(self, session: Session, form: Form) -> None:
        """Put a session where its rooms and its wire belong."""
        key = (frozenset(session.rooms), form)
        group = self._all.get(key)
        if group is not None and group is session.group:
            return
        self.remove(session)
        if group is None:
            group = self._all[key] = Group(*key)
            for room in group.rooms:
                self._by_room.setdefault(room, set()).add(group)
        group.sessions[session] = None
        session.group = group

    def remove(self, session: Session) -> None:
        """Take a session out of its group, if it is in one."""
        group = session.group
        if group is None:
            return
        session.group = None
        del group.sessions[session]
        if group.sessions:
            return
        del self._all[group.rooms, group.form]
        for room in group.rooms:
            self._by_room[room].discard(group)
            if not self._by_room[room]:
                del self._by_room[room]
