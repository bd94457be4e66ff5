"""Tasks: one version of each, and the rules for the events that change them; pure."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson

from ..errors import RtpushError

__all__ = [
    "ENDS",
    "TASK_EVENTS",
    "Charges",
    "Task",
    "changes_of",
    "check_progress",
    "check_state",
    "fields_of",
    "fields_size",
    "growth_of",
    "key_of",
    "task_key",
]

# The events that end a task, and the status it has from then on.
ENDS: Final = {"task_completed": "completed", "task_failed": "failed"}
TASK_EVENTS: Final = frozenset({"task_created", "task_progress", *ENDS})

_MAX_ID: Final = 128
# Beyond this a JavaScript client no longer tells neighbouring integers apart.
_MAX_INTEGER: Final = 1 << 53


# Accounts, each with the bytes of a task that it pays for. The first began the task, and is
# there even if it pays for none.
Charges = tuple[tuple[str, int], ...]


class Task(NamedTuple):
    """One version of a task.

    `data` is what snapshots show, `id` and `room` included: shared, never to
    be changed. `size` is its length as JSON. `born` and `number` say which
    event of the board made the task, and which this version. `time` is when
    that was, in seconds since 1970: for an ended task, its end.
    """

    key: str
    room: str | None
    data: dict[str, Any]
    size: int
    born: int
    number: int
    time: float
    ended: bool
    charges: Charges


def task_key(data: object) -> str:
    """The normalised id of the task that an event's data is about.

    1 and "1" are the same task. Raises RtpushError (`bad_task`) unless data is
    an object whose `id` is a string of 1 to 128 characters or an integer
    within ±2**53.
    """
    return key_of(fields_of(data))


def fields_of(data: object) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise RtpushError("bad_task", 'The data of a task event is an object with an "id".')
    return data


def key_of(data: dict[str, Any]) -> str:
    id_ = data.get("id")
    if isinstance(id_, str) and 0 < len(id_) <= _MAX_ID:
        return id_
    # bool is a kind of int in Python, and not in JSON.
    if isinstance(id_, int) and not isinstance(id_, bool) and abs(id_) <= _MAX_INTEGER:
        return str(id_)
    raise RtpushError(
        "bad_task", f'A task\'s "id" is a string of 1 to {_MAX_ID} characters or an integer.'
    )


def check_progress(fields: dict[str, Any]) -> None:
    if "progress" not in fields:
        return
    progress = fields["progress"]
    number = isinstance(progress, int | float) and not isinstance(progress, bool)
    # Written so that NaN, which compares false with everything, is refused.
    if not (number and 0 <= progress <= 100):
        raise RtpushError("bad_task", '"progress" is a number from 0 to 100.')


def check_state(event: str, old: Task, room: str | None) -> None:
    if old.room != room:
        raise RtpushError("bad_task", "A task with this id belongs to another room.")
    if old.ended:
        raise RtpushError("task_finished", "This task has ended already.")
    if event == "task_created":
        raise RtpushError("task_exists", "A task with this id is active already.")


def changes_of(old: Task | None, fields: dict[str, Any], room: str | None) -> dict[str, Any]:
    """The fields that an event sets.

    A field called `room` is left out: in a snapshot it is the server's word
    on which clients see the task, not the sender's. The id stays as first given.
    """
    if old is not None:
        return {name: fields[name] for name in fields if name not in ("id", "room")}
    first = {name: fields[name] for name in fields if name != "room"}
    return first if room is None else first | {"room": room}


def growth_of(old: Task | None, changes: dict[str, Any]) -> int:
    """By how many bytes of JSON a task grows; from None, the whole size."""
    if old is None:
        return 1 + fields_size(changes)
    replaced = {name: old.data[name] for name in changes if name in old.data}
    return fields_size(changes) - fields_size(replaced)


def fields_size(fields: dict[str, Any]) -> int:
    # An object is one byte longer than its fields with a comma or brace each.
    return len(orjson.dumps(fields)) - 1 if fields else 0
