"""Versions of tasks: what an event makes of one; pure."""

from __future__ import annotations

from typing import Any, Final

from .board_shares import charged
from .task import Task, cost_of

__all__ = ["next_version"]

# About the bytes of a row of `TaskBoard.stored_event` beside the fields of its event.
_EVENT_ROW: Final = 100


def next_version(
    key: str,
    room: str | None,
    old: Task | None,
    changes: dict[str, Any],
    number: int,
    time: float,
    ended: bool,
    account: str,
) -> Task:
    """The version `number` of a board, which an account's event makes of `old` by `changes`."""
    growth, written = cost_of(old, changes)
    charges = charged(() if old is None else old.charges, account, growth)
    if ended:
        # It counts for the account that began it alone: see finished_tasks.py.
        charges = charges[:1]
    if old is None:
        return Task(key, room, changes, growth, number, number, time, ended, charges)
    size = old.size + growth
    unfolded = old.unfolded + _EVENT_ROW + written
    if ended or unfolded > size:
        unfolded = 0
    fields = old.fields | changes
    return Task(key, room, fields, size, old.born, number, time, ended, charges, unfolded)
