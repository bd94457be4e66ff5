"""Text in a terminal, and the board of tasks as lines of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpush.terminal.task_table import Overview
from rtpush.terminal.text import fit, plain, width_of


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
def test_what_a_terminal_would_obey_is_written_out(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("lake", 6, "lake  "),
        ("lake", 4, "lake"),
        ("lakes", 4, "lak…"),
        ("山间的湖", 8, "山间的湖"),
        ("山间的湖", 7, "山间的…"),
        ("山间的湖", 6, "山间… "),
        ("cafe\u0301", 5, "cafe\u0301 "),
        ("lake", 1, "…"),
        ("lake", 0, ""),
        ("lake", -3, ""),
    ],
)
def test_cells(text: str, width: int, shown: str) -> None:
    assert fit(text, width) == shown
    assert width_of(fit(text, width)) == max(0, width)


@given(st.text(), st.integers(0, 40))
def test_it_always_fits(text: str, width: int) -> None:
    assert plain(text).isprintable()
    assert width_of(fit(plain(text), width)) == width


# ---- the board ---------------------------------------------------------------

BEGUN = 1_759_500_000.0


def board() -> Overview:
    found = Overview()
    ended = {"id": 1, "formData": {"prompt": "a hill"}, "startTime": BEGUN * 1000}
    ended |= {"endTime": BEGUN * 1000 + 65_000, "status": "failed", "error": "out of paint"}
    found.take("active_tasks", {"tasks": [], "finished": [ended]}, BEGUN)
    made = {"id": "2", "formData": {"prompt": "山间的湖"}, "startTime": BEGUN * 1000}
    found.take("task_created", made, BEGUN)
    found.take("task_progress", {"id": 2, "progress": 50, "message": "water"}, BEGUN)
    found.take("task_created", {"id": "odd", "formData": 5, "startTime": "x"}, BEGUN)
    return found


def test_a_table() -> None:
    assert list(board().table(BEGUN + 12)) == [
        "STATUS  DONE  TIME  TITLE     MESSAGE",
        "active  50%   0:12  山间的湖  water",
        "active              odd",
        "failed        1:05  a hill    out of paint",
    ]


def test_how_tasks_end() -> None:
    found = board()
    found.take("task_completed", {"id": "2", "result": 1}, BEGUN + 20)
    found.take("task_failed", {"id": "odd", "error": "eaten"}, BEGUN + 21)
    # Nobody has heard of these two; and what is no task of the board's.
    found.take("task_progress", {"id": "late", "progress": 1}, BEGUN)
    found.take("task_failed", {"id": "later", "error": "lost"}, BEGUN + 22)
    found.take("task_created", "not a task", BEGUN)
    rows = [(r.status, r.clock, r.title, r.message) for r in found.rows(BEGUN + 99)]
    assert rows == [
        ("active", "", "late", ""),
        ("failed", "", "later", "lost"),
        ("failed", "", "odd", "eaten"),
        ("completed", "0:20", "山间的湖", "water"),
        ("failed", "1:05", "a hill", "out of paint"),
    ]


def test_a_snapshot_takes_the_place_of_all() -> None:
    found = board()
    found.take("active_tasks", {"tasks": [], "finished": []}, BEGUN)
    assert found.tasks() == []


def test_a_snapshot_of_a_room_takes_the_place_of_what_is_in_it() -> None:
    found = board()
    found.take("task_created", {"id": "there"}, BEGUN, "attic")
    found.take("task_created", {"id": "gone"}, BEGUN, "attic")
    task = {"id": "there", "room": "attic"}
    found.take("active_tasks", {"tasks": [task], "finished": []}, BEGUN, "attic")
    assert [task["id"] for task in found.tasks()] == [2, "odd", "there", 1]


def test_a_small_screen() -> None:
    lines = list(board().screen(BEGUN + 12, 60, 10, False))
    assert [width_of(line) for line in lines] == [60] * 4
    assert lines[0].rstrip() == "2 active, 1 ended"
    assert lines[1].rstrip() == " 50% ━━━━━━┈┈┈┈┈┈     0:12  山间的湖  water"
    assert lines[3].rstrip() == "failed                1:05  a hill    out of paint"
    few = list(board().screen(BEGUN + 12, 60, 3, False))
    assert [line.rstrip() for line in few][0::2] == ["2 active, 1 ended", "… and 2 more"]
    for columns in range(60):
        assert len(list(board().screen(BEGUN, columns, 3, False))) == 3


@pytest.mark.parametrize("begun", [0, -5e300, 5e300])
def test_a_task_that_does_not_know_when_it_has_begun(begun: float) -> None:
    found = Overview()
    found.take("task_created", {"id": "a", "startTime": begun}, BEGUN)
    _, line = found.screen(BEGUN, 60, 10, False)
    assert width_of(line) == 60


def test_colours() -> None:
    def seen(colour: bool) -> str:
        return "\n".join(board().screen(BEGUN, 60, 10, colour))

    assert "\033" not in seen(False)
    assert "\033[31mfailed" in seen(True)


@given(st.recursive(st.none() | st.booleans() | st.floats(0, 100) | st.text(), st.lists))
def test_fields_may_hold_anything(value: Any) -> None:
    found = Overview()
    task = dict.fromkeys(("formData", "message", "startTime", "endTime", "status", "mode"), value)
    found.take("active_tasks", {"tasks": [{"id": 1, **task}], "finished": []}, 0.0)
    assert len(list(found.table(0.0))) == 2
    assert len(list(found.screen(0.0, 80, 24, True))) == 2
