"""Fields that grow: text and lists that events append to; pure.

Rules that hold here:

- Appending costs what is appended, however long the field is. A grown value is a chain of
  pieces, each at least twice as long as the next: an element is copied O(log n) times, and
  many small pieces do not stay many small objects.
- Values are immutable, so that versions of a task share their pieces.
- The same rules merge events that were not delivered yet: the merged event has the same
  effect on a task as the events in a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import orjson

from ..errors import RtpushError

__all__ = ["APPEND", "SERVER_FIELDS", "Grown", "appends_of", "grow", "merge_data", "whole"]

# The field of an event that holds what is appended.
APPEND: Final = "append"

# Fields of a task that only the server sets.
SERVER_FIELDS: Final = frozenset(
    {"status", "owner", "lost", "createdAt", "startedAt", "cancelAt", "endTime"}
)
# What has a meaning of its own, and is not text.
_FIXED: Final = ("id", "room", "progress", "queue", "attempt", APPEND, *sorted(SERVER_FIELDS))

Piece = str | list[Any]


class Grown(NamedTuple):
    """A value in pieces: the last one, and those before it.

    `size` is the length of the whole value as JSON.
    """

    before: Grown | None
    piece: Any
    size: int


def appends_of(fields: Mapping[str, Any]) -> dict[str, Piece]:
    """What an event appends, by field. Raises RtpushError (`bad_task`)."""
    appends = fields.get(APPEND)
    if appends is None:
        return {}
    if not isinstance(appends, dict) or not all(
        isinstance(more, str | list) and name not in _FIXED for name, more in appends.items()
    ):
        raise RtpushError(
            "bad_task",
            '"append" holds a string or an array for each field: {"text": "more"}; '
            f"not for {', '.join(_FIXED)}.",
        )
    if not fields.keys().isdisjoint(appends):
        raise RtpushError("bad_task", "An event sets a field or appends to it, not both.")
    return appends


def grow(name: str, value: object, more: Piece) -> Grown:
    """The field's value with more appended. Raises RtpushError (`bad_task`)."""
    before = value if isinstance(value, Grown) else None
    if before is None and value is not None:
        before = Grown(None, value, len(orjson.dumps(value)))
    added = len(orjson.dumps(more))
    if before is None:
        return Grown(None, more, added)
    if type(before.piece) is not type(more):
        raise RtpushError(
            "bad_task",
            f'"append" cannot add to "{name}": the task has another kind of value there.',
        )
    return _joined(before, more, _grown_size(before, more, added))


def _grown_size(before: Grown, more: Piece, added: int) -> int:
    # Quotes or brackets are there once, and a comma stands between elements.
    comma = isinstance(more, list) and bool(more) and before.size > len("[]")
    return before.size + added - 2 + comma


def _joined(before: Grown, more: Any, size: int) -> Grown:
    left: Grown | None = before
    while left is not None and len(left.piece) < 2 * len(more):
        more = left.piece + more
        left = left.before
    # Nothing was appended, or all that there was is empty.
    return Grown(left, more, size) if more or left is None else left


def whole(value: Any) -> Any:
    """A field's value as clients see it."""
    if not isinstance(value, Grown):
        return value
    pieces = [*_pieces(value)][::-1]
    if isinstance(value.piece, str):
        return "".join(pieces)
    return [element for piece in pieces for element in piece]


def _pieces(value: Grown | None) -> Iterator[Any]:
    while value is not None:
        yield value.piece
        value = value.before


def merge_data(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """The data of one `task_progress` that has the effect of two that came in a row."""
    fields = {name: value for name, value in (first | second).items() if name != APPEND}
    appends = {name: more for name, more in appends_of(first).items() if name not in second}
    for name, more in appends_of(second).items():
        # What the first event has set grows at once.
        into = fields if name in fields else appends
        before: Any = into.get(name)
        into[name] = more if before is None else before + more
    # 1 and "1" are the same task, which keeps the id that began it.
    return fields | {"id": first["id"], APPEND: appends}
