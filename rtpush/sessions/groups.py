"""Groups: the index of sessions that read the same.

Every session with a connection is in exactly one group: that of its rooms and its
framing. A group without a session does not exist.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..framing import Framing
from .session import Session

__all__ = ["Group", "Groups"]


class Group:
    """The sessions that read the same rooms on the same framing.

    They get the same bytes, so these are made once for all of them.
    """

    __slots__ = ("framing", "rooms", "sessions")

    def __init__(self, rooms: frozenset[str], framing: Framing) -> None:
        self.rooms = rooms
        self.framing = framing
        self.sessions: dict[Session, None] = {}


class Groups:
    """All groups, by what they read and by room."""

    def __init__(self) -> None:
        self._all: dict[tuple[frozenset[str], Framing], Group] = {}
        self._by_room: dict[str, set[Group]] = {}

    def __iter__(self) -> Iterator[Group]:
        return iter(list(self._all.values()))

    def for_rooms(self, rooms: set[str | None]) -> list[Group]:
        """The groups that any of these rooms concerns; None is the room of everyone."""
        if None in rooms:
            return list(self._all.values())
        found = [self._by_room[room] for room in rooms if room in self._by_room]
        return list(set().union(*found))

    def members(self, room: str) -> list[Session]:
        """The sessions in a room; readers without a session of their own are not listed."""
        groups = self._by_room.get(room, ())
        return [session for group in groups for session in group.sessions if session.sid]

    def rooms(self) -> dict[str, int]:
        """Every room that has sessions, and how many."""
        return {room: len(self.members(room)) for room in self._by_room}

    def assign(self, session: Session, framing: Framing) -> None:
        """Put a session where its rooms and its connection belong."""
        key = (frozenset(session.rooms), framing)
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
        del self._all[group.rooms, group.framing]
        for room in group.rooms:
            self._by_room[room].discard(group)
            if not self._by_room[room]:
                del self._by_room[room]
