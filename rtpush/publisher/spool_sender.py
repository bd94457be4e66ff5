"""A background thread that sends the envelopes of a spool.

Rules that hold here:

- Of all senders of a spool, in all processes, one at a time sends, and it sends
  until the spool is empty: this keeps the order.
- An envelope leaves the spool when the server has answered. When the process
  dies in between, the next sender sends it again, and its idempotency key keeps
  it from being logged twice.
- The thread starts when there is something to send, and in the child of a fork
  when the child first appends: a program that forks after the import forks
  without a thread.
"""

from __future__ import annotations

import atexit
import logging
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Final

from ..errors import RtpushError
from .http_client import HttpClient
from .per_process import PerProcess
from .request import PUBLISH_BACKOFF, Outcome, is_retryable
from .spool import Spool, SpoolEntry

__all__ = ["POLL_INTERVAL", "SpoolSender"]

logger = logging.getLogger("rtpush.publisher")

# Envelopes and bytes in one request: see `request.batches`.
_BATCH: Final = 500
_BATCH_BYTES: Final = 1 << 19
# Seconds without an append after which the files are closed.
_CLOSE_AFTER: Final = 1.0
# Seconds between looks for envelopes that a process which died has left behind.
_LOOK_EVERY: Final = 5.0
# Seconds between looks at whether the spool is empty yet.
POLL_INTERVAL: Final = 0.02
# Refusals of the sender rather than of an envelope: another process may have a valid key.
_ABOUT_THE_SENDER: Final = frozenset({"not_authenticated", "forbidden"})


@dataclass(slots=True)
class _Worker:
    """The sending thread of one process, and what controls it."""

    # Held while the thread is started.
    starting: threading.Lock = field(default_factory=threading.Lock)
    # Set when there may be something to send.
    wake: threading.Event = field(default_factory=threading.Event)
    # Set when the thread is to end.
    stopping: threading.Event = field(default_factory=threading.Event)
    # None before it is started.
    thread: threading.Thread | None = None


class SpoolSender:
    """Appends envelopes to a spool, and sends them in the background."""

    def __init__(self, http: HttpClient, path: Path, timeout: float) -> None:
        """`timeout` is for one request, in seconds.

        Raises sqlite3.Error when the file is not a spool or cannot be written.
        """
        # Envelopes that the server refused for good.
        self.rejected = 0
        # The last reason for waiting that was logged.
        self._logged = ""
        self._http, self._timeout = http, timeout
        self._spool = Spool(path)
        self._worker = PerProcess(_Worker)
        self._closed = False
        # A program that does not close it should still get its events sent when it ends.
        atexit.register(self.close)
        if not self.is_empty():
            self._wake_up()
        self._spool.close()

    def append(self, envelopes: Sequence[bytes]) -> None:
        """Store envelopes on disk, to be sent in order.

        Raises RtpushError (`unavailable`) when the spool is full or cannot be written.
        """
        try:
            self._spool.append(envelopes)
        except sqlite3.Error as exc:
            raise RtpushError("unavailable", f"The spool cannot be written ({exc}).") from exc
        self._wake_up()

    def _wake_up(self) -> None:
        worker = self._worker.value
        worker.wake.set()
        with worker.starting:
            if worker.thread is None:
                worker.thread = threading.Thread(
                    target=self._run, args=[worker], name="rtpush-spool", daemon=True
                )
                worker.thread.start()

    def is_empty(self) -> bool:
        """Whether all is sent, by any process. Raises sqlite3.Error."""
        return len(self._spool) == 0

    def wait_empty(self, timeout: float | None) -> bool:
        """Wait until all is sent, by any process; False after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.is_empty():
            self._wake_up()
            if deadline is not None and time.monotonic() > deadline:
                return False
            time.sleep(POLL_INTERVAL)
        return True

    def close(self, timeout: float = 5.0) -> None:
        """Wait up to `timeout` seconds until all is sent, then stop. Idempotent."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        with suppress(sqlite3.Error):
            self.wait_empty(timeout)
        self._stop()

    def _stop(self) -> None:
        worker = self._worker.value
        worker.stopping.set()
        worker.wake.set()
        if worker.thread is not None:
            worker.thread.join()
        # The next append starts another thread.
        worker.thread = None
        worker.stopping.clear()
        self._spool.close()
        self._http.close()

    # ---------------------------------------------------------- in the thread

    def _run(self, worker: _Worker) -> None:
        attempt, woken = 0, True
        while not worker.stopping.is_set():
            worker.wake.clear()
            if not self._send_all_if_any(worker):
                worker.stopping.wait(PUBLISH_BACKOFF.delay(attempt))
                attempt += 1
                continue
            attempt = 0
            if not (woken and worker.wake.wait(_CLOSE_AFTER)):
                self._spool.close()
                woken = worker.wake.wait(_LOOK_EVERY)

    def _send_all_if_any(self, worker: _Worker) -> bool:
        """Whether the spool is empty now."""
        try:
            # A process with nothing to send must not take the lock from one that has.
            if self.is_empty():
                return True
            if not self._spool.acquire():
                return False
            try:
                return self._send_all(worker)
            finally:
                self._spool.release()
        except sqlite3.Error as exc:
            self._log_waiting(RtpushError("unavailable", f"The spool cannot be used ({exc})."))
            return False

    def _send_all(self, worker: _Worker) -> bool:
        while batch := self._spool.peek(_BATCH, _BATCH_BYTES):
            if worker.stopping.is_set() or not self._send(batch):
                return False
            # `os.fork` has closed the lock: another process may have taken it.
            if not self._spool.acquire():
                return False
        return True

    def _send(self, batch: Sequence[SpoolEntry]) -> bool:
        """Send entries and remove those that are answered; False when some are not."""
        answer = self._http.post([entry.json for entry in batch], self._timeout)
        if isinstance(answer, RtpushError):
            if is_retryable(answer) or answer.code in _ABOUT_THE_SENDER:
                self._log_waiting(answer)
                return False
            if len(batch) > 1:
                # The server refused the request as a whole: find the envelope it is about.
                return all(self._send([entry]) for entry in batch)
            answer = [answer]
        done = list(takewhile(lambda outcome: not is_retryable(outcome), answer))
        self._count_rejected(done)
        if done:
            self._spool.remove(batch[len(done) - 1].number)
        if len(done) < len(batch):
            self._log_waiting(answer[len(done)])
        return len(done) == len(batch)

    def _log_waiting(self, reason: Outcome) -> None:
        # Once for each reason, not for each attempt.
        if str(reason) != self._logged:
            self._logged = str(reason)
            logger.warning("the spool waits: %s", reason)

    def _count_rejected(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, RtpushError):
                self.rejected += 1
                logger.warning("an event of the spool was refused: %s", outcome)
