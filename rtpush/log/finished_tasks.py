"""Finished tasks, in the order in which they ended; pure.

Rules that hold here:

- A finished task counts in the share of the account that began it (accounts.py). What is
  beyond a share pushes out that account's oldest, what is beyond that of all clients the
  oldest of a client: nobody's results are gone because another client has many.
- Beyond `max_age`, or the bounds of all together, the oldest go. `floor` says how far they have
  gone: whatever ended before it is no longer held. The bounds are the same on every node, as
  every reader of a log must come to the same tasks.
- A fork shares its parent's tasks by their place, and is good until the parent changes. Of
  those that went from between others it notes the numbers; elsewhere they are simply gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from copy import copy
from typing import Self

from .accounts import Shares, is_client
from .holdings import Holding, Holdings
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
        self._max_tasks = Shares.of(max_tasks)
        # A share holds a result of a usual kind, such as a picture.
        self._max_bytes = Shares.of(max_bytes, max_bytes // 4)
        self._base: Self | None = None
        self._holdings = Holdings("board_full", {}, self._max_tasks, self._max_bytes)
        self.clear()

    def clear(self) -> None:
        """Hold none."""
        # Versions of tasks with lower numbers are not held.
        self.floor = 0
        self._holdings.clear()
        # How many of the parent's tasks a fork still holds: its newest.
        self._inherited = 0
        self._own: deque[Task] = deque()
        # The numbers of inherited tasks that went from between others.
        self._gone: set[int] = set()
        # By number, the tasks that a fork pushed out for their account's share.
        self.pushed_out: dict[int, Task] = {}

    def fork(self) -> Self:
        """Tasks that start as these and change apart from them; costs O(1)."""
        fork = copy(self)
        fork._base = self
        fork._holdings = self._holdings.fork()
        fork._inherited = self._places
        fork._own = deque()
        fork._gone = set(self._gone)
        fork.pushed_out = dict(self.pushed_out)
        return fork

    @property
    def bytes(self) -> int:
        """Of their JSON, all together."""
        return self._holdings.all.size

    def __len__(self) -> int:
        return self._holdings.all.number

    def __iter__(self) -> Iterator[Task]:
        """All of them, the oldest end first."""
        tasks = map(self._at, range(self._places))
        return (task for task in tasks if task.number not in self._gone)

    def __reversed__(self) -> Iterator[Task]:
        tasks = map(self._at, reversed(range(self._places)))
        return (task for task in tasks if task.number not in self._gone)

    def holds(self, task: Task) -> bool:
        """Is this ended task still held?"""
        return task.number >= self.floor and task.number not in self.pushed_out

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
        self._holdings.add(_account_of(task), 1, task.size)

    def remove(self, task: Task) -> None:
        """The id of a task that is held was taken again, or its account has too many."""
        self._holdings.add(_account_of(task), -1, -task.size)
        if self._own and task.number >= self._own[0].number:
            self._own.remove(task)
        else:
            self._gone.add(task.number)

    def prune(self, time: float) -> list[Task]:
        """Let go of those that are too old or too many; returns those that are no parent's.

        To be called when a task has been added.
        """
        dropped = []
        while self._places and time - self._at(0).time > self.max_age:
            dropped += self._drop_oldest()
        # The newest is kept whatever its size: its client waits to hear how it ended.
        dropped += self._keep_shares()
        total = self._max_tasks.total, self._max_bytes.total
        while _exceeds(self._holdings.all, *total):
            dropped += self._drop_oldest()
        return dropped

    def _keep_shares(self) -> list[Task]:
        newest = next(reversed(self), None)
        if newest is None or not is_client(account := _account_of(newest)):
            return []
        share = self._max_tasks.share(account), self._max_bytes.share(account)
        dropped = []
        while _exceeds(self._holdings.of(account), *share):
            dropped += self._push_out(self._oldest(account.__eq__))
        clients = self._max_tasks.clients, self._max_bytes.clients
        while _exceeds(self._holdings.clients, *clients):
            dropped += self._push_out(self._oldest(is_client))
        return dropped

    def _oldest(self, has_account: Callable[[str], bool]) -> Task:
        return next(task for task in self if has_account(_account_of(task)))

    def _push_out(self, task: Task) -> list[Task]:
        self.remove(task)
        if self._base is None:
            return [task]
        self.pushed_out[task.number] = task
        return []

    def _drop_oldest(self) -> list[Task]:
        task = self._at(0)
        if task.number in self._gone:
            self._gone.remove(task.number)
        else:
            self.floor = task.number + 1
            self._holdings.add(_account_of(task), -1, -task.size)
        if self._inherited:
            self._inherited -= 1
            return []
        return [self._own.popleft()]


def _account_of(task: Task) -> str:
    """The account that began it."""
    return task.charges[0][0]


def _exceeds(held: Holding, max_tasks: int, max_bytes: int) -> bool:
    return held.number > 1 and (held.number > max_tasks or held.size > max_bytes)
