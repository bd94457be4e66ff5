"""`track`: a loop's progress, in the terminal and on every screen.

Rules that hold here:

- The loop counts its steps and does nothing else; a thread looks at the count
  a few times a second. That is all that makes it cheap.
- Of loops inside each other, the outermost has the terminal's line.
- What is not a terminal gets no bar.
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
from .task_reporter import Reporter

__all__ = ["track"]

T = TypeVar("T")

# Seconds between two looks at the count.
_INTERVAL: Final = 0.1
_BAR_WIDTH: Final = 24
_ERASE_LINE: Final = "\r\033[K"

_line_taken = threading.Lock()


def track(
    iterable: Iterable[T],
    description: str = "Working",
    total: int | None = None,
    *,
    url: str | None = None,
    key: str | None = None,
    room: str | None = None,
) -> Iterator[T]:
    """Go through an iterable and show how far that is.

    `total` is the number of steps, for what has no length. It is a task like
    every other on the server (`url` and `key` as in `Publisher`): completed at
    the end, failed when the loop is left early. When the server is away, only
    the terminal shows it. Raises ValueError for what is no address.
    """
    if total is None:
        total = operator.length_hint(iterable) or None
    meter = _Meter(
        description, total, Reporter(description, mode="track", url=url, key=key, room=room)
    )
    try:
        for item in iterable:
            yield item
            meter.done += 1
    except GeneratorExit:
        meter.fail(f"stopped at {meter.count()}")
        raise
    except BaseException as exc:
        meter.fail(str(exc) or type(exc).__name__)
        raise
    meter.complete()


class _Meter:
    """Looks at a count, and shows it."""

    def __init__(self, title: str, total: int | None, reporter: Reporter) -> None:
        self.done = 0
        self._title, self._total, self._reporter = title, total, reporter
        self._begun = time.monotonic()
        self._line = _Line()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="rtpush-track", daemon=True)
        self._thread.start()

    def complete(self) -> None:
        self._stop()
        self._reporter.complete({"steps": self.done})

    def fail(self, error: str) -> None:
        self._stop()
        self._reporter.fail(error)

    def _stop(self) -> None:
        self._over.set()
        self._thread.join()
        self._show()
        self._line.end()

    def _watch(self) -> None:
        while not self._over.wait(_INTERVAL):
            self._show()

    def _show(self) -> None:
        share = None if not self._total else min(1.0, self.done / self._total)
        message = " · ".join([self.count(), *self._speed(time.monotonic() - self._begun)])
        self._line.show(self._title, share, message)
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


class _Line:
    """The terminal's last line, for who has it."""

    def __init__(self) -> None:
        shown = _is_terminal(sys.stderr) and _line_taken.acquire(blocking=False)
        self._out = sys.stderr if shown else None
        utf = shown and sys.stderr.encoding.lower().startswith("utf")
        self._full = "━" if utf else "#"

    def show(self, title: str, share: float | None, message: str) -> None:
        if self._out is None:
            return
        parts = [title, message]
        if share is not None:
            bar = (self._full * round(share * _BAR_WIDTH)).ljust(_BAR_WIDTH)
            parts = [title, f"{share:4.0%}", bar, message]
        width = shutil.get_terminal_size().columns - 1
        self._out.write(_ERASE_LINE + " ".join(parts)[:width])
        self._out.flush()

    def end(self) -> None:
        if self._out is not None:
            self._out.write("\n")
            self._out = None
            _line_taken.release()


def _is_terminal(stream: TextIO | None) -> bool:
    # There may be none at all: a service, pythonw.
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
