"""Queues: the tasks of a board that wait for a worker, and those that run; pure.

Rules that hold here:

- The oldest task of a queue costs nothing to find, also among those without a room alone.
- What a worker has to be told at once, that its task is to end, is kept until it is taken.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Collection, Iterator
from typing import Final

from .task import Task
from .task_claims import attempt_of, is_claimable, queue_of

__all__ = ["TaskQueues"]

# A queue, and whether its tasks have a room.
_Line = tuple[str, bool]
# Cancels that are kept, where no server takes them.
_MAX_CANCELS: Final = 1000


class TaskQueues:
    """The waiting tasks by queue; those that run, and of them the claimed ones, by key."""

    def __init__(self) -> None:
        self.claimed: dict[str, Task] = {}
        self.running: dict[str, Task] = {}
        self._cancelled: deque[Task] = deque(maxlen=_MAX_CANCELS)
        # The numbers by which the tasks of each line are ordered, ascending.
        self._lines: dict[_Line, list[int]] = {}
        self._waiting: dict[int, tuple[Task, _Line]] = {}

    def __len__(self) -> int:
        """The number of tasks that wait."""
        return len(self._waiting)

    @property
    def names(self) -> set[str]:
        """The queues in which tasks wait."""
        return {queue for queue, _ in self._lines}

    def put(self, task: Task) -> None:
        """Add a new version of an active task."""
        if task.fields.get("status") == "queued":
            self.running.pop(task.key, None)
        else:
            self.running[task.key] = task
        if attempt_of(task) is None:
            self.claimed.pop(task.key, None)
        else:
            before = self.claimed.get(task.key)
            if before is not None and before.fields["status"] != task.fields["status"]:
                # From running to cancelling: there is no way back.
                self._cancelled.append(task)
            self.claimed[task.key] = task
        line = (queue_of(task), task.room is not None) if is_claimable(task) else None
        known = self._waiting.get(task.born)
        if known is not None and known[1] != line:
            self._leave(task.born)
        if line is not None:
            self._wait(task, line)

    def remove(self, task: Task) -> None:
        """Take an active task out."""
        self.claimed.pop(task.key, None)
        self.running.pop(task.key, None)
        if task.born in self._waiting:
            self._leave(task.born)

    def take_cancelled(self) -> Iterator[Task]:
        """The claimed tasks that were cancelled since the last call."""
        while self._cancelled:
            yield self._cancelled.popleft()

    def _wait(self, task: Task, line: _Line) -> None:
        if task.born not in self._waiting:
            insort(self._lines.setdefault(line, []), task.born)
        self._waiting[task.born] = (task, line)

    def _leave(self, born: int) -> None:
        _, line = self._waiting.pop(born)
        numbers = self._lines[line]
        del numbers[bisect_left(numbers, born)]
        if not numbers:
            del self._lines[line]

    def waiting(self, queues: Collection[str], *, rooms: bool) -> Iterator[Task]:
        """The tasks that wait in these queues, oldest first; with `rooms`, also those of rooms."""
        kinds = (False, True) if rooms else (False,)
        lines = [self._lines.get((queue, kind), ()) for queue in queues for kind in kinds]
        return (self._waiting[born][0] for born in heapq.merge(*lines))
