"""States of tasks: which event leads to which, and which senders may bring it about; pure.

Rules that hold here:

- `status`, `owner` and the times are the server's word. A sender's fields of these names are
  left out before an event is logged, so that every client and every node reads the same.
- A task with an owner is changed by its owner and by publishers alone: a stranger who knows
  the id of a task could otherwise end it.
- A cancel is a request. The task ends when its worker says so, or when the worker has had its
  time; a task that nobody has begun ends at once.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from ..errors import RtpushError
from .growth import SERVER_FIELDS
from .task import CANCEL, CLAIMED, CREATED, ENDS, REQUEUED, TASK_EVENTS, Task

__all__ = ["SERVER", "Sender", "check_state", "own_fields", "stamps_of"]


class Sender(NamedTuple):
    """The sender of an event: its subject, and whether it may publish, as the server itself."""

    subject: str | None = None
    publishes: bool = True


# The server, and the application in it.
SERVER: Final = Sender()


def own_fields(event: str, data: Any, sender: Sender) -> Any:
    """The data of an event without what only the server sets, and with the owner of a new task.

    A publisher, which acts for users, may name the owner of a task that it creates.
    """
    if event not in TASK_EVENTS or not isinstance(data, dict):
        return data
    fields = {name: data[name] for name in data if name not in SERVER_FIELDS}
    if event == CREATED:
        fields.pop("attempt", None)
    owner = data.get("owner")
    if not (sender.publishes and isinstance(owner, str)):
        owner = sender.subject
    return fields | {"owner": owner} if event == CREATED and owner is not None else fields


def check_state(event: str, old: Task | None, room: str | None, sender: Sender) -> None:
    """May this sender bring the event about now? Raises RtpushError."""
    if old is None:
        if event == CANCEL:
            raise RtpushError("not_found", "There is no task with this id to cancel.")
        return
    if old.room != room:
        raise RtpushError("bad_task", "A task with this id belongs to another room.")
    if old.ended and event != CREATED:
        raise RtpushError(
            "task_finished", "This task has ended; `task_created` begins another with its id."
        )
    if not old.ended and event == CREATED:
        raise RtpushError("task_exists", "A task with this id is active already.")
    # Whoever begins a task with the id of another's result takes that from the board.
    owner = old.fields.get("owner")
    if not sender.publishes and owner is not None and owner != sender.subject:
        raise RtpushError("forbidden", "Only the owner of this task and publishers may do that.")
    if event in ("task_progress", REQUEUED) and old.fields.get("status") == "cancelling":
        raise RtpushError(
            "task_cancelling", "This task is to end: stop the work, and say `task_cancelled`."
        )


def stamps_of(event: str, old: Task | None, fields: dict[str, Any], wall: float) -> dict[str, Any]:
    """The server's fields that an event with these fields changes, by the wall clock."""
    before: dict[str, Any] = {} if old is None else old.fields
    status, now = _status_after(event), round(wall * 1000)
    stamps: dict[str, Any] = {"status": status} if before.get("status") != status else {}
    if old is None:
        stamps["createdAt"] = now
    if event == CLAIMED:
        stamps |= {"attempt": fields["attempt"], "startedAt": now}
    if event == REQUEUED:
        stamps |= {name: fields[name] for name in ("lost", "startedAt") if name in fields}
    if event == "task_progress" and before.get("startedAt") is None:
        stamps["startedAt"] = now
    if event == CANCEL and "cancelAt" not in before:
        stamps["cancelAt"] = now
    if event in ENDS:
        stamps["endTime"] = now
    return stamps


def _status_after(event: str) -> str:
    if event in ENDS:
        return ENDS[event]
    waits = {CREATED: "queued", REQUEUED: "queued", CANCEL: "cancelling"}
    return waits.get(event, "running")
