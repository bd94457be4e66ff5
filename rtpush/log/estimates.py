"""Estimates: which task is next, and when each is likely to end; pure.

Rules that hold here:

- An estimate rests on what tasks of the same queue and mode took, and on how far the task is
  itself. Where there is no ground for one, none is given: a wrong time is worse than none.
- Times are of the wall clock, in whole seconds but told in milliseconds since 1970 as all times
  of tasks are: a time of day needs no new estimate while it holds.
- Places and times are given to the first tasks of each queue. Beyond them, both change faster
  than anybody waits.
"""

from __future__ import annotations

import heapq
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final, NamedTuple

from .task import Task
from .task_claims import queue_of

__all__ = ["MAX_PLACES", "Estimate", "estimate"]

# Tasks of one queue that are told their place.
MAX_PLACES: Final = 100
# Ended tasks from which it is known how long others take.
_GROUND: Final = 3
# Below this progress, or this many seconds, a task's own pace says nothing.
_LEAST_PROGRESS: Final = 5.0
_LEAST_TIME: Final = 2.0

# A queue and a mode.
_Kind = tuple[str, str | None]


class Estimate(NamedTuple):
    """The place in the queue, from 1, and when the task is likely to end; None: not known."""

    place: int | None = None
    eta: int | None = None


def estimate(
    running: Iterable[Task],
    waiting: Mapping[str, Iterable[Task]],
    finished: Iterable[Task],
    now: float,
) -> dict[str, Estimate]:
    """What is known of active tasks, by key.

    `waiting` has the tasks of each queue, oldest first. `now` is in seconds since 1970.
    """
    typical = _typical_times(finished)
    found: dict[str, Estimate] = {}
    left_by_queue: dict[str, list[float | None]] = defaultdict(list)
    for task in running:
        takes = typical.get(_kind(task))
        left = _left(task, takes, now)
        # One that takes longer than others may end at any moment.
        free_after = 0.0 if left is None and takes is not None else left
        left_by_queue[queue_of(task)].append(free_after)
        if left is not None:
            found[task.key] = Estimate(None, _eta(now, left))
    for queue, tasks in waiting.items():
        _estimate_queue(tasks, left_by_queue[queue], typical, now, found)
    return found


def _estimate_queue(
    tasks: Iterable[Task],
    workers: list[float | None],
    typical: Mapping[_Kind, float],
    now: float,
    found: dict[str, Estimate],
) -> None:
    # Each running task stands for a worker, which takes the next one when it is done.
    free: list[float] | None = [left for left in workers if left is not None]
    if not free or len(free) < len(workers):
        free = None
    else:
        heapq.heapify(free)
    for place, task in enumerate(islice(tasks, MAX_PLACES), 1):
        takes = typical.get(_kind(task))
        if free is None or takes is None:
            # Nor is it known when those behind it begin.
            free = None
            found[task.key] = Estimate(place)
            continue
        ends = free[0] + takes
        heapq.heapreplace(free, ends)
        found[task.key] = Estimate(place, _eta(now, ends))


def _typical_times(finished: Iterable[Task]) -> dict[_Kind, float]:
    """Seconds that tasks of each kind took: the median, where there are enough."""
    times: dict[_Kind, list[float]] = defaultdict(list)
    for task in finished:
        began, ended = task.fields.get("startedAt"), task.fields.get("endTime")
        if task.fields.get("status") == "completed" and began is not None and ended is not None:
            times[_kind(task)].append(max(0.0, ended - began) / 1000)
    return {kind: statistics.median(of) for kind, of in times.items() if len(of) >= _GROUND}


def _left(task: Task, typical: float | None, now: float) -> float | None:
    """Seconds until a running task is likely to end."""
    began: int | None = task.fields.get("startedAt")
    progress: float | None = task.fields.get("progress")
    if began is None or task.fields.get("status") != "running":
        return None
    elapsed = max(0.0, now - began / 1000)
    by_time = None if typical is None or elapsed > typical else typical - elapsed
    if progress is None or progress < _LEAST_PROGRESS or elapsed < _LEAST_TIME:
        return by_time
    by_pace = elapsed * (100 - progress) / progress
    if by_time is None:
        return by_pace
    # The further it is, the more its own pace counts.
    return by_time + (by_pace - by_time) * progress / 100


def _kind(task: Task) -> _Kind:
    mode = task.fields.get("mode")
    return queue_of(task), mode if isinstance(mode, str) else None


def _eta(now: float, left: float) -> int:
    return round(now + left) * 1000
