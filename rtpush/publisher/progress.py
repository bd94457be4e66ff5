"""`track`: report a loop's progress as a task, with a progress bar in the terminal.

Rules that hold here:

- The loop only counts its steps; a thread reads the count a few times a second.
  This is all that makes it cheap.
- Of nested loops, the outermost one has the progress bar.
- Without a terminal there is no bar.
"""

from __future__ import annotations

import operator
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Final, TextIO, TypeVar

from ..config.kinds import show_clock
from ..terminal.text import escape
from .task_reporter import TaskReporter

__all__ = ["track"]

T = TypeVar("T")

# Seconds between two reads of the count.
_INTERVAL: Final = 0.1
# Columns of the bar itself.
_BAR_WIDTH: Final = 24
# Control sequences of xterm. Without wrapping, the terminal cuts a line whose characters take
# more columns than we count: those of Chinese take two.
_ERASE_LINE: Final = "\r\033[K"
_WRAP_OFF, _WRAP_ON = "\033[?7l", "\033[?7h"

# Held by the loop that has the progress bar.
_bar_taken = threading.Lock()


def track(
    iterable: Iterable[T],
    description: str = "Working",
    total: int | None = None,
    *,
    url: str | None = None,
    key: str | None = None,
    room: str | None = None,
) -> Iterator[T]:
    """Iterate, and report the progress as a task of the server.

    The task completes at the end of the loop, and fails when the loop is left early.
    While the server is away, only the terminal shows the progress.

    Args:
        iterable: What to go through.
        description: The task's title.
        total: The number of steps; None takes the iterable's length, if it has one.
        url: As for `Publisher`.
        key: As for `Publisher`.
        room: The room whose members see the task; None: everybody.

    Returns:
        An iterator over the same items.

    Raises:
        ValueError: `url` is not an address.
    """
    if total is None:
        total = operator.length_hint(iterable) or None
    reporter = TaskReporter(description, mode="track", url=url, key=key, room=room)
    monitor = _ProgressMonitor(description, total, reporter)
    try:
        for item in iterable:
            yield item
            monitor.done += 1
    except GeneratorExit:
        monitor.fail(f"stopped at {monitor.count()}")
        raise
    except BaseException as exc:
        monitor.fail(str(exc) or type(exc).__name__)
        raise
    monitor.complete()


class _ProgressMonitor:
    """Reads a loop's count from a thread, reports it, and draws it."""

    def __init__(self, title: str, total: int | None, reporter: TaskReporter) -> None:
        # Steps that are done; the loop counts them.
        self.done = 0
        self._title, self._total, self._reporter = title, total, reporter
        self._begun = time.monotonic()
        self._bar = _ProgressBar()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rtpush-track", daemon=True)
        self._thread.start()

    def complete(self) -> None:
        self._stop()
        self._reporter.complete({"steps": self.done})

    def fail(self, error: str) -> None:
        self._stop()
        self._reporter.fail(error)

    def _stop(self) -> None:
        self._ended.set()
        self._thread.join()
        self._update()
        self._bar.close()

    def _run(self) -> None:
        while not self._ended.wait(_INTERVAL):
            self._update()

    def _update(self) -> None:
        share = None if not self._total else min(1.0, self.done / self._total)
        message = " · ".join([self.count(), *self._speed(time.monotonic() - self._begun)])
        self._bar.draw(self._title, share, message)
        self._reporter.update(None if share is None else round(100 * share, 1), message)

    def count(self) -> str:
        return f"{self.done:,}" if self._total is None else f"{self.done:,} of {self._total:,}"

    def _speed(self, seconds: float) -> Iterator[str]:
        rate = self.done / seconds if seconds > 0 else 0.0
        if rate:
            yield f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s"
        if rate and self._total and self._total > self.done:
            yield f"{show_clock((self._total - self.done) / rate)} left"
        else:
            yield show_clock(seconds)


class _ProgressBar:
    """A line at the bottom of the terminal; draws nothing when another loop has it."""

    def __init__(self) -> None:
        shown = _is_terminal(sys.stderr) and _bar_taken.acquire(blocking=False)
        # None when nothing is drawn.
        self._out = sys.stderr if shown else None
        utf = shown and sys.stderr.encoding.lower().startswith("utf")
        self._full = "━" if utf else "#"

    def draw(self, title: str, share: float | None, message: str) -> None:
        """Replace the line. `share` is from 0 to 1; None when the total is not known."""
        if self._out is None:
            return
        parts = [title, message]
        if share is not None:
            bar = (self._full * round(share * _BAR_WIDTH)).ljust(_BAR_WIDTH)
            parts = [title, f"{share:4.0%}", bar, message]
        width = shutil.get_terminal_size().columns - 1
        line = escape(" ".join(parts))[:width]
        self._out.write(f"{_ERASE_LINE}{_WRAP_OFF}{line}{_WRAP_ON}")
        self._out.flush()

    def close(self) -> None:
        """Leave the line as it is, and let another loop have the next one."""
        if self._out is not None:
            self._out.write("\n")
            self._out = None
            _bar_taken.release()


def _is_terminal(stream: TextIO | None) -> bool:
    # A service, or pythonw, has no stderr at all.
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
