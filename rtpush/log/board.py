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
- Finished tasks go in the order in which they ended. `_floor` says how far
  they have gone: whatever ended before it is no longer held.
- Someone outside a room learns that an id is taken, and nothing else: not by
  which room, nor whether the task is active. The room is compared first.
- `size` is exact: the length of the task's JSON. It is kept by encoding only
  the fields that an event brings and those that they replace.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Iterator
from copy import copy
from itertools import takewhile
from typing import Any, Final, NamedTuple

import orjson

from ..errors import RtpushError

__all__ = ["TASK_EVENTS", "Task", "TaskBoard", "task_key"]

# The events that end a task, and the status it has from then on.
_ENDS: Final = {"task_completed": "completed", "task_failed": "failed"}
TASK_EVENTS: Final = frozenset({"task_created", "task_progress", *_ENDS})

_MAX_ID: Final = 128
# Beyond this a JavaScript client no longer tells neighbouring integers apart.
_MAX_INTEGER: Final = 1 << 53
# An ending of at most so many bytes is never too large. Otherwise a task that
# was grown up to the limit could neither fail nor expire, and would hold its
# place on the board for ever.
_SMALL_ENDING: Final = 1024


class Task(NamedTuple):
    """One version of a task.

    `data` is what snapshots show, `id` and `room` included: shared, never to
    be changed. `size` is its length as JSON. `born` and `number` say which
    event of the board made the task, and which this version. `time` is when
    that was, in seconds since 1970: for an ended task, its end.
    """

    key: str
    room: str | None
    data: dict[str, Any]
    size: int
    born: int
    number: int
    time: float
    ended: bool


def task_key(data: object) -> str:
    """The normalised id of the task that an event's data is about.

    1 and "1" are the same task. Raises RtpushError (`bad_task`) unless data is
    an object whose `id` is a string of 1 to 128 characters or an integer
    within ±2**53.
    """
    return _key(_object(data))


def _object(data: object) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise RtpushError("bad_task", 'The data of a task event is an object with an "id".')
    return data


def _key(data: dict[str, Any]) -> str:
    id_ = data.get("id")
    if isinstance(id_, str) and 0 < len(id_) <= _MAX_ID:
        return id_
    # bool is a kind of int in Python, and not in JSON.
    if isinstance(id_, int) and not isinstance(id_, bool) and abs(id_) <= _MAX_INTEGER:
        return str(id_)
    raise RtpushError(
        "bad_task", f'A task\'s "id" is a string of 1 to {_MAX_ID} characters or an integer.'
    )


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
        self._finished_for = finished_for
        self._max_active = max_active
        self._max_task_bytes = max_task_bytes
        self._max_active_bytes = max_active_bytes
        self._max_finished = max_finished
        self._max_finished_bytes = max_finished_bytes
        self._base: TaskBoard | None = None
        self._clear()

    def _clear(self) -> None:
        self._number = 0
        self._floor = 0
        self._active = 0
        self._active_bytes = 0
        self._finished_bytes = 0
        # How many of the parent's finished tasks a fork still holds.
        self._inherited = 0
        self._own_nothing()

    def _own_nothing(self) -> None:
        # A fork holds here only what it changed itself.
        self._tasks: dict[str, Task] = {}
        self._touched: OrderedDict[str, None] = OrderedDict()
        self._ended: deque[Task] = deque()

    def fork(self) -> TaskBoard:
        """A board that starts as this one and changes apart from it; costs O(1).

        It reads through to this one, so it is good only until this one changes.
        """
        fork = copy(self)
        fork._base = self
        fork._inherited = self._finished
        fork._own_nothing()
        return fork

    # ------------------------------------------------------------- deciding

    def check(self, event: str, data: object, room: str | None) -> None:
        """May this event be appended now? Raises RtpushError if not.

        `bad_task`, `task_exists`, `task_finished`, `task_too_large` or
        `board_full`. Events that are not about tasks always pass.
        """
        if event not in TASK_EVENTS:
            return
        fields, _, old = self._admit(event, data, room)
        changes = _changes(old, fields, room)
        growth = _growth(old, changes)
        if growth <= 0:
            return
        self._check_task_size(event, old, growth, changes)
        if event not in _ENDS:
            self._check_board_size(old, growth)

    def _admit(
        self, event: str, data: object, room: str | None
    ) -> tuple[dict[str, Any], str, Task | None]:
        fields = _object(data)
        key = _key(fields)
        _check_progress(fields)
        old = self.get(key)
        if old is not None:
            _check_state(event, old, room)
        return fields, key, old

    def _check_task_size(
        self, event: str, old: Task | None, growth: int, changes: dict[str, Any]
    ) -> None:
        size = growth + (0 if old is None else old.size)
        if size <= self._max_task_bytes:
            return
        if event in _ENDS and _fields_size(changes) <= _SMALL_ENDING:
            return
        raise RtpushError(
            "task_too_large", f"A task holds at most {self._max_task_bytes} bytes of JSON."
        )

    def _check_board_size(self, old: Task | None, growth: int) -> None:
        if old is None and self._active >= self._max_active:
            raise RtpushError("board_full", f"At most {self._max_active} tasks can be active.")
        if self._active_bytes + growth > self._max_active_bytes:
            raise RtpushError(
                "board_full", f"The active tasks hold {self._max_active_bytes} bytes already."
            )

    # ------------------------------------------------------------- changing

    def apply(self, event: str, data: object, room: str | None, time: float) -> str | None:
        """Fold one entry in; returns the key of the task it changed, None for no change.

        `time` is the entry's, in seconds since 1970; it must not fall.
        """
        if event not in TASK_EVENTS:
            return None
        try:
            fields, key, old = self._admit(event, data, room)
        except RtpushError:
            return None
        changes = _changes(old, fields, room)
        if event in _ENDS:
            changes |= {"status": _ENDS[event], "endTime": round(time * 1000)}
        self._put(old, self._next_version(key, room, old, changes, time, event in _ENDS))
        self._prune(time)
        return key

    def _next_version(
        self,
        key: str,
        room: str | None,
        old: Task | None,
        changes: dict[str, Any],
        time: float,
        ended: bool,
    ) -> Task:
        self._number = number = self._number + 1
        size = _growth(old, changes)
        if old is None:
            return Task(key, room, changes, size, number, number, time, ended)
        data = old.data | changes
        return Task(key, room, data, old.size + size, old.born, number, time, ended)

    def _put(self, old: Task | None, task: Task) -> None:
        if old is not None:
            self._active -= 1
            self._active_bytes -= old.size
        self._tasks[task.key] = task
        if task.ended:
            self._touched.pop(task.key, None)
            self._ended.append(task)
            self._finished_bytes += task.size
        else:
            self._touched[task.key] = None
            self._touched.move_to_end(task.key)
            self._active += 1
            self._active_bytes += task.size

    def _prune(self, time: float) -> None:
        while self._finished and time - self._ended_at(0).time > self._finished_for:
            self._drop_oldest()
        # The newest is kept whatever its size: somebody waits to hear how it ended.
        while self._finished > 1 and (
            self._finished > self._max_finished or self._finished_bytes > self._max_finished_bytes
        ):
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        task = self._ended_at(0)
        self._floor = task.number + 1
        self._finished_bytes -= task.size
        if self._inherited:
            self._inherited -= 1
            return
        self._ended.popleft()
        # A fork keeps it, below the floor: without it, `get` would see through
        # to the parent, where the task may still be active.
        if self._base is None:
            del self._tasks[task.key]

    # -------------------------------------------------------------- reading

    def __len__(self) -> int:
        """The number of active tasks."""
        return self._active

    def get(self, key: str) -> Task | None:
        """The task with this key, active or finished."""
        board: TaskBoard | None = self
        while board is not None:
            task = board._tasks.get(key)
            if task is not None:
                return None if task.ended and task.number < self._floor else task
            board = board._base
        return None

    def is_active(self, key: str) -> bool:
        """Is there such a task, and has it not ended?"""
        task = self.get(key)
        return task is not None and not task.ended

    def all_active(self) -> list[Task]:
        """The active tasks of all rooms, oldest first."""
        return sorted(self._by_touch(), key=lambda task: task.born)

    def all_finished(self, now: float) -> list[Task]:
        """The tasks of all rooms that ended within `finished_for` of now, newest first."""
        newest_first = (self._ended_at(i) for i in reversed(range(self._finished)))
        return [task for task in newest_first if now - task.time <= self._finished_for]

    def snapshot(self, rooms: Collection[str], now: float) -> dict[str, list[dict[str, Any]]]:
        """What someone in these rooms sees: `{"tasks": […], "finished": […]}`.

        Tasks without a room are everybody's. The objects are shared: encode
        them, do not change them.
        """
        return self._visible({None, *rooms}, now)

    def snapshot_room(self, room: str, now: float) -> dict[str, list[dict[str, Any]]]:
        """The same, with only the tasks of one room."""
        return self._visible({room}, now)

    def expired(self, now: float, ttl: float) -> list[Task]:
        """Active tasks without an event for `ttl` seconds, the longest silent first.

        Looks no further than the first that is not expired.
        """
        return list(takewhile(lambda task: now - task.time >= ttl, self._by_touch()))

    def _visible(
        self, rooms: Collection[str | None], now: float
    ) -> dict[str, list[dict[str, Any]]]:
        return {
            "tasks": [task.data for task in self.all_active() if task.room in rooms],
            "finished": [task.data for task in self.all_finished(now) if task.room in rooms],
        }

    def _by_touch(self) -> Iterator[Task]:
        if self._base is not None:
            yield from (t for t in self._base._by_touch() if t.key not in self._tasks)
        for key in self._touched:
            yield self._tasks[key]

    @property
    def _finished(self) -> int:
        return self._inherited + len(self._ended)

    def _ended_at(self, index: int) -> Task:
        # 0 is the oldest. A fork sees the newest of its parent's, then its own.
        if self._base is not None and index < self._inherited:
            return self._base._ended_at(self._base._finished - self._inherited + index)
        return self._ended[index - self._inherited]

    # -------------------------------------------------------------- storing

    def stored(self, key: str) -> bytes | None:
        """This task as a row for `restore`; None when the board does not hold it."""
        task = self.get(key)
        if task is None:
            return None
        row = {name: getattr(task, name) for name in ("data", "born", "number", "time", "ended")}
        # Who stores rows is told which task changed, not which ones were
        # dropped because of it. The floor tells `restore`.
        return orjson.dumps(row | {"floor": self._floor})

    @property
    def number(self) -> int:
        """How many versions of tasks there have been."""
        return self._number

    def restore(self, rows: Iterable[bytes], number: int = 0) -> None:
        """Become the board that these rows of `stored` describe.

        They may come in any order, one for each task; rows of tasks that the
        board had dropped are told apart. `number` is what the board had
        counted, where others count on.
        """
        self._clear()
        decoded = [orjson.loads(row) for row in rows]
        floor = max((row.pop("floor") for row in decoded), default=0)
        for row in sorted(decoded, key=lambda row: row["number"]):
            if not row["ended"] or row["number"] >= floor:
                self._put(None, _from_row(row))
        self._number = max((row["number"] for row in decoded), default=0)
        self._number = max(self._number, number)
        self._floor = floor


def _from_row(row: dict[str, Any]) -> Task:
    data = row["data"]
    return Task(task_key(data), data.get("room"), size=len(orjson.dumps(data)), **row)


def _check_progress(fields: dict[str, Any]) -> None:
    if "progress" not in fields:
        return
    progress = fields["progress"]
    number = isinstance(progress, int | float) and not isinstance(progress, bool)
    # Written so that NaN, which compares false with everything, is refused.
    if not (number and 0 <= progress <= 100):
        raise RtpushError("bad_task", '"progress" is a number from 0 to 100.')


def _check_state(event: str, old: Task, room: str | None) -> None:
    if old.room != room:
        raise RtpushError("bad_task", "A task with this id belongs to another room.")
    if old.ended:
        raise RtpushError("task_finished", "This task has ended already.")
    if event == "task_created":
        raise RtpushError("task_exists", "A task with this id is active already.")


def _changes(old: Task | None, fields: dict[str, Any], room: str | None) -> dict[str, Any]:
    """The fields that an event sets.

    A field called `room` is left out: in a snapshot it is the server's word
    on who sees the task, and nobody else's. The id stays as first given.
    """
    if old is not None:
        return {name: fields[name] for name in fields if name not in ("id", "room")}
    first = {name: fields[name] for name in fields if name != "room"}
    return first if room is None else first | {"room": room}


def _growth(old: Task | None, changes: dict[str, Any]) -> int:
    """By how many bytes of JSON a task grows; from None, the whole size."""
    if old is None:
        return 1 + _fields_size(changes)
    replaced = {name: old.data[name] for name in changes if name in old.data}
    return _fields_size(changes) - _fields_size(replaced)


def _fields_size(fields: dict[str, Any]) -> int:
    # An object is one byte longer than its fields with a comma or brace each.
    return len(orjson.dumps(fields)) - 1 if fields else 0
