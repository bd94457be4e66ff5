"""The log of one process: decide, store, publish.

Rules that hold here:

- Appends of one pass of the event loop, and those that arrive while the
  store is busy, form one batch. A batch is decided against a fork of the
  board, stored as a whole, and only then applied and shown.
- When the store fails, the fork is thrown away: nothing has happened.
- What waits to be stored is bounded; beyond that, appends are refused.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..config import Settings
from ..errors import RtpushError
from ..log import IDEMPOTENCY_FOR, Draft, Entry, Log, Outcome, Position, new_board, new_entry
from ..tasks import TaskBoard
from .tail import Tail

__all__ = ["Batch", "EmbeddedLog", "Seen"]

logger = logging.getLogger("rtpush.log")

# A batch ends at either bound, so that the first of many publishers is not
# kept waiting for the last.
_BATCH_DRAFTS: Final = 2_000
_BATCH_BYTES: Final = 4 << 20
_MAX_WAITING_BYTES: Final = 64 << 20
# About 250 bytes each.
_MAX_SEEN: Final = 1_000_000


class Seen:
    """The idempotency keys of the last ten minutes, and the numbers they got."""

    def __init__(self) -> None:
        self._seqs: dict[str, int] = {}
        self._order: deque[tuple[float, str]] = deque()

    def __len__(self) -> int:
        return len(self._seqs)

    def get(self, key: str) -> int | None:
        """The number that the key's event got, if it was seen lately."""
        return self._seqs.get(key)

    def add(self, key: str, seq: int, time: float) -> None:
        """Remember; times must not fall."""
        self._seqs[key] = seq
        self._order.append((time, key))

    def forget(self, before: float) -> None:
        """Let go of the keys that were added before a time."""
        while self._order and self._order[0][0] < before:
            del self._seqs[self._order.popleft()[1]]


@dataclass(slots=True)
class Batch:
    """What is stored in one go: entries with their drafts, and who waits for them.

    `board` is the fork it was decided against, `changed` the tasks it touched.
    """

    time: float
    board: TaskBoard
    entries: list[Entry] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)
    keys: dict[str, int] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    answers: list[tuple[asyncio.Future[list[Outcome]], list[Outcome]]] = field(default_factory=list)


class EmbeddedLog(Log):
    """What the memory and the SQLite log share. `clock` gives seconds since 1970."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self.on_grow = lambda: None
        self.board = new_board(settings)
        self._settings = settings
        self._clock = clock
        self._seen = Seen()
        self._waiting: deque[tuple[Sequence[Draft], asyncio.Future[list[Outcome]]]] = deque()
        self._waiting_bytes = 0
        self._busy = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._failing = False
        self._tail: Tail

    @property
    def last(self) -> int:  # type: ignore[override]  # read-only here
        """The newest entry's number."""
        return self._tail.last

    # ------------------------------------------------------------ appending

    def append(self, drafts: Sequence[Draft]) -> asyncio.Future[list[Outcome]]:
        """See `Log.append`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Outcome]] = loop.create_future()
        size = _size(drafts)
        if self._waiting_bytes + size > _MAX_WAITING_BYTES:
            future.set_result([_unavailable("more waits to be stored than fits")] * len(drafts))
            return future
        self._waiting.append((drafts, future))
        self._waiting_bytes += size
        if not self._busy:
            self._busy = True
            self._idle.clear()
            loop.call_soon(self._next)
        return future

    async def wait_idle(self) -> None:
        """Wait until everything that was accepted is stored."""
        await self._idle.wait()

    def _next(self) -> None:
        if not self._waiting:
            self._busy = False
            self._idle.set()
            return
        batch = self._decide()
        if batch.entries:
            self._store(batch)
        else:
            self._finish(batch)

    @abstractmethod
    def _store(self, batch: Batch) -> None:
        """Store the batch, then see that `_stored` is called on the loop."""

    def _stored(self, batch: Batch, error: BaseException | None) -> None:
        self._note_health(error)
        if error is None:
            self._publish(batch)
        else:
            refusal = _unavailable(str(error))
            for _, outcomes in batch.answers:
                outcomes[:] = [
                    refusal if isinstance(outcome, int) and outcome > self.last else outcome
                    for outcome in outcomes
                ]
        self._finish(batch)

    def _finish(self, batch: Batch) -> None:
        for future, outcomes in batch.answers:
            if not future.done():
                future.set_result(outcomes)
        asyncio.get_running_loop().call_soon(self._next)

    def _publish(self, batch: Batch) -> None:
        for entry, draft in zip(batch.entries, batch.drafts, strict=True):
            self._tail.append(entry)
            self.board.apply(draft.event, draft.data, draft.room, entry.time)
        for key, seq in batch.keys.items():
            self._seen.add(key, seq, batch.time)
        self.on_grow()

    def _note_health(self, error: BaseException | None) -> None:
        if error is not None and not self._failing:
            logger.error("the log cannot be written, publishes are refused: %s", error)
        elif error is None and self._failing:
            logger.warning("the log can be written again")
        self._failing = error is not None

    @property
    def failing(self) -> bool:
        """Did the last attempt to store fail?"""
        return self._failing

    # ------------------------------------------------------------- deciding

    def _decide(self) -> Batch:
        # Time never falls within a log, even when the machine's clock does.
        batch = Batch(max(self._clock(), self._newest_time()), self.board.fork())
        self._seen.forget(batch.time - IDEMPOTENCY_FOR)
        count = size = 0
        while self._waiting and count < _BATCH_DRAFTS and size < _BATCH_BYTES:
            drafts, future = self._waiting.popleft()
            batch.answers.append((future, [self._outcome(batch, draft) for draft in drafts]))
            count += len(drafts)
            size += _size(drafts)
        self._waiting_bytes -= size
        return batch

    def _outcome(self, batch: Batch, draft: Draft) -> Outcome:
        key = draft.idempotency_key
        if key is not None:
            seen = batch.keys.get(key) or self._seen.get(key)
            if seen is not None:
                return seen
            if len(self._seen) + len(batch.keys) >= _MAX_SEEN:
                return _unavailable("too many idempotency keys in the last ten minutes")
        try:
            batch.board.check(draft.event, draft.data, draft.room)
        except RtpushError as error:
            return error
        return self._add(batch, draft)

    def _add(self, batch: Batch, draft: Draft) -> int:
        seq = self.last + len(batch.entries) + 1
        position = Position(self.epoch, seq)
        batch.entries.append(
            new_entry(
                position,
                batch.time,
                draft.event,
                draft.room,
                draft.key,
                draft.encoded,
                draft.skip,
                draft.ack,
            )
        )
        batch.drafts.append(draft)
        changed = batch.board.apply(draft.event, draft.data, draft.room, batch.time)
        if changed is not None:
            batch.changed.add(changed)
        if draft.idempotency_key is not None:
            batch.keys[draft.idempotency_key] = seq
        return seq

    def _newest_time(self) -> float:
        newest = self._tail.after(self.last - 1, 0)
        return newest[0].time if newest else 0.0

    # -------------------------------------------------------------- reading

    def recent(self, after: int, max_bytes: int) -> Sequence[Entry] | None:
        """See `Log.recent`."""
        return self._tail.after(after, max_bytes)

    def superseded(self, entry: Entry) -> bool:
        """See `Log.superseded`."""
        return self._tail.superseded(entry)

    def tick(self, now: float) -> None:
        """See `Log.tick`."""
        self._seen.forget(now - IDEMPOTENCY_FOR)
        self._tail.drop_older_than(now - self._settings.retention_age)


def _size(drafts: Sequence[Draft]) -> int:
    return sum(len(draft.encoded) + 500 for draft in drafts)


def _unavailable(why: str) -> RtpushError:
    return RtpushError(
        "unavailable", f"The log cannot take this event now ({why}). Nothing was stored; try again."
    )
