"""Text that is safe to print in a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpush.terminal.text import escape


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a lake", "a lake"),
        ("山间的湖 é 🎨", "山间的湖 é 🎨"),
        ("one\ntwo\tthree", "one two three"),
        ("\033[2Jgone", "\\x1b[2Jgone"),
        ("\u009b31m", "\\x9b31m"),
        ("abc\u202ecba", "abc\\u202ecba"),
    ],
)
def test_control_characters_are_written_out(text: str, shown: str) -> None:
    assert escape(text) == shown


@given(st.text())
def test_nothing_else_is_left(text: str) -> None:
    assert escape(text).isprintable()
