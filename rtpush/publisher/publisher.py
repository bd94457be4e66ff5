"""Publish from anywhere: Flask, Django, Celery, a script.

Rules that hold here:

- Every event gets an idempotency key, so that sending it again is safe: when
  an answer was lost, it is logged once all the same, within ten minutes.
- What happens while the server is away is chosen once, by `when_away`:
  `raise` tries for a while and tells the caller, `drop` counts and goes on,
  `spool` keeps it on disk and sends it later, in order.
- Threads share a publisher, and a fork may be made at any time.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from ..errors import RtpushError
from .http_client import Outcome, Wire, batches, encode_envelope, is_late
from .spool_sender import Sender

__all__ = ["AsyncPublisher", "AsyncTask", "Publisher", "Task", "WhenAway"]

logger = logging.getLogger("rtpush.publisher")

WhenAway = Literal["raise", "drop", "spool"]

# Seconds without another try after one that found the server away, with `drop`.
_REST: Final = 1.0


class Publisher:
    """Publishes events to a server, from any thread.

    `url` and `key`, an API key or a token, are by default RTPUSH_URL and
    RTPUSH_KEY of the environment, else this machine's port 5000. A call tries
    for `timeout` seconds. With `when_away="spool"`, `spool` names the file.
    `dropped` counts events that were given up.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        key: str | None = None,
        timeout: float = 5.0,
        when_away: WhenAway = "raise",
        spool: str | Path | None = None,
    ) -> None:
        """Raises ValueError for an address or options that do not fit together.

        Raises sqlite3.Error when the spool cannot be opened.
        """
        if (when_away == "spool") is (spool is None):
            raise ValueError('"spool" names a file when when_away is "spool", and only then')
        self._wire = Wire(url, key)
        self._timeout = timeout
        self._when_away = when_away
        self._sender = None if spool is None else Sender(self._wire, Path(spool), timeout)
        self._rests_until = 0.0
        self._closed = False
        self.dropped = 0
        if self._sender is not None:
            # Who forgets to close should not have to start again to get things sent.
            atexit.register(self.close)

    @property
    def rejected(self) -> int:
        """Events of the spool that the server refused for good; each is logged as a warning."""
        return 0 if self._sender is None else self._sender.rejected

    def publish(
        self,
        event: str,
        data: Any = None,
        *,
        room: str | None = None,
        key: str | None = None,
        volatile: bool = False,
        idempotency_key: str | None = None,
    ) -> str | None:
        """Publish one event; returns its position when it is stored.

        None for a volatile event, one that was dropped, and one that waits in
        the spool. A volatile event is never spooled: it is for now. Raises
        RtpushError when the server refuses it, and with `when_away="raise"`
        also (`unavailable`) when it cannot be reached.
        """
        envelope: dict[str, Any] = {"event": event, "data": data, "room": room, "key": key}
        if volatile:
            return self._give_up_if_away([encode_envelope(envelope | {"volatile": True})])[0]
        envelope["idempotency_key"] = idempotency_key
        return self.publish_many([envelope])[0]

    def publish_many(self, envelopes: Sequence[dict[str, Any]]) -> list[str | None]:
        """Publish envelopes (fields as in PROTOCOL.md) together, in order; their positions.

        Raises as `publish`, for the first that is refused; others may be
        stored all the same.
        """
        made = [encode_envelope(_keyed(envelope)) for envelope in envelopes]
        if self._sender is not None:
            self._sender.append(made)
            return [None] * len(made)
        send = self._give_up_if_away if self._when_away == "drop" else self._insist
        return [position for batch in batches(made) for position in send(batch)]

    def _insist(self, batch: Sequence[bytes]) -> list[str | None]:
        return _positions(self._wire.post_until(batch, self._timeout))

    def _give_up_if_away(self, batch: Sequence[bytes]) -> list[str | None]:
        # Whoever drops does so in order not to wait.
        if self._when_away == "raise":
            return self._insist(batch)
        if time.monotonic() < self._rests_until:
            self.dropped += len(batch)
            return [None] * len(batch)
        outcomes = self._wire.post_until(batch, 0.0)
        late = sum(map(is_late, outcomes))
        if late:
            self._rests_until = time.monotonic() + _REST
            self.dropped += late
        return _positions([None if is_late(outcome) else outcome for outcome in outcomes])

    def task(self, id: str | int | None = None, **fields: Any) -> Task:
        """A task, for a `with` block: created at its start, completed or failed at its end.

        `fields` are its own (`formData`, `mode`, …); `room`, who sees it. Its
        field `worker` keeps a worker of the server's from doing it, too.
        """
        return Task(self, id, fields)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until the spool is empty; False when it is not after `timeout` seconds."""
        return self._sender is None or self._sender.wait_empty(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Wait for the spool, a while, and let go of everything. What is left stays on disk.

        Idempotent.
        """
        if self._sender is not None and not self._closed:
            self._closed = True
            atexit.unregister(self.close)
            self._sender.wait_empty(timeout)
            self._sender.stop()
        self._wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class Task:
    """One task. `result` is what the end of the block completes it with."""

    def __init__(self, publisher: Publisher, id: str | int | None, fields: dict[str, Any]) -> None:
        self.id = uuid.uuid4().hex if id is None else id
        self.result: Any = None
        self._room: str | None = fields.pop("room", None)
        self._fields = fields
        self._ended = False
        self._publisher = publisher

    def __enter__(self) -> Self:
        """Create it. Raises as `Publisher.publish` (`task_exists`)."""
        begun = {"startTime": round(time.time() * 1000), "worker": "publisher"}
        self._tell("task_created", begun | self._fields)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        exc: BaseException | None,
        _tb: TracebackType | None,
    ) -> None:
        """Complete it, or fail it with what the exception says."""
        if self._ended:
            return
        if exc is None:
            self.complete(self.result)
            return
        try:
            self.fail(str(exc) or type(exc).__name__)
        except RtpushError as refusal:
            # It must not hide what it is about.
            logger.warning("the failure of task %s could not be told: %s", self.id, refusal)

    def progress(self, percent: float, message: str | None = None, **fields: Any) -> None:
        """How far it is, from 0 to 100.

        Raises as `Publisher.publish`; `task_finished` when somebody has ended it.
        """
        if message is not None:
            fields["message"] = message
        self._tell("task_progress", {"progress": percent, **fields})

    def complete(self, result: Any = None, **fields: Any) -> None:
        """End it well, before the block does. Raises as `Publisher.publish`."""
        self._ended = True
        self._tell("task_completed", {"result": result, **fields})

    def fail(self, error: str, **fields: Any) -> None:
        """End it badly. Raises as `Publisher.publish`."""
        self._ended = True
        self._tell("task_failed", {"error": error, **fields})

    def _tell(self, event: str, fields: dict[str, Any]) -> None:
        self._publisher.publish(event, {"id": self.id, **fields}, room=self._room)


class AsyncPublisher:
    """`Publisher` for coroutines: its calls wait in threads of the running loop."""

    def __init__(
        self,
        url: str | None = None,
        *,
        key: str | None = None,
        timeout: float = 5.0,
        when_away: WhenAway = "raise",
        spool: str | Path | None = None,
    ) -> None:
        """See `Publisher`."""
        self._publisher = Publisher(url, key=key, timeout=timeout, when_away=when_away, spool=spool)

    @property
    def dropped(self) -> int:
        """Events that were given up."""
        return self._publisher.dropped

    @property
    def rejected(self) -> int:
        """See `Publisher.rejected`."""
        return self._publisher.rejected

    async def publish(
        self,
        event: str,
        data: Any = None,
        *,
        room: str | None = None,
        key: str | None = None,
        volatile: bool = False,
        idempotency_key: str | None = None,
    ) -> str | None:
        """See `Publisher.publish`."""
        return await asyncio.to_thread(
            self._publisher.publish,
            event,
            data,
            room=room,
            key=key,
            volatile=volatile,
            idempotency_key=idempotency_key,
        )

    async def publish_many(self, envelopes: Sequence[dict[str, Any]]) -> list[str | None]:
        """See `Publisher.publish_many`."""
        return await asyncio.to_thread(self._publisher.publish_many, envelopes)

    def task(self, id: str | int | None = None, **fields: Any) -> AsyncTask:
        """See `Publisher.task`; for an `async with` block."""
        return AsyncTask(self._publisher.task(id, **fields))

    async def flush(self, timeout: float | None = None) -> bool:
        """See `Publisher.flush`."""
        return await asyncio.to_thread(self._publisher.flush, timeout)

    async def close(self, timeout: float = 5.0) -> None:
        """See `Publisher.close`."""
        await asyncio.to_thread(self._publisher.close, timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()


class AsyncTask:
    """One task of `AsyncPublisher.task`."""

    def __init__(self, task: Task) -> None:
        self._task = task

    @property
    def id(self) -> str | int:
        """What it is called."""
        return self._task.id

    @property
    def result(self) -> Any:
        """What the end of the block completes it with."""
        return self._task.result

    @result.setter
    def result(self, value: Any) -> None:
        self._task.result = value

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._task.__enter__)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._task.__exit__, kind, exc, tb)

    async def progress(self, percent: float, message: str | None = None, **fields: Any) -> None:
        """See `Task.progress`."""
        await asyncio.to_thread(lambda: self._task.progress(percent, message, **fields))

    async def complete(self, result: Any = None, **fields: Any) -> None:
        """See `Task.complete`."""
        await asyncio.to_thread(lambda: self._task.complete(result, **fields))

    async def fail(self, error: str, **fields: Any) -> None:
        """See `Task.fail`."""
        await asyncio.to_thread(lambda: self._task.fail(error, **fields))


def _keyed(envelope: dict[str, Any]) -> dict[str, Any]:
    if envelope.get("idempotency_key") is None:
        return envelope | {"idempotency_key": uuid.uuid4().hex}
    return envelope


def _positions(outcomes: Sequence[Outcome]) -> list[str | None]:
    """Raises the first refusal."""
    positions: list[str | None] = []
    for outcome in outcomes:
        if isinstance(outcome, RtpushError):
            raise outcome
        positions.append(outcome)
    return positions
