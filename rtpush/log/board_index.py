"""The index of the board by room, in pages that snapshots share.

Rules that hold here:

- A room's tasks cost nothing to find, whatever there is in other rooms.
- A page holds at most PAGE_BYTES of tasks, or one task. Pages keep their tasks
  in order: active ones by birth, finished ones by end.
- A page that a reader has seen is never changed: a change puts a copy in its
  place. So readers of a large board share its pages, and each has the board as
  it was when it began, at the cost of the pages that changed since.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

from .task import Task

__all__ = ["PAGE_BYTES", "BoardIndex", "Outdated", "TaskPage"]

# Half a default high-water mark: a reader that keeps up is never taken for a slow one.
PAGE_BYTES: Final = 32 << 10


class Outdated:
    """Counts the bytes of pages that readers hold and the board no longer has."""

    def __init__(self) -> None:
        self.bytes = 0


class TaskPage:
    """Tasks of one room, in order; `size` is the length of their JSON."""

    __slots__ = ("_counter", "_readers", "_replaced", "seen", "size", "tasks")

    def __init__(self, counter: Outdated, tasks: dict[int, Task], size: int) -> None:
        self.tasks = tasks
        self.size = size
        # A reader has seen it: it stays as it is.
        self.seen = False
        self._counter = counter
        self._readers = 0
        self._replaced = False

    @property
    def first(self) -> int:
        """The number by which the first task is ordered."""
        first: int = next(iter(self.tasks))
        return first

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks.values())

    def acquire(self) -> None:
        """One more reader is going to read it."""
        self.seen = True
        self._readers += 1
        if self._replaced and self._readers == 1:
            self._counter.bytes += self.size

    def release(self) -> None:
        """A reader has read it, or will not."""
        self._readers -= 1
        if self._replaced and not self._readers:
            self._counter.bytes -= self.size

    def replace(self) -> None:
        """The board no longer has it."""
        self._replaced = True
        if self._readers:
            self._counter.bytes += self.size

    def copy(self) -> TaskPage:
        """A page of the same tasks, which may be changed."""
        return TaskPage(self._counter, dict(self.tasks), self.size)


class _Pages:
    """Pages in order."""

    def __init__(self, counter: Outdated) -> None:
        self.pages: list[TaskPage] = []
        self.size = 0
        self._counter = counter

    def put(self, number: int, task: Task) -> None:
        """Add the task that is ordered by a number, or replace it."""
        if not self.pages:
            self.pages.append(TaskPage(self._counter, {}, 0))
            page = self.pages[index := 0]
        else:
            page = self._writable(index := self._find(number))
        old = page.tasks.get(number)
        page.tasks[number] = task
        growth = task.size - (0 if old is None else old.size)
        page.size += growth
        self.size += growth
        if page.size > PAGE_BYTES and len(page.tasks) > 1:
            self._split(index)

    def remove(self, number: int) -> None:
        """Take the task that is ordered by a number out."""
        page = self._writable(index := self._find(number))
        size: int = page.tasks.pop(number).size
        page.size -= size
        self.size -= size
        if not page.tasks:
            del self.pages[index]
        elif index and self.pages[index - 1].size + page.size <= PAGE_BYTES // 2:
            self._merge(index - 1, index)

    def _find(self, number: int) -> int:
        return max(0, bisect_right(self.pages, number, key=lambda page: page.first) - 1)

    def _writable(self, index: int) -> TaskPage:
        page = self.pages[index]
        if page.seen:
            page.replace()
            page = self.pages[index] = page.copy()
        return page

    def _split(self, index: int) -> None:
        pages = [TaskPage(self._counter, {}, 0)]
        for number, task in self.pages[index].tasks.items():
            if pages[-1].tasks and pages[-1].size + task.size > PAGE_BYTES:
                pages.append(TaskPage(self._counter, {}, 0))
            pages[-1].tasks[number] = task
            pages[-1].size += task.size
        self.pages[index : index + 1] = pages

    def _merge(self, index: int, other: int) -> None:
        page, gone = self._writable(index), self.pages.pop(other)
        page.tasks.update(gone.tasks)
        page.size += gone.size


class _Room:
    def __init__(self, counter: Outdated) -> None:
        self.active = _Pages(counter)
        self.finished = _Pages(counter)


class BoardIndex:
    """The tasks of each room; None is the room of those without one."""

    def __init__(self) -> None:
        self.outdated = Outdated()
        # The tasks that are asked to end, by key.
        self.cancelling: dict[str, Task] = {}
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
            if task.fields.get("status") == "cancelling":
                self.cancelling[task.key] = task

    def remove(self, task: Task) -> None:
        """Take a version of a task out."""
        room = self._rooms[task.room]
        if task.ended:
            room.finished.remove(task.number)
        else:
            room.active.remove(task.born)
            self.cancelling.pop(task.key, None)
        if not room.active.pages and not room.finished.pages:
            del self._rooms[task.room]

    def cancelled_before(self, time: float) -> list[Task]:
        """The active tasks that were asked to end until then, in seconds since 1970."""
        return [task for task in self.cancelling.values() if task.fields["cancelAt"] <= time * 1000]

    def size(self, room: str | None) -> int:
        """The length of the JSON of a room's tasks."""
        found = self._rooms.get(room)
        return 0 if found is None else found.active.size + found.finished.size

    def active(self, room: str | None) -> list[TaskPage]:
        """The pages of a room's active tasks, oldest first."""
        found = self._rooms.get(room)
        return [] if found is None else found.active.pages

    def finished(self, room: str | None) -> list[TaskPage]:
        """The pages of a room's finished tasks, oldest first."""
        found = self._rooms.get(room)
        return [] if found is None else found.finished.pages
