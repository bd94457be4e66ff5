"""What the event loop and the thread of a log in SQLite hand to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from .entry import Entry
from .retained import RetainedRow

__all__ = ["EntryRow", "Kept", "KeyRow", "Restored", "Rows", "is_jump"]

# Seconds by which a wall clock was set rather than adjusted: worth a write.
_JUMP: Final = 1.0


class Kept(NamedTuple):
    """What a commit or trimming left.

    `first` is the oldest number, `due` the time at which there is more to trim, `sealed` the
    last number in the index by room, `wall_ahead` what the file says of the clocks.
    """

    first: int
    due: float
    sealed: int
    wall_ahead: float


class Restored(NamedTuple):
    """What a file held when it was opened.

    `newest` is what the tail begins with; `rooms` has the rooms of the entries before it that
    are behind `sealed`, the last number in the index by room. By `wall_ahead` the log's clock
    goes on: see `LogClock`.
    """

    epoch: str
    wall_ahead: float
    first: int
    newest: list[Entry]
    sealed: int
    rooms: list[str | None]
    tasks: list[bytes]
    retained: list[RetainedRow]
    keys: list[KeyRow]


# An entry's number, by which keys are stored since theirs is random; its key, account and time.
KeyRow = tuple[int, bytes, str, float]
EntryRow = tuple[
    int,
    float,
    int,
    str,
    str | None,
    str | None,
    bytes,
    str | None,
    str | None,
    bool | None,
    bool | None,
]


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch in the form that the thread stores: no object that the loop may change."""

    entries: list[EntryRow]
    replaced: list[tuple[str]]
    tasks: list[tuple[str, int, float | None, bytes]]
    retained: list[RetainedRow]
    keys: list[KeyRow]
    forgotten: list[int]
    time: float
    wall_ahead: float


def is_jump(before: float, wall_ahead: float) -> bool:
    """Was the wall clock set meanwhile?"""
    return abs(wall_ahead - before) > _JUMP
