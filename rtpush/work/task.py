"""The task that a function works on, and what the function says of it.

Rules that hold here:

- The same function works in a server and in a worker on another machine: it is given the same
  `task` and the same `report`.
- A plain function runs in a thread and blocks until what it says is stored; a coroutine function
  awaits that.
- A function learns that its task is over by an exception where it reports: `TaskEnded`, and of
  it `TaskCancelled`. It may ask sooner, by `task.cancelled`; a coroutine is cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from threading import Event
from typing import Any, Protocol

__all__ = [
    "AsyncReport",
    "Report",
    "TaskCancelled",
    "TaskEnded",
    "Work",
    "WorkTask",
]


class TaskEnded(Exception):
    """The task is over, or another worker has it: there is no need to go on."""


class TaskCancelled(TaskEnded):
    """A client asks for the end of the task. Raise it to say that the work has stopped."""


class Report(Protocol):
    """Tells everybody how far a task is. Blocks until it is stored."""

    def __call__(self, progress: float, message: str, **fields: Any) -> None:
        """`progress` is 0 to 100; `fields` are merged into the task.

        Raises TaskEnded, and of it TaskCancelled.
        """


class AsyncReport(Protocol):
    """The report of a coroutine function: awaited, else as `Report`."""

    async def __call__(self, progress: float, message: str, **fields: Any) -> None:
        """See `Report`."""


class WorkTask(dict[str, Any]):
    """The fields of a task, as they were when the work on it began.

    `attempt` is the number under which this worker has it.
    """

    def __init__(self, fields: dict[str, Any], attempt: int, cancelled: Event) -> None:
        super().__init__(fields)
        self.attempt = attempt
        self._cancelled = cancelled

    @property
    def cancelled(self) -> bool:
        """Whether the work should stop: a client has cancelled the task, or the worker stops."""
        return self._cancelled.is_set()

    def wait_cancelled(self, timeout: float) -> bool:
        """Sleep, but no longer than until the work should stop.

        Args:
            timeout: Seconds to sleep at most.

        Returns:
            As `cancelled`.
        """
        return self._cancelled.wait(timeout)


# Takes a task and a report; returns the `result` of its `task_completed`. The message of a
# ValueError, or the mapping that it holds, becomes the `error` of a `task_failed`; of any other
# exception only the name does.
BlockingWork = Callable[[WorkTask, Report], Any]
AsyncWork = Callable[[WorkTask, AsyncReport], Coroutine[Any, Any, Any]]
Work = BlockingWork | AsyncWork
