"""A queue on disk: events that are still to be sent, in order.

Rules that hold here:

- What `append` has returned from survives the process, and a power failure.
- Any number of threads and processes append. One process at a time takes; who
  does is decided by SQLite, which lets go whenever and however that one ends.
- SQLite must not be carried over a fork, not even unused: the child would
  believe in its parent's locks. So files are closed before a fork, and opened
  again by who needs them.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Spool", "Spooled"]

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS envelopes (number INTEGER PRIMARY KEY AUTOINCREMENT, json BLOB NOT NULL)
"""
# Seconds that one process waits for another's write.
_PATIENCE: Final = 30.0
# Pages of 4 KiB: a server that never comes back must not fill the disk.
_MAX_PAGES: Final = 1 << 18

# Held while any spool of this process is at its file.
_guard: Final = threading.Lock()
_spools: Final[weakref.WeakSet[Spool]] = weakref.WeakSet()


class Spooled(NamedTuple):
    """One envelope that waits, as JSON."""

    number: int
    json: bytes


class Spool:
    """A spool in a file, and beside it `PATH.lock`. Threads and forks may share it."""

    def __init__(self, path: Path) -> None:
        """Raises sqlite3.Error when the file is no spool or cannot be written."""
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._lock: sqlite3.Connection | None = None
        _spools.add(self)
        with self._opened():
            pass

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with _guard:
            if self._db is None:
                self._db = _open(self._path)
            yield self._db

    def append(self, envelopes: Sequence[bytes]) -> None:
        """Store envelopes behind all others, or none of them. Raises sqlite3.Error."""
        rows = [(json,) for json in envelopes]
        # A transaction of its own: in the end it is committed, or undone by an error.
        with self._opened() as db, db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO envelopes (json) VALUES (?)", rows)

    def hold(self) -> bool:
        """Become the one that takes; False while another process is. Idempotent."""
        with _guard:
            if self._lock is None:
                self._lock = sqlite3.connect(
                    f"{self._path}.lock", timeout=0, isolation_level=None, check_same_thread=False
                )
            if self._lock.in_transaction:
                return True
            try:
                self._lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError:
                return False
            return True

    def release(self) -> None:
        """Let another process take. Idempotent."""
        with _guard:
            if self._lock is not None and self._lock.in_transaction:
                self._lock.execute("ROLLBACK")

    def oldest(self, count: int, size: int) -> list[Spooled]:
        """Up to `count` envelopes of `size` bytes together, but at least one if there is any."""
        found: list[Spooled] = []
        query = "SELECT number, json FROM envelopes ORDER BY number LIMIT ?"
        with self._opened() as db, closing(db.execute(query, (count,))) as rows:
            for number, json in rows:
                size -= len(json)
                if size < 0 and found:
                    break
                found.append(Spooled(number, json))
        return found

    def drop(self, number: int) -> None:
        """Everything up to this number has been sent."""
        with self._opened() as db:
            db.execute("DELETE FROM envelopes WHERE number <= ?", (number,))

    def __len__(self) -> int:
        with self._opened() as db:
            (count,) = db.execute("SELECT count(*) FROM envelopes").fetchone()
        return int(count)

    def close(self) -> None:
        """Let go of the files. Whoever uses it again opens them again."""
        with _guard:
            self._close()

    def _close(self) -> None:
        for db in (self._lock, self._db):
            if db is not None:
                db.close()
        self._lock = self._db = None


def _open(path: Path) -> sqlite3.Connection:
    # `_guard` is why threads may share it.
    db = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA max_page_count = {_MAX_PAGES}")
        db.execute(_SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db


def _before_fork() -> None:
    _guard.acquire()
    for spool in _spools:
        spool._close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_guard.release, after_in_child=_guard.release
    )
