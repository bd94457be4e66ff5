"""What every log that decides on the node shares: gather, decide, store.

Rules that hold here:

- Appends of one pass of the event loop, and those that arrive while the
  store is busy, form one batch: one is under way at a time.
- A batch is decided against a fork of the board and stored as a whole. When
  the store fails, the fork is thrown away: nothing has happened.
- What waits to be stored is bounded; beyond that, appends are refused.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..config.settings import Settings
from ..errors import RtpushError
from ..protocol import Position
from .base import Log, Outcome, Page, new_board, new_retained
from .board import TaskBoard
from .clock import LogClock
from .entry import Draft, Entry, cancelled, emptied, new_entry
from .retained import Name, RetainedEvents, RetainedRow, place_of
from .room_index import Rooms
from .tail import Tail
from .task import CANCEL, REQUEUED, task_key
from .task_rows import TaskRow, rows_of, task_row

__all__ = ["Batch", "Call", "GroupCommitLog", "unavailable"]

logger = logging.getLogger("rtpush.log")

# A batch ends at either bound, so that the first of many publishers is not
# kept waiting for the last.
_BATCH_DRAFTS: Final = 2_000
_BATCH_BYTES: Final = 4 << 20
_MAX_WAITING_BYTES: Final = 64 << 20

# Seconds after which a store that has not answered counts as failing. Redis has its own
# deadline of as many; a disk that takes as long is no disk to count on.
STUCK_AFTER: Final = 10.0


@dataclass(frozen=True, slots=True)
class Call:
    """One call of `append`, and the future that its caller awaits."""

    drafts: Sequence[Draft]
    future: asyncio.Future[list[Outcome]]


@dataclass(slots=True)
class Batch:
    """What is stored in one go, and what was decided of it.

    `time` is the log's, which ages are measured by; `wall` is what users are shown.
    `drafts` are those to be logged: they get the numbers from `base` + 1 on.
    `keys` are the idempotency keys that they use up. `board` is the fork that
    the batch was decided against, `changed` has the tasks that it touched, and for
    each the rows of its events. `retained` is the fork of what is retained.
    """

    time: float
    wall: float
    board: TaskBoard
    retained: RetainedEvents
    base: int
    calls: Sequence[Call]
    drafts: list[Draft] = field(default_factory=list)
    keys: dict[bytes, int] = field(default_factory=dict)
    changed: dict[str, list[TaskRow]] = field(default_factory=dict)
    outcomes: list[list[Outcome]] = field(default_factory=list)

    def new_keys(self) -> Iterator[tuple[bytes, int, str]]:
        """Each idempotency key that it uses up, its number, and the account that is charged."""
        for key, seq in self.keys.items():
            yield key, seq, self.drafts[seq - self.base - 1].account

    def entries(self, epoch: str) -> Iterator[Entry]:
        """The entries that the drafts become."""
        for seq, draft in enumerate(self.drafts, self.base + 1):
            yield new_entry(
                Position(epoch, seq),
                self.time,
                draft.event,
                draft.room,
                draft.key,
                draft.encoded,
                draft.skip,
                draft.ack,
                args=draft.args,
                retain=draft.retain,
            )

    def note(self, key: str, draft: Draft) -> None:
        """A task has changed by an event that is to be logged."""
        row = task_row(self.board, key, draft, self.time, self.wall)
        self.changed.setdefault(key, []).append(row)

    def retained_rows(self) -> list[RetainedRow]:
        """The newest row of each retained value that it touched."""
        newest: dict[Name, RetainedRow] = {}
        for seq, draft in enumerate(self.drafts, self.base + 1):
            for index, change in enumerate(draft.changes):
                newest[change.name] = RetainedRow(change, place_of(seq, index), draft.account)
        return list(newest.values())

    def rows(self) -> Iterator[TaskRow]:
        """What becomes of the stored rows of each task that it touched."""
        return rows_of(self.board, self.changed)


class GroupCommitLog(Log):
    """See the module's rules."""

    def __init__(self, settings: Settings, clock: LogClock | None = None) -> None:
        self.on_grow = lambda: None
        self.on_lost = lambda: None
        self.board = new_board(settings)
        self.retained = new_retained(settings)
        self._settings = settings
        self._clock = clock or LogClock()
        self._waiting: deque[Call] = deque()
        self._waiting_bytes = 0
        # Since when the batch that is under way waits, by the event loop's clock; None when
        # there is none.
        self._busy_since: float | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._failing = False
        self._stuck = False
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
        if self._stuck:
            future.set_result([_no_answer()] * len(drafts))
            return future
        if self._waiting_bytes + size > _MAX_WAITING_BYTES:
            future.set_result([unavailable("more waits to be stored than fits")] * len(drafts))
            return future
        self._waiting.append(Call(drafts, future))
        self._waiting_bytes += size
        if self._busy_since is None:
            self._busy_since = loop.time()
            self._idle.clear()
            loop.call_soon(self._next)
        return future

    async def wait_idle(self) -> None:
        """Wait until everything that was accepted is stored."""
        await self._idle.wait()

    def _next(self) -> None:
        if not self._waiting:
            self._busy_since = None
            self._idle.set()
            return
        self._busy_since = asyncio.get_running_loop().time()
        self._store(self._decide(self._gather()))

    @abstractmethod
    def _store(self, batch: Batch) -> None:
        """Store the batch, then see that `_finish` or `_fail` is called on the loop."""

    def _finish(self, batch: Batch) -> None:
        for call, outcomes in zip(batch.calls, batch.outcomes, strict=True):
            if not call.future.done():
                call.future.set_result(outcomes)
        asyncio.get_running_loop().call_soon(self._next)

    def _fail(self, batch: Batch, refusal: RtpushError) -> None:
        """Nothing of the batch was stored: what would be new is refused."""
        for outcomes in batch.outcomes:
            outcomes[:] = [
                refusal if isinstance(outcome, int) and outcome > batch.base else outcome
                for outcome in outcomes
            ]
        self._finish(batch)

    def _note_health(self, error: BaseException | str | None) -> None:
        if error is not None and not self._failing:
            logger.error("the log cannot be written, publishes are refused: %s", error)
        elif error is None and self._failing:
            logger.warning("the log can be written again")
        self._failing = error is not None

    @property
    def failing(self) -> bool:
        """Did the last attempt to store fail, or has one not been answered for long?"""
        return self._failing or self._stuck

    def now(self) -> float:
        """See `Log.now`."""
        return self._clock.now()

    def tick(self) -> None:
        """See `Log.tick`. What waits behind a store that does not answer is refused."""
        since, was_stuck = self._busy_since, self._stuck
        self._stuck = since is not None and asyncio.get_running_loop().time() - since > STUCK_AFTER
        if self._stuck:
            if not was_stuck:
                logger.error("the log does not answer: publishes are refused")
            self._refuse_waiting(_no_answer())
        elif was_stuck:
            logger.warning("the log answers again")

    def _refuse_waiting(self, refusal: RtpushError) -> None:
        while self._waiting:
            for call in self._gather():
                if not call.future.done():
                    call.future.set_result([refusal] * len(call.drafts))

    # ------------------------------------------------------------- deciding

    def _gather(self) -> list[Call]:
        calls: list[Call] = []
        count = size = 0
        while self._waiting and count < _BATCH_DRAFTS and size < _BATCH_BYTES:
            call = self._waiting.popleft()
            calls.append(call)
            count += len(call.drafts)
            size += _size(call.drafts)
        self._waiting_bytes -= size
        return calls

    def _decide(self, calls: Sequence[Call]) -> Batch:
        # Time never falls within a log, also when the node that wrote last is ahead of this one.
        now = max(self.now(), self._newest_time())
        forks = self.board.fork(), self.retained.fork()
        batch = Batch(now, self._clock.wall(), *forks, self._base(), calls)
        batch.board.prune(now)
        for call in calls:
            batch.outcomes.append([self._outcome(batch, draft) for draft in call.drafts])
        return batch

    def _base(self) -> int:
        """The number behind which a batch counts."""
        return self.last

    def _outcome(self, batch: Batch, draft: Draft) -> Outcome:
        try:
            seen = self._number_for_key(batch, draft.idempotency_key)
            if seen is not None:
                return seen
            batch.board.check(draft.event, draft.data, draft.room, draft.account, draft.sender)
            batch.retained.check(draft.changes, draft.account)
        except RtpushError as error:
            return error
        if draft.event not in (CANCEL, REQUEUED):
            return self._add(batch, draft)
        task = batch.board.get(task_key(draft.data))
        assert task is not None, "the board has let the event pass"
        if draft.event == REQUEUED:
            return self._add(batch, emptied(draft, task))
        seq = self._add(batch, draft)
        if task.fields["status"] == "queued":
            # There is no worker that could end it.
            self._add(batch, cancelled(draft.data, draft.room))
        return seq

    def _number_for_key(self, batch: Batch, key: bytes | None) -> int | None:
        """The number that this idempotency key got already."""
        if key is None:
            return None
        return batch.keys.get(key) or self._remembered_number(key)

    @abstractmethod
    def _remembered_number(self, key: bytes) -> int | None:
        """The same, of the batches before this one."""

    def _add(self, batch: Batch, draft: Draft) -> int:
        batch.drafts.append(draft)
        seq = batch.base + len(batch.drafts)
        changed = batch.board.apply(
            draft.event, draft.data, draft.room, batch.time, draft.account, batch.wall
        )
        if changed is not None:
            batch.note(changed, draft)
        if changes := draft.changes:
            batch.retained.apply(changes, draft.account, Position(self.epoch, seq))
        if draft.idempotency_key is not None:
            batch.keys[draft.idempotency_key] = seq
        return seq

    def _newest_time(self) -> float:
        newest = self._tail.newest
        return newest.time if newest is not None else 0.0

    # -------------------------------------------------------------- reading

    def recent(self, after: int, max_bytes: int, rooms: Rooms | None = None) -> Page | None:
        """See `Log.recent`."""
        return self._tail.after(after, max_bytes, rooms)

    def active(self, rooms: Rooms, after: int) -> Rooms:
        """See `Log.active`."""
        return self._tail.index.active(rooms, after)

    def nth_newest(self, room: str, count: int) -> int | None:
        """See `Log.nth_newest`."""
        index = self._tail.index
        found = index.nth_newest(room, count)
        return 0 if found is None and index.first <= self.first else found

    def superseded(self, entry: Entry) -> bool:
        """See `Log.superseded`."""
        return self._tail.superseded(entry)


def _size(drafts: Sequence[Draft]) -> int:
    return sum(len(draft.encoded) + 500 for draft in drafts)


def _no_answer() -> RtpushError:
    return unavailable("what was stored last is not answered")


def unavailable(why: str) -> RtpushError:
    """Nothing was stored, and why."""
    return RtpushError(
        "unavailable", f"The log cannot take this event now ({why}). Nothing was stored; try again."
    )
