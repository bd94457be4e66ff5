"""The file of a log in SQLite: opening, writing and trimming it.

Rules that hold here:

- Everything blocks, and runs in one thread.
- A batch is one transaction: entries, tasks, idempotency keys and retention
  change together. `synchronous=FULL`: a commit is on the disk, so an
  acknowledgement outlives a power failure too, not only `kill -9`.
- One server has the file at a time. It is looked at as plain bytes before
  SQLite opens it, so that a file of something else is left as it was.
- A commit costs what its batch holds, however full the log and the board are.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from ..config.settings import Settings
from . import sqlite_retained
from . import sqlite_segments as segments
from .base import LogError
from .disk_reserve import DiskReserve
from .entry import Entry
from .file_place import FilePlace
from .sqlite_reader import SELECT_ENTRIES, entry_of_row
from .sqlite_rows import Kept, Restored, Rows, is_jump
from .sqlite_schema import SCHEMA_VERSION, check_version, create, is_log

__all__ = ["SqliteFile"]

# Trimming rides on commits and, in a quiet log, on ticks: this many entries at
# the most each time, so that no publisher waits for a long deletion.
TRIM_AT_ONCE: Final = 5_000
# On a full disk: bytes of one step, which takes as much of the room, and steps of one trimming.
STEP_IN_NEED: Final = 2 << 20
STEPS_IN_NEED: Final = 16

# SQLite folds the write-ahead log into the file by itself, but begins it anew only
# when it meets no reader. Beyond this size a commit waits for the reads under way.
MAX_WAL_BYTES: Final = 32 << 20

_NEWEST_FIRST: Final = SELECT_ENTRIES + "ORDER BY seq DESC LIMIT ?"
_FORGET_KEY: Final = "DELETE FROM idempotency WHERE seq = ?"
_OLDEST_FIRST: Final = "SELECT seq, time, size FROM entries ORDER BY seq LIMIT ?"


class SqliteFile:
    """The one connection that writes."""

    def __init__(self, path: Path, settings: Settings, segment: int, reserve: DiskReserve) -> None:
        self._path = path
        self._guard_path = Path(f"{path.resolve()}-lock")
        self._wal_path = Path(f"{path}-wal")
        self._place = FilePlace()
        self._guard: sqlite3.Connection | None = None
        self._settings = settings
        self._segment = segment
        self._reserve = reserve
        self._first = 1
        self._last = 0
        self._bytes = 0
        self._sealed = 0
        self._wall_ahead = 0.0

    # -------------------------------------------------------------- opening

    def open(self, wall: float, tail_count: int, tail_bytes: int) -> Restored:
        """`wall` is the wall clock's time. Raises LogError, and then the file is as it was."""
        while True:
            known = is_log(self._path)
            try:
                self._db = self._connect(self._path)
            except sqlite3.Error as exc:
                raise LogError(f"cannot open the log {self._path}: {exc}.") from exc
            try:
                self._check(known)
                self._close_unfolded()
                self._hold()
                self._begin()
                return self._restore(wall, tail_count, tail_bytes)
            except sqlite3.Error as exc:
                self._leave()
                if not (_is_full(exc) and self._reserve.lend()):
                    raise self._explain(exc) from exc
            except LogError:
                self._leave()
                raise

    def _connect(self, path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=0.5, isolation_level=None)

    def _leave(self) -> None:
        """Close, and leave the files as they are, for a person who has to repair them."""
        self._close_unfolded()
        self._let_go()

    def _close_unfolded(self) -> None:
        """Close one connection.

        The last one to go folds the write-ahead log into the file and removes it, which takes
        room. An interrupt that nothing has answered yet stops that before its first page.
        """
        with suppress(sqlite3.ProgrammingError):  # it is closed already
            self._db.interrupt()
        self._db.close()

    def _hold(self) -> None:
        """Keep other servers away: readers of our own share the file itself.

        SQLite locks the file beside it, on every system and until the process ends.
        """
        self._guard = self._connect(self._guard_path)
        self._guard.execute("BEGIN EXCLUSIVE")

    def _let_go(self) -> None:
        if self._guard is not None:
            # Removed while we hold it. A server that waits for this very file has
            # yet to find nobody at the log.
            with suppress(OSError):
                self._guard_path.unlink()
            self._guard.close()
            self._guard = None

    def _explain(self, exc: sqlite3.Error) -> LogError:
        if "locked" in str(exc):
            return LogError(
                f"the log {self._path} is in use by another rtpush server (or another program); "
                "stop that one, or choose another file with --log sqlite:PATH."
            )
        if _is_full(exc):
            return LogError(f"the disk of the log {self._path} is full: make room on it.")
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

    def _check(self, known: bool) -> None:
        """See that the log is sound and nobody else has it, or make one."""
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        if known:
            check_version(self._db, self._path)
            self._check_sound()
        else:
            create(self._db)

    def _begin(self) -> None:
        self._db = self._connect(self._path)
        execute = self._db.execute
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")
        execute(f"PRAGMA journal_size_limit = {MAX_WAL_BYTES // 8}")
        segments.migrate(self._db, SCHEMA_VERSION)
        # The first read has made the write-ahead log.
        self._place.remember(self._path, self._wal_path)

    def _check_sound(self) -> None:
        for (problem,) in self._db.execute("PRAGMA quick_check(1)"):
            if problem != "ok":
                raise self._damaged(problem)

    def _restore(self, wall: float, tail_count: int, tail_bytes: int) -> Restored:
        execute = self._db.execute
        meta = dict(execute("SELECT name, value FROM meta"))
        epoch, self._wall_ahead = meta["epoch"], float(meta["wall_ahead"])
        first, last, size = execute("SELECT min(seq), max(seq), sum(size) FROM entries").fetchone()
        self._first, self._last, self._bytes = first or 1, last or 0, size or 0
        self._sealed = max(segments.sealed_upto(self._db) or 0, self._first - 1)
        while self._last - self._sealed >= self._segment:
            # One transaction each, so that a kill loses no more than that.
            with self._transaction():
                self._seal_full()
        newest = self._newest(epoch, tail_count, tail_bytes)
        between = (self._sealed, newest[0].seq if newest else 0)
        # Time does not fall, also when the wall clock says that the newest entry is yet to come.
        ahead = min([self._wall_ahead, *(wall - entry.time for entry in newest[-1:])])
        rooms = execute("SELECT room FROM entries WHERE seq > ? AND seq < ? ORDER BY seq", between)
        return Restored(
            epoch,
            ahead,
            self._first,
            newest,
            self._sealed,
            [room for (room,) in rooms],
            [task for (task,) in execute("SELECT task FROM tasks")],
            sqlite_retained.read(self._db),
            execute("SELECT seq, key, account, time FROM idempotency ORDER BY seq").fetchall(),
        )

    def _newest(self, epoch: str, count: int, size: int) -> list[Entry]:
        newest: list[Entry] = []
        with closing(self._db.execute(_NEWEST_FIRST, (count,))) as rows:
            for row in rows:
                entry = entry_of_row(epoch, *row)
                size -= entry.size
                if size < 0 and newest:
                    break
                newest.append(entry)
        return newest[::-1]

    def close(self) -> None:
        """Fold the write-ahead log into the file and unlock it."""
        self._db.close()
        self._let_go()

    # -------------------------------------------------------------- writing

    def commit(self, rows: Rows) -> Kept:
        """Store a batch and trim.

        Raises sqlite3.Error or MisplacedError, and then nothing has changed.
        """
        with self._transaction():
            self._write(rows)
            self._seal_full()
            kept = self._trim(rows.time, rows.wall_ahead)
        self._bound_wal()
        return kept

    def _seal_full(self) -> None:
        last = self._sealed + self._segment
        if last <= self._last:
            segments.seal(self._db, self._sealed + 1, last)
            self._sealed = last

    def _bound_wal(self) -> None:
        with suppress(OSError):
            if self._wal_path.stat().st_size > MAX_WAL_BYTES:
                self._db.execute("PRAGMA wal_checkpoint(RESTART)")

    def trim(self, now: float, wall_ahead: float, forgotten: list[int]) -> Kept:
        """Trim only; likewise. On a full disk, with the room that was kept for it."""
        try:
            return self._trim_alone(now, wall_ahead, forgotten)
        except sqlite3.OperationalError as exc:
            if not (_is_full(exc) and self._has_too_much(now)):
                raise
        self._reserve.release()
        for _ in range(STEPS_IN_NEED):
            with suppress(sqlite3.OperationalError):
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            kept = self._trim_alone(now, wall_ahead, forgotten, STEP_IN_NEED)
            if kept.due > now:
                break
        return kept

    def _trim_alone(
        self, now: float, wall_ahead: float, forgotten: list[int], budget: float = math.inf
    ) -> Kept:
        with self._transaction():
            self._db.executemany(_FORGET_KEY, ((seq,) for seq in forgotten))
            return self._trim(now, wall_ahead, budget)

    def tick(self) -> None:
        """Once a second: raises MisplacedError when the file is not where it was opened."""
        self._place.check()
        self._reserve.keep()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        before = self._first, self._last, self._bytes, self._sealed, self._wall_ahead
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            # As late as can be: what is written to a file without a name must not be answered.
            self._place.check()
            self._db.execute("COMMIT")
        except Exception:
            self._first, self._last, self._bytes, self._sealed, self._wall_ahead = before
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _write(self, rows: Rows) -> None:
        many = self._db.executemany
        many("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows.entries)
        many("DELETE FROM tasks WHERE key = ?", rows.replaced)
        many("INSERT INTO tasks VALUES (?, ?, ?, ?)", rows.tasks)
        sqlite_retained.write(self._db, rows.retained)
        many(_FORGET_KEY, ((seq,) for seq in rows.forgotten))
        many("INSERT INTO idempotency VALUES (?, ?, ?, ?)", rows.keys)
        self._last = rows.entries[-1][0]
        self._bytes += sum(row[2] for row in rows.entries)

    def _note_clocks(self, wall_ahead: float) -> None:
        if is_jump(self._wall_ahead, wall_ahead):
            self._wall_ahead = wall_ahead
            self._db.execute("UPDATE meta SET value = ? WHERE name = 'wall_ahead'", (wall_ahead,))

    def _trim(self, now: float, wall_ahead: float, budget: float = math.inf) -> Kept:
        self._note_clocks(wall_ahead)
        execute = self._db.execute
        execute("DELETE FROM tasks WHERE ended < ?", (now - self._settings.finished_for,))
        keep, due = self._first, now
        # Row by row: mostly the first one says that there is nothing to do.
        with closing(execute(_OLDEST_FIRST, (TRIM_AT_ONCE,))) as oldest:
            for seq, made, size in oldest:
                keep = seq
                if seq == self._last:
                    due = math.inf
                    break
                if not self._too_much(seq, made, now):
                    due = made + self._settings.retention_age
                    break
                self._bytes -= size
                keep = seq + 1
                budget -= size
                if budget < 0:
                    break
        if keep > self._first:
            execute("DELETE FROM entries WHERE seq < ?", (keep,))
            segments.trim(self._db, keep)
            self._first = keep
        return Kept(keep, due, self._sealed, self._wall_ahead)

    def _has_too_much(self, now: float) -> bool:
        oldest = self._db.execute(_OLDEST_FIRST, (1,)).fetchone()
        if oldest is None:
            return False
        seq, made, _ = oldest
        return seq < self._last and self._too_much(seq, made, now)

    def _too_much(self, oldest: int, made: float, now: float) -> bool:
        settings = self._settings
        return (
            self._last - oldest >= settings.retention_count
            or self._bytes > settings.retention_bytes
            or made < now - settings.retention_age
        )


def _is_full(exc: sqlite3.Error) -> bool:
    # Errors of the module itself have no code.
    code = getattr(exc, "sqlite_errorcode", None)
    return code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
