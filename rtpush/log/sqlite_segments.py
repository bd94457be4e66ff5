"""The index by room in a log's file: segments, each written in one go and in order.

Rules that hold here:

- A segment is the index of one run of entries. It is written when so many entries have
  come that are in no segment; those are indexed in memory (room_index.py).
- It is written in the order of its key, and it goes as a whole when its last entry goes.
  An index that every commit kept up to date would write a page for each room of the
  batch: 42 instead of 12 µs of CPU for an entry, and four times as long on the disk.
- It can be made from the entries at any time. So a file of the first version gets its
  segments one transaction at a time, and whoever stops that loses nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from ..protocol import dumps
from .room_index import Rooms

__all__ = ["SCHEMA", "SEGMENT", "find", "migrate", "rooms_json", "seal", "sealed_upto", "trim"]

# Entries of a segment. A read looks into each segment once for each of its rooms, 1 µs;
# writing a segment takes a commit 20 ms longer.
SEGMENT: Final = 8192

SCHEMA: Final = """
CREATE TABLE segments (first INTEGER PRIMARY KEY, last INTEGER NOT NULL);
CREATE TABLE segment_rooms (
    segment INTEGER NOT NULL, room TEXT NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (segment, room, seq)) WITHOUT ROWID;
"""

_SEAL: Final = """INSERT INTO segment_rooms
    SELECT ?1, ifnull(room, ''), seq FROM entries WHERE seq BETWEEN ?1 AND ?2 ORDER BY 2, 3"""
# The cross join keeps the segments in order, so that the limit ends the search early.
_FIND: Final = """SELECT found.seq FROM segments CROSS JOIN segment_rooms AS found
    ON found.segment = segments.first AND found.seq > ?1 AND found.seq <= ?2
    AND found.room IN (SELECT value FROM json_each(?3))
    WHERE segments.last > ?1 AND segments.first <= ?2
    ORDER BY segments.first, found.seq LIMIT ?4"""
_FIND_NEWEST: Final = _FIND.replace("first, found.seq", "first DESC, found.seq DESC")


def migrate(db: sqlite3.Connection, version: int) -> None:
    """Give an older file the tables, and the version that has them. They are filled later."""
    (found,) = db.execute("PRAGMA user_version").fetchone()
    if found < version:
        db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {version}; COMMIT;")


def sealed_upto(db: sqlite3.Connection) -> int | None:
    """The number of the last entry that is in a segment."""
    found: tuple[int | None] = db.execute("SELECT max(last) FROM segments").fetchone()
    return found[0]


def seal(db: sqlite3.Connection, first: int, last: int) -> None:
    """Write the segment of these entries."""
    db.execute("INSERT INTO segments VALUES (?, ?)", (first, last))
    db.execute(_SEAL, (first, last))


def trim(db: sqlite3.Connection, first: int) -> None:
    """Remove the segments that hold only entries older than one."""
    gone = db.execute("SELECT first FROM segments WHERE last < ?", (first,)).fetchall()
    db.executemany("DELETE FROM segment_rooms WHERE segment = ?", gone)
    db.executemany("DELETE FROM segments WHERE first = ?", gone)


def find(
    db: sqlite3.Connection, rooms: str, after: int, upto: int, limit: int, *, newest: bool = False
) -> Sequence[int]:
    """The first numbers of rooms after one up to another, or the last ones, newest first."""
    query = _FIND_NEWEST if newest else _FIND
    return [seq for (seq,) in db.execute(query, (after, upto, rooms, limit))]


def rooms_json(rooms: Rooms) -> str:
    """The rooms as `find` takes them."""
    return dumps([room or "" for room in rooms]).decode()
