"""A durable FIFO queue of envelopes in an SQLite file.

Rules that hold here:

- What `append` has returned from survives the process, and a power failure.
- Any number of threads and processes append. The process that holds
  `PATH.lock`, itself an SQLite file, sends; SQLite frees the lock whenever and
  however that process ends.
- An open SQLite file must not cross a fork: the child's SQLite would believe
  that it holds the parent's locks, and could damage the file. So a hook closes
  the files before `os.fork`. A fork in C, as by uWSGI, runs no hook: for it the
  files are closed while the spool is idle, and a child of a process whose files
  were open refuses to use a spool.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from .per_process import PerProcess

__all__ = ["Spool", "SpoolEntry"]

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS envelopes (number INTEGER PRIMARY KEY AUTOINCREMENT, json BLOB NOT NULL)
"""
# Seconds to wait while another process writes.
_BUSY_TIMEOUT: Final = 30.0
# Pages of 4 KiB, 1 GiB together: a server that never comes back must not fill the disk.
_MAX_PAGES: Final = 1 << 18


@dataclass(slots=True)
class _Process:
    """The use of SQLite by one process."""

    # Held while a spool works on its files, and during `os.fork`.
    guard: threading.Lock = field(default_factory=threading.Lock)
    # The number of SQLite files that are open.
    open_files: int = 0


_process: Final = PerProcess(_Process)
_spools: Final[weakref.WeakSet[Spool]] = weakref.WeakSet()


class SpoolEntry(NamedTuple):
    """One envelope, as JSON, and its place in the queue."""

    number: int
    json: bytes


class Spool:
    """A queue in the file PATH, with the sender's lock in PATH.lock.

    Threads share it, also after a fork.
    """

    def __init__(self, path: Path) -> None:
        """Raises sqlite3.Error when the file is not a spool or cannot be written."""
        self._path = path
        self._files = PerProcess(lambda: _Files(path))
        with self._opened():
            _spools.add(self)
        # A program that forks next, as uWSGI does after the import, carries nothing over.
        self.close()

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with _guarded():
            yield self._files.value.data()

    def append(self, envelopes: Sequence[bytes]) -> None:
        """Store envelopes at the end, all or none. Raises sqlite3.Error."""
        rows = [(json,) for json in envelopes]
        # As a context manager, the connection commits, or rolls back after an error.
        with self._opened() as db, db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO envelopes (json) VALUES (?)", rows)

    def acquire(self) -> bool:
        """Take the sender's lock; False while another process has it. Idempotent."""
        with _guarded():
            lock = self._files.value.lock()
            if lock.in_transaction:
                return True
            with suppress(sqlite3.OperationalError):
                lock.execute("BEGIN EXCLUSIVE")
            return lock.in_transaction

    def release(self) -> None:
        """Give the sender's lock back. Idempotent."""
        with _guarded():
            self._files.value.close_lock()

    def peek(self, count: int, size: int) -> list[SpoolEntry]:
        """The first entries: at most `count`, and `size` bytes unless the first is larger."""
        found: list[SpoolEntry] = []
        query = "SELECT number, json FROM envelopes ORDER BY number LIMIT ?"
        with self._opened() as db, closing(db.execute(query, (count,))) as rows:
            for number, json in rows:
                size -= len(json)
                if size < 0 and found:
                    break
                found.append(SpoolEntry(number, json))
        return found

    def remove(self, number: int) -> None:
        """Remove the entries up to this number."""
        with self._opened() as db:
            db.execute("DELETE FROM envelopes WHERE number <= ?", (number,))

    def __len__(self) -> int:
        with self._opened() as db:
            (count,) = db.execute("SELECT count(*) FROM envelopes").fetchone()
        return int(count)

    def close(self) -> None:
        """Close the files. The next call opens them again."""
        with _process.value.guard:
            self._files.value.close()

    def close_for_fork(self) -> None:
        """As `close`, while the caller holds the guard."""
        self._files.value.close()


class _Files:
    """The open SQLite files of one spool in one process. Callers hold the guard."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # None while closed.
        self._data: sqlite3.Connection | None = None
        self._lock: sqlite3.Connection | None = None

    def data(self) -> sqlite3.Connection:
        """The queue. Raises sqlite3.Error."""
        if self._data is None:
            self._data = _open(self._path)
            _process.value.open_files += 1
        return self._data

    def lock(self) -> sqlite3.Connection:
        """The file with the sender's lock."""
        if self._lock is None:
            self._lock = sqlite3.connect(
                f"{self._path}.lock", timeout=0, isolation_level=None, check_same_thread=False
            )
            _process.value.open_files += 1
        return self._lock

    def close_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None
            _process.value.open_files -= 1

    def close(self) -> None:
        self.close_lock()
        if self._data is not None:
            self._data.close()
            self._data = None
            _process.value.open_files -= 1


def _open(path: Path) -> sqlite3.Connection:
    # The guard makes it safe to share between threads.
    db = sqlite3.connect(path, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA max_page_count = {_MAX_PAGES}")
        db.execute(_SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db


@contextmanager
def _guarded() -> Iterator[None]:
    """Work on SQLite files. Raises sqlite3.OperationalError where that is not safe."""
    if any(one.guard.locked() or one.open_files for one in _process.inherited):
        raise sqlite3.OperationalError(
            "the process was forked in C while the spool was in use; publish, or make the "
            "Publisher, after the fork (uWSGI: lazy-apps, or @postfork)"
        )
    with _process.value.guard:
        yield


# The guard that is held during `os.fork`; None at any other time.
_held: threading.Lock | None = None


def _before_fork() -> None:
    global _held
    guard = _process.value.guard
    guard.acquire()
    _held = guard
    for spool in _spools:
        spool.close_for_fork()


def _after_fork() -> None:
    global _held
    # In the child this is its copy of the parent's guard. It is None there after a
    # fork in C that runs only the child's hooks, as with uWSGI's py-call-osafterfork.
    guard, _held = _held, None
    if guard is not None:
        guard.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )
