"""Retained events: a fold from entries to the newest value of each key. PROTOCOL.md, section 12.

Rules that hold here:

- Pure and synchronous. `check` decides and changes nothing; `apply` changes and never refuses:
  every reader of a log must come to the same state, whatever its own limits are.
- A value counts in the share of the account that set it last. To remove one is never refused.
- Values are ordered by the entries that set them, and found by room: a room's cost nothing
  to find, whatever is retained elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from sys import intern
from typing import Final, NamedTuple

import orjson

from ..errors import RtpushError
from ..protocol import Position, dumps, encode_retained
from .accounts import APPLICATION, Shares
from .holdings import Holdings
from .pages import Outdated, Page, Pages
from .task import TASK_EVENTS

__all__ = [
    "NULL",
    "PRESENCE",
    "Change",
    "Name",
    "Retained",
    "RetainedEvents",
    "RetainedRow",
    "changes_by_presence",
    "check_retain",
    "index_of",
    "place_of",
    "seq_of",
]

# The event that tells of the members of a room: each is a value by its id.
PRESENCE: Final = "presence"
# The data that removes a value.
NULL: Final = b"null"
# What a value takes beside its data and its names, with all indexes: 500 to 1,150 bytes, the
# most when it is the only one of its room.
VALUE_BYTES: Final = 700
# Changes that one entry can bring, as bits of a place.
_INDEX_BITS: Final = 20

REFUSALS: Final = {
    "all_count": "At most {} events can be retained: remove some, with null as their data.",
    "all_size": "The retained events have {} bytes already: remove some, or send less.",
    "client_count": "You have {} retained events, as many as one client may: remove some.",
    "client_size": "Your retained events may have {} bytes together: remove some, or send less.",
    "clients_count": "All clients together have {} retained events: wait until some are removed.",
    "clients_size": "The retained events of all clients have {} bytes: wait until some go.",
}


class Name(NamedTuple):
    """What a value is known by."""

    room: str | None
    event: str
    key: str


class Change(NamedTuple):
    """What an entry does to a value. `data` is JSON, of several arguments with `args`."""

    name: Name
    data: bytes
    args: bool = False

    @property
    def removes(self) -> bool:
        """Is the value gone?"""
        return self.data == NULL

    @property
    def cost(self) -> int:
        """Bytes that the value counts in its account's share."""
        if self.removes:
            return 0
        room, event, key = self.name
        return VALUE_BYTES + len(self.data) + len(room or "") + len(event) + len(key)


def changes_by_presence(room: str | None, data: bytes) -> tuple[Change, ...]:
    """What an event `presence` does: a value for each member, none for those that left."""
    told = orjson.loads(data)
    there = [*told.get("joined", ()), *told.get("changed", ())]
    return (
        *(Change(Name(room, PRESENCE, one["id"]), dumps(one)) for one in there),
        *(Change(Name(room, PRESENCE, one["id"]), NULL) for one in told.get("left", ())),
    )


class Retained(NamedTuple):
    """A value. `json` is its entry of `state`; `place` orders it among the others."""

    name: Name
    place: int
    json: bytes
    account: str
    cost: int

    @property
    def size(self) -> int:
        """The length of its JSON."""
        return len(self.json)


class RetainedRow(NamedTuple):
    """A value as a store keeps it; `place` and `account` as of `Retained`."""

    change: Change
    place: int
    account: str


def place_of(seq: int, index: int) -> int:
    """Orders the changes of entries: by entry, then as they stand in it."""
    return seq << _INDEX_BITS | index


def seq_of(place: int) -> int:
    """The number of the entry that made a change."""
    return place >> _INDEX_BITS


def index_of(place: int) -> int:
    """Where the change stands in its entry."""
    return place & ((1 << _INDEX_BITS) - 1)


def check_retain(event: str, key: str | None) -> None:
    """Can an event with this key be retained? Raises RtpushError (`bad_envelope`)."""
    if event in TASK_EVENTS:
        raise RtpushError("bad_envelope", "The task board keeps tasks: leave `retain` out.")
    if key is None:
        raise RtpushError(
            "bad_envelope", 'A retained event has a "key": the next one with it takes its place.'
        )


class RetainedEvents:
    """What is retained now."""

    def __init__(self, max_count: int, max_size: int, max_value: int) -> None:
        # A share holds at least one value of the largest size.
        limits = Shares.of(max_count), Shares.of(max_size, max_value)
        self.shares = Holdings("retained_full", REFUSALS, *limits)
        self.outdated = Outdated()
        # How many of them are members of rooms.
        self.members = 0
        self._base: RetainedEvents | None = None
        self._values: dict[Name, Retained | None] = {}
        # A fork has none: nobody is shown what is not stored.
        self._rooms: dict[str | None, Pages[Retained]] | None = {}

    def fork(self) -> RetainedEvents:
        """Events that start as these and change apart from them; costs O(1).

        It reads through to these, so it is good only until they change.
        """
        # As of `Holdings.fork`.
        fork = object.__new__(type(self))
        vars(fork).update(vars(self))
        fork._base = self
        fork.shares = self.shares.fork()
        fork._values = {}
        fork._rooms = None
        return fork

    # ------------------------------------------------------------- deciding

    def check(self, changes: Iterable[Change], account: str = APPLICATION) -> None:
        """May an account make these changes? Raises RtpushError (`retained_full`)."""
        for change in changes:
            if change.removes:
                continue
            old = self.get(change.name)
            if old is None or old.account != account:
                # What another account gives back does not count: it may take it again.
                self.shares.check_more(account, 1, change.cost)
            else:
                self.shares.check_more(account, 0, change.cost - old.cost)

    # ------------------------------------------------------------- changing

    def apply(self, changes: Sequence[Change], account: str, position: Position) -> None:
        """Fold one entry in; its account is charged."""
        id_ = str(position)
        for index, change in enumerate(changes):
            self._put(change, place_of(position.seq, index), account, id_)

    def _put(self, change: Change, place: int, account: str, id_: str) -> None:
        room, event, key = change.name
        # Many values share these.
        name = Name(None if room is None else intern(room), intern(event), key)
        old = self.get(name)
        if change.removes:
            if old is not None:
                self._remove(old)
            return
        json = b""
        if self._rooms is not None:
            json = encode_retained(event, change.data, room, key, id_, args=change.args)
        value = Retained(name, place, json, account, change.cost)
        self._values[name] = value
        self._charge(old, value)
        if self._rooms is not None:
            pages = self._rooms.get(room)
            if pages is None:
                pages = self._rooms[room] = Pages[Retained](self.outdated)
            pages.put(place, value)
            if old is not None:
                pages.remove(old.place)

    def _charge(self, old: Retained | None, value: Retained) -> None:
        if old is None:
            self.members += value.name.event == PRESENCE
            self.shares.add(value.account, 1, value.cost)
        elif old.account == value.account:
            self.shares.add(value.account, 0, value.cost - old.cost)
        else:
            self.shares.add(old.account, -1, -old.cost)
            self.shares.add(value.account, 1, value.cost)

    def _remove(self, old: Retained) -> None:
        self.shares.add(old.account, -1, -old.cost)
        self.members -= old.name.event == PRESENCE
        if self._rooms is None:
            self._values[old.name] = None
            return
        del self._values[old.name]
        pages = self._rooms[old.name.room]
        pages.remove(old.place)
        if not pages.pages:
            del self._rooms[old.name.room]

    # -------------------------------------------------------------- reading

    def __len__(self) -> int:
        return self.shares.all.number

    def get(self, name: Name) -> Retained | None:
        """The value of this name."""
        events: RetainedEvents | None = self
        while events is not None:
            if name in events._values:
                return events._values[name]
            events = events._base
        return None

    def count(self, room: str | None) -> int:
        """How many values a room has."""
        return sum(len(page.items) for page in self.pages(room))

    def size(self, room: str | None) -> int:
        """The length of the JSON of a room's values."""
        pages = self._shown.get(room)
        return 0 if pages is None else pages.size

    def pages(self, room: str | None) -> list[Page[Retained]]:
        """The pages of a room's values, in order."""
        pages = self._shown.get(room)
        return [] if pages is None else pages.pages

    def values(self, rooms: Collection[str | None] | None = None) -> Iterator[Retained]:
        """The values of some rooms, or of all; of each room in order."""
        for room in self._shown if rooms is None else rooms:
            for page in self.pages(room):
                yield from page

    @property
    def _shown(self) -> dict[str | None, Pages[Retained]]:
        assert self._rooms is not None
        return self._rooms

    # -------------------------------------------------------------- storing

    def restore(self, rows: Iterable[RetainedRow], epoch: str) -> None:
        """Become what a store has kept."""
        self.shares.clear()
        self._values, self._rooms, self.members = {}, {}, 0
        for change, place, account in sorted(rows, key=lambda row: row.place):
            id_ = str(Position(epoch, seq_of(place)))
            self._put(change, place, account, id_)
