"""A worker in the server's own process: takes each task and does it.

Rules that hold here:

- The worker is one more reader of the log. It begins with the tasks on the
  board, so what a dead server left undone is done by the next.
- Of several nodes on one log one works at a time: the one that leads.
- The work itself is one blocking function in a thread, or a coroutine function on the
  server's loop; see `Work`. As many tasks are worked on at once as there are threads: for a
  coroutine, a thread does no more than wait for its end.
- What the worker reports is stored before the function goes on. When the task
  has ended meanwhile, the report raises `TaskEnded`; when a client has cancelled it,
  `TaskCancelled`, and the task ends when the function does. A coroutine is cancelled at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from inspect import iscoroutinefunction
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import Any, Protocol

import orjson

from ..errors import RtpushError
from ..framing import JSON
from ..hub import Hub
from ..log.base import Outcome
from ..log.task import Task, task_key
from ..protocol import Envelope
from ..sessions.session import Session
from .dispatcher import Dispatcher

__all__ = ["AsyncReport", "Report", "TaskCancelled", "TaskEnded", "Work", "Worker"]

logger = logging.getLogger("rtpush.worker")


class TaskEnded(Exception):
    """The task is over: there is nobody to work for."""


class TaskCancelled(TaskEnded):
    """A client asks for the end of the task: there is no need to go on."""


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


# Takes the task's fields and a report; returns the `result` of its
# `task_completed`. The message of a ValueError becomes the `error` of a
# `task_failed`; of any other exception only the name does.
BlockingWork = Callable[[dict[str, Any], Report], Any]
AsyncWork = Callable[[dict[str, Any], AsyncReport], Coroutine[Any, Any, Any]]
Work = BlockingWork | AsyncWork


class Worker:
    """Does every task that belongs to no room, and to no other `worker`, with `work`.

    `concurrency` tasks are worked on at the same time; the others wait their turn.
    """

    def __init__(self, hub: Hub, dispatcher: Dispatcher, work: Work, concurrency: int) -> None:
        self.framing = JSON
        self._hub = hub
        self._dispatcher = dispatcher
        self._work = work
        self._concurrency = concurrency
        # The coroutines under way, by the key of their task.
        self._running: dict[str, Future[Any]] = {}
        # None ends the thread that takes it.
        self._queue: SimpleQueue[Task | None] = SimpleQueue()
        self._session: Session | None = None
        self._stopped = Event()
        # Held while a thread gives something to the loop: nothing comes after the stop.
        self._giving = Lock()
        self._publishing: set[Future[list[Outcome | None]]] = set()

    def start(self) -> None:
        """Make ready; the first `tick` that leads takes up work."""
        self._loop = asyncio.get_running_loop()
        for number in range(self._concurrency):
            # Daemons: a stop does not wait for a long step of a model.
            Thread(target=self._run, name=f"rtpush-worker-{number}", daemon=True).start()

    async def tick(self) -> None:
        """Once a second: work while this node leads."""
        leads = await self._hub.log.lead()
        if leads and self._session is None and not self._stopped.is_set():
            self._begin()
        elif not leads and self._session is not None:
            self._end()

    def _begin(self) -> None:
        """Read on from now, after taking what is on the board."""
        log = self._hub.log
        for task in log.board.all_active():
            self._take(task)
        self._session = self._hub.peek(self, str(log.position))

    def _end(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            self._hub.close(session)
        with suppress(Empty):
            while True:
                self._queue.get_nowait()

    async def stop(self) -> None:
        """Take nothing more. Work under way ends at its next report; waits for this one."""
        self._stop()
        under_way = [asyncio.wrap_future(one) for one in list(self._publishing)]
        await asyncio.gather(*under_way, return_exceptions=True)

    def _stop(self) -> None:
        with self._giving:
            self._stopped.set()
            running = list(self._running.values())
        for coroutine in running:
            coroutine.cancel()
        self._end()
        for _ in range(self._concurrency):
            self._queue.put(None)

    # -------------------------------------------------------------- Connection

    def write(self, data: bytes) -> None:
        """See Connection."""
        for envelope in orjson.loads(b"[%b]" % data):
            if envelope["event"] == "task_cancel":
                self._cancel(task_key(envelope["data"]))
            elif envelope["event"] == "task_created":
                task = self._hub.log.board.get(task_key(envelope["data"]))
                if task is not None and not task.ended:
                    self._take(task)

    def write_part(self, data: bytes, *, last: bool) -> None:
        """See Connection. A snapshot is no news: the worker looks at the board itself."""

    def taken(self) -> int:
        """See Connection."""
        return 0

    def heartbeat(self) -> None:
        """See Connection."""

    def close(self, code: int, reason: str) -> None:
        """See Connection."""
        self._stop()

    # ------------------------------------------------------------------ work

    def _take(self, task: Task) -> None:
        if task.room is None and "worker" not in task.data:
            self._queue.put(task)

    def _cancel(self, key: str) -> None:
        # A coroutine may run before its thread has noted it: the lock is held until then.
        with self._giving:
            coroutine = self._running.get(key)
        if coroutine is not None:
            coroutine.cancel()

    def _run(self) -> None:
        """In a thread: one task after the other."""
        while (task := self._queue.get()) is not None:
            try:
                self._do(task)
            except Exception:
                # The other tasks still want to be done.
                logger.exception("task %s could not be ended", task.key)

    def _result(self, task: Task) -> Any:
        """What the function returns. Raises what it raises, and TaskEnded."""

        def progress(progress: float, message: str, **fields: Any) -> Envelope:
            data = {"id": task.key, "progress": progress, "message": message, **fields}
            return Envelope("task_progress", data)

        def report(*args: Any, **fields: Any) -> None:
            self._tell(task, progress(*args, **fields), attempts=1)

        async def report_async(*args: Any, **fields: Any) -> None:
            self._check_born(task)
            (outcome,) = await self._dispatcher.publish([progress(*args, **fields)])
            _check(outcome)

        work: Any = self._work
        # Decoded anew: the board shares its objects with nobody.
        data = orjson.loads(orjson.dumps(task.data))
        if iscoroutinefunction(work):
            return self._await(task.key, work(data, report_async))
        return work(data, report)

    def _await(self, key: str, coroutine: Coroutine[Any, Any, Any]) -> Any:
        with self._giving:
            if self._stopped.is_set():
                coroutine.close()
                raise TaskEnded
            running = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
            self._running[key] = running
        try:
            return running.result()
        except CancelledError:
            raise TaskEnded if self._stopped.is_set() else TaskCancelled from None
        finally:
            # A later task of the same id may have taken its place.
            if self._running.get(key) is running:
                del self._running[key]

    def _do(self, task: Task) -> None:
        try:
            end = Envelope("task_completed", {"id": task.key, "result": self._result(task)})
            self._tell(task, end, attempts=100)
        except TaskCancelled:
            self._end_task(task, Envelope("task_cancelled", {"id": task.key}))
        except TaskEnded:
            logger.debug("task %s ended while it was worked on", task.key)
        except ValueError as exc:
            self._fail(task, str(exc))
        except Exception as exc:
            # Its message is for the operator, not for every screen.
            logger.exception("task %s failed", task.key)
            self._fail(task, f"The work failed ({type(exc).__name__}).")

    def _fail(self, task: Task, error: str) -> None:
        self._end_task(task, Envelope("task_failed", {"id": task.key, "error": error}))

    def _end_task(self, task: Task, end: Envelope) -> None:
        try:
            self._tell(task, end, attempts=100)
        except TaskEnded:
            logger.debug("task %s had ended before", task.key)

    def _check_born(self, task: Task) -> None:
        """Raises TaskEnded when another task has its id."""
        current = self._hub.log.board.get(task.key)
        if current is not None and current.born != task.born:
            raise TaskEnded

    def _tell(self, task: Task, envelope: Envelope, attempts: int) -> None:
        """Publish from the thread; while the log cannot be written, try `attempts` times."""
        for _ in range(attempts):
            self._check_born(task)
            retry_after = _check(self._publish(envelope))
            if retry_after is None:
                return
            self._stopped.wait(retry_after)

    def _publish(self, envelope: Envelope) -> Outcome | None:
        with self._giving:
            if self._stopped.is_set():
                raise TaskEnded
            publishing = self._dispatcher.publish([envelope])
            published = asyncio.run_coroutine_threadsafe(publishing, self._loop)
            self._publishing.add(published)
        try:
            (outcome,) = published.result()
        except CancelledError:
            # The server is stopping; the next one finds the task on the board.
            raise TaskEnded from None
        finally:
            self._publishing.discard(published)
        return outcome


def _check(outcome: Outcome | None) -> float | None:
    """None: it is stored; else after how many seconds it may be tried again. Raises."""
    if not isinstance(outcome, RtpushError):
        return None
    if outcome.code in ("task_finished", "claim_lost"):
        raise TaskEnded
    if outcome.code == "task_cancelling":
        raise TaskCancelled
    if outcome.retry_after is None:
        raise outcome
    return outcome.retry_after
