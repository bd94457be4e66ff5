"""Leave out and merge events for readers that are behind; pure.

Rules that hold here:

- Only events that follow each other, as the reader sees them, are merged, and the merged event
  has the position of the last. So wherever the connection is lost, the position that the client
  has tells exactly what it was given: a merged event that stood before or behind another one
  would be given in part twice, or not at all.
- What is merged is not left out. A reader that wants each event as it came asks for
  `conflate=0`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

from ..access.room_policy import RoomPolicy
from ..log.base import Log, Page
from ..log.entry import Entry
from ..log.growth import merge_data
from ..log.task import task_key
from ..protocol import dumps
from .session import Session

__all__ = ["Conflation", "merge_appends"]


class Conflation:
    """What a session is given of what it may see: less, while it is behind."""

    def __init__(self, log: Log, room_policy: RoomPolicy, max_bytes: int) -> None:
        self._log = log
        self._room_policy = room_policy
        self._max_bytes = max_bytes

    def given(self, session: Session, page: Page) -> Iterable[Entry]:
        """The entries of a page that a session is given, merged where they may be."""
        behind = session.lagging and session.conflate
        conflate_after = session.conflate_after if behind else page.upto
        seen = [
            entry
            for entry in page.entries
            if session.sees(entry) and (entry.seq <= conflate_after or not self._superseded(entry))
        ]
        merges = session.conflate and not self._in_unconflated_room(session)
        return merge_appends(seen, self._max_bytes) if merges else seen

    def store_after(self, session: Session) -> int | None:
        """From where on the store leaves out what was superseded; None: nowhere.

        The store would leave out events of every room.
        """
        conflating = session.lagging and session.conflate
        conflating = conflating and not self._in_unconflated_room(session)
        return session.conflate_after if conflating else None

    def _superseded(self, entry: Entry) -> bool:
        return self._log.superseded(entry) and self._room_policy.conflates(entry.room)

    def _in_unconflated_room(self, session: Session) -> bool:
        return not all(map(self._room_policy.conflates, session.rooms))


def merge_appends(entries: Sequence[Entry], max_bytes: int) -> Iterator[Entry]:
    """The entries, with those in a row that append to one task as one.

    `max_bytes`: no merged envelope is larger.
    """
    run: list[Entry] = []
    size = 0
    for entry in entries:
        size += len(entry.json)
        if run and not (entry.is_append and entry.room == run[0].room and size <= max_bytes):
            yield from _merge_run(run)
            run, size = [], len(entry.json)
        if entry.is_append:
            run.append(entry)
        else:
            yield entry
    yield from _merge_run(run)


def _merge_run(run: Sequence[Entry]) -> Iterator[Entry]:
    if len(run) < 2:
        yield from run
        return
    last, data = run[0], _data_of(run[0])
    merged = False
    for entry in run[1:]:
        more = _data_of(entry)
        if data and more and task_key(data) == task_key(more):
            data, merged = merge_data(data, more), True
        else:
            yield _entry(last, data) if merged else last
            data, merged = more, False
        last = entry
    yield _entry(last, data) if merged else last


def _data_of(entry: Entry) -> dict[str, Any]:
    """The data of an entry; empty for one that asks its reader for a reply of its own."""
    envelope = orjson.loads(entry.json)
    return {} if "ack" in envelope else envelope["data"]


def _entry(last: Entry, data: dict[str, Any]) -> Entry:
    json = dumps(orjson.loads(last.json) | {"data": data})
    return Entry(last.seq, last.time, last.event, last.room, None, json, last.id)
