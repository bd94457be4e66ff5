"""Rules of rooms: how they are given, and what is refused in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rtpush.config import ConfigError, Settings
from rtpush.config.room_rules import NO_RULE, RoomRule, describe, first_rule, rules_table
from rtpush.config.sources import load

ROOT = Path(__file__).parents[2]


def test_tables_of_a_file_are_rules_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "rtpush.toml").write_text(
        '[rooms."chat:1"]\nenter = "anyone"\n'
        '[rooms."chat:*"]\nhistory_age = "1h"\nevents = "a, b"\n'
    )
    rules = load([], {}, tmp_path).rooms
    assert rules == (
        RoomRule("chat:1", enter="anyone"),
        RoomRule("chat:*", history_age=3600.0, events=("a", "b")),
    )
    assert first_rule(rules, "chat:1") is rules[0]
    assert first_rule(rules, "chat:2") is rules[1]
    assert first_rule(rules, "chat") is NO_RULE


@pytest.mark.parametrize(
    ("rooms", "problem"),
    [
        ({"a": {"entr": "anyone"}}, 'rooms."a": unknown key entr; did you mean enter?'),
        ({"a": {"xyzzy": 1}}, 'rooms."a": unknown key xyzzy; a rule has enter, events, '),
        (
            {"a": {"enter": "tokn"}},
            "rooms.\"a\".enter: 'tokn' is not anyone, token or handler; did",
        ),
        ({"a": {"history_count": -1}}, 'rooms."a".history_count: -1 is not a whole number from 0'),
        ({"a": 5}, 'rooms."a": a rule is a table'),
        ({"": {}}, 'rooms."": a room\'s name or pattern has 1 to 128 characters'),
        ({5: {}}, "rooms: a room's name"),
        ({"chat:*": {}, "chat:a*": {}}, 'rooms."chat:a*": it never applies, since "chat:*" comes'),
        ("{", "rooms: '{' is not rules by room or pattern"),
        (["a"], "rooms: ['a'] is not rules by room or pattern"),
    ],
)
def test_a_bad_rule_is_refused_by_name(rooms: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(rooms=rooms)
    assert [p[: len(problem)] for p in caught.value.problems] == [problem]


def test_all_that_is_wrong_in_rules_comes_at_once() -> None:
    rooms: Any = {"a": {"presence": 1, "conflate": 2}, "b": {"x": 1}}
    with pytest.raises(ConfigError) as caught:
        Settings(rooms=rooms, port=-1)
    assert len(caught.value.problems) == 4


def test_a_rule_is_described_in_full() -> None:
    lines = describe(RoomRule("a", events=(), history_age=60.0, volatile=True))
    assert [line.split(maxsplit=1) for line in lines] == [
        ["enter", "as on the whole server"],
        ["events", "none"],
        ["history_count", "as on the whole server"],
        ["history_age", "60s"],
        ["rewind", "true"],
        ["presence", "true"],
        ["volatile", "true"],
        ["conflate", "true"],
    ]


def test_the_page_lists_every_key() -> None:
    assert rules_table() in (ROOT / "docs/how-to/rooms-with-rules.md").read_text()
