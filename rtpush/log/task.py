"""Tasks: one version of each, and the rules for the events that change them; pure."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import orjson

from ..errors import RtpushError
from .growth import APPEND, SERVER_FIELDS, Grown, appends_of, grow, whole

__all__ = [
    "CANCEL",
    "CLAIMED",
    "CREATED",
    "ENDS",
    "MAX_NAME",
    "REQUEUED",
    "TASK_EVENTS",
    "Charges",
    "Cost",
    "Task",
    "changes_of",
    "check_progress",
    "cost_of",
    "fields_of",
    "fields_size",
    "key_of",
    "normalize",
    "task_key",
]

# The events that end a task, and the status it has from then on.
ENDS: Final = {
    "task_completed": "completed",
    "task_failed": "failed",
    "task_cancelled": "cancelled",
}
CREATED: Final = "task_created"
CANCEL: Final = "task_cancel"
CLAIMED: Final = "task_claimed"
REQUEUED: Final = "task_requeued"
TASK_EVENTS: Final = frozenset({CREATED, "task_progress", CANCEL, CLAIMED, REQUEUED, *ENDS})

# What an event does not simply set.
_NOT_SET: Final = SERVER_FIELDS | {"id", "room", "attempt", APPEND}

# Characters of an id, and of the name of a queue.
MAX_NAME: Final = 128
# What a page writes beside its bar, and some programs send as it stands there.
_PERCENT: Final = re.compile(r"\d{1,3}(\.\d{1,20})?%?", re.ASCII)
# Beyond this a JavaScript client no longer tells neighbouring integers apart.
_MAX_INTEGER: Final = 1 << 53


# Accounts, each with the bytes of a task that it pays for. The first began the task, and is
# there even if it pays for none; of a task that has ended, only that one is left.
Charges = tuple[tuple[str, int], ...]


class Task(NamedTuple):
    """One version of a task.

    `fields` are shared, never to be changed; those that grow are in pieces.
    `size` is the length of `data` as JSON. `born` and `number` say which
    event of the board made the task, and which this version. `time` is when
    that was, by the log's clock: for an ended task, its end. `unfolded`
    counts the JSON of the events since a version that a store is to keep as a
    whole; it is 0 for such a version.
    """

    key: str
    room: str | None
    fields: dict[str, Any]
    size: int
    born: int
    number: int
    time: float
    ended: bool
    charges: Charges
    unfolded: int = 0

    @property
    def data(self) -> dict[str, Any]:
        """What snapshots show, `id` and `room` included: not to be changed."""
        return {name: whole(value) for name, value in self.fields.items()}


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
    if isinstance(id_, str) and 0 < len(id_) <= MAX_NAME:
        return id_
    # bool is a kind of int in Python, and not in JSON.
    if isinstance(id_, int) and not isinstance(id_, bool) and abs(id_) <= _MAX_INTEGER:
        return str(id_)
    raise RtpushError(
        "bad_task", f'A task\'s "id" is a string of 1 to {MAX_NAME} characters or an integer.'
    )


def normalize(event: str, data: Any) -> Any:
    """The data of an event as it is logged: a task's progress `"45%"` is the number 45."""
    progress = data.get("progress") if event in TASK_EVENTS and isinstance(data, dict) else None
    if not isinstance(progress, str) or not _PERCENT.fullmatch(progress):
        return data
    number = float(progress.removesuffix("%"))
    return data | {"progress": int(number) if number.is_integer() else number}


def check_progress(fields: dict[str, Any]) -> None:
    if "progress" not in fields:
        return
    progress = fields["progress"]
    number = isinstance(progress, int | float) and not isinstance(progress, bool)
    # Written so that NaN, which compares false with everything, is refused.
    if not (number and 0 <= progress <= 100):
        raise RtpushError("bad_task", '"progress" is a number from 0 to 100, or like "45%".')


def changes_of(old: Task | None, fields: dict[str, Any], room: str | None) -> dict[str, Any]:
    """The fields that an event sets, and those that it appends to as they are then.

    A field called `room` is left out: in a snapshot it is the server's word
    on which clients see the task, not the sender's. So is what else the server
    sets, but for the owner, whom the first event has. The id stays as first given.
    Raises RtpushError (`bad_task`).
    """
    changes = {name: fields[name] for name in fields if name not in _NOT_SET}
    if old is None:
        changes = {name: fields[name] for name in ("id", "owner") if name in fields} | changes
    if old is None and room is not None:
        changes["room"] = room
    before = {} if old is None else old.fields
    for name, more in appends_of(fields).items():
        changes[name] = grow(name, before.get(name), more)
    return changes


class Cost(NamedTuple):
    """By how many bytes of JSON a task grows, and how many of them an event brings."""

    growth: int
    written: int


def cost_of(old: Task | None, changes: dict[str, Any]) -> Cost:
    """What changes cost; for a new task (None), its whole size."""
    if old is None:
        size = 1 + fields_size(changes)
        return Cost(size, size)
    replaced = {name: old.fields[name] for name in changes if name in old.fields}
    growth = fields_size(changes) - fields_size(replaced)
    grown = {name for name, value in changes.items() if isinstance(value, Grown)}
    kept = {name: value for name, value in replaced.items() if name not in grown}
    return Cost(growth, growth + fields_size(kept))


def fields_size(fields: dict[str, Any]) -> int:
    """The length of fields as JSON, with a comma or brace each."""
    # A grown value knows its length: `null` stands in its place.
    plain = {n: None if isinstance(value, Grown) else value for n, value in fields.items()}
    grown = sum(value.size - len("null") for value in fields.values() if isinstance(value, Grown))
    # An object is one byte longer than its fields.
    return len(orjson.dumps(plain)) - 1 + grown if fields else 0
