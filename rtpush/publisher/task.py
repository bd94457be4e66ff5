"""Tasks of a publisher: the events that create, report and end one."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple, Self

from ..errors import RtpushError
from ..work.stream import stream_async, stream_blocking

__all__ = ["AsyncTask", "Task", "TaskEvent"]

logger = logging.getLogger("rtpush.publisher")


class TaskEvent(NamedTuple):
    """An event of a task. `room` None: everybody sees it."""

    name: str
    data: dict[str, Any]
    room: str | None


class _TaskEvents:
    """The events of one task. `result` is what the end of the block completes it with."""

    def __init__(self, id: str | int | None, fields: dict[str, Any]) -> None:
        # Unique on the server.
        self.id = uuid.uuid4().hex if id is None else id
        self.result: Any = None
        self._room: str | None = fields.pop("room", None)
        self._fields = fields
        self._ended = False

    def _event(self, name: str, fields: dict[str, Any]) -> TaskEvent:
        return TaskEvent(name, {"id": self.id, **fields}, self._room)

    def _created(self) -> TaskEvent:
        begun = {"startTime": round(time.time() * 1000), "worker": "publisher"}
        return self._event("task_created", begun | self._fields)

    def _progress(self, percent: float, message: str | None, fields: dict[str, Any]) -> TaskEvent:
        if message is not None:
            fields["message"] = message
        return self._event("task_progress", {"progress": percent, **fields})

    def _append(self, more: dict[str, str | list[Any]]) -> TaskEvent:
        return self._event("task_progress", {"append": more})

    def _completed(self, result: Any, fields: dict[str, Any]) -> TaskEvent:
        self._ended = True
        return self._event("task_completed", {"result": result, **fields})

    def _failed(self, error: str, fields: dict[str, Any]) -> TaskEvent:
        self._ended = True
        return self._event("task_failed", {"error": error, **fields})

    def _end(self, exc: BaseException | None) -> TaskEvent | None:
        """What the end of the block publishes; None when the task has ended before."""
        if self._ended:
            return None
        if exc is None:
            return self._completed(self.result, {})
        if isinstance(exc, RtpushError) and exc.code == "task_cancelling":
            return self._event("task_cancelled", {})
        return self._failed(str(exc) or type(exc).__name__, {})

    def _log_lost_failure(self, exc: BaseException | None, refusal: RtpushError) -> None:
        """Log a refusal that must not hide the exception of the block; else raise it."""
        if exc is None:
            raise refusal
        logger.warning("the failure of task %s could not be published: %s", self.id, refusal)


class Task(_TaskEvents):
    """One task of `Publisher.task`, for a `with` block.

    `id` is its id on the server. `result` is what the end of the block completes
    it with.
    """

    def __init__(
        self, publish: Callable[[TaskEvent], object], id: str | int | None, fields: dict[str, Any]
    ) -> None:
        super().__init__(id, fields)
        self._publish = publish

    def __enter__(self) -> Self:
        """Create it. Raises as `Publisher.publish` (`task_exists`)."""
        self._publish(self._created())
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        exc: BaseException | None,
        _tb: TracebackType | None,
    ) -> None:
        """Complete it, or fail it with the exception's text."""
        try:
            if event := self._end(exc):
                self._publish(event)
        except RtpushError as refusal:
            self._log_lost_failure(exc, refusal)

    def progress(self, percent: float, message: str | None = None, **fields: Any) -> None:
        """Report progress.

        Args:
            percent: From 0 to 100.
            message: A line for people to read; None leaves the last one.
            **fields: Fields of your own.

        Raises:
            RtpushError: As `Publisher.publish`; `task_cancelling` when the task is cancelled,
                for example on the page, and `task_finished` when it has ended.
        """
        self._publish(self._progress(percent, message, fields))

    def append(self, **more: str | list[Any]) -> None:
        """Append to fields of the task, which the server keeps whole.

        Args:
            **more: For each field the text or the elements that it grows by: `text=" word"`.

        Raises:
            RtpushError: As `progress`; `bad_task` when the task has another kind of value there.
        """
        self._publish(self._append(more))

    def stream(self, pieces: Iterable[Any], field: str = "text") -> str:
        """Append to a field whatever a stream yields, as it comes.

        Args:
            pieces: Anything that yields text: strings, or the chunks of OpenAI's and
                Anthropic's streams.
            field: The field that grows.

        Returns:
            The whole text.

        Raises:
            RtpushError: As `progress`. The stream is closed then.
            TypeError: A piece is no text.
        """
        with ThreadPoolExecutor(1, "rtpush-stream") as thread:
            return stream_blocking(
                pieces, lambda text: thread.submit(self._append_text, field, text)
            )

    def _append_text(self, field: str, text: str) -> None:
        self.append(**{field: text})

    def complete(self, result: Any = None, **fields: Any) -> None:
        """Complete the task before the block ends.

        Args:
            result: Any JSON.
            **fields: Fields of your own.

        Raises:
            RtpushError: As `Publisher.publish`.
        """
        self._publish(self._completed(result, fields))

    def fail(self, error: str, **fields: Any) -> None:
        """Fail the task before the block ends.

        Args:
            error: A sentence for people to read.
            **fields: Fields of your own.

        Raises:
            RtpushError: As `Publisher.publish`.
        """
        self._publish(self._failed(error, fields))


class AsyncTask(_TaskEvents):
    """One task of `AsyncPublisher.task`, for an `async with` block. See `Task`."""

    def __init__(
        self,
        publish: Callable[[TaskEvent], Awaitable[object]],
        id: str | int | None,
        fields: dict[str, Any],
    ) -> None:
        super().__init__(id, fields)
        self._publish = publish

    async def __aenter__(self) -> Self:
        """See `Task.__enter__`."""
        await self._publish(self._created())
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        exc: BaseException | None,
        _tb: TracebackType | None,
    ) -> None:
        """See `Task.__exit__`."""
        try:
            if event := self._end(exc):
                await self._publish(event)
        except RtpushError as refusal:
            self._log_lost_failure(exc, refusal)

    async def progress(self, percent: float, message: str | None = None, **fields: Any) -> None:
        """See `Task.progress`."""
        await self._publish(self._progress(percent, message, fields))

    async def append(self, **more: str | list[Any]) -> None:
        """See `Task.append`."""
        await self._publish(self._append(more))

    async def stream(self, pieces: AsyncIterable[Any], field: str = "text") -> str:
        """See `Task.stream`."""
        return await stream_async(pieces, lambda text: self.append(**{field: text}))

    async def complete(self, result: Any = None, **fields: Any) -> None:
        """See `Task.complete`."""
        await self._publish(self._completed(result, fields))

    async def fail(self, error: str, **fields: Any) -> None:
        """See `Task.fail`."""
        await self._publish(self._failed(error, fields))
