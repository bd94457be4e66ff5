"""The board of tasks as lines of text.

Rules that hold here:

- Pure: events go in, lines come out.
- Its order is the server's: active tasks as they began, then those that have
  ended, the newest first.
- Fields may hold anything: a server's clients decide what is in a task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..config.kinds import show_clock
from ..errors import RtpushError
from ..log.board import TASK_EVENTS, task_key
from .text import BOLD, CYAN, DIM, GREEN, RED, fit, paint, plain, width_of

__all__ = ["Overview", "Row"]

# Tasks that have ended, of those that end while we watch.
_ENDED: Final = 50
_BAR: Final = 12
# Seconds that a task can have taken. More, and it does not know when it has begun.
_LONGEST: Final = 1_000 * 3600
_STATUS: Final = {"task_completed": "completed", "task_failed": "failed"}
_COLOURS: Final = {"completed": GREEN, "failed": RED, "active": CYAN}


@dataclass(frozen=True, slots=True)
class Row:
    """What is shown of a task."""

    status: str
    progress: float | None
    clock: str
    title: str
    message: str

    @property
    def percent(self) -> str:
        return "" if self.progress is None else f"{self.progress:.0f}%"


class Overview:
    """The tasks that somebody sees."""

    def __init__(self) -> None:
        self._active: dict[str, dict[str, Any]] = {}
        self._ended: dict[str, dict[str, Any]] = {}

    def take(self, event: str, data: Any, now: float, room: str | None = None) -> None:
        """What has come: a snapshot, or an event of a task. `now`, seconds since 1970."""
        if event == "active_tasks":
            active, ended = (_by_key(data[name]) for name in ("tasks", "finished"))
            self._active = _elsewhere(self._active, room) | active
            self._ended = ended | _elsewhere(self._ended, room)
        elif event in TASK_EVENTS:
            try:
                key = task_key(data)
            except RtpushError:
                # Not a task's: an application has a handler of its own for it.
                return
            self._change(event, key, data if room is None else data | {"room": room}, now)

    def _change(self, event: str, key: str, data: dict[str, Any], now: float) -> None:
        # An id that nobody has heard of begins a task, whatever the event is
        # (PROTOCOL.md, section 6); for one that has ended there are none.
        task = self._active.get(key, {}) | data
        if event in _STATUS:
            self._active.pop(key, None)
            end = {"status": _STATUS[event], "endTime": now * 1000}
            ended = {key: task | end} | self._ended
            self._ended = dict(list(ended.items())[:_ENDED])
        else:
            self._active[key] = task

    def tasks(self) -> list[dict[str, Any]]:
        """All of them, each with its `status`."""
        active = ({"status": "active"} | task for task in self._active.values())
        return [*active, *self._ended.values()]

    def rows(self, now: float) -> list[Row]:
        """All of them, to be shown."""
        return [_row(task, now) for task in self.tasks()]

    def table(self, now: float) -> Iterator[str]:
        """As aligned columns, nothing left out."""
        cells = [("STATUS", "DONE", "TIME", "TITLE", "MESSAGE")]
        cells += [(r.status, r.percent, r.clock, r.title, r.message) for r in self.rows(now)]
        widths = [max(map(width_of, column)) for column in zip(*cells, strict=True)]
        for line in cells:
            yield "  ".join(map(fit, line, widths)).rstrip()

    def screen(self, now: float, columns: int, lines: int, colour: bool) -> Iterator[str]:
        """For a terminal of this size: as many as it holds."""
        rows = self.rows(now)
        yield _headline(len(self._active), len(self._ended), columns, colour)
        shown = rows if len(rows) < lines else rows[: max(0, lines - 2)]
        title = min(columns // 3, max((width_of(row.title) for row in shown), default=0))
        for row in shown:
            yield _line(row, columns, title, colour)
        if len(shown) < len(rows):
            yield paint(fit(f"… and {len(rows) - len(shown)} more", columns), DIM, colour)


def _by_key(tasks: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {task_key(task): task for task in tasks}


def _elsewhere(tasks: dict[str, dict[str, Any]], room: str | None) -> dict[str, dict[str, Any]]:
    """What a snapshot of a room, or of everything, says nothing about."""
    if room is None:
        return {}
    return {key: task for key, task in tasks.items() if task.get("room") != room}


def _headline(active: int, ended: int, columns: int, colour: bool) -> str:
    return paint(fit(f"{active} active, {ended} ended", columns), BOLD, colour)


def _line(row: Row, columns: int, title: int, colour: bool) -> str:
    head = f"{row.percent:>4} {_bar(row.progress)}" if row.status == "active" else row.status
    parts = [fit(head, _BAR + 5), f"{row.clock:>7}", fit(row.title, title)]
    rest = columns - sum(map(width_of, parts)) - 2 * len(parts)
    parts[0] = paint(parts[0], _COLOURS.get(row.status, BOLD), colour)
    return "  ".join([*parts, paint(fit(row.message, rest), DIM, colour)])


def _bar(progress: float | None) -> str:
    return "" if progress is None else ("━" * round(progress / 100 * _BAR)).ljust(_BAR, "┈")


def _row(task: Mapping[str, Any], now: float) -> Row:
    status, progress = task.get("status"), task.get("progress")
    form = task.get("formData")
    title = form.get("prompt") if isinstance(form, dict) else None
    words = ("error", "message") if status == "failed" else ("message",)
    return Row(
        status=plain(str(status)),
        progress=float(progress) if isinstance(progress, int | float) else None,
        clock=_clock(task.get("startTime"), task.get("endTime"), now),
        title=plain(title if isinstance(title, str) and title else str(task["id"])),
        message=_first_text(task, words),
    )


def _clock(begun: Any, ended: Any, now: float) -> str:
    if not isinstance(begun, int | float):
        return ""
    end = ended / 1000 if isinstance(ended, int | float) else now
    seconds = max(0.0, end - begun / 1000)
    return show_clock(seconds) if seconds < _LONGEST else ""


def _first_text(task: Mapping[str, Any], names: Sequence[str]) -> str:
    found = (task.get(name) for name in names)
    return next((plain(text) for text in found if isinstance(text, str) and text), "")
