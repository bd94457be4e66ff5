"""Presence: which sessions of this node are members of which rooms. PROTOCOL.md, section 13.

Rules that hold here:

- Who is a member, for all, is what the log's retained events say. The book says which of this
  node's sessions should be. `take` finds what differs, and that is told.
- A session is a member until it leaves the room, or is gone for good: a client that has lost its
  connection and may come back is one still.
- The public id of a member is a digest of its `sid`, which is a secret: it stays the same when
  another node goes on with the session, and leads nobody back to the `sid`.
- Pure: who tells the log, and when, is decided elsewhere (application/presence.py).
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import orjson

from ..access.charges import charge_client
from ..config.settings import Settings
from ..errors import RtpushError
from ..log.base import new_retained
from ..log.retained import PRESENCE, Change, Name, RetainedEvents
from ..protocol import dumps
from .session import Session

__all__ = ["MAX_INFO", "PresenceBook", "check_info", "gathering_time", "member_id"]

# Bytes of JSON that a client may say of itself.
MAX_INFO: Final = 1024
# Members that one event tells of, and their JSON: one event of a crowd is not a large message.
MAX_TOLD: Final = 500
MAX_TOLD_BYTES: Final = 128 << 10

# Seconds for which the changes of a room are gathered, and how they grow with its members: a
# crowd of 10,000 that comes within a few seconds is told in about 25 events.
SHORTEST: Final = 0.1
LONGEST: Final = 5.0
MEMBERS_PER_SECOND: Final = 2000


def gathering_time(members: int) -> float:
    """For how many seconds the changes of a room with so many members are gathered."""
    return min(LONGEST, max(SHORTEST, members / MEMBERS_PER_SECOND))


def member_id(sid: str) -> str:
    """The public id of a session."""
    digest = blake2b(sid.encode(), digest_size=12, person=b"rtpush member").digest()
    return urlsafe_b64encode(digest).decode()


def check_info(info: Any) -> dict[str, Any]:
    """What a client says of itself. Raises RtpushError (`bad_request`, `too_large`)."""
    if not isinstance(info, dict):
        raise RtpushError(
            "bad_request", '"presence" is an object with what others are to know: {"name": "Ann"}.'
        )
    if len(dumps(info)) > MAX_INFO:
        raise RtpushError("too_large", f'"presence" may have {MAX_INFO} bytes; say less.')
    return info


class Member(NamedTuple):
    """A session as others see it in a room, and which account pays for it."""

    data: dict[str, Any]
    account: str
    cost: int


class PresenceBook:
    """The members that this node's sessions are."""

    def __init__(self, settings: Settings) -> None:
        # Called with a room in which there is something to tell.
        self.on_change: Callable[[str], None] = lambda _room: None
        self._rooms: dict[str, dict[str, Member]] = {}
        # The members of each room that may have changed, by id.
        self._changed: dict[str, set[str]] = {}
        self._shares = new_retained(settings).shares

    def __len__(self) -> int:
        return self._shares.all.number

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Room and id of each."""
        return ((room, id_) for room, members in self._rooms.items() for id_ in members)

    # ------------------------------------------------------ coming and going

    def check(self, session: Session, room: str, info: dict[str, Any]) -> None:
        """Raises RtpushError (`retained_full`) when its account may have no more members."""
        if room not in session.presence:
            member = _member(session, room, info)
            self._shares.check_more(member.account, 1, member.cost)

    def show(self, session: Session, room: str, info: dict[str, Any]) -> None:
        """A session is a member of a room that it is in. Raises RtpushError (`retained_full`)."""
        self.check(session, room, info)
        session.show(room, info)
        member = _member(session, room, info)
        self._put(room, member.data["id"], member)

    def show_all(self, session: Session) -> None:
        """The session is here again, or what its token says of it has changed."""
        for room in list(session.presence):
            member = _member(session, room, session.presence[room])
            self._put(room, member.data["id"], member)

    def hide(self, session: Session, room: str) -> None:
        """The session leaves a room."""
        if session.presence.pop(room, None) is not None:
            self._put(room, member_id(session.sid), None)

    def hide_all(self, session: Session) -> None:
        """The session is gone."""
        for room in session.presence:
            self._put(room, member_id(session.sid), None)

    def hand_over(self, session: Session) -> None:
        """Another node goes on with the session, and tells what is to be told."""
        for room in session.presence:
            id_ = member_id(session.sid)
            self._set(room, id_, None)
            self._changed.get(room, set()).discard(id_)

    def _put(self, room: str, id_: str, member: Member | None) -> None:
        self._set(room, id_, member)
        self._changed.setdefault(room, set()).add(id_)
        self.on_change(room)

    def _set(self, room: str, id_: str, member: Member | None) -> None:
        members = self._rooms.setdefault(room, {})
        old = members.pop(id_, None)
        if old is not None:
            self._shares.add(old.account, -1, -old.cost)
        if member is not None:
            self._shares.add(member.account, 1, member.cost)
            members[id_] = member
        if not members:
            del self._rooms[room]

    # --------------------------------------------------------------- telling

    def recheck(self) -> None:
        """The log is another one: what is not said there is told again."""
        for room, members in self._rooms.items():
            self.again(room, members)

    def again(self, room: str, ids: Iterable[str]) -> None:
        """These members of a room are to be looked at again."""
        self._changed.setdefault(room, set()).update(ids)
        self.on_change(room)

    def take(self, room: str, retained: RetainedEvents) -> list[dict[str, Any]]:
        """The data of the events that tell what is to be told of a room; then that is done."""
        members = self._rooms.get(room, {})
        telling = _Telling()
        for id_ in self._changed.pop(room, ()):
            told = retained.get(Name(room, PRESENCE, id_))
            before = None if told is None else orjson.loads(told.json)["data"]
            member = members.get(id_)
            if member is None and before is not None:
                telling.add("left", before)
            elif member is not None and before is None:
                telling.add("joined", member.data)
            elif member is not None and before != member.data:
                telling.add("changed", member.data)
        return telling.events

    def has_changes(self, room: str) -> bool:
        """May there be something to tell?"""
        return bool(self._changed.get(room))


class _Telling:
    """Members in as few events as they fit into."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._count = self._size = 0

    def add(self, what: str, member: dict[str, Any]) -> None:
        size = len(dumps(member))
        full = self._count == MAX_TOLD or self._size + size > MAX_TOLD_BYTES
        if not self.events or full:
            self.events.append({})
            self._count = self._size = 0
        self.events[-1].setdefault(what, []).append(member)
        self._count += 1
        self._size += size


def _member(session: Session, room: str, info: dict[str, Any]) -> Member:
    grant = session.grant
    data: dict[str, Any] = {"id": member_id(session.sid)}
    if grant.subject is not None:
        data["subject"] = grant.subject
    # What the token says is known to be true, and goes before what the client says.
    data["info"] = info | dict(grant.presence or {})
    cost = Change(Name(room, PRESENCE, data["id"]), dumps(data)).cost
    return Member(data, charge_client(grant, session.address), cost)
