"""Reading a log in SQLite, on threads and connections of its own.

Rules that hold here:

- A read never waits behind a commit, nor a commit behind a read: in WAL mode
  readers have the file as it was when they began.
- A read takes one page and ends: a reader that stayed would keep the
  write-ahead log from being folded into the file.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Final, NamedTuple

from ..protocol import Position, dumps
from ..threads import DaemonExecutor
from .base import PAGE_BYTES, Page
from .entry import Entry, new_entry
from .room_index import Rooms
from .sqlite_segments import find, rooms_json

__all__ = ["SELECT_ENTRIES", "Search", "SqliteReaders", "entry_of_row"]

# Reads are short and the file is mostly in the system's cache: two threads keep
# two cores busy, and a third would take time from the event loop.
READERS: Final = 2

SELECT_ENTRIES: Final = (
    "SELECT seq, time, event, room, entries.key, data, skip, ack, args, retain FROM entries "
)
_READ: Final = SELECT_ENTRIES + "WHERE seq > ? AND seq <= ? ORDER BY seq"
_NOT_SUPERSEDED: Final = """(
    entries.key IS NULL OR skip IS NOT NULL OR seq <= ? OR NOT EXISTS (
        SELECT 1 FROM entries later WHERE later.key = entries.key
        AND later.event = entries.event AND later.room IS entries.room
        AND later.retain IS entries.retain AND later.skip IS NULL AND later.seq > entries.seq)) """
_READ_NEWEST_OF_KEY: Final = (
    SELECT_ENTRIES + f"WHERE seq > ? AND seq <= ? AND {_NOT_SUPERSEDED} ORDER BY seq"
)


_READ_NEWEST: Final = SELECT_ENTRIES + "WHERE seq >= ? AND seq <= ? ORDER BY seq DESC"
# Without a cross join, SQLite may walk through the entries in place of the numbers.
_OF_NUMBERS: Final = "FROM json_each(?) AS wanted CROSS JOIN entries ON seq = wanted.value "
_FETCH: Final = SELECT_ENTRIES.replace("FROM entries ", _OF_NUMBERS)
_FETCH_NEWEST_OF_KEY: Final = _FETCH + f"WHERE {_NOT_SUPERSEDED}"


class Search(NamedTuple):
    """What is looked for: at most `limit` entries of rooms after a number up to another.

    Segments are searched up to `sealed`; the numbers behind it that were found in memory
    are given, in the order in which they are wanted.
    """

    rooms: Rooms
    after: int
    upto: int
    sealed: int
    unsealed: list[int]
    limit: int

    def oldest(self, db: sqlite3.Connection) -> Sequence[int]:
        """The numbers, oldest first."""
        sealed = self._find(db, self.limit, newest=False)
        return [*sealed, *self.unsealed][: self.limit]

    def newest(self, db: sqlite3.Connection) -> Sequence[int]:
        """The numbers, newest first."""
        return [
            *self.unsealed,
            *self._find(db, self.limit - len(self.unsealed), newest=True),
        ]

    def _find(self, db: sqlite3.Connection, limit: int, *, newest: bool) -> Sequence[int]:
        upto = min(self.upto, self.sealed)
        if not self.rooms or not limit or self.after >= upto:
            return ()
        return find(db, rooms_json(self.rooms), self.after, upto, limit, newest=newest)


class SqliteReaders:
    """A small pool of threads, each with a connection for the time of a read."""

    def __init__(self) -> None:
        self._threads = DaemonExecutor(READERS, "rtpush-sqlite-reader")
        self._connections: SimpleQueue[sqlite3.Connection] = SimpleQueue()

    def open(self, path: Path) -> None:
        """Open the connections. Raises sqlite3.Error."""
        for _ in range(READERS):
            connection = sqlite3.connect(path, timeout=0.5, check_same_thread=False)
            self._connections.put(connection)
            connection.execute("PRAGMA query_only = ON")

    def close(self) -> None:
        """Wait for the reads under way, then close the connections."""
        self._threads.shutdown()
        while not self._connections.empty():
            self._connections.get().close()

    async def read(self, epoch: str, after: int, upto: int, conflate_after: int | None) -> Page:
        """The entries after `after` up to `upto`; see `Log.read`. Raises sqlite3.Error."""

        def read(db: sqlite3.Connection) -> Page:
            if conflate_after is None:
                return _page(epoch, db.execute(_READ, (after, upto)), upto)
            found = db.execute(_READ_NEWEST_OF_KEY, (after, upto, conflate_after))
            return _page(epoch, found, upto)

        return await self._run(read)

    async def read_newest(self, epoch: str, first: int, upto: int) -> Page:
        """The entries from `first` up to `upto`, newest first. Raises sqlite3.Error."""

        def read(db: sqlite3.Connection) -> Page:
            return _page(epoch, db.execute(_READ_NEWEST, (first, upto)), first, step=-1)

        return await self._run(read)

    async def find(self, epoch: str, search: Search, conflate_after: int | None) -> Page:
        """The entries that are looked for; see `Log.read`. Raises sqlite3.Error."""

        def read(db: sqlite3.Connection) -> Page:
            numbers = search.oldest(db)
            upto = numbers[-1] if len(numbers) == search.limit else search.upto
            wanted = dumps(numbers).decode()
            if conflate_after is None:
                return _page(epoch, db.execute(_FETCH, (wanted,)), upto)
            found = db.execute(_FETCH_NEWEST_OF_KEY, (wanted, conflate_after))
            return _page(epoch, found, upto)

        return await self._run(read)

    async def find_newest(self, epoch: str, search: Search) -> Page:
        """The same, newest first; see `Log.read_before`. Raises sqlite3.Error."""

        def read(db: sqlite3.Connection) -> Page:
            numbers = search.newest(db)
            upto = numbers[-1] if len(numbers) == search.limit else search.after + 1
            return _page(epoch, db.execute(_FETCH, (dumps(numbers).decode(),)), upto, step=-1)

        return await self._run(read)

    async def _run(self, read: Callable[[sqlite3.Connection], Page]) -> Page:
        def with_connection() -> Page:
            with self._connection() as connection:
                return read(connection)

        return await asyncio.get_running_loop().run_in_executor(self._threads, with_connection)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        # There are as many as threads, so that this never waits.
        connection = self._connections.get()
        try:
            yield connection
        finally:
            self._connections.put(connection)


def _page(epoch: str, found: sqlite3.Cursor, upto: int, step: int = 1) -> Page:
    entries: list[Entry] = []
    size = 0
    with closing(found) as rows:
        for row in rows:
            entry = entry_of_row(epoch, *row)
            size += len(entry.json)
            if size > PAGE_BYTES and entries:
                return Page(entries, entry.seq - step)
            entries.append(entry)
    return Page(entries, upto)


def entry_of_row(
    epoch: str,
    seq: int,
    time: float,
    event: str,
    room: str | None,
    key: str | None,
    data: bytes,
    skip: str | None,
    ack: str | None,
    args: int | None,
    retain: int | None,
) -> Entry:
    """An entry as the table has it."""
    return new_entry(
        Position(epoch, seq),
        time,
        event,
        room,
        key,
        data,
        tuple(skip.split()) if skip else (),
        ack,
        args=bool(args),
        retain=bool(retain),
    )
