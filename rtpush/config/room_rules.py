"""Rules of rooms: what a rule may say, and how it is given, checked and shown.

Rules that hold here:

- A key is one field of `RoomRule`: its name, default, kind and help stand there, and the
  table of the documentation is made from them. `RoomOptions` has the types for programs.
- The first rule whose pattern fits a room is the room's rule. A rule that could never be the
  first is refused: its author believes that it holds.
- None means that the rule says nothing, and the server's own settings hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, TypedDict, TypeVar, cast

from ..patterns import matches
from .kinds import PATTERNS, SWITCH, Faults, Kind, choice, count, did_you_mean, duration

__all__ = [
    "KEYS",
    "NO_RULE",
    "ROOMS",
    "RoomOptions",
    "RoomRule",
    "describe",
    "first_rule",
    "rules_table",
]

T = TypeVar("T")

Enter = Literal["anyone", "token", "handler"]

# A look at a room whose rule counts events may read as many of them from the store.
MAX_HISTORY: Final = 10_000


class RoomOptions(TypedDict, total=False):
    """A rule as programs give it. Durations are seconds or text like "30d"."""

    enter: Enter
    events: str | Sequence[str]
    history_count: int
    history_age: float | str
    rewind: bool
    presence: bool
    volatile: bool
    conflate: bool


def _key(default: T, kind: Kind[Any], help: str) -> T:
    return field(default=default, metadata={"kind": kind, "help": help})


@dataclass(frozen=True, slots=True)
class RoomRule:
    """One rule, checked. `pattern` says for which rooms."""

    pattern: str
    enter: Enter | None = _key(
        None,
        choice("anyone", "token", "handler"),
        "who decides about a client that enters: nobody, its token alone, or the `join` handler "
        "alone",
    )
    events: tuple[str, ...] | None = _key(
        None,
        PATTERNS,
        "events that clients may send into the room, task events included, in place of `relay`",
    )
    history_count: int | None = _key(
        None, count(0, MAX_HISTORY), "newest events that a client may be given of the past"
    )
    history_age: float | None = _key(
        None, duration(1), "how old the events of the past may be that a client is given"
    )
    rewind: bool = _key(
        True, SWITCH, "may clients ask for what happened before, by `rewind` and `history`?"
    )
    presence: bool = _key(True, SWITCH, "may clients be present in the room, and see who is?")
    volatile: bool = _key(
        False, SWITCH, "log no event of the room: only those hear it who are connected"
    )
    conflate: bool = _key(
        True, SWITCH, "may an event that a newer one of its `key` supersedes be left out?"
    )


# What holds in a room that no pattern fits.
NO_RULE: Final = RoomRule("")


def first_rule(rules: Sequence[RoomRule], room: str) -> RoomRule:
    """The rule that holds in a room."""
    return next((rule for rule in rules if matches(rule.pattern, room)), NO_RULE)


_KEYS: Final = {f.name: f for f in fields(RoomRule) if f.metadata}
KEYS: Final = tuple(_KEYS)


def _accept(value: object) -> tuple[RoomRule, ...]:
    """Rules of a table by pattern. Raises Faults with all that is wrong in them."""
    if isinstance(value, tuple) and all(isinstance(rule, RoomRule) for rule in value):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(value)
    faults: list[str] = []
    rules = [_rule(pattern, given, faults) for pattern, given in value.items()]
    faults += [fault for number in range(len(rules)) for fault in _shadowed(rules, number)]
    if faults:
        raise Faults(faults)
    return tuple(rules)


def _rule(pattern: object, given: object, faults: list[str]) -> RoomRule:
    where = f".{json.dumps(pattern, ensure_ascii=False)}" if isinstance(pattern, str) else ""
    if not isinstance(pattern, str) or not 0 < len(pattern) <= 128:
        faults.append(f"{where}: a room's name or pattern has 1 to 128 characters")
        return NO_RULE
    if not isinstance(given, Mapping):
        faults.append(f'{where}: a rule is a table, like {{enter = "anyone"}}')
        return RoomRule(pattern)
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in _KEYS:
            faults.append(f"{where}: {_unknown(str(name))}")
            continue
        kind: Kind[Any] = _KEYS[name].metadata["kind"]
        try:
            values[name] = kind.take(value)
        except ValueError as exc:
            faults.append(f"{where}.{name}: {kind.refusal(value, exc)}")
    return RoomRule(pattern, **values)


def _unknown(name: str) -> str:
    return f"unknown key {name}; {did_you_mean(name, KEYS) or 'a rule has ' + ', '.join(KEYS)}"


def _shadowed(rules: Sequence[RoomRule], number: int) -> list[str]:
    # A pattern that fits another pattern's text fits every name that the other one fits.
    pattern = rules[number].pattern
    first = next((rule for rule in rules[:number] if matches(rule.pattern, pattern)), None)
    if first is None:
        return []
    return [f'."{pattern}": it never applies, since "{first.pattern}" comes first; move it up']


def _parse(text: str) -> tuple[RoomRule, ...]:
    return _accept(json.loads(text) if text.strip() else {})


def _show(rules: Sequence[RoomRule]) -> str:
    return json.dumps({rule.pattern: _given_of(rule) for rule in rules}) if rules else ""


def _given_of(rule: RoomRule) -> dict[str, Any]:
    """The keys of a rule that it says something about."""
    values = {name: getattr(rule, name) for name in KEYS}
    return {name: value for name, value in values.items() if value != _KEYS[name].default}


ROOMS: Final = cast(
    "Kind[tuple[RoomRule, ...]]",
    Kind(
        "JSON",
        "rules by room or pattern: tables in rtpush.toml, else the same as JSON",
        _parse,
        _accept,
        _show,
    ),
)


def rules_table() -> str:
    """The keys of a rule as Markdown."""
    rows = ["| key | default | allowed | meaning |", "|---|---|---|---|"]
    for name, key in _KEYS.items():
        kind: Kind[Any] = key.metadata["kind"]
        default = "none" if key.default is None else kind.show(key.default)
        rows.append(f"| `{name}` | `{default}` | {kind.allowed} | {key.metadata['help']} |")
    return "\n".join(rows)


def describe(rule: RoomRule) -> list[str]:
    """What holds by a rule, a line for each key, for `rtpush check --room`."""
    lines = []
    for name, key in _KEYS.items():
        value, kind = getattr(rule, name), key.metadata["kind"]
        shown = "as on the whole server" if value is None else kind.show(value) or "none"
        lines.append(f"  {name:<13}  {shown}")
    return lines
