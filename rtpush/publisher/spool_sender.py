"""The thread that sends what a spool holds.

Rules that hold here:

- Of all senders of a spool, in all processes, one at a time is sending, and it
  sends until the spool is empty: so order is kept.
- An event leaves the spool when the server has answered. Between that and the
  answer itself a process may die: the next sender sends the event again, and
  its idempotency key keeps it from being logged twice.
- After a fork the child starts a thread of its own when it has something to send.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Final

from ..errors import RtpushError
from .http_client import Backoff, Outcome, Wire, is_late
from .spool import Spool, Spooled

__all__ = ["Sender"]

logger = logging.getLogger("rtpush.publisher")

# What goes out in one request.
_BATCH: Final = 500
_BATCH_BYTES: Final = 1 << 20
# Seconds after which to look for what a process left behind that has died.
_LOOK_AFTER: Final = 5.0
_POLL: Final = 0.02
# Refused because of who sends, not of what: the next process may have a better key.
_ABOUT_THE_SENDER: Final = frozenset({"not_authenticated", "forbidden"})

_senders: Final[weakref.WeakSet[Sender]] = weakref.WeakSet()


class Sender:
    """Puts envelopes in a spool, and sends them in the background."""

    def __init__(self, wire: Wire, path: Path, timeout: float) -> None:
        """Raises sqlite3.Error when the file is no spool or cannot be written."""
        self.rejected = 0
        self._waiting_for = ""
        self._wire = wire
        self._timeout = timeout
        self._spool = Spool(path)
        self._reset()
        _senders.add(self)
        self._wake_up()

    def _reset(self) -> None:
        """Also in the child of a fork: what is shared with threads may have been in use."""
        self._starting = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def append(self, envelopes: Sequence[bytes]) -> None:
        """On disk when it returns. Raises RtpushError (`unavailable`) when the disk is full."""
        try:
            self._spool.append(envelopes)
        except sqlite3.Error as exc:
            raise RtpushError("unavailable", f"The spool cannot be written ({exc}).") from exc
        self._wake_up()

    def _wake_up(self) -> None:
        self._wake.set()
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="rtpush-sender", daemon=True)
                self._thread.start()

    def wait_empty(self, timeout: float | None) -> bool:
        """Until everything is sent, by whichever process; False when the time is up."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self._wake_up()
        while len(self._spool):
            if deadline is not None and time.monotonic() > deadline:
                return False
            time.sleep(_POLL)
        return True

    def stop(self) -> None:
        """End the thread after what it is at, and let go of the files."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._reset()
        self._spool.close()

    def _run(self) -> None:
        stopping, backoff = self._stopping, Backoff()
        while not stopping.is_set():
            self._wake.clear()
            if self._send_what_is_there():
                backoff = Backoff()
                self._wake.wait(_LOOK_AFTER)
            else:
                stopping.wait(backoff.next())

    def _send_what_is_there(self) -> bool:
        """False when something is left."""
        try:
            # Looked at first: who has nothing to send must not be in the way.
            if not len(self._spool):
                return True
            if not self._spool.hold():
                return False
            try:
                return self._send_all()
            finally:
                self._spool.release()
        except sqlite3.Error as exc:
            return self._say_waiting(
                RtpushError("unavailable", f"The spool cannot be used ({exc}).")
            )

    def _send_all(self) -> bool:
        while batch := self._spool.oldest(_BATCH, _BATCH_BYTES):
            if self._stopping.is_set() or not self._send(batch):
                return False
            # A fork has made it let go: another may have taken over.
            if not self._spool.hold():
                return False
        return True

    def _send(self, batch: Sequence[Spooled]) -> bool:
        """Send, and drop what was answered; False when not all of it was."""
        answer = self._wire.post([one.json for one in batch], self._timeout)
        if isinstance(answer, RtpushError):
            if is_late(answer) or answer.code in _ABOUT_THE_SENDER:
                return self._say_waiting(answer)
            if len(batch) > 1:
                # Find out which of them it is about.
                return all(self._send([one]) for one in batch)
            answer = [answer]
        done = list(takewhile(lambda outcome: not is_late(outcome), answer))
        self._note(done)
        if done:
            self._spool.drop(batch[len(done) - 1].number)
        return len(done) == len(batch) or self._say_waiting(answer[len(done)])

    def _say_waiting(self, why: Outcome) -> bool:
        # Once for each reason, not for each try.
        if str(why) != self._waiting_for:
            self._waiting_for = str(why)
            logger.warning("the spool waits: %s", why)
        return False

    def _note(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, RtpushError):
                self.rejected += 1
                logger.warning("an event of the spool was refused: %s", outcome)


def _after_fork() -> None:
    for sender in _senders:
        sender._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
