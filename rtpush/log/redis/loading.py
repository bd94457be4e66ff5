"""Loading: the state of the log in Redis from which a node begins to follow it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple, Protocol

from ..board import TaskBoard
from ..entry import Entry
from ..retained import RetainedEvents
from ..tail import Tail
from .codec import entry_of, retained_of

__all__ = ["State", "load"]

# Entries of one read, which may be 1 MiB each.
NEWEST_AT_ONCE: Final = 64


class Call(Protocol):
    """Runs one command of the script, as `FollowedLog` does. Raises RedisUnavailable."""

    async def __call__(self, command: str, /, **fields: Any) -> Any: ...


class State(NamedTuple):
    """The log at one position, as far as a node keeps it in memory.

    `task` is the sequence number of the newest task event, and `batch_id` names the
    batch of the newest entry.
    """

    epoch: str
    first: int
    task: int
    board: TaskBoard
    retained: RetainedEvents
    tail: Tail
    batch_id: str


async def load(
    call: Call, board: TaskBoard, retained: RetainedEvents, tail_count: int, tail_bytes: int
) -> State | None:
    """Read the state of the log.

    Args:
        call: Runs a command of the script.
        board: An empty board; it becomes the log's.
        retained: No retained events; they become the log's.
        tail_count: Entries that the tail may hold.
        tail_bytes: Bytes that the tail may hold.

    Returns:
        The state; None when the log changed while it was read.

    Raises:
        RedisUnavailable: Redis did not answer.
    """
    answer = await call("load")
    if answer[0] != b"ok":
        return None
    _, raw_epoch, last, first, last_task, number, rows, values = answer
    epoch = raw_epoch.decode()
    board.restore(rows, number)
    retained.restore(retained_of(values), epoch)
    newest = [found async for found in _newest(call, epoch, last, tail_count, tail_bytes)][::-1]
    if first <= last and (not newest or newest[-1][0].seq != last):
        return None
    tail = Tail(last - len(newest), tail_count, tail_bytes)
    for entry, _ in newest:
        tail.append(entry)
    batch_id = newest[-1][1] if newest else ""
    return State(epoch, first, last_task, board, retained, tail, batch_id)


async def _newest(
    call: Call, epoch: str, upto: int, count: int, size: int
) -> AsyncIterator[tuple[Entry, str]]:
    """The newest entries that fit into a tail, newest first, each with its batch id."""
    left = count
    while upto and left > 0:
        answer = await call("newest", epoch=epoch, upto=upto, limit=min(left, NEWEST_AT_ONCE))
        if answer[0] != b"ok" or not answer[1]:
            return
        for raw in answer[1]:
            entry, batch_id, *_ = entry_of(epoch, raw)
            size -= entry.size
            if size < 0 and left < count:
                return
            left, upto = left - 1, entry.seq - 1
            yield entry, batch_id
