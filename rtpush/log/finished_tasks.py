"""Finished tasks, in the order in which they ended; pure.

Rules that hold here:

- The oldest go first: after `max_age`, or beyond the bounds. `floor` says how far they
  have gone: whatever ended before it is no longer held.
- A fork shares its parent's tasks by their place, and is good until the parent changes. Of
  those whose id was taken again it notes the numbers; elsewhere they are simply gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from copy import copy
from typing import Self

from .task import Task

__all__ = ["FinishedTasks"]


class FinishedTasks:
    """The tasks of a board that have ended."""

    def __init__(self, max_age: float, max_tasks: int, max_bytes: int) -> None:
        """Hold none yet.

        Args:
            max_age: Seconds that a task is held after its end.
            max_tasks: Tasks that are held at most.
            max_bytes: Bytes of their JSON together; the newest is held whatever its size.
        """
        self.max_age = max_age
        self._max_tasks = max_tasks
        self._max_bytes = max_bytes
        self._base: Self | None = None
        self.clear()

    def clear(self) -> None:
        """Hold none."""
        # Versions of tasks with lower numbers are not held.
        self.floor = 0
        self.bytes = 0
        # How many of the parent's tasks a fork still holds: its newest.
        self._inherited = 0
        self._own: deque[Task] = deque()
        # The numbers of inherited tasks whose ids were taken again.
        self._replaced: set[int] = set()

    def fork(self) -> Self:
        """Tasks that start as these and change apart from them; costs O(1)."""
        fork = copy(self)
        fork._base = self
        fork._inherited = self._places
        fork._own = deque()
        fork._replaced = set(self._replaced)
        return fork

    def __len__(self) -> int:
        return self._places - len(self._replaced)

    def __iter__(self) -> Iterator[Task]:
        """All of them, the oldest end first."""
        tasks = map(self._at, range(self._places))
        return (task for task in tasks if task.number not in self._replaced)

    def __reversed__(self) -> Iterator[Task]:
        tasks = map(self._at, reversed(range(self._places)))
        return (task for task in tasks if task.number not in self._replaced)

    @property
    def _places(self) -> int:
        return self._inherited + len(self._own)

    def _at(self, place: int) -> Task:
        # 0 is the oldest. A fork sees the newest of its parent's, then its own.
        if self._base is not None and place < self._inherited:
            return self._base._at(self._base._places - self._inherited + place)
        return self._own[place - self._inherited]

    def add(self, task: Task) -> None:
        """A task has ended, after all others."""
        self._own.append(task)
        self.bytes += task.size

    def remove(self, task: Task) -> None:
        """The id of a task that is held was taken again."""
        self.bytes -= task.size
        if self._own and task.number >= self._own[0].number:
            self._own.remove(task)
        else:
            self._replaced.add(task.number)

    def prune(self, time: float) -> list[Task]:
        """Let go of those that are too old or too many; returns those that are no parent's."""
        dropped = []
        while self._places and time - self._at(0).time > self.max_age:
            dropped += self._drop_oldest()
        # The newest is kept whatever its size: its client waits to hear how it ended.
        while len(self) > 1 and (len(self) > self._max_tasks or self.bytes > self._max_bytes):
            dropped += self._drop_oldest()
        return dropped

    def _drop_oldest(self) -> list[Task]:
        task = self._at(0)
        if task.number in self._replaced:
            self._replaced.remove(task.number)
        else:
            self.floor = task.number + 1
            self.bytes -= task.size
        if self._inherited:
            self._inherited -= 1
            return []
        return [self._own.popleft()]
