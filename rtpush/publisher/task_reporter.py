"""Report the progress of one task from a background thread.

Rules that hold here:

- `update` only stores the latest state; a thread sends it, at most a few times
  a second. A state that was not sent before the next `update` is never sent.
- A server that is away, or refuses, never delays the work.
- The end of the task is worth a short wait, when the server was there before.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any, Final

from ..errors import RtpushError
from .publisher import Publisher
from .request import PUBLISH_BACKOFF

__all__ = ["TaskReporter"]

logger = logging.getLogger("rtpush.publisher")

# Seconds between two events: more often than this, people do not see a difference.
_INTERVAL: Final = 0.25
# Seconds that the end of a task waits for the server.
_END_TIMEOUT: Final = 2.0


class TaskReporter:
    """Reports one task. `complete` or `fail` ends it, once."""

    def __init__(
        self,
        title: str,
        *,
        mode: str,
        url: str | None = None,
        key: str | None = None,
        room: str | None = None,
        id: str | None = None,
    ) -> None:
        """Start to report.

        Args:
            title: What the task is called on the page.
            mode: What kind of program reports it, such as `"track"`.
            url: As for `Publisher`.
            key: As for `Publisher`.
            room: The room whose members see the task; None: everybody.
            id: The task's id; None makes a new one.

        Raises:
            ValueError: `url` is not an address.
        """
        self.id = id or uuid.uuid4().hex
        self._nonce = uuid.uuid4().hex
        self._title, self._mode, self._room = title, mode, room
        self._publisher = Publisher(url, key=key, timeout=0.0)
        # The fields of the next `task_progress`; empty when there is nothing new.
        self._latest: Mapping[str, Any] = {}
        # The event that ends the task, and its fields; None while it goes on.
        self._end: tuple[str, Mapping[str, Any]] | None = None
        # Whether the server has the task.
        self._created = False
        # Whether the server refused for good: nothing more is sent.
        self._refused = False
        self._wake, self._ended = threading.Event(), threading.Event()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="rtpush-reporter", daemon=True)
        self._thread.start()

    def update(self, progress: float | None = None, message: str | None = None) -> None:
        """Set the progress, from 0 to 100, and a line for people to read."""
        fields = {"progress": progress, "message": message}
        self._latest = {name: value for name, value in fields.items() if value is not None}
        self._wake.set()

    def complete(self, result: Any = None) -> None:
        """Complete the task. Waits up to 2 seconds for the server."""
        self._finish("task_completed", {"result": result})

    def fail(self, error: str) -> None:
        """Fail the task. Waits up to 2 seconds for the server."""
        self._finish("task_failed", {"error": error})

    def _finish(self, event: str, fields: Mapping[str, Any]) -> None:
        # The child of a fork has a copy of the reporter; its end is not the task's.
        if self._end is not None or self._pid != os.getpid():
            return
        self._end = (event, fields)
        self._ended.set()
        self._wake.set()
        self._thread.join(_END_TIMEOUT)

    # ---------------------------------------------------------- in the thread

    def _run(self) -> None:
        attempt = 0
        with self._publisher:
            while not self._ended.is_set() and not self._refused:
                if self._publish_latest():
                    attempt = 0
                    self._ended.wait(_INTERVAL)
                    self._wake.wait()
                else:
                    self._ended.wait(PUBLISH_BACKOFF.delay(attempt))
                    attempt += 1
            self._publish_end()

    def _publish_latest(self) -> bool:
        self._wake.clear()
        if not self._publish_created():
            return False
        latest, self._latest = self._latest, {}
        return not latest or self._publish("task_progress", latest)

    def _publish_end(self) -> None:
        if self._end is None or self._refused:
            return
        was_created, attempt = self._created, 0
        deadline = time.monotonic() + _END_TIMEOUT
        while not (self._publish_latest() and self._publish(*self._end)):
            if self._refused or not was_created or time.monotonic() > deadline:
                return
            time.sleep(PUBLISH_BACKOFF.delay(attempt))
            attempt += 1

    def _publish_created(self) -> bool:
        if not self._created:
            fields = {
                "formData": {"prompt": self._title},
                "mode": self._mode,
                "startTime": round(time.time() * 1000),
                "worker": self._mode,
            }
            self._created = self._publish("task_created", fields)
        return self._created

    def _publish(self, event: str, fields: Mapping[str, Any]) -> bool:
        # The task is created and ended once, also when an answer was lost. A later task
        # may have the same id.
        once = None if event == "task_progress" else f"{self._nonce}-{event}"
        data = {"id": self.id, **fields}
        try:
            self._publisher.publish(event, data, room=self._room, idempotency_key=once)
        except RtpushError as error:
            # For good: the task was ended by another client, or the key has no right to it.
            self._refused = error.meaning.retry_after is None
            log = logger.warning if self._refused else logger.debug
            log("%s is not reported: %s", self._title, error)
            if error.code == "task_cancelling":
                # The work goes on, and is no task any more.
                self._publish("task_cancelled", {})
            return False
        return True
