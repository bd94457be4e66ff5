"""The log in a file: what was acknowledged survives the process.

Rules that hold here:

- The event loop never touches the disk. One thread writes, and others read,
  so that neither waits for the other.
- What is read ends with what was published: a batch that is stored and not
  yet published is nobody's to see.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from time import time
from typing import Final, TypeVar

from ..config.settings import Settings
from ..errors import RtpushError
from ..threads import DaemonExecutor
from .base import LogError, Page
from .entry import Draft
from .file_place import MisplacedError
from .group_commit import Batch
from .idempotency import MAX_KEYS
from .local import LocalLog
from .sqlite_file import EntryRow, Kept, KeyRow, Rows, SqliteFile
from .sqlite_reader import SqliteReaders
from .tail import Tail

__all__ = ["SqliteLog"]

T = TypeVar("T")

# How much of the newest is kept in memory, where reading it costs no disk.
TAIL_COUNT: Final = 20_000
TAIL_BYTES: Final = 8 << 20

# Idempotency keys that one commit removes from the file at the most.
FORGET_AT_ONCE: Final = 5_000

# What retention counts for an entry beside its data and its names: row and index.
ROW_BYTES: Final = 100


class SqliteLog(LocalLog):
    """See `Log`. `path` is a file; it is made when there is none.

    `tail_count` and `tail_bytes` bound what is kept in memory, `max_keys` the idempotency keys.
    """

    def __init__(
        self,
        settings: Settings,
        path: str | Path,
        clock: Callable[[], float] = time,
        *,
        tail_count: int = TAIL_COUNT,
        tail_bytes: int = TAIL_BYTES,
        max_keys: int = MAX_KEYS,
    ) -> None:
        super().__init__(settings, clock, max_keys=max_keys)
        self._path = Path(path)
        self._file = SqliteFile(self._path, settings)
        self._thread = DaemonExecutor(1, "rtpush-sqlite")
        self._readers = SqliteReaders()
        self._tail_bounds = tail_count, tail_bytes
        self._tail = Tail(0, *self._tail_bounds)
        self._trim_due = 0.0
        self._trimming = False
        # Whether a look at where the file is is under way, and what the last one found.
        self._looking = self._misplaced = False
        # Idempotency keys that are to be removed from the file, each with its number.
        self._forgotten: list[tuple[bytes, int]] = []
        self.first = 1

    async def open(self) -> None:
        """See `Log.open`."""
        try:
            restored = await self._in_thread(self._file.open, self._clock(), *self._tail_bounds)
            await self._in_thread(self._readers.open, self._path)
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
        self._restore_keys(restored.keys)

    def _restore_keys(self, rows: Sequence[KeyRow]) -> None:
        now = self._clock()
        self._seen.advance(now)
        age = math.inf
        for key, seq, account, made in rows:
            # The clock may have been wrong meanwhile: ages never rise, and none is below zero.
            age = min(age, max(0.0, now - made))
            self._seen.add(key, seq, account, age)

    async def close(self) -> None:
        """See `Log.close`."""
        await self.wait_idle()
        await self._in_thread(self._readers.close)
        await self._in_thread(self._file.close)
        self._thread.shutdown()

    async def _in_thread(self, function: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    def _key_forgotten(self, key: bytes, seq: int) -> None:
        self._forgotten.append((key, seq))

    def _take_forgotten(self) -> list[tuple[bytes, int]]:
        taken = self._forgotten[-FORGET_AT_ONCE:]
        del self._forgotten[-FORGET_AT_ONCE:]
        return taken

    def _write(self, batch: Batch) -> None:
        loop = asyncio.get_running_loop()
        rows = _rows(batch, self._take_forgotten())
        stored = loop.run_in_executor(self._thread, self._file.commit, rows)
        stored.add_done_callback(lambda done: self._committed(batch, rows, done))

    def _committed(self, batch: Batch, rows: Rows, done: asyncio.Future[Kept]) -> None:
        error = done.exception()
        if error is not None:
            self._misplaced = isinstance(error, MisplacedError)
            self._forgotten += rows.forgotten
        else:
            self.first, self._trim_due = done.result()
        self._stored(batch, error)

    def tick(self, now: float) -> None:
        """See `Log.tick`."""
        super().tick(now)
        if not self._looking:
            self._looking = True
            looked = asyncio.get_running_loop().run_in_executor(
                self._thread, self._file.check_place
            )
            looked.add_done_callback(self._looked)
        if self._trimming or not (self._forgotten or now > self._trim_due):
            return
        self._trimming = True
        forgotten = self._take_forgotten()
        trimmed = asyncio.get_running_loop().run_in_executor(
            self._thread, self._file.trim, now, forgotten
        )
        trimmed.add_done_callback(lambda done: self._trimmed(forgotten, done))

    def _looked(self, done: asyncio.Future[None]) -> None:
        self._looking = False
        error = done.exception()
        if error is not None or self._misplaced:
            self._note_health(error)
        self._misplaced = error is not None

    def _trimmed(self, forgotten: list[tuple[bytes, int]], done: asyncio.Future[Kept]) -> None:
        self._trimming = False
        # A store that cannot be written refuses the next append, and says so
        # there. Here it is enough that the next tick tries again.
        if done.exception() is None:
            self.first, self._trim_due = done.result()
        else:
            self._forgotten += forgotten

    async def read(self, after: int, limit: int, conflate_after: int | None = None) -> Page:
        """See `Log.read`."""
        after = max(after, self.first - 1)
        upto = min(after + limit, self.last)
        try:
            return await self._readers.read(self.epoch, after, upto, conflate_after)
        except sqlite3.Error as exc:
            raise RtpushError("unavailable", f"The log cannot be read now ({exc}).") from exc


def _rows(batch: Batch, forgotten: list[tuple[bytes, int]]) -> Rows:
    tasks = list(batch.rows())
    return Rows(
        [
            _entry_row(seq, batch.time, draft)
            for seq, draft in enumerate(batch.drafts, batch.base + 1)
        ],
        [
            (key, None if active else batch.time, task)
            for key, task, active in tasks
            if task is not None
        ],
        [(key,) for key, task, _ in tasks if task is None],
        [(key, seq, account, batch.time) for key, seq, account in batch.new_keys()],
        forgotten,
        batch.time,
    )


def _entry_row(seq: int, time: float, draft: Draft) -> EntryRow:
    skip = " ".join(draft.skip) or None
    names = (draft.event, draft.room, draft.key, skip, draft.ack)
    # The index of keyed entries holds their names once more.
    size = ROW_BYTES + len(draft.encoded) + 2 * sum(len(n.encode()) for n in names if n)
    event, room, key, _, ack = names
    return seq, time, size, event, room, key, draft.encoded, skip, ack, draft.args or None
