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
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from ..protocol import Position
from ..threads import DaemonExecutor
from .base import PAGE_BYTES, Page
from .entry import Entry, new_entry

__all__ = ["SELECT_ENTRIES", "SqliteReaders", "entry_of_row"]

# Reads are short and the file is mostly in the system's cache: two threads keep
# two cores busy, and a third would take time from the event loop.
READERS: Final = 2

SELECT_ENTRIES: Final = "SELECT seq, time, event, room, key, data, skip, ack, args FROM entries "
_READ: Final = SELECT_ENTRIES + "WHERE seq > ? AND seq <= ? ORDER BY seq"
_READ_NEWEST_OF_KEY: Final = (
    SELECT_ENTRIES
    + """WHERE seq > ? AND seq <= ? AND (key IS NULL OR skip IS NOT NULL OR seq <= ? OR NOT EXISTS (
        SELECT 1 FROM entries later WHERE later.key = entries.key
        AND later.event = entries.event AND later.room IS entries.room
        AND later.skip IS NULL AND later.seq > entries.seq))
    ORDER BY seq"""
)


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
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._threads, self._read, epoch, after, upto, conflate_after
        )

    def _read(self, epoch: str, after: int, upto: int, conflate_after: int | None) -> Page:
        with self._connection() as connection:
            if conflate_after is None:
                found = connection.execute(_READ, (after, upto))
            else:
                found = connection.execute(_READ_NEWEST_OF_KEY, (after, upto, conflate_after))
            return _page(epoch, found, upto)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        # There are as many as threads, so that this never waits.
        connection = self._connections.get()
        try:
            yield connection
        finally:
            self._connections.put(connection)


def _page(epoch: str, found: sqlite3.Cursor, upto: int) -> Page:
    entries: list[Entry] = []
    size = 0
    with closing(found) as rows:
        for row in rows:
            entry = entry_of_row(epoch, *row)
            size += len(entry.json)
            if size > PAGE_BYTES and entries:
                return Page(entries, entry.seq - 1)
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
) -> Entry:
    """An entry as the table has it."""
    skipped = tuple(skip.split()) if skip else ()
    return new_entry(
        Position(epoch, seq), time, event, room, key, data, skipped, ack, args=bool(args)
    )
