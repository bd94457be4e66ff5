"""Estimates of this node's board, and how its clients are told of them.

Rules that hold here:

- Each node estimates for its own clients: all have the same board.
- A change is told once a second at most, and only when it is one that a person would see.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from ..hub import Hub
from ..log.base import Log
from ..log.estimates import Estimate, estimate
from ..log.task import Task
from ..protocol import encode

__all__ = ["Estimates"]

# Milliseconds, and the share of the time that is left, by which an estimate must differ.
_LEAST_CHANGE: Final = 1500
_LEAST_SHARE: Final = 0.1
# Tasks of one room that are told of in one second; the others come next.
_AT_ONCE: Final = 200


class _Told(NamedTuple):
    estimate: Estimate
    # When, in seconds since 1970.
    at: float


class Estimates:
    """What clients know of places and times."""

    def __init__(self, log: Log, hub: Hub, wall: Callable[[], float]) -> None:
        """`wall` gives seconds since 1970."""
        self._log = log
        self._hub = hub
        self._wall = wall
        self._told: dict[str, _Told] = {}
        # The board's number that they are of.
        self._number = -1
        hub.add_estimates(self.of_rooms)

    def of_rooms(self, rooms: Iterable[str | None]) -> list[dict[str, Any]]:
        """What a snapshot of these rooms says."""
        wanted = {*rooms}
        found = []
        for key, told in self._told.items():
            task = self._log.board.get(key)
            if task is not None and not task.ended and task.room in wanted:
                found.append(_shown(task, told.estimate))
        return found

    def tick(self) -> None:
        """Once a second: estimate anew when the board has changed, and tell what is new."""
        board = self._log.board
        if board.number == self._number:
            return
        self._number, now = board.number, self._wall()
        queues = board.index.queues
        waiting = {queue: queues.waiting([queue], rooms=True) for queue in queues.names}
        finished = board.all_finished(self._log.now())
        self._tell(estimate(queues.running.values(), waiting, finished, now), now)

    def _tell(self, found: dict[str, Estimate], now: float) -> None:
        gone = [key for key in self._told if key not in found]
        changed: dict[str | None, list[tuple[Task, Estimate]]] = defaultdict(list)
        for key, new in (*found.items(), *((key, Estimate()) for key in gone)):
            task = self._log.board.get(key)
            if task is None or task.ended:
                self._told.pop(key, None)
            elif _differs(self._told.get(key), new, now):
                changed[task.room].append((task, new))
        for room, tasks in changed.items():
            self._tell_room(room, tasks, now)

    def _tell_room(self, room: str | None, tasks: list[tuple[Task, Estimate]], now: float) -> None:
        # Those that have waited longest for news come first.
        tasks.sort(key=lambda one: self._told[one[0].key].at if one[0].key in self._told else 0.0)
        for task, new in tasks[:_AT_ONCE]:
            if new == Estimate():
                del self._told[task.key]
            else:
                self._told[task.key] = _Told(new, now)
        if len(tasks) > _AT_ONCE:
            self._number = -1
        shown = [_shown(task, new) for task, new in tasks[:_AT_ONCE]]
        self._hub.send_volatile(encode("task_estimates", {"tasks": shown}, room=room), room)


def _shown(task: Task, of: Estimate) -> dict[str, Any]:
    return {"id": task.fields["id"], "place": of.place, "eta": of.eta}


def _differs(told: _Told | None, new: Estimate, now: float) -> bool:
    if told is None:
        return new != Estimate()
    old = told.estimate
    if old.place != new.place or (old.eta is None) != (new.eta is None):
        return True
    if old.eta is None or new.eta is None:
        return False
    left = abs(new.eta - now * 1000)
    return abs(new.eta - old.eta) > max(_LEAST_CHANGE, left * _LEAST_SHARE)
