"""The log in a file: what was acknowledged survives the process.

Rules that hold here:

- The event loop never touches the disk. One thread writes, and others read,
  so that neither waits for the other.
- What is read ends with what was published: a batch that is stored and not
  yet published is nobody's to see.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import time
from typing import Final, TypeVar

from ..config.settings import Settings
from ..errors import RtpushError
from .base import LogError, Page
from .entry import Draft
from .group_commit import Batch
from .local import LocalLog
from .sqlite_file import EntryRow, Kept, Rows, SqliteFile
from .sqlite_reader import SqliteReaders
from .tail import Tail

__all__ = ["SqliteLog"]

T = TypeVar("T")

# How much of the newest is kept in memory, where reading it costs no disk.
TAIL_COUNT: Final = 20_000
TAIL_BYTES: Final = 8 << 20

# What retention counts for an entry beside its data and its names: row and index.
ROW_BYTES: Final = 100


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
        self._path = Path(path)
        self._file = SqliteFile(self._path, settings)
        self._thread = ThreadPoolExecutor(1, "rtpush-sqlite")
        self._readers = SqliteReaders()
        self._tail_bounds = tail_count, tail_bytes
        self._tail = Tail(0, *self._tail_bounds)
        self._trim_due = 0.0
        self._trimming = False
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
        for key, seq, when in restored.seen:
            self._seen.add(key, seq, when)

    async def close(self) -> None:
        """See `Log.close`."""
        await self.wait_idle()
        await self._in_thread(self._readers.close)
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
        after = max(after, self.first - 1)
        upto = min(after + limit, self.last)
        try:
            return await self._readers.read(self.epoch, after, upto, conflate_after)
        except sqlite3.Error as exc:
            raise RtpushError("unavailable", f"The log cannot be read now ({exc}).") from exc


def _rows(batch: Batch) -> Rows:
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
        [(key, seq, batch.time) for key, seq in batch.keys.items()],
        batch.time,
    )


def _entry_row(seq: int, time: float, draft: Draft) -> EntryRow:
    skip = " ".join(draft.skip) or None
    names = (draft.event, draft.room, draft.key, skip, draft.ack)
    # The index of keyed entries holds their names once more.
    size = ROW_BYTES + len(draft.encoded) + 2 * sum(len(n.encode()) for n in names if n)
    return seq, time, size, draft.event, draft.room, draft.key, draft.encoded, skip, draft.ack
