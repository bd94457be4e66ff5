"""A crew: claims tasks, has a function do them, and tells how they end.

Rules that hold here:

- It has at most `concurrency` tasks, and asks for one when it can begin it.
- What it says carries the attempt. Told that the claim is lost, it says no more of the task.
- What is appended is said until it is stored, once; other progress may be left out while the
  log cannot be written.
- A crew that stops gives back what it has.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from threading import Event
from typing import Any, Final, Protocol

from ..errors import RtpushError
from .task import TaskCancelled, TaskEnded, Work, WorkTask
from .threads import WorkThreads

__all__ = ["Crew", "Workplace"]

logger = logging.getLogger("rtpush.worker")

# Attempts to say what must not be left out, while the log cannot be written.
_ATTEMPTS: Final = 100
# Seconds after a claim that has failed.
_CLAIM_AGAIN: Final = 1.0


class Workplace(Protocol):
    """Where a crew gets its tasks from, and where it says what becomes of them."""

    async def claim(self) -> dict[str, Any] | None:
        """The answer to a claim that waited for a task; None: there was none.

        Raises RtpushError.
        """

    async def withdraw(self) -> None:
        """Have a claim that waits answered now. Raises RtpushError."""

    async def tell(self, envelope: dict[str, Any]) -> None:
        """Send an event, and wait until it is stored. Raises RtpushError."""

    async def began(self, task: WorkTask) -> None:
        """The crew has begun a task, or has it still. Raises RtpushError."""

    def ended(self, key: str) -> None:
        """The crew is done with a task."""


@dataclass(eq=False)
class _Job:
    """A task that the crew has."""

    task: WorkTask
    cancelled: Event
    began: float = field(default_factory=time.monotonic)
    # The coroutine that works on it; None for a function in a thread.
    coroutine: asyncio.Task[Any] | None = None
    # It was given back: nothing more is to be said of it.
    over: bool = False

    @property
    def key(self) -> str:
        return str(self.task["id"])

    def cancel(self) -> None:
        self.cancelled.set()
        if self.coroutine is not None:
            self.coroutine.cancel()


class Crew:
    """Does the tasks of a workplace with one function. For one event loop."""

    def __init__(self, place: Workplace, work: Work, concurrency: int) -> None:
        self._place = place
        self._work: Any = work
        self._free = asyncio.Semaphore(concurrency)
        self._claiming: asyncio.Future[dict[str, Any] | None] | None = None
        self._threads = WorkThreads(concurrency)
        self._jobs: dict[str, _Job] = {}
        self._doing: set[asyncio.Task[None]] = set()
        # Called with each task that has ended, how, and the seconds that it took.
        self.on_end: Callable[[WorkTask, str, float], None] = lambda _task, _how, _seconds: None

    async def run(self) -> None:
        """Take one task after the other, until it is cancelled. Raises RtpushError."""
        while True:
            await self._free.acquire()
            job = None
            try:
                job = await self._claim()
            finally:
                if job is None:
                    self._free.release()
            if job is not None:
                doing = asyncio.create_task(self._do(job))
                self._doing.add(doing)
                doing.add_done_callback(self._doing.discard)

    async def _claim(self) -> _Job | None:
        self._claiming = asyncio.ensure_future(self._place.claim())
        try:
            # A stop waits for the answer: it may be a task, to be given back.
            answer = await asyncio.shield(self._claiming)
        except RtpushError as error:
            if error.retry_after is None:
                raise
            logger.debug("no task can be claimed now: %s", error)
            await asyncio.sleep(max(_CLAIM_AGAIN, error.retry_after))
            return None
        self._claiming = None
        return None if answer is None else self._take(answer)

    def _take(self, answer: dict[str, Any]) -> _Job:
        cancelled = Event()

        async def append(more: dict[str, str]) -> None:
            await self._report(job, {"append": more})

        fields, attempt = answer["task"], answer["attempt"]
        task = WorkTask(fields, attempt, cancelled, append, self._threads.start)
        job = _Job(task, cancelled)
        self._jobs[job.key] = job
        return job

    def cancel(self, key: str) -> None:
        """A client asks for the end of a task."""
        job = self._jobs.get(key)
        if job is not None:
            job.cancel()

    async def affirm(self) -> None:
        """Say of each task that it is in good hands: the connection is a new one."""
        for job in list(self._jobs.values()):
            try:
                await self._place.began(job.task)
            except RtpushError as error:
                logger.debug("task %s is not this worker's any more: %s", job.key, error)

    async def stop(self) -> None:
        """Give back what is not done, after `run` was cancelled."""
        await self._stop_claiming()
        jobs = list(self._jobs.values())
        for job in jobs:
            job.over = True
            job.cancel()
        self._threads.close()
        coroutines = [job.coroutine for job in jobs if job.coroutine is not None]
        await asyncio.gather(*coroutines, return_exceptions=True)
        # A function in a thread may take its time: it is not waited for.
        for doing in self._doing:
            doing.cancel()
        await asyncio.gather(*self._doing, return_exceptions=True)
        await asyncio.gather(*map(self._give_back, jobs))

    async def _stop_claiming(self) -> None:
        if self._claiming is None:
            return
        with suppress(RtpushError):
            await self._place.withdraw()
            answer = await self._claiming
            if answer is not None:
                self._take(answer)

    async def _give_back(self, job: _Job) -> None:
        try:
            await self._place.tell(_envelope(job, "task_requeued", {}))
        except RtpushError as error:
            logger.debug("task %s is not given back: %s", job.key, error)

    # ------------------------------------------------------------------ work

    async def _do(self, job: _Job) -> None:
        how = "lost"
        try:
            how = await self._do_and_tell(job)
        except TaskEnded:
            logger.debug("task %s ended while it was worked on", job.key)
        except RtpushError as error:
            logger.warning("the end of task %s could not be told: %s", job.key, error)
        finally:
            # A later attempt may have taken its place.
            if self._jobs.get(job.key) is job:
                del self._jobs[job.key]
                self._place.ended(job.key)
            self._free.release()
            if not job.over:
                self.on_end(job.task, how, time.monotonic() - job.began)

    async def _do_and_tell(self, job: _Job) -> str:
        await self._begin(job)
        event, fields = await self._outcome(job)
        try:
            await self._say(job, event, fields, _ATTEMPTS)
        except RtpushError as error:
            if event != "task_completed":
                raise
            logger.warning("the result of task %s cannot be told: %s", job.key, error)
            event, fields = "task_failed", {"error": f"The result was refused ({error.code})."}
            await self._say(job, event, fields, _ATTEMPTS)
        return event.removeprefix("task_")

    async def _begin(self, job: _Job) -> None:
        try:
            await self._place.began(job.task)
        except RtpushError as error:
            _check(error)

    async def _outcome(self, job: _Job) -> tuple[str, dict[str, Any]]:
        """The event that ends the task. Raises TaskEnded."""
        try:
            return "task_completed", {"result": await self._result(job)}
        except TaskCancelled:
            return "task_cancelled", {}
        except TaskEnded:
            raise
        except asyncio.CancelledError:
            if job.over or not job.task.cancelled:
                raise TaskEnded from None
            return "task_cancelled", {}
        except ValueError as exc:
            return "task_failed", {"error": _error_of(exc)}
        except Exception as exc:
            # Its message is for the operator, not for every screen.
            logger.exception("task %s failed", job.key)
            return "task_failed", {"error": f"The work failed ({type(exc).__name__})."}

    async def _result(self, job: _Job) -> Any:
        async def report(progress: float, message: str, **fields: Any) -> None:
            await self._report(job, {"progress": progress, "message": message, **fields})

        def report_from_thread(*args: Any, **fields: Any) -> None:
            self._threads.call(lambda: report(*args, **fields))

        if not iscoroutinefunction(self._work):
            return await self._threads.run(lambda: self._work(job.task, report_from_thread))
        job.coroutine = asyncio.create_task(self._work(job.task, report))
        if job.task.cancelled:
            job.coroutine.cancel()
        return await job.coroutine

    # ---------------------------------------------------------------- saying

    async def _report(self, job: _Job, fields: dict[str, Any]) -> None:
        attempts = _ATTEMPTS if "append" in fields else 1
        await self._say(job, "task_progress", fields, attempts)

    async def _say(self, job: _Job, event: str, fields: dict[str, Any], attempts: int) -> None:
        """Say something of a task; while the log cannot be written, try `attempts` times."""
        envelope = _envelope(job, event, fields)
        for _ in range(attempts):
            if job.over:
                raise TaskEnded
            try:
                await self._place.tell(envelope)
                return
            except RtpushError as error:
                await asyncio.sleep(_check(error))


def _envelope(job: _Job, event: str, fields: dict[str, Any]) -> dict[str, Any]:
    task = job.task
    return {
        "event": event,
        "data": {"id": task["id"], "attempt": task.attempt, **fields},
        "room": task.get("room"),
        # Said again, it takes effect once.
        "idempotency_key": secrets.token_urlsafe(12),
    }


def _check(error: RtpushError) -> float:
    """After how many seconds it may be said again. Raises TaskEnded, or the refusal."""
    if error.code in ("task_finished", "claim_lost"):
        raise TaskEnded from None
    if error.code == "task_cancelling":
        raise TaskCancelled from None
    if error.retry_after is None:
        raise error
    return error.retry_after


def _error_of(exc: ValueError) -> Any:
    """What people are told: the sentence, or an object for a page that has several languages."""
    told = exc.args[0] if exc.args else None
    return told if isinstance(told, dict) else str(exc)
