"""A worker in the server's own process: takes each task and does it.

Rules that hold here:

- The worker is one more reader of the log. It begins with the tasks on the
  board, so what a dead server left undone is done by the next.
- Of several nodes on one log one works at a time: the one that leads.
- The work itself is one blocking function in a thread; see `Work`. It can be
  replaced by anything that takes a task and returns a result.
- What the worker reports is stored before the function goes on. When the task
  has ended meanwhile, the report raises `TaskEnded`; when a client has cancelled it,
  `TaskCancelled`, and the task ends when the function does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import Any, Final, Protocol

import orjson

from ..errors import RtpushError
from ..framing import JSON
from ..hub import Hub
from ..log.base import Outcome
from ..log.task import Task, task_key
from ..protocol import Envelope
from ..sessions.session import Session
from .dispatcher import Dispatcher

__all__ = ["Report", "TaskCancelled", "TaskEnded", "Work", "Worker"]

logger = logging.getLogger("rtpush.worker")

# Tasks that are worked on at the same time; the others wait their turn.
AT_ONCE: Final = 2


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


# Takes the task's fields and a report; returns the `result` of its
# `task_completed`. The message of a ValueError becomes the `error` of a
# `task_failed`; of any other exception only the name does.
Work = Callable[[dict[str, Any], Report], Any]


class Worker:
    """Does every task that belongs to no room, and to no other `worker`, with `work`."""

    def __init__(self, hub: Hub, dispatcher: Dispatcher, work: Work) -> None:
        self.framing = JSON
        self._hub = hub
        self._dispatcher = dispatcher
        self._work = work
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
        for number in range(AT_ONCE):
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
        self._end()
        for _ in range(AT_ONCE):
            self._queue.put(None)

    # -------------------------------------------------------------- Connection

    def write(self, data: bytes) -> None:
        """See Connection."""
        for envelope in orjson.loads(b"[%b]" % data):
            if envelope["event"] == "task_created":
                task = self._hub.log.board.get(task_key(envelope["data"]))
                if task is not None and not task.ended:
                    self._take(task)

    def write_part(self, data: bytes, *, last: bool) -> None:
        """See Connection. A snapshot is no news: the worker looks at the board itself."""

    def backlog(self) -> int:
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

    def _run(self) -> None:
        """In a thread: one task after the other."""
        while (task := self._queue.get()) is not None:
            try:
                # Decoded anew: the board shares its objects with nobody.
                self._do(task.key, orjson.loads(orjson.dumps(task.data)))
            except Exception:
                # The other tasks still want to be done.
                logger.exception("task %s could not be ended", task.key)

    def _do(self, key: str, task: dict[str, Any]) -> None:

        def report(progress: float, message: str, **fields: Any) -> None:
            data = {"id": key, "progress": progress, "message": message, **fields}
            self._tell(Envelope("task_progress", data), attempts=1)

        try:
            result = self._work(task, report)
            self._tell(Envelope("task_completed", {"id": key, "result": result}), attempts=100)
        except TaskCancelled:
            self._end_task(key, Envelope("task_cancelled", {"id": key}))
        except TaskEnded:
            logger.debug("task %s ended while it was worked on", key)
        except ValueError as exc:
            self._fail(key, str(exc))
        except Exception as exc:
            # Its message is for the operator, not for every screen.
            logger.exception("task %s failed", key)
            self._fail(key, f"The work failed ({type(exc).__name__}).")

    def _fail(self, key: str, error: str) -> None:
        self._end_task(key, Envelope("task_failed", {"id": key, "error": error}))

    def _end_task(self, key: str, end: Envelope) -> None:
        try:
            self._tell(end, attempts=100)
        except TaskEnded:
            logger.debug("task %s had ended before", key)

    def _tell(self, envelope: Envelope, attempts: int) -> None:
        """Publish from the thread; while the log cannot be written, try `attempts` times."""
        for _ in range(attempts):
            outcome = self._publish(envelope)
            if not isinstance(outcome, RtpushError):
                return
            if outcome.code == "task_finished":
                raise TaskEnded
            if outcome.code == "task_cancelling":
                raise TaskCancelled
            if outcome.retry_after is None:
                raise outcome
            self._stopped.wait(outcome.retry_after)

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
