"""Retained events as a client knows them; pure. PROTOCOL.md, section 12.

Rules that hold here:

- A `state` replaces what was known, of everything or of its room. An `active_tasks` that no
  `state` of the same position came before says that nothing is retained there.
- What a snapshot changes is handed on as events, so that handlers need to know of no snapshot:
  a value that is new or another one, and None for one that is gone.
- A rewound event is older than the snapshot that follows, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

__all__ = ["PRESENCE", "RetainedValues"]

# The event that tells of the members of a room: each is a value by its id.
PRESENCE: Final = "presence"

Envelope = dict[str, Any]


class Name(NamedTuple):
    """What a value is known by."""

    room: str | None
    event: str
    key: str


class RetainedValues:
    """The newest value of each key."""

    def __init__(self) -> None:
        # The envelope that set each value.
        self._values: dict[Name, Envelope] = {}
        # The position of a room's last `state`, until its `active_tasks` comes; None: of all.
        self._announced: dict[str | None, Any] = {}

    def take(self, envelope: Envelope) -> list[Envelope]:
        """Move past an envelope; it, and what it changes beside itself, in order."""
        event, room, position = envelope.get("event"), _room_of(envelope), envelope.get("id")
        if event == "state":
            self._announced[room] = position
            return [envelope, *self._replace(room, _entries_of(envelope), position)]
        if event == "active_tasks" and self._announced.pop(room, None) != position:
            return [*self._replace(room, (), position), envelope]
        if "rewound" not in envelope:
            if envelope.get("retain") is True and _is_value(envelope):
                self._set(envelope)
            elif event == PRESENCE:
                for change in _changes_of_members(envelope):
                    self._set(change)
        return [envelope]

    def leave(self, room: str) -> None:
        """Forget what a room retains: a client that is not in it hears of no change."""
        for name in [name for name in self._values if name.room == room]:
            del self._values[name]

    def of(self, event: str, room: str | None) -> dict[str, Any]:
        """The data by key."""
        return {
            name.key: value.get("data")
            for name, value in self._values.items()
            if name.event == event and name.room == room
        }

    def _set(self, envelope: Envelope) -> None:
        name = _name_of(envelope)
        self._values.pop(name, None)
        if envelope.get("data") is not None:
            self._values[name] = envelope

    def _replace(
        self, room: str | None, entries: Sequence[Envelope], position: Any
    ) -> list[Envelope]:
        known = {
            name: value for name, value in self._values.items() if room is None or name.room == room
        }
        found = {_name_of(entry): entry for entry in entries}
        for name in known:
            del self._values[name]
        self._values |= found
        gone = [_removal(name, position) for name in known if name not in found]
        new = [one for name, one in found.items() if _id_of(known.get(name)) != one.get("id")]
        return _told(gone + new, known)


def _told(changes: list[Envelope], known: dict[Name, Envelope]) -> list[Envelope]:
    """Changes as handlers get them: those of a room's members as one event, as the server's."""
    told = [change for change in changes if change["event"] != PRESENCE]
    rooms: dict[str | None, Envelope] = {}
    for change in changes:
        if change["event"] != PRESENCE:
            continue
        room, before = _room_of(change), known.get(_name_of(change), {}).get("data")
        event = rooms.setdefault(
            room,
            {"event": PRESENCE, "room": room, "id": change.get("id"), "retained": True, "data": {}},
        )
        member = change.get("data")
        what = "left" if member is None else "joined" if before is None else "changed"
        event["data"].setdefault(what, []).append(before if member is None else member)
    return [*told, *rooms.values()]


def _changes_of_members(envelope: Envelope) -> Iterator[Envelope]:
    data = envelope.get("data")
    for what, members in data.items() if isinstance(data, dict) else ():
        for member in members if isinstance(members, list) else ():
            if isinstance(member, dict) and isinstance(member.get("id"), str):
                gone = what == "left"
                yield envelope | {"key": member["id"], "data": None if gone else member}


def _entries_of(envelope: Envelope) -> list[Envelope]:
    data = envelope.get("data")
    entries = data.get("entries") if isinstance(data, dict) else None
    return [entry for entry in (entries if isinstance(entries, list) else ()) if _is_value(entry)]


def _is_value(envelope: Any) -> bool:
    return isinstance(envelope, dict) and all(
        isinstance(envelope.get(name), str) for name in ("event", "key")
    )


def _name_of(envelope: Envelope) -> Name:
    return Name(_room_of(envelope), envelope["event"], envelope["key"])


def _room_of(envelope: Envelope) -> str | None:
    room = envelope.get("room")
    return room if isinstance(room, str) else None


def _id_of(envelope: Envelope | None) -> Any:
    return None if envelope is None else envelope.get("id")


def _removal(name: Name, position: Any) -> Envelope:
    """The event that stands for a value that is gone."""
    room = {} if name.room is None else {"room": name.room}
    fields = {"event": name.event, "data": None, "key": name.key, "retained": True, "id": position}
    return fields | room
