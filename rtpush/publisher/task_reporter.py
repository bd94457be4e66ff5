"""How far something is, told to a server without ever being in its way.

Rules that hold here:

- `update` only leaves the newest state behind; a thread sends it, a few times
  a second at most, and what nobody has sent when the next comes is not sent.
- A server that is away, or says no, costs whoever is working nothing.
- The end is worth a short wait, when the server was there before.
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
from .http_client import Backoff
from .publisher import Publisher

__all__ = ["Reporter"]

logger = logging.getLogger("rtpush.reporter")

# Seconds between two events: what an eye can follow.
_INTERVAL: Final = 0.25
# Seconds that the end waits for a server.
_PATIENCE: Final = 2.0


class Reporter:
    """One task, reported from the outside. Ended by `complete` or `fail`, once."""

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
        """See `Publisher` for `url` and `key`. Raises ValueError for what is no address."""
        self.id = id or uuid.uuid4().hex
        self._title, self._mode, self._room = title, mode, room
        self._publisher = Publisher(url, key=key, timeout=0.0)
        self._news: Mapping[str, Any] = {}
        self._end: tuple[str, Mapping[str, Any]] | None = None
        self._begun = self._refused = False
        self._wake, self._over = threading.Event(), threading.Event()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="rtpush-reporter", daemon=True)
        self._thread.start()

    def update(self, progress: float | None = None, message: str | None = None) -> None:
        """How far it is now: 0 to 100 per cent, and a line to read."""
        fields = {"progress": progress, "message": message}
        self._news = {name: value for name, value in fields.items() if value is not None}
        self._wake.set()

    def complete(self, result: Any = None) -> None:
        """It ended well. Waits a moment until that is told."""
        self._finish("task_completed", {"result": result})

    def fail(self, error: str) -> None:
        """It ended badly. Waits a moment until that is told."""
        self._finish("task_failed", {"error": error})

    def _finish(self, event: str, fields: Mapping[str, Any]) -> None:
        # The child of a fork has a copy, and its own end is not the task's.
        if self._end is not None or self._pid != os.getpid():
            return
        self._end = (event, fields)
        self._over.set()
        self._wake.set()
        self._thread.join(_PATIENCE)

    # ---------------------------------------------------------- in the thread

    def _run(self) -> None:
        backoff = Backoff()
        with self._publisher:
            while not self._over.is_set() and not self._refused:
                if self._tell_news():
                    backoff = Backoff()
                    self._over.wait(_INTERVAL)
                    self._wake.wait()
                else:
                    self._over.wait(backoff.next())
            self._tell_end()

    def _tell_news(self) -> bool:
        self._wake.clear()
        if not self._begin():
            return False
        news, self._news = self._news, {}
        return not news or self._tell("task_progress", news)

    def _tell_end(self) -> None:
        if self._end is None or self._refused:
            return
        was_there, backoff = self._begun, Backoff()
        deadline = time.monotonic() + _PATIENCE
        while not (self._tell_news() and self._tell(*self._end)):
            if self._refused or not was_there or time.monotonic() > deadline:
                return
            time.sleep(backoff.next())

    def _begin(self) -> bool:
        if not self._begun:
            fields = {
                "formData": {"prompt": self._title},
                "mode": self._mode,
                "startTime": round(time.time() * 1000),
                "worker": self._mode,
            }
            self._begun = self._tell("task_created", fields)
        return self._begun

    def _tell(self, event: str, fields: Mapping[str, Any]) -> bool:
        # Created and ended once, also when an answer was lost.
        once = None if event == "task_progress" else f"{self.id}-{event}"
        data = {"id": self.id, **fields}
        try:
            self._publisher.publish(event, data, room=self._room, idempotency_key=once)
        except RtpushError as error:
            # Somebody has ended the task, or it may not be told at all.
            self._refused = error.meaning.retry_after is None
            log = logger.warning if self._refused else logger.debug
            log("%s is not reported: %s", self._title, error)
            return False
        return True
