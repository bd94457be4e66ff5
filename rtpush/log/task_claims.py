"""Claims: which attempt at a task may speak for it, and what an attempt leaves behind; pure.

Rules that hold here:

- A task is claimed while it runs, or is to end, under an `attempt`. Attempts are numbered for
  each task and never given twice: whatever a worker says late can be told from its successor's.
- The event that puts a task back says itself what becomes of the fields: clients fold it like
  any other, and need not know which fields had grown.
"""

from __future__ import annotations

from typing import Any, Final

from ..errors import RtpushError
from .growth import Grown
from .task import CANCEL, CLAIMED, CREATED, MAX_NAME, REQUEUED, Task

__all__ = ["DEFAULT_QUEUE", "attempt_of", "check_claim", "is_claimable", "queue_of", "requeued"]

DEFAULT_QUEUE: Final = "default"

# What only the attempt that has the task may say, and so has to name.
_OF_ITS_WORKER: Final = frozenset({"task_progress", "task_completed", REQUEUED})


def queue_of(task: Task) -> str:
    """The queue that a task waits in."""
    queue: str = task.fields.get("queue") or DEFAULT_QUEUE
    return queue


def is_claimable(task: Task) -> bool:
    """Does the task wait for any worker of its queue?"""
    return task.fields.get("status") == "queued" and task.fields.get("worker") is None


def attempt_of(task: Task | None) -> int | None:
    """The attempt that has the task; None when it is not claimed."""
    if task is None or task.ended or task.fields.get("status") == "queued":
        return None
    attempt: int | None = task.fields.get("attempt")
    return attempt


def check_claim(event: str, old: Task | None, fields: dict[str, Any]) -> None:
    """May the attempt that an event names, or none, bring it about? Raises RtpushError."""
    _check_queue(fields)
    if event in (CREATED, CANCEL):
        return
    attempt = fields.get("attempt")
    if event == CLAIMED:
        if old is None or not is_claimable(old) or attempt != old.fields.get("attempt", 0) + 1:
            raise _lost("Another worker has this task; claim the next.")
        return
    holder = attempt_of(old)
    if attempt is None and (holder is None or event not in _OF_ITS_WORKER) and event != REQUEUED:
        return
    # True is 1 in Python, and not in JSON.
    if holder is None or attempt != holder or isinstance(attempt, bool):
        raise _lost("This task is not claimed by this `attempt`: stop the work on it.")


def _check_queue(fields: dict[str, Any]) -> None:
    queue = fields.get("queue")
    if queue is not None and not (isinstance(queue, str) and 0 < len(queue) <= MAX_NAME):
        raise RtpushError("bad_task", f'"queue" is a string of 1 to {MAX_NAME} characters.')


def _lost(message: str) -> RtpushError:
    return RtpushError("claim_lost", message)


def requeued(task: Task, fields: dict[str, Any]) -> dict[str, Any]:
    """The data of a `task_requeued` for a task as it is, from what its sender gave.

    What was appended to is empty again: the next attempt begins anew.
    """
    emptied = [name for name, value in task.fields.items() if isinstance(value, Grown)]
    emptied += [name for name in ("message", "worker", "startedAt") if name in task.fields]
    cleared: dict[str, Any] = dict.fromkeys(emptied)
    if "progress" in task.fields:
        cleared["progress"] = 0
    return fields | cleared
