"""The task board: a fold from entries to active and finished tasks.

Rules that hold here:

- Pure and synchronous: no clock, no I/O. Time comes with each entry.
- `check` decides and changes nothing; `apply` changes and never refuses. What
  `check` let pass, `apply` applies; what does not fit the state of the board
  (a second birth, an event after the end), `apply` passes over. Limits on
  active tasks are asked only in `check`: every reader of a log must come to
  the same board, whatever its own limits are.
- Tasks are immutable. A change puts a new `Task` in place of the old, so that
  a fork and its parent can share all that neither of them changed.
- `task_created` may take the id of a finished task, which is then gone.
- A client outside a room learns that an id is taken, and nothing else: not by
  which room, nor whether the task is active. The room is compared first.
- `size` is exact: the length of the task's JSON. It is kept by encoding only
  the fields that an event brings and those that they replace.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from copy import copy
from itertools import takewhile
from typing import Any, Final

import orjson

from ..errors import RtpushError
from .accounts import APPLICATION
from .board_index import BoardIndex
from .board_shares import BoardShares
from .finished_tasks import FinishedTasks
from .growth import appends_of
from .task import (
    CANCEL,
    ENDS,
    TASK_EVENTS,
    Cost,
    Task,
    changes_of,
    check_progress,
    cost_of,
    fields_of,
    key_of,
)
from .task_claims import check_claim
from .task_map import TaskMap
from .task_rows import decode_task, encode_event, encode_task
from .task_states import SERVER, Sender, check_state, stamps_of
from .task_versions import next_version

__all__ = ["TaskBoard"]

# An ending, or a request for one, of at most so many bytes is never too large. Otherwise a
# task that was grown up to the limit could neither fail nor expire, and would hold its
# place on the board for ever.
_ALWAYS: Final = frozenset({CANCEL, *ENDS})
_SMALL_ENDING: Final = 1024


class TaskBoard:
    """Active tasks, and those that ended lately.

    `finished_for` is in seconds. `max_active_bytes` and `max_finished_bytes`
    count the JSON of all active and of all finished tasks.
    """

    def __init__(
        self,
        *,
        finished_for: float = 600.0,
        max_active: int = 10_000,
        max_task_bytes: int = 1 << 20,
        max_active_bytes: int = 64 << 20,
        max_finished: int = 1000,
        max_finished_bytes: int = 4 << 20,
    ) -> None:
        self._max_task_bytes = max_task_bytes
        self._finished = FinishedTasks(finished_for, max_finished, max_finished_bytes)
        self._tasks = TaskMap()
        self.shares = BoardShares(max_active, max_active_bytes, max_task_bytes)
        self._clear()

    def _clear(self) -> None:
        self._number = 0
        self.shares.clear()
        self._finished.clear()
        self._tasks.clear()
        # A fork has none: nobody is shown what is not stored.
        self._index: BoardIndex | None = BoardIndex()

    def fork(self) -> TaskBoard:
        """A board that starts as this one and changes apart from it; costs O(1).

        It reads through to this one, so it is good only until this one changes.
        """
        fork = copy(self)
        fork.shares = self.shares.fork()
        fork._index = None
        fork._finished = self._finished.fork()
        fork._tasks = self._tasks.fork()
        return fork

    # ------------------------------------------------------------- deciding

    def check(
        self,
        event: str,
        data: object,
        room: str | None,
        account: str = APPLICATION,
        sender: Sender = SERVER,
    ) -> None:
        """May this event of an account be appended now? Raises RtpushError if not.

        `bad_task`, `not_found`, `task_exists`, `task_finished`, `task_cancelling`, `claim_lost`,
        `forbidden`, `task_too_large` or `board_full`. Events that are not about tasks always pass.
        """
        if event not in TASK_EVENTS:
            return
        fields, _, old = self._admit(event, data, room, sender)
        changes = changes_of(old, fields, room)
        cost = cost_of(old, changes)
        if cost.growth <= 0:
            return
        self._check_task_size(event, old, cost)
        if event not in _ALWAYS:
            self.shares.check(account, old, cost.growth)

    def _admit(
        self, event: str, data: object, room: str | None, sender: Sender = SERVER
    ) -> tuple[dict[str, Any], str, Task | None]:
        fields = fields_of(data)
        key = key_of(fields)
        check_progress(fields)
        appends_of(fields)
        old = self.get(key)
        check_state(event, old, room, sender)
        check_claim(event, old, fields)
        # What a finished task was says nothing about the one that takes its id.
        return fields, key, None if old is None or old.ended else old

    def _check_task_size(self, event: str, old: Task | None, cost: Cost) -> None:
        size = cost.growth + (0 if old is None else old.size)
        if size <= self._max_task_bytes:
            return
        if event in _ALWAYS and cost.written <= _SMALL_ENDING:
            return
        raise RtpushError(
            "task_too_large", f"A task holds at most {self._max_task_bytes} bytes of JSON."
        )

    # ------------------------------------------------------------- changing

    def apply(
        self,
        event: str,
        data: object,
        room: str | None,
        time: float,
        account: str = APPLICATION,
        wall: float | None = None,
    ) -> str | None:
        """Fold one entry in; returns the key of the task it changed, None for no change.

        `time` is the entry's, by the log's clock; it must not fall. `account` is charged.
        `wall` is what users are shown, in seconds since 1970; None: the same.
        """
        if event not in TASK_EVENTS:
            return None
        self.prune(time)
        try:
            key = self._fold(event, data, room, time, account, wall)
        except RtpushError:
            return None
        self.prune(time)
        return key

    def _fold(
        self,
        event: str,
        data: object,
        room: str | None,
        time: float,
        account: str,
        wall: float | None,
    ) -> str:
        fields, key, old = self._admit(event, data, room)
        changes, ended = changes_of(old, fields, room), event in ENDS
        changes |= stamps_of(event, old, fields, time if wall is None else wall)
        before = self.get(key) if old is None else None
        if before is not None and "attempt" in before.fields:
            # A worker that was at the ended task must not be taken for one of this.
            changes["attempt"] = before.fields["attempt"]
        self._number += 1
        self._put(old, next_version(key, room, old, changes, self._number, time, ended, account))
        return key

    def _put(self, old: Task | None, task: Task) -> None:
        before = () if old is None else old.charges
        self.shares.replace(before, () if task.ended else task.charges)
        if old is None:
            self._forget_finished(task.key)
        self._tasks.put(task)
        if self._index is not None:
            self._reindex(self._index, old, task)
        if task.ended:
            self._finished.add(task)

    def _forget_finished(self, key: str) -> None:
        """A task begins: one with its id that has ended is gone."""
        ended = self.get(key)
        if ended is None:
            return
        self._finished.remove(ended)
        if self._index is not None:
            self._index.remove(ended)

    def _reindex(self, index: BoardIndex, old: Task | None, task: Task) -> None:
        if old is not None and task.ended:
            index.remove(old)
        index.put(task)

    def prune(self, time: float) -> None:
        """Let go of finished tasks that are too old by now, or too many.

        Before each decision: a log that is opened again has no row of those that are too old.
        """
        dropped = self._finished.prune(time)
        # A fork keeps what it does not hold: without it, `get` would see through to the
        # parent, where the task may still be active.
        if self._index is not None:
            for task in dropped:
                self._tasks.remove(task.key)
                self._index.remove(task)

    # -------------------------------------------------------------- reading

    def __len__(self) -> int:
        """The number of active tasks."""
        return self.shares.all.number

    def get(self, key: str) -> Task | None:
        """The task with this key, active or finished."""
        task = self._tasks.get(key)
        dropped = task is not None and task.ended and not self._finished.holds(task)
        return None if dropped else task

    @property
    def pushed_out(self) -> Iterator[str]:
        """The keys of finished tasks that this fork let go of, of those above its floor."""
        return (task.key for task in self._finished.pushed_out.values())

    def is_active(self, key: str) -> bool:
        """Is there such a task, and has it not ended?"""
        task = self.get(key)
        return task is not None and not task.ended

    def all_active(self) -> list[Task]:
        """The active tasks of all rooms, oldest first."""
        return sorted(self._tasks.active(), key=lambda task: task.born)

    def all_finished(self, now: float) -> list[Task]:
        """The tasks of all rooms that ended within `finished_for` of now, newest first."""
        return [task for task in reversed(self._finished) if self.is_recent(task, now)]

    @property
    def index(self) -> BoardIndex:
        """The tasks by room. A fork has none."""
        assert self._index is not None
        return self._index

    def snapshot(self, rooms: Collection[str], now: float) -> dict[str, list[dict[str, Any]]]:
        """What a client in these rooms sees: `{"tasks": […], "finished": […]}`.

        Tasks without a room are everybody's. Active ones are oldest first, and
        finished ones, that ended within `finished_for` of now, newest first. The
        objects are shared: encode them, do not change them. It costs what it shows.
        """
        return self.index.visible({None, *rooms}, now, self._finished.max_age)

    def snapshot_room(self, room: str, now: float) -> dict[str, list[dict[str, Any]]]:
        """The same, with only the tasks of one room."""
        return self.index.visible({room}, now, self._finished.max_age)

    def is_recent(self, task: Task, now: float) -> bool:
        """Did the task end so lately that it is still shown?"""
        return now - task.time <= self._finished.max_age

    def expired(self, now: float, ttl: float) -> list[Task]:
        """Active tasks without an event for `ttl` seconds, the longest silent first.

        Looks no further than the first that is not expired.
        """
        return list(takewhile(lambda task: now - task.time >= ttl, self._tasks.active()))

    # -------------------------------------------------------------- storing

    def stored(self, key: str) -> bytes | None:
        """This task as a row for `restore`; None when the board does not hold it."""
        task = self.get(key)
        if task is None:
            return None
        return encode_task(task, self._finished.floor)

    def stored_event(
        self,
        event: str,
        data: bytes,
        room: str | None,
        time: float,
        account: str,
        wall: float | None = None,
    ) -> bytes:
        """The event that was applied last as a row for `restore`; `data` is JSON.

        It stands behind the row of its task as it was before: to store a task that
        grows as a whole each time would cost the square of what it grows by.
        """
        row = {"event": event, "data": orjson.Fragment(data), "room": room, "time": time}
        return encode_event(
            row | {"account": account, "wall": wall}, self._number, self._finished.floor
        )

    @property
    def number(self) -> int:
        """How many versions of tasks there have been."""
        return self._number

    def restore(self, rows: Iterable[bytes], number: int = 0) -> None:
        """Become the board that these rows of `stored` and `stored_event` describe.

        They may come in any order; rows of tasks that the board had dropped
        are told apart. `number` is what the board had
        counted, where others count on.
        """
        self._clear()
        decoded = [orjson.loads(row) for row in rows]
        floor = max((row.pop("floor") for row in decoded), default=0)
        numbers = [row["number"] for row in decoded]
        index, self._index = self._index, None
        for row in sorted(decoded, key=lambda row: row["number"]):
            if "event" in row:
                self._number = row.pop("number") - 1
                self._fold(**row)
            elif not row["ended"] or row["number"] >= floor:
                self._put(None, decode_task(row))
        self._index = index
        for task in (*self.all_active(), *self._finished):
            self.index.put(task)
        self._number = max([number, *numbers])
        self._finished.floor = floor
