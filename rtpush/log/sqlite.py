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
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice, takewhile
from pathlib import Path
from typing import Final, TypeVar

from ..config.settings import Settings
from ..errors import RtpushError
from ..threads import DaemonExecutor
from . import room_index
from .base import LogError, Page
from .clock import LogClock
from .disk_reserve import RESERVE_BYTES, DiskReserve
from .entry import Draft
from .file_place import MisplacedError
from .group_commit import Batch
from .idempotency import IDEMPOTENCY_FOR, MAX_KEYS
from .local import LocalLog
from .room_index import RoomIndex, Rooms
from .sqlite_file import SqliteFile
from .sqlite_reader import Search, SqliteReaders
from .sqlite_rows import EntryRow, Kept, KeyRow, Rows, is_jump
from .sqlite_segments import SEGMENT
from .tail import Tail

__all__ = ["SqliteLog"]

T = TypeVar("T")

# How much of the newest is kept in memory, where reading it costs no disk.
TAIL_COUNT: Final = 20_000
TAIL_BYTES: Final = 8 << 20

# Idempotency keys that one commit removes from the file at the most.
FORGET_AT_ONCE: Final = 5_000

# What retention counts for an entry beside its data and its names. A short row was seen to take
# 60 bytes here with its part of the index by room, and 110 in Redis, which counts alike.
ROW_BYTES: Final = 85
# The same for its row in the index of keyed entries, which holds the names once more.
KEYED_ROW_BYTES: Final = 30


class SqliteLog(LocalLog):
    """See `Log`. `path` is a file; it is made when there is none.

    `tail_count` and `tail_bytes` bound what is kept in memory, `max_keys` the idempotency
    keys; `segment` is how many entries a part of the index by room has, `reserve_bytes` the
    room that is kept on the disk.
    """

    def __init__(
        self,
        settings: Settings,
        path: str | Path,
        clock: LogClock | None = None,
        *,
        tail_count: int = TAIL_COUNT,
        tail_bytes: int = TAIL_BYTES,
        max_keys: int = MAX_KEYS,
        segment: int = SEGMENT,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> None:
        super().__init__(settings, clock, max_keys=max_keys)
        self._path = Path(path)
        reserve = DiskReserve(self._path, reserve_bytes)
        self._file = SqliteFile(self._path, settings, segment, reserve)
        self._thread = DaemonExecutor(1, "rtpush-sqlite")
        self._readers = SqliteReaders()
        self._tail_bounds = tail_count, tail_bytes
        self._tail = Tail(0, *self._tail_bounds)
        self._trim_due = self._wall_ahead = 0.0
        self._trimming = False
        self._sealed = 0
        # Whether a look at where the file is is under way, and what the last one found.
        self._looking = self._misplaced = False
        # The entries whose idempotency keys are to be removed from the file.
        self._forgotten: list[int] = []
        self.first = 1

    async def open(self) -> None:
        """See `Log.open`."""
        try:
            wall = self._clock.wall()
            restored = await self._in_thread(self._file.open, wall, *self._tail_bounds)
            await self._in_thread(self._readers.open, self._path)
        except LogError:
            self._thread.shutdown()
            raise
        self.epoch = restored.epoch
        self._clock.begin(self._clock.wall() - restored.wall_ahead)
        last = restored.newest[-1].seq if restored.newest else 0
        begin = last - len(restored.newest)
        index = RoomIndex(begin - len(restored.rooms))
        for room in restored.rooms:
            index.append(room)
        self._tail = Tail(begin, *self._tail_bounds, index)
        self._note_kept(Kept(restored.first, 0.0, restored.sealed, restored.wall_ahead))
        for entry in restored.newest:
            self._tail.append(entry)
        self.board.restore(restored.tasks)
        self.retained.restore(restored.retained, self.epoch)
        self._restore_keys(restored.keys)

    def _restore_keys(self, rows: Sequence[KeyRow]) -> None:
        newest = {key: seq for seq, key, _, _ in rows}
        since = self.now() - IDEMPOTENCY_FOR
        for seq, key, account, made in rows:
            # One that has come again was forgotten: the file was not told in time.
            if made < since or newest[key] != seq:
                self._forgotten.append(seq)
            else:
                self._seen.add(key, seq, account, made)

    async def close(self) -> None:
        """See `Log.close`."""
        await self.wait_idle()
        await self._in_thread(self._readers.close)
        await self._in_thread(self._file.close)
        self._thread.shutdown()

    async def _in_thread(self, function: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    def _key_forgotten(self, seq: int) -> None:
        self._forgotten.append(seq)

    def _take_forgotten(self) -> list[int]:
        taken = self._forgotten[-FORGET_AT_ONCE:]
        del self._forgotten[-FORGET_AT_ONCE:]
        return taken

    def _write(self, batch: Batch) -> None:
        loop = asyncio.get_running_loop()
        rows = _rows(batch, self._take_forgotten(), self._clock.wall_ahead)
        stored = loop.run_in_executor(self._thread, self._file.commit, rows)
        stored.add_done_callback(lambda done: self._committed(batch, rows, done))

    def _committed(self, batch: Batch, rows: Rows, done: asyncio.Future[Kept]) -> None:
        error = done.exception()
        if error is not None:
            self._misplaced = isinstance(error, MisplacedError)
            self._forgotten += rows.forgotten
        else:
            self._note_kept(done.result())
        self._stored(batch, error)

    def _note_kept(self, kept: Kept) -> None:
        self.first, self._trim_due, self._sealed, self._wall_ahead = kept
        # What no segment holds is found in memory alone.
        self._tail.index_from = self._sealed + 1

    def tick(self) -> None:
        """See `Log.tick`."""
        super().tick()
        if not self._looking:
            self._looking = True
            looked = asyncio.get_running_loop().run_in_executor(self._thread, self._file.tick)
            looked.add_done_callback(self._looked)
        now, wall_ahead = self.now(), self._clock.wall_ahead
        due = self._forgotten or now > self._trim_due or is_jump(self._wall_ahead, wall_ahead)
        if self._trimming or not due:
            return
        self._trimming = True
        forgotten = self._take_forgotten()
        trimmed = asyncio.get_running_loop().run_in_executor(
            self._thread, self._file.trim, now, wall_ahead, forgotten
        )
        trimmed.add_done_callback(lambda done: self._trimmed(forgotten, done))

    def _looked(self, done: asyncio.Future[None]) -> None:
        self._looking = False
        error = done.exception()
        if error is not None or self._misplaced:
            self._note_health(error)
        self._misplaced = error is not None

    def _trimmed(self, forgotten: list[int], done: asyncio.Future[Kept]) -> None:
        self._trimming = False
        # A store that cannot be written refuses the next append, and says so
        # there. Here it is enough that the next tick tries again.
        if done.exception() is None:
            self._note_kept(done.result())
        else:
            self._forgotten += forgotten

    async def read(
        self,
        after: int,
        limit: int,
        conflate_after: int | None = None,
        rooms: Rooms | None = None,
    ) -> Page:
        """See `Log.read`."""
        after = max(after, self.first - 1)
        if rooms is None:
            upto = min(after + limit, self.last)
            return await self._read(self._readers.read(self.epoch, after, upto, conflate_after))
        rooms = self.active(rooms, after)
        if len(rooms) > room_index.MANY_ROOMS:
            return (await self.read(after, limit, conflate_after)).of_rooms(rooms)
        unsealed = islice(self._tail.index.after(rooms, max(after, self._sealed)), limit)
        # Segments behind the newest entry of these rooms are not looked into.
        sealed = min(self._sealed, self._tail.index.newest(rooms))
        search = Search(rooms, after, self.last, sealed, [*unsealed], limit)
        return await self._read(self._readers.find(self.epoch, search, conflate_after))

    async def read_before(self, before: int, limit: int, rooms: Rooms | None = None) -> Page:
        """See `Log.read_before`."""
        upto = min(before - 1, self.last)
        if rooms is None:
            first = max(self.first, upto - limit + 1)
            return await self._read(self._readers.read_newest(self.epoch, first, upto))
        if len(rooms) > room_index.MANY_ROOMS:
            return (await self.read_before(before, limit)).of_rooms(rooms)
        found = takewhile(lambda seq: seq > self._sealed, self._tail.index.before(rooms, upto + 1))
        unsealed = [*islice(found, limit)]
        sealed = min(self._sealed, self._tail.index.newest(rooms))
        search = Search(rooms, self.first - 1, upto, sealed, unsealed, limit)
        return await self._read(self._readers.find_newest(self.epoch, search))

    async def _read(self, reading: Awaitable[Page]) -> Page:
        try:
            return await reading
        except sqlite3.Error as exc:
            raise RtpushError("unavailable", f"The log cannot be read now ({exc}).") from exc


def _rows(batch: Batch, forgotten: list[int], wall_ahead: float) -> Rows:
    tasks = list(batch.rows())
    return Rows(
        [
            _entry_row(seq, batch.time, draft)
            for seq, draft in enumerate(batch.drafts, batch.base + 1)
        ],
        [(task.key,) for task in tasks if task.replaces],
        [
            (task.key, task.number, batch.time if task.ended else None, task.row)
            for task in tasks
            if task.row is not None
        ],
        batch.retained_rows(),
        [(seq, key, account, batch.time) for key, seq, account in batch.new_keys()],
        forgotten,
        batch.time,
        wall_ahead,
    )


def _entry_row(seq: int, time: float, draft: Draft) -> EntryRow:
    skip = " ".join(draft.skip) or None
    names = (draft.event, draft.room, draft.key, skip, draft.ack)
    length = sum(len(name.encode()) for name in names if name)
    indexed = 0 if draft.key is None else KEYED_ROW_BYTES + length
    size = ROW_BYTES + len(draft.encoded) + length + indexed
    event, room, key, _, ack = names
    flags = draft.args or None, draft.retain or None
    return seq, time, size, event, room, key, draft.encoded, skip, ack, *flags
