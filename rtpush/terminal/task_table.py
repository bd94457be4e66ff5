"""The task table: tasks as a client sees them, from a snapshot and the events behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..config.kinds import show_clock
from ..errors import RtpushError
from ..log.growth import APPEND
from ..log.task import ENDS, TASK_EVENTS, task_key
from .text import escape

__all__ = ["Row", "TaskTable"]

# Finished tasks kept, of those that end while we watch. A terminal shows fewer.
_MAX_FINISHED: Final = 50
# Seconds. A longer run time comes from a start time that the task's publisher made up.
_MAX_RUN_TIME: Final = 1_000 * 3600
# What an event makes of a task.
_STATUS: Final = {
    "task_created": "queued",
    "task_claimed": "running",
    "task_progress": "running",
    "task_requeued": "queued",
    "task_cancel": "cancelling",
    **ENDS,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One task, as text that is safe to print."""

    # queued, running, cancelling, completed, failed or cancelled.
    status: str
    # Per cent; None when the task does not tell.
    progress: float | None
    # How long it has run or did run, like 1:05; empty when the task does not tell.
    run_time: str
    title: str
    message: str

    @property
    def percent(self) -> str:
        return "" if self.progress is None else f"{self.progress:.0f}%"


class TaskTable:
    """Active tasks in the order in which they began, then finished ones, the newest first.

    Pure: events go in, rows come out. Fields may hold anything, because the
    publisher of a task decides what is in them.
    """

    def __init__(self) -> None:
        self._active: dict[str, dict[str, Any]] = {}
        self._finished: dict[str, dict[str, Any]] = {}

    def apply(self, event: str, data: Any, now: float, room: str | None = None) -> None:
        """Apply a snapshot, or an event of a task. `now` is in seconds since 1970."""
        if event == "active_tasks":
            active, finished = (_by_key(data[name]) for name in ("tasks", "finished"))
            self._active = _outside(room, self._active) | active
            self._finished = finished | _outside(room, self._finished)
        elif event in TASK_EVENTS:
            try:
                key = task_key(data)
            except RtpushError:
                # An application may use the event's name for something else.
                return
            self._apply_change(event, key, data if room is None else data | {"room": room}, now)

    def _apply_change(self, event: str, key: str, data: dict[str, Any], now: float) -> None:
        # An event with an unknown id begins a task (PROTOCOL.md, section 6). The
        # server refuses events of a finished task.
        # What grows, such as an answer, has no place in a line.
        task = self._active.get(key, {}) | {n: data[n] for n in data if n != APPEND}
        task["status"] = _STATUS[event]
        if event in ENDS:
            self._active.pop(key, None)
            finished = {key: task | {"endTime": now * 1000}} | self._finished
            self._finished = dict(list(finished.items())[:_MAX_FINISHED])
        else:
            self._finished.pop(key, None)
            self._active[key] = task

    @property
    def active(self) -> int:
        """How many tasks are active."""
        return len(self._active)

    @property
    def finished(self) -> int:
        """How many finished tasks are kept."""
        return len(self._finished)

    def tasks(self) -> Iterator[dict[str, Any]]:
        """All tasks with all their fields, and `status`."""
        yield from self._active.values()
        yield from self._finished.values()

    def rows(self, now: float) -> Iterator[Row]:
        """All tasks as rows. `now` is in seconds since 1970."""
        return (_row(task, now) for task in self.tasks())


def _by_key(tasks: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {task_key(task): task for task in tasks}


def _outside(room: str | None, tasks: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The tasks that a snapshot of this room leaves as they are. None is a snapshot of all."""
    if room is None:
        return {}
    return {key: task for key, task in tasks.items() if task.get("room") != room}


def _row(task: Mapping[str, Any], now: float) -> Row:
    status, progress = task.get("status"), task.get("progress")
    message_fields: Sequence[str] = ("error", "message") if status == "failed" else ("message",)
    if status == "cancelled":
        message_fields = ("reason",)
    return Row(
        status=escape(str(status)),
        progress=float(progress) if isinstance(progress, int | float) else None,
        run_time=_run_time(task.get("startTime"), task.get("endTime"), now),
        title=_first_text(_form(task), ("prompt", "title"))
        or _first_text(task, ("prompt", "title"))
        or escape(str(task["id"])),
        message=_first_text(task, message_fields),
    )


def _form(task: Mapping[str, Any]) -> Mapping[str, Any]:
    form = task.get("formData")
    return form if isinstance(form, dict) else {}


def _run_time(start: Any, end: Any, now: float) -> str:
    if not isinstance(start, int | float):
        return ""
    end = end / 1000 if isinstance(end, int | float) else now
    seconds = max(0.0, end - start / 1000)
    return show_clock(seconds) if seconds < _MAX_RUN_TIME else ""


def _first_text(task: Mapping[str, Any], fields: Sequence[str]) -> str:
    found = (_text_of(task.get(field)) for field in fields)
    return next((escape(text) for text in found if isinstance(text, str) and text), "")


def _text_of(value: Any) -> Any:
    """The message of an error that is an object."""
    return value.get("message") if isinstance(value, dict) else value
