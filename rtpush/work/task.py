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

from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import CancelledError, Future
from threading import Event
from typing import Any, Protocol, overload

from .stream import stream_async, stream_blocking

__all__ = [
    "AsyncReport",
    "Report",
    "TaskCancelled",
    "TaskEnded",
    "Work",
    "WorkTask",
]


# Appends to fields of a task.
Append = Callable[[dict[str, str]], Coroutine[Any, Any, None]]
# Has the loop run a coroutine.
Start = Callable[[Callable[[], Coroutine[Any, Any, None]]], Future[None]]


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

    def __init__(
        self,
        fields: dict[str, Any],
        attempt: int,
        cancelled: Event,
        append: Append | None = None,
        start: Start | None = None,
    ) -> None:
        super().__init__(fields)
        self.attempt = attempt
        self._cancelled = cancelled
        self._append = append
        # Lets a thread start what the loop runs.
        self._start = start

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

    @overload
    def stream(self, pieces: AsyncIterable[Any], field: str = ...) -> Awaitable[str]: ...

    @overload
    def stream(self, pieces: Iterable[Any], field: str = ...) -> str: ...

    def stream(
        self, pieces: AsyncIterable[Any] | Iterable[Any], field: str = "text"
    ) -> Awaitable[str] | str:
        """Append to a field whatever a stream yields, as it comes.

        Args:
            pieces: Anything that yields text: strings, or the chunks of OpenAI's and
                Anthropic's streams. In a coroutine function an asynchronous one, to be
                awaited; else a plain one.
            field: The field that grows.

        Returns:
            The whole text.

        Raises:
            TaskEnded: As a report. The stream is closed then.
            TypeError: A piece is no text.
        """
        assert self._append is not None
        assert self._start is not None
        append, start = self._append, self._start
        if isinstance(pieces, AsyncIterable):
            return stream_async(pieces, lambda text: append({field: text}))
        try:
            return stream_blocking(pieces, lambda text: start(lambda: append({field: text})))
        except CancelledError:
            # The worker stops.
            raise TaskEnded from None


# Takes a task and a report; returns the `result` of its `task_completed`. The message of a
# ValueError, or the mapping that it holds, becomes the `error` of a `task_failed`; of any other
# exception only the name does.
BlockingWork = Callable[[WorkTask, Report], Any]
AsyncWork = Callable[[WorkTask, AsyncReport], Coroutine[Any, Any, Any]]
Work = BlockingWork | AsyncWork
