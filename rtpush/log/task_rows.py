"""Rows about tasks: what a store keeps of the board, so that a commit costs what its events bring.

Rules that hold here:

- A task is stored as a whole when it begins, when it ends, and each time that the events since
  weigh as much as it does; other events are stored behind it. So what is written is about twice
  what the events bring, however large their task is.
- `TaskBoard.restore` takes the rows of all tasks together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from .growth import Grown
from .task import Task, task_key

if TYPE_CHECKING:
    from .board import TaskBoard
    from .entry import Draft

__all__ = ["TaskRow", "decode_task", "encode_event", "encode_task", "rows_of", "task_row"]

# The fields of a task that a row has.
_STORED: Final = ("data", "born", "number", "time", "ended", "charges")


class TaskRow(NamedTuple):
    """A row about a task: it as a whole (None: it is gone), or an event that changes it.

    `number` is unique, and rises. `replaces`: the rows that the task had before are to be
    removed.
    """

    key: str
    number: int
    row: bytes | None
    replaces: bool
    ended: bool = False


def task_row(
    board: TaskBoard, key: str, draft: Draft, time: float, wall: float | None = None
) -> TaskRow:
    """The row for the event that a board was changed by last."""
    task = board.get(key)
    is_whole = task is None or not task.unfolded
    row = board.stored_event(draft.event, draft.encoded, draft.room, time, draft.account, wall)
    return TaskRow(key, board.number, row, is_whole)


def rows_of(board: TaskBoard, changed: Mapping[str, Sequence[TaskRow]]) -> Iterator[TaskRow]:
    """What a store does for the events of a batch, which are here by task."""
    for key, events in changed.items():
        if any(row.replaces for row in events):
            ended = not board.is_active(key)
            yield TaskRow(key, events[-1].number, board.stored(key), True, ended)
        else:
            yield from events
    for key in board.pushed_out:
        if key not in changed:
            yield TaskRow(key, 0, None, True)


# Of what the board dropped because of a change, a store is told only what went from between
# others: the rest ended before `floor`.


def encode_task(task: Task, floor: int) -> bytes:
    """The row of a task as a whole."""
    grown = [name for name, value in task.fields.items() if isinstance(value, Grown)]
    row = {name: getattr(task, name) for name in _STORED}
    return orjson.dumps(row | {"floor": floor, "grown": grown})


def decode_task(row: dict[str, Any]) -> Task:
    """The task of such a row, without its floor."""
    fields = row.pop("data")
    row["charges"] = tuple((account, size) for account, size in row["charges"])
    size, key = len(orjson.dumps(fields)), task_key(fields)
    for name in row.pop("grown"):
        fields[name] = Grown(None, fields[name], len(orjson.dumps(fields[name])))
    return Task(key, fields.get("room"), fields, size, **row)


def encode_event(event: dict[str, Any], number: int, floor: int) -> bytes:
    """The row of an event, which has the arguments of `TaskBoard.apply`."""
    return orjson.dumps(event | {"number": number, "floor": floor})
