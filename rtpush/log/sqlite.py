"""The log in a file: what was acknowledged survives the process.

Rules that hold here:

- One thread owns the connection. The event loop never touches the disk.
- A batch is one transaction: entries, tasks, idempotency keys and retention
  change together. `synchronous=FULL`: a commit is on the disk, so an
  acknowledgement outlives a power failure too, not only `kill -9`.
- The file is locked while it is open. It is looked at as plain bytes before
  SQLite opens it, so that a file of something else is left as it was.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import sqlite3
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Final, NamedTuple, TypeVar

from ..config.settings import Settings
from ..errors import RtpushError
from ..protocol import Position
from .base import IDEMPOTENCY_FOR, PAGE_BYTES, LogError, Page
from .entry import Entry, new_entry
from .group_commit import Batch
from .local import LocalLog
from .tail import Tail

__all__ = ["SqliteLog"]

T = TypeVar("T")

APPLICATION_ID: Final = 0x52545055  # "RTPU"
SCHEMA_VERSION: Final = 1

# How much of the newest is kept in memory, where reading it costs no disk.
TAIL_COUNT: Final = 20_000
TAIL_BYTES: Final = 8 << 20

# Trimming rides on commits and, in a quiet log, on ticks: this many entries at
# the most each time, so that no publisher waits for a long deletion.
TRIM_AT_ONCE: Final = 5_000

SCHEMA: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY, time REAL NOT NULL, event TEXT NOT NULL,
    room TEXT, key TEXT, data BLOB NOT NULL, skip TEXT, ack TEXT);
CREATE INDEX entries_keyed ON entries (key, event, room, seq) WHERE key IS NOT NULL;
CREATE TABLE tasks (key TEXT PRIMARY KEY, ended REAL, task BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE idempotency (key TEXT PRIMARY KEY, seq INTEGER NOT NULL, time REAL NOT NULL)
    WITHOUT ROWID;
CREATE INDEX idempotency_time ON idempotency (time);
"""

# What retention counts for an entry beside its data: row, index and names.
_ROW_BYTES: Final = 100
_SIZE: Final = f"length(data) + {_ROW_BYTES}"

_SELECT: Final = "SELECT seq, time, event, room, key, data, skip, ack FROM entries "
_NEWEST_FIRST: Final = _SELECT + "ORDER BY seq DESC LIMIT ?"
_READ: Final = _SELECT + "WHERE seq > ? AND seq <= ? ORDER BY seq"
_READ_NEWEST_OF_KEY: Final = (
    _SELECT
    + """WHERE seq > ? AND seq <= ? AND (key IS NULL OR skip IS NOT NULL OR seq <= ? OR NOT EXISTS (
        SELECT 1 FROM entries later WHERE later.key = entries.key
        AND later.event = entries.event AND later.room IS entries.room
        AND later.skip IS NULL AND later.seq > entries.seq))
    ORDER BY seq"""
)


class Kept(NamedTuple):
    """What trimming left: the oldest number, and the time at which there is more to trim."""

    first: int
    due: float


class Restored(NamedTuple):
    """What a file held when it was opened; `newest` is what the tail begins with."""

    epoch: str
    first: int
    newest: list[Entry]
    tasks: list[bytes]
    seen: list[tuple[str, int, float]]


@dataclass(frozen=True, slots=True)
class Row:
    """A batch in the form that the thread stores: no object that the loop may change."""

    entries: list[tuple[int, float, str, str | None, str | None, bytes, str | None, str | None]]
    tasks: list[tuple[str, float | None, bytes]]
    gone: list[tuple[str]]
    keys: list[tuple[str, int, float]]
    time: float


class SqliteLog(LocalLog):
    """See `Log`. `path` is a file; it is made when there is none.

    `tail_count` and `tail_bytes` bound what is kept in memory.
    """

    def __init__(
        self,
        settings: Settings,
        path: str | Path,
        clock: Callable[[], float] = time,
        *,
        tail_count: int = TAIL_COUNT,
        tail_bytes: int = TAIL_BYTES,
    ) -> None:
        super().__init__(settings, clock)
        self._file = _File(Path(path), settings)
        self._thread = ThreadPoolExecutor(1, "rtpush-sqlite")
        self._tail_bounds = tail_count, tail_bytes
        self._tail = Tail(0, *self._tail_bounds)
        self._trim_due = 0.0
        self._trimming = False
        self.first = 1

    async def open(self) -> None:
        """See `Log.open`."""
        try:
            restored = await self._in_thread(self._file.open, self._clock(), *self._tail_bounds)
        except LogError:
            self._thread.shutdown()
            raise
        self.epoch = restored.epoch
        self.first = restored.first
        last = restored.newest[-1].seq if restored.newest else 0
        self._tail = Tail(last - len(restored.newest), *self._tail_bounds)
        for entry in restored.newest:
            self._tail.append(entry)
        self.board.restore(restored.tasks)
        for key, seq, when in restored.seen:
            self._seen.add(key, seq, when)

    async def close(self) -> None:
        """See `Log.close`."""
        await self.wait_idle()
        await self._in_thread(self._file.close)
        self._thread.shutdown()

    async def _in_thread(self, function: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    def _write(self, batch: Batch) -> None:
        loop = asyncio.get_running_loop()
        stored = loop.run_in_executor(self._thread, self._file.commit, _rows(batch))
        stored.add_done_callback(lambda done: self._committed(batch, done))

    def _committed(self, batch: Batch, done: asyncio.Future[Kept]) -> None:
        error = done.exception()
        if error is None:
            self.first, self._trim_due = done.result()
        self._stored(batch, error)

    def tick(self, now: float) -> None:
        """See `Log.tick`."""
        super().tick(now)
        if now > self._trim_due and not self._trimming:
            self._trimming = True
            loop = asyncio.get_running_loop()
            loop.run_in_executor(self._thread, self._file.trim, now).add_done_callback(
                self._trimmed
            )

    def _trimmed(self, done: asyncio.Future[Kept]) -> None:
        self._trimming = False
        # A store that cannot be written refuses the next append, and says so
        # there. Here it is enough that the next tick tries again.
        if done.exception() is None:
            self.first, self._trim_due = done.result()

    async def read(self, after: int, limit: int, conflate_after: int | None = None) -> Page:
        """See `Log.read`."""
        try:
            return await self._in_thread(self._file.read, self.epoch, after, limit, conflate_after)
        except sqlite3.Error as exc:
            raise RtpushError("unavailable", f"The log cannot be read now ({exc}).") from exc


def _rows(batch: Batch) -> Row:
    tasks = list(batch.rows())
    return Row(
        [
            (
                seq,
                batch.time,
                draft.event,
                draft.room,
                draft.key,
                draft.encoded,
                " ".join(draft.skip) or None,
                draft.ack,
            )
            for seq, draft in enumerate(batch.drafts, batch.base + 1)
        ],
        [
            (key, None if active else batch.time, task)
            for key, task, active in tasks
            if task is not None
        ],
        [(key,) for key, task, _ in tasks if task is None],
        [(key, seq, batch.time) for key, seq in batch.keys.items()],
        batch.time,
    )


class _File:
    """The blocking side. Every method runs in the one thread."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path = path
        self._settings = settings
        self._first = 1
        self._last = 0
        self._bytes = 0

    # -------------------------------------------------------------- opening

    def open(self, now: float, tail_count: int, tail_bytes: int) -> Restored:
        """Raises LogError, and then the file is as it was."""
        known = self._look()
        try:
            self._db = sqlite3.connect(self._path, timeout=0.5, isolation_level=None)
        except sqlite3.Error as exc:
            raise LogError(f"cannot open the log {self._path}: {exc}.") from exc
        try:
            self._open(known, now)
            return self._restore(tail_count, tail_bytes)
        except sqlite3.Error as exc:
            self._leave()
            raise self._explain(exc) from exc
        except LogError:
            self._leave()
            raise

    def _leave(self) -> None:
        """Close, and leave the files as they are.

        The last connection to go folds the write-ahead log into the file and
        removes it, which is no help to who has to repair a damaged file. An
        interrupt that nothing has answered yet stops that before its first page.
        """
        self._db.interrupt()
        self._db.close()

    def _look(self) -> bool:
        """Is there a log already? Read as plain bytes (SQLite file format, section 1.3)."""
        try:
            with self._path.open("rb") as file:
                header = file.read(100)
        except FileNotFoundError:
            return False
        except OSError as exc:
            raise LogError(f"cannot read the log {self._path}: {exc.strerror}.") from exc
        if not header:
            return False
        if len(header) < 100 or not header.startswith(b"SQLite format 3\0"):
            raise LogError(
                f"{self._path} is not an rtpush log (not a database at all); it was left as it is. "
                "Choose another file with --log sqlite:PATH."
            )
        (application,) = struct.unpack_from(">I", header, 68)
        if application != APPLICATION_ID:
            raise LogError(
                f"{self._path} is a database of another program; it was left as it is. "
                "Choose another file with --log sqlite:PATH."
            )
        return True

    def _explain(self, exc: sqlite3.Error) -> LogError:
        if "locked" in str(exc):
            return LogError(
                f"the log {self._path} is in use by another rtpush server (or another program); "
                "stop that one, or choose another file with --log sqlite:PATH."
            )
        if isinstance(exc, sqlite3.OperationalError):
            return LogError(
                f"cannot open the log {self._path}: {exc}. "
                "Does its folder exist, and may it be written?"
            )
        return self._damaged(str(exc))

    def _damaged(self, why: str) -> LogError:
        return LogError(
            f"the log {self._path} is damaged ({why}); nothing was changed. Move it away "
            "to start with an empty log, or try `sqlite3 FILE .recover` on a copy."
        )

    def _open(self, known: bool, now: float) -> None:
        execute = self._db.execute
        execute("PRAGMA locking_mode = EXCLUSIVE")
        if known:
            self._check_version()
            self._check_sound()
        else:
            self._create()
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")
        # Takes the lock for good: see locking_mode.
        execute("BEGIN IMMEDIATE")
        execute("DELETE FROM idempotency WHERE time < ?", (now - IDEMPOTENCY_FOR,))
        execute("COMMIT")

    def _check_version(self) -> None:
        # Asked of SQLite: the newest header may stand in the write-ahead log.
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise LogError(
                f"{self._path} was written by a newer rtpush; it was left as it is. "
                "Upgrade rtpush or choose another file with --log sqlite:PATH."
            )

    def _check_sound(self) -> None:
        for (problem,) in self._db.execute("PRAGMA quick_check(1)"):
            if problem != "ok":
                raise self._damaged(problem)

    def _create(self) -> None:
        epoch = secrets.token_hex(6)
        self._db.executescript(
            f"""BEGIN EXCLUSIVE;
            PRAGMA application_id = {APPLICATION_ID};
            PRAGMA user_version = {SCHEMA_VERSION};
            {SCHEMA}
            INSERT INTO meta VALUES ('epoch', '{epoch}');
            COMMIT;"""
        )

    def _restore(self, tail_count: int, tail_bytes: int) -> Restored:
        execute = self._db.execute
        (epoch,) = execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()
        first, last, size = execute(
            f"SELECT min(seq), max(seq), sum({_SIZE}) FROM entries"
        ).fetchone()
        self._first, self._last, self._bytes = first or 1, last or 0, size or 0
        return Restored(
            epoch,
            self._first,
            self._newest(epoch, tail_count, tail_bytes),
            [task for (task,) in execute("SELECT task FROM tasks")],
            execute("SELECT key, seq, time FROM idempotency ORDER BY time").fetchall(),
        )

    def _newest(self, epoch: str, count: int, size: int) -> list[Entry]:
        newest: list[Entry] = []
        with closing(self._db.execute(_NEWEST_FIRST, (count,))) as rows:
            for row in rows:
                entry = _entry(epoch, *row)
                size -= entry.size
                if size < 0 and newest:
                    break
                newest.append(entry)
        return newest[::-1]

    def close(self) -> None:
        """Fold the write-ahead log into the file and unlock it."""
        self._db.close()

    # --------------------------------------------------- writing and reading

    def commit(self, rows: Row) -> Kept:
        """Store a batch and trim. Raises sqlite3.Error, and then nothing has changed."""
        with self._transaction():
            self._write(rows)
            return self._trim(rows.time)

    def trim(self, now: float) -> Kept:
        """Trim only; likewise."""
        with self._transaction():
            return self._trim(now)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        before = self._first, self._last, self._bytes
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except Exception:
            self._first, self._last, self._bytes = before
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _write(self, rows: Row) -> None:
        many = self._db.executemany
        many("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows.entries)
        many("INSERT OR REPLACE INTO tasks VALUES (?, ?, ?)", rows.tasks)
        many("DELETE FROM tasks WHERE key = ?", rows.gone)
        many("INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?)", rows.keys)
        self._last = rows.entries[-1][0]
        self._bytes += sum(len(entry[5]) + _ROW_BYTES for entry in rows.entries)

    def _trim(self, now: float) -> Kept:
        execute = self._db.execute
        execute("DELETE FROM idempotency WHERE time < ?", (now - IDEMPOTENCY_FOR,))
        execute("DELETE FROM tasks WHERE ended < ?", (now - self._settings.finished_for,))
        keep, due = self._first, now
        for seq, made, size in execute(
            f"SELECT seq, time, {_SIZE} FROM entries ORDER BY seq LIMIT ?", (TRIM_AT_ONCE,)
        ).fetchall():
            keep = seq
            if seq == self._last:
                due = math.inf
                break
            if not self._too_much(seq, made, now):
                due = made + self._settings.retention_age
                break
            self._bytes -= size
            keep = seq + 1
        if keep > self._first:
            execute("DELETE FROM entries WHERE seq < ?", (keep,))
            self._first = keep
        return Kept(keep, due)

    def _too_much(self, oldest: int, made: float, now: float) -> bool:
        settings = self._settings
        return (
            self._last - oldest >= settings.retention_count
            or self._bytes > settings.retention_bytes
            or made < now - settings.retention_age
        )

    def read(self, epoch: str, after: int, limit: int, conflate_after: int | None) -> Page:
        """See `Log.read`."""
        after = max(after, self._first - 1)
        upto = min(after + limit, self._last)
        if conflate_after is None:
            found = self._db.execute(_READ, (after, upto))
        else:
            found = self._db.execute(_READ_NEWEST_OF_KEY, (after, upto, conflate_after))
        entries: list[Entry] = []
        size = 0
        with closing(found) as rows:
            for row in rows:
                entry = _entry(epoch, *row)
                size += len(entry.json)
                if size > PAGE_BYTES and entries:
                    return Page(entries, entry.seq - 1)
                entries.append(entry)
        return Page(entries, upto)


def _entry(
    epoch: str,
    seq: int,
    time: float,
    event: str,
    room: str | None,
    key: str | None,
    data: bytes,
    skip: str | None,
    ack: str | None,
) -> Entry:
    skipped = tuple(skip.split()) if skip else ()
    return new_entry(Position(epoch, seq), time, event, room, key, data, skipped, ack)
