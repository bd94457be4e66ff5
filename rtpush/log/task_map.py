"""The newest version of each task of a board, by key; pure.

Rules that hold here:

- A fork holds only what it changed itself, and reads through to its parent: it is good
  until the parent changes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from .task import Task

__all__ = ["TaskMap"]


class TaskMap:
    """Tasks by key; the active ones also in the order of their last events."""

    def __init__(self) -> None:
        self._base: TaskMap | None = None
        self.clear()

    def clear(self) -> None:
        """Hold none."""
        self._tasks: dict[str, Task] = {}
        # The active ones, the longest silent first.
        self._touched: OrderedDict[str, None] = OrderedDict()

    def fork(self) -> TaskMap:
        """A map that starts as this one and changes apart from it; costs O(1)."""
        fork = TaskMap()
        fork._base = self
        return fork

    def put(self, task: Task) -> None:
        """A task has a new version, the newest of all."""
        self._tasks[task.key] = task
        if task.ended:
            self._touched.pop(task.key, None)
        else:
            self._touched[task.key] = None
            self._touched.move_to_end(task.key)

    def remove(self, key: str) -> None:
        """An ended task is no longer held; not for a fork."""
        del self._tasks[key]

    def get(self, key: str) -> Task | None:
        """The task with this key, active or ended."""
        tasks: TaskMap | None = self
        while tasks is not None:
            task = tasks._tasks.get(key)
            if task is not None:
                return task
            tasks = tasks._base
        return None

    def active(self) -> Iterator[Task]:
        """The active tasks, the longest silent first."""
        if self._base is not None:
            yield from (task for task in self._base.active() if task.key not in self._tasks)
        for key in self._touched:
            yield self._tasks[key]
