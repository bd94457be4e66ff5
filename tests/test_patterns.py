"""Patterns of names: only `*` is special."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpush.patterns import matches, matches_any


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("chat", "chat", True),
        ("chat", "chats", False),
        ("chat_*", "chat_", True),
        ("chat_*", "chat_line", True),
        ("chat_*", "chat", False),
        ("*", "", True),
        ("*:42", "room:42", True),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("ab*ba", "aba", False),
        ("*a*", "ab", True),
        ("*a*a*", "a", False),
        ("*ab*ab*", "aab", False),
        # What a shell would take for sets and single characters.
        ("chat[42]", "chat[42]", True),
        ("chat[42]", "chat4", False),
        ("chat?", "chat1", False),
        ("line*", "line\nbreak", True),
    ],
)
def test_whole_names_are_compared(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name) is expected


@given(st.text("ab*", max_size=8), st.text("ab", max_size=12))
def test_it_agrees_with_a_regular_expression(pattern: str, name: str) -> None:
    expression = ".*".join(map(re.escape, pattern.split("*")))
    assert matches(pattern, name) is (re.fullmatch(expression, name) is not None)


def test_any_of_several() -> None:
    assert matches_any(("x", "chat_*"), "chat_line")
    assert not matches_any((), "chat_line")
