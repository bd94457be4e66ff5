"""The index of the board by room, in pages that snapshots share.

Rules that hold here:

- A room's tasks cost nothing to find, whatever there is in other rooms.
- Pages (pages.py) keep active tasks in order of birth, finished ones of their end.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from .pages import Outdated, Page, Pages
from .task import Task
from .task_queues import TaskQueues

__all__ = ["BoardIndex", "TaskPage"]

TaskPage = Page[Task]


class _Room:
    def __init__(self, counter: Outdated) -> None:
        self.active = Pages[Task](counter)
        self.finished = Pages[Task](counter)


class BoardIndex:
    """The tasks of each room; None is the room of those without one."""

    def __init__(self) -> None:
        self.outdated = Outdated()
        # The tasks that are asked to end, by key, and since when.
        self._cancelling: dict[str, tuple[float, Task]] = {}
        self.queues = TaskQueues()
        self._rooms: dict[str | None, _Room] = {}

    def put(self, task: Task) -> None:
        """Add a new version of a task."""
        room = self._rooms.get(task.room)
        if room is None:
            room = self._rooms[task.room] = _Room(self.outdated)
        if task.ended:
            room.finished.put(task.number, task)
        else:
            room.active.put(task.born, task)
            self.queues.put(task)
            if task.fields.get("status") == "cancelling":
                since, _ = self._cancelling.get(task.key, (task.time, task))
                self._cancelling[task.key] = since, task

    def remove(self, task: Task) -> None:
        """Take a version of a task out."""
        room = self._rooms[task.room]
        if task.ended:
            room.finished.remove(task.number)
        else:
            room.active.remove(task.born)
            self.queues.remove(task)
            self._cancelling.pop(task.key, None)
        if not room.active.pages and not room.finished.pages:
            del self._rooms[task.room]

    def cancelled_before(self, time: float) -> list[Task]:
        """The active tasks that were asked to end until then, by the log's clock."""
        return [task for since, task in self._cancelling.values() if since <= time]

    def size(self, room: str | None) -> int:
        """The length of the JSON of a room's tasks."""
        found = self._rooms.get(room)
        return 0 if found is None else found.active.size + found.finished.size

    def active(self, room: str | None) -> list[TaskPage]:
        """The pages of a room's active tasks, oldest first."""
        found = self._rooms.get(room)
        return [] if found is None else found.active.pages

    def visible(
        self, rooms: Collection[str | None], now: float, finished_for: float
    ) -> dict[str, list[dict[str, Any]]]:
        """What a snapshot of these rooms shows: `{"tasks": […], "finished": […]}`."""
        active = [task for room in rooms for page in self.active(room) for task in page]
        ended = [task for room in rooms for page in self.finished(room) for task in page]
        active.sort(key=lambda task: task.born)
        ended.sort(key=lambda task: task.number, reverse=True)
        return {
            "tasks": [task.data for task in active],
            "finished": [task.data for task in ended if now - task.time <= finished_for],
        }

    def finished(self, room: str | None) -> list[TaskPage]:
        """The pages of a room's finished tasks, oldest first."""
        found = self._rooms.get(room)
        return [] if found is None else found.finished.pages
