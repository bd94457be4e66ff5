"""The task table: what it holds, and how a terminal and a pipe show it."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from rtpush.terminal.task_table import TaskTable
from rtpush.terminal.task_view import columns, screen

START = 1_759_500_000.0


def example() -> TaskTable:
    table = TaskTable()
    ended = {"id": 1, "formData": {"prompt": "a hill"}, "startTime": START * 1000}
    ended |= {"endTime": START * 1000 + 65_000, "status": "failed", "error": "out of paint"}
    table.apply("active_tasks", {"tasks": [], "finished": [ended]}, START)
    made = {"id": "2", "formData": {"prompt": "山间的湖"}, "startTime": START * 1000}
    table.apply("task_created", made, START)
    table.apply("task_progress", {"id": 2, "progress": 50, "message": "water"}, START)
    table.apply("task_created", {"id": "odd", "formData": 5, "startTime": "x"}, START)
    return table


def rendered(
    table: TaskTable, now: float, width: int, height: int, colours: str | None = None
) -> list[str]:
    """The lines that a terminal of this size gets."""
    out = io.StringIO()
    console = Console(
        file=out, width=width, height=height, force_terminal=bool(colours), color_system=colours
    )
    console.print(screen(table, now, width, height))
    return out.getvalue().splitlines()


def test_columns() -> None:
    assert list(columns(example().rows(START + 12))) == [
        "STATUS   DONE  TIME  TITLE     MESSAGE",
        "running  50%   0:12  山间的湖  water",
        "queued               odd",
        "failed         1:05  a hill    out of paint",
    ]


def test_columns_cut_nothing() -> None:
    table = TaskTable()
    table.apply("task_created", {"id": "a", "message": "lake " * 10_000}, START)
    _, line = columns(table.rows(START))
    assert line.endswith(("lake " * 10_000).rstrip())


def test_how_tasks_end() -> None:
    table = example()
    table.apply("task_completed", {"id": "2", "result": 1}, START + 20)
    table.apply("task_failed", {"id": "odd", "error": "eaten"}, START + 21)
    # The ids of these two are unknown; the last is no task.
    table.apply("task_progress", {"id": "late", "progress": 1}, START)
    table.apply(
        "task_failed", {"id": "later", "error": {"code": "lost", "message": "lost"}}, START + 22
    )
    table.apply("task_created", "not a task", START)
    rows = [(r.status, r.run_time, r.title, r.message) for r in table.rows(START + 99)]
    assert rows == [
        ("running", "", "late", ""),
        ("failed", "", "later", "lost"),
        ("failed", "", "odd", "eaten"),
        ("completed", "0:20", "山间的湖", "water"),
        ("failed", "1:05", "a hill", "out of paint"),
    ]


def test_titles_and_cancelled_tasks() -> None:
    table = TaskTable()
    table.apply("task_created", {"id": "a", "title": "Backup"}, START)
    table.apply("task_cancel", {"id": "a", "reason": "enough"}, START)
    assert [row.status for row in table.rows(START)] == ["cancelling"]
    table.apply("task_cancelled", {"id": "a", "message": "half"}, START)
    table.apply("task_failed", {"id": "b", "formData": {"title": "Tests"}, "error": "x"}, START)
    rows = [(r.status, r.title, r.message) for r in table.rows(START)]
    assert rows == [("failed", "Tests", "x"), ("cancelled", "Backup", "enough")]
    table.apply("task_created", {"id": "a", "title": "Backup"}, START)
    rows = [(r.status, r.title, r.message) for r in table.rows(START)]
    assert rows == [("queued", "Backup", ""), ("failed", "Tests", "x")]


def test_a_snapshot_replaces_all() -> None:
    table = example()
    table.apply("active_tasks", {"tasks": [], "finished": []}, START)
    assert list(table.tasks()) == []


def test_a_snapshot_of_a_room_replaces_what_is_in_it() -> None:
    table = example()
    table.apply("task_created", {"id": "there"}, START, "attic")
    table.apply("task_created", {"id": "gone"}, START, "attic")
    task = {"id": "there", "room": "attic"}
    table.apply("active_tasks", {"tasks": [task], "finished": []}, START, "attic")
    assert [task["id"] for task in table.tasks()] == [2, "odd", "there", 1]


def test_a_screen() -> None:
    lines = rendered(example(), START + 12, 60, 10)
    assert [line.rstrip() for line in lines] == [
        "2 active, 1 finished",
        "━━━━━━         50%     0:12  山间的湖  water",
        "queued                       odd",
        "failed                 1:05  a hill    out of paint",
    ]
    few = rendered(example(), START + 12, 60, 3)
    assert [line.rstrip() for line in few][0::2] == ["2 active, 1 finished", "… and 2 more"]


@pytest.mark.parametrize("width", range(1, 60))
def test_every_terminal_is_wide_enough(width: int) -> None:
    lines = rendered(example(), START, width, 3)
    assert len(lines) == 3
    assert all(cell_len(line) <= width for line in lines)


@pytest.mark.parametrize(
    ("title", "cells"),
    [
        ("山间的湖", 8),
        ("cafe\u0301", 4),
        ("ที่นี่น้ำ", 4),
        ("नमस्ते", 4),
        ("\u1112\u1161\u11ab", 2),
        ("👍🏽", 2),
    ],
    ids=["Chinese", "accent", "Thai", "Hindi", "Hangul", "emoji"],
)
def test_columns_line_up_in_every_script(title: str, cells: int) -> None:
    table = TaskTable()
    for name in ("ten letters", title):
        task = {"id": name, "formData": {"prompt": name}, "message": "|"}
        table.apply("task_created", task, START)
    _, _, line = rendered(table, START, 90, 10)
    assert line.partition(title)[2].index("|") == len("ten letters") - cells + 2


@pytest.mark.parametrize("begun", [0, -5e300, 5e300])
def test_a_start_time_that_cannot_be(begun: float) -> None:
    table = TaskTable()
    table.apply("task_created", {"id": "a", "startTime": begun}, START)
    [row] = table.rows(START)
    assert row.run_time in ("", "0:00")


def test_colours() -> None:
    assert not any("\033" in line for line in rendered(example(), START, 60, 10))
    assert any("\033[31mfailed" in line for line in rendered(example(), START, 60, 10, "standard"))


HOSTILE = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(0, 100)
    | st.text()
    | st.sampled_from(["\033[2J", "[red]"]),
    st.lists,
)


@given(HOSTILE)
def test_fields_may_hold_anything(value: Any) -> None:
    table = TaskTable()
    task = dict.fromkeys(("formData", "message", "startTime", "endTime", "status", "mode"), value)
    task |= {"formData": {"prompt": value}, "error": value}
    table.apply("active_tasks", {"tasks": [{"id": 1, **task}], "finished": []}, 0.0)
    assert len(list(columns(table.rows(0.0)))) == 2
    lines = rendered(table, 0.0, 80, 24, "standard")
    assert len(lines) == 2
    # Colours are all that a terminal is told.
    assert "".join(re.sub(r"\033\[[\d;]*m", "", line) for line in lines).isprintable()
