"""The task board, rule by rule, and against a model that is naive on purpose."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpush.errors import RtpushError
from rtpush.log.accounts import APPLICATION, LOCAL_CLIENTS, account_of_client, is_client
from rtpush.log.board import TaskBoard
from rtpush.log.board_index import TaskPage
from rtpush.log.entry import Draft
from rtpush.log.pages import PAGE_BYTES, Page
from rtpush.log.task import TASK_EVENTS, Task, task_key
from rtpush.log.task_rows import TaskRow, rows_of, task_row
from rtpush.log.task_states import SERVER, Sender

CREATED, PROGRESS, CANCEL, COMPLETED, FAILED, CANCELLED = (
    "task_created",
    "task_progress",
    "task_cancel",
    "task_completed",
    "task_failed",
    "task_cancelled",
)
CLAIMS = {"task_claimed", "task_requeued"}
# The server's words, which most tests here are not about.
SERVER_FIELDS = ("status", "owner", "createdAt", "startedAt", "cancelAt", "endTime")


def said(task: dict[str, Any]) -> dict[str, Any]:
    """A task without what the server says of it."""
    return {name: task[name] for name in task if name not in SERVER_FIELDS}


def refusal(
    board: Any, event: str, data: object, room: str | None = None, account: str = APPLICATION
) -> str | None:
    try:
        board.check(event, data, room, account)
    except RtpushError as error:
        return error.code
    return None


def put(
    board: TaskBoard, event: str, data: object, room: str | None = None, time: float = 0.0
) -> None:
    board.check(event, data, room)
    assert board.apply(event, data, room, time) == task_key(data)


def ids(tasks: list[dict[str, Any]]) -> list[object]:
    return [task["id"] for task in tasks]


@pytest.fixture
def board() -> TaskBoard:
    return TaskBoard()


# -------------------------------------------------------------------- rules


def test_the_events() -> None:
    assert {CREATED, PROGRESS, CANCEL, *CLAIMS, COMPLETED, FAILED, CANCELLED} == TASK_EVENTS


@pytest.mark.parametrize(
    ("id_", "key"),
    [("a", "a"), (1, "1"), ("1", "1"), (-(2**53), str(-(2**53))), ("任" * 128, "任" * 128)],
)
def test_keys(id_: object, key: str) -> None:
    assert task_key({"id": id_}) == key


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "a",
        {},
        {"id": None},
        {"id": ""},
        {"id": "a" * 129},
        {"id": True},
        {"id": 1.0},
        {"id": 2**53 + 1},
        {"id": ["a"]},
    ],
)
def test_bad_ids(board: TaskBoard, data: object) -> None:
    with pytest.raises(RtpushError, match="bad_task"):
        task_key(data)
    for event in TASK_EVENTS:
        assert refusal(board, event, data) == "bad_task"
        assert board.apply(event, data, None, 0.0) is None


def test_other_events_are_none_of_its_business(board: TaskBoard) -> None:
    assert refusal(board, "chat", {"id": None}) is None
    assert board.apply("chat", {"id": "a"}, None, 0.0) is None
    assert len(board) == 0


def test_created_is_stored_and_copied(board: TaskBoard) -> None:
    data = {"id": 7, "mode": "weave", "formData": {"__proto__": {"x": 1}}}
    put(board, CREATED, data)
    data["mode"] = "changed"
    (task,) = board.snapshot((), 0.0)["tasks"]
    assert said(task) == {"id": 7, "mode": "weave", "formData": {"__proto__": {"x": 1}}}


def test_the_first_of_two_births_stays(board: TaskBoard) -> None:
    put(board, CREATED, {"id": 1, "mode": "first"})
    assert refusal(board, CREATED, {"id": "1", "mode": "second"}) == "task_exists"
    assert board.apply(CREATED, {"id": "1", "mode": "second"}, None, 0.0) is None
    assert said(board.snapshot((), 0.0)["tasks"][0]) == {"id": 1, "mode": "first"}


def test_progress_merges_and_keeps_the_id(board: TaskBoard) -> None:
    put(board, CREATED, {"id": 1, "mode": "m"})
    put(board, PROGRESS, {"id": "1", "progress": 50, "serverTaskId": "s"})
    put(board, PROGRESS, {"id": "1", "progress": 75.5})
    expected = {"id": 1, "mode": "m", "progress": 75.5, "serverTaskId": "s"}
    assert [said(task) for task in board.snapshot((), 0.0)["tasks"]] == [expected]


def test_proto_is_a_plain_key(board: TaskBoard) -> None:
    put(board, PROGRESS, {"id": 1, "__proto__": {"admin": True}, "__class__": "x"})
    assert board.snapshot((), 0.0)["tasks"][0]["__proto__"] == {"admin": True}


def test_progress_of_an_unknown_id_creates(board: TaskBoard) -> None:
    put(board, PROGRESS, {"id": "a", "progress": 1})
    assert board.is_active("a")
    assert refusal(board, CREATED, {"id": "a"}) == "task_exists"


@pytest.mark.parametrize("event", sorted(TASK_EVENTS))
@pytest.mark.parametrize(
    "progress", [None, True, "50", -0.1, 100.1, float("nan"), float("inf"), [], 10**400]
)
def test_bad_progress(board: TaskBoard, event: str, progress: object) -> None:
    assert refusal(board, event, {"id": "a", "progress": progress}) == "bad_task"
    assert board.apply(event, {"id": "a", "progress": progress}, None, 0.0) is None


@pytest.mark.parametrize("progress", [0, 100, 0.0, 100.0, 33.3])
def test_good_progress(board: TaskBoard, progress: float) -> None:
    assert refusal(board, PROGRESS, {"id": "a", "progress": progress}) is None


@pytest.mark.parametrize(
    ("event", "status"),
    [(COMPLETED, "completed"), (FAILED, "failed"), (CANCELLED, "cancelled")],
)
def test_the_end(board: TaskBoard, event: str, status: str) -> None:
    put(board, CREATED, {"id": "a", "status": "new"})
    put(board, event, {"id": "a", "result": 1, "status": "forged", "endTime": 0}, time=12.3456)
    ended = {"id": "a", "status": status, "result": 1, "createdAt": 0, "endTime": 12346}
    assert board.snapshot((), 13.0) == {"tasks": [], "finished": [ended]}
    assert len(board) == 0
    for later in TASK_EVENTS - {CREATED}:
        assert refusal(board, later, {"id": "a"}) == "task_finished"
        assert board.apply(later, {"id": "a"}, None, 13.0) is None


def test_an_ended_task_makes_way_for_one_that_is_created() -> None:
    board = TaskBoard(max_finished=2)
    for n in range(2):
        put(board, COMPLETED, {"id": n, "result": n})
    put(board, CREATED, {"id": 0, "mode": "again"})
    (task,) = board.snapshot((), 0.0)["tasks"]
    assert task == {"id": 0, "mode": "again", "status": "queued", "createdAt": 0}
    assert ids(board.snapshot((), 0.0)["finished"]) == [1]
    # The one that is gone holds no place.
    put(board, COMPLETED, {"id": 2})
    assert ids(board.snapshot((), 0.0)["finished"]) == [2, 1]


def test_a_fork_begins_a_task_whose_id_its_parent_holds_as_finished() -> None:
    board = TaskBoard(max_finished=2)
    for n in range(2):
        put(board, COMPLETED, {"id": n})
    fork = board.fork()
    put(fork, CREATED, {"id": 0})
    put(fork, COMPLETED, {"id": 2})
    grandchild = fork.fork()
    assert [task.key for task in grandchild.all_finished(0.0)] == ["2", "1"]
    put(grandchild, COMPLETED, {"id": 3})
    assert [task.key for task in grandchild.all_finished(0.0)] == ["3", "2"]
    assert [task.key for task in board.all_finished(0.0)] == ["1", "0"]


def test_ids_that_are_used_again_hold_no_memory(board: TaskBoard) -> None:
    for _ in range(5000):
        put(board, CREATED, {"id": 0})
        put(board, COMPLETED, {"id": 0})
    assert len(board._finished) == 1


def test_the_end_of_an_unknown_task_is_kept(board: TaskBoard) -> None:
    put(board, FAILED, {"id": "a", "error": "x"})
    assert ids(board.snapshot((), 0.0)["finished"]) == ["a"]


def test_finished_are_newest_first_and_fade(board: TaskBoard) -> None:
    for n in range(3):
        put(board, COMPLETED, {"id": n}, time=n * 300.0)
    assert ids(board.snapshot((), 600.0)["finished"]) == [2, 1, 0]
    assert ids(board.snapshot((), 600.1)["finished"]) == [2, 1]
    put(board, CREATED, {"id": "x"}, time=601.0)
    assert board.get("0") is None
    put(board, CREATED, {"id": 0}, time=602.0)


# ------------------------------------------------------------------- states


def test_a_task_is_queued_runs_and_ends(board: TaskBoard) -> None:
    put(board, CREATED, {"id": 1}, time=1.0)
    assert board.all_active()[0].data == {"id": 1, "status": "queued", "createdAt": 1000}
    for time in (2.0, 3.0):
        put(board, PROGRESS, {"id": 1, "status": "forged", "createdAt": 5}, time=time)
    assert board.all_active()[0].data == {
        "id": 1,
        "status": "running",
        "createdAt": 1000,
        "startedAt": 2000,
    }
    put(board, CANCEL, {"id": 1, "reason": "enough"}, time=4.0)
    assert refusal(board, PROGRESS, {"id": 1}) == "task_cancelling"
    put(board, CANCEL, {"id": 1}, time=5.0)
    put(board, COMPLETED, {"id": 1}, time=6.0)
    assert board.all_finished(6.0)[0].data == {
        "id": 1,
        "reason": "enough",
        "status": "completed",
        "createdAt": 1000,
        "startedAt": 2000,
        "cancelAt": 4000,
        "endTime": 6000,
    }


def test_only_what_is_active_can_be_cancelled(board: TaskBoard) -> None:
    assert refusal(board, CANCEL, {"id": 1}) == "not_found"
    assert board.apply(CANCEL, {"id": 1}, None, 0.0) is None
    put(board, CREATED, {"id": 1}, "red")
    assert refusal(board, CANCEL, {"id": 1}) == "bad_task"
    put(board, FAILED, {"id": 1}, "red")
    assert refusal(board, CANCEL, {"id": 1}, "red") == "task_finished"


def test_a_full_task_can_be_cancelled() -> None:
    board = TaskBoard(max_task_bytes=2000, max_active_bytes=2000)
    put(board, CREATED, {"id": "a", "x": "x" * 1980})
    put(board, CANCEL, {"id": "a", "reason": "it takes too long"})


def test_which_tasks_have_had_their_time(board: TaskBoard) -> None:
    for n in range(3):
        put(board, PROGRESS, {"id": n}, time=float(n))
        put(board, CANCEL, {"id": n}, time=float(n))
    put(board, PROGRESS, {"id": 3}, time=3.0)
    put(board, FAILED, {"id": 0}, time=3.0)
    assert ids([task.data for task in board.index.cancelled_before(1.0)]) == [1]
    assert ids([task.data for task in board.index.cancelled_before(2.0)]) == [1, 2]


@pytest.mark.parametrize("event", sorted(TASK_EVENTS - {CREATED}))
def test_a_task_with_an_owner_is_changed_by_the_owner_and_publishers(event: str) -> None:
    def outcome(owner: str | None, sender: Sender) -> str | None:
        board = TaskBoard()
        put(board, CREATED, {"id": 1} | ({} if owner is None else {"owner": owner}))
        try:
            board.check(event, {"id": 1}, None, APPLICATION, sender)
        except RtpushError as error:
            return error.code
        return None

    ann, bob, nobody = Sender("ann", False), Sender("bob", False), Sender(None, False)
    # Nobody has claimed it.
    passes = "claim_lost" if event in CLAIMS else None
    publisher = Sender("bob", True)
    assert [outcome("ann", sender) for sender in (ann, publisher, SERVER)] == [passes] * 3
    assert [outcome("ann", sender) for sender in (bob, nobody)] == ["forbidden"] * 2
    assert [outcome(None, sender) for sender in (ann, nobody)] == [passes] * 2


# ------------------------------------------------------------------- growth


def test_fields_grow(board: TaskBoard) -> None:
    put(board, CREATED, {"id": 1, "lines": ["a"], "gone": None})
    put(board, PROGRESS, {"id": 1, "append": {"text": "Once ", "lines": ["b", []]}})
    put(board, PROGRESS, {"id": 1, "progress": 9, "append": {"text": "upon", "gone": "x"}})
    put(board, COMPLETED, {"id": 1, "append": {"text": " a time"}})
    (task,) = board.all_finished(0.0)
    assert task.data == {
        "id": 1,
        "lines": ["a", "b", []],
        "gone": "x",
        "text": "Once upon a time",
        "progress": 9,
        "status": "completed",
        "createdAt": 0,
        "startedAt": 0,
        "endTime": 0,
    }
    assert task.size == measure(task.data)


@pytest.mark.parametrize(
    "append",
    [
        "more",
        {"text": 1},
        {"text": None},
        {"text": {}},
        {"list": "more"},
        {"text": ["more"]},
        {"mode": "more"},
        {"number": "1"},
        {"id": "2"},
        {"room": "r"},
        {"progress": "1"},
        {"append": "more"},
        {"status": "more"},
        {"owner": "more"},
    ],
)
def test_what_cannot_grow(board: TaskBoard, append: object) -> None:
    put(board, CREATED, {"id": "1", "text": "", "list": [], "number": 1})
    before = board.all_active()
    event = {"id": "1", "mode": "m", "append": append}
    assert refusal(board, PROGRESS, event) == "bad_task"
    assert board.apply(PROGRESS, event, None, 0.0) is None
    assert board.all_active() == before


def test_many_small_pieces_do_not_stay_many(board: TaskBoard) -> None:
    for _ in range(5000):
        put(board, PROGRESS, {"id": 1, "append": {"text": "x", "list": [0]}})
    (task,) = board.all_active()
    assert said(task.data) == {"id": 1, "text": "x" * 5000, "list": [0] * 5000}
    for name in ("text", "list"):
        pieces, value = 0, task.fields[name]
        while value is not None:
            pieces, value = pieces + 1, value.before
        assert pieces <= 13


def test_what_is_stored_of_a_text_is_in_proportion_to_it(board: TaskBoard) -> None:
    rows: dict[str, list[bytes]] = {}
    written = 0
    first = {"id": 1, "formData": "x" * 1000}
    store(board, [(CREATED, first, None, 0.0, APPLICATION)], rows)
    for n in range(2000):
        data = {"id": 1, "append": {"text": f"{n:05}"}}
        store(board, [(PROGRESS, data, None, float(n), APPLICATION)], rows)
        written += len(rows["1"][-1])
    restored = TaskBoard()
    restored.restore(rows["1"])
    assert restored.all_active()[0].data == board.all_active()[0].data
    # A row each time would come to 12 MB.
    assert written < 600_000


# -------------------------------------------------------------------- rooms


def test_rooms_are_seen_by_those_inside() -> None:
    board = TaskBoard()
    put(board, CREATED, {"id": 1})
    put(board, CREATED, {"id": 2}, "red")
    put(board, CREATED, {"id": 3}, "blue")
    put(board, COMPLETED, {"id": 4}, "blue")
    assert ids(board.snapshot((), 0.0)["tasks"]) == [1]
    assert ids(board.snapshot(["red"], 0.0)["tasks"]) == [1, 2]
    assert said(board.snapshot_room("blue", 0.0)["tasks"][0]) == {"id": 3, "room": "blue"}
    assert ids(board.snapshot_room("blue", 0.0)["finished"]) == [4]
    assert ids(board.snapshot(["red"], 0.0)["finished"]) == []


@pytest.mark.parametrize("room", [None, "blue"])
@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("event", sorted(TASK_EVENTS))
def test_outside_its_room_a_task_cannot_be_touched_or_told_apart(
    room: str | None, ended: bool, event: str
) -> None:
    board = TaskBoard()
    put(board, COMPLETED if ended else CREATED, {"id": 1, "secret": 1}, "red")
    before = board.snapshot(["red"], 0.0)
    with pytest.raises(RtpushError) as caught:
        board.check(event, {"id": 1}, room)
    assert caught.value.code == "bad_task"
    assert caught.value.message == "A task with this id belongs to another room."
    assert board.apply(event, {"id": 1}, room, 0.0) is None
    assert board.snapshot(["red"], 0.0) == before


def test_a_room_cannot_take_over_everybodys_task(board: TaskBoard) -> None:
    put(board, CREATED, {"id": 1})
    assert refusal(board, FAILED, {"id": 1}, "red") == "bad_task"


def test_the_room_in_a_snapshot_is_the_servers_word(board: TaskBoard) -> None:
    put(board, CREATED, {"id": 1, "room": "forged"})
    put(board, CREATED, {"id": 2, "room": "forged"}, "red")
    put(board, PROGRESS, {"id": 2, "room": "forged"}, "red")
    tasks = board.snapshot(["red"], 0.0)["tasks"]
    assert [said(task) for task in tasks] == [{"id": 1}, {"id": 2, "room": "red"}]


# ------------------------------------------------------------------- limits


def test_a_task_of_exactly_the_limit_fits() -> None:
    data = {"id": "a", "x": "é" * 500}
    size = len(orjson.dumps(data))
    assert refusal(TaskBoard(max_task_bytes=size), CREATED, data) is None
    assert refusal(TaskBoard(max_task_bytes=size - 1), CREATED, data) == "task_too_large"


def test_the_merged_task_is_measured() -> None:
    board = TaskBoard(max_task_bytes=2000)
    put(board, CREATED, {"id": "a", "x": "x" * 1500})
    assert refusal(board, PROGRESS, {"id": "a", "y": "y" * 1000}) == "task_too_large"
    put(board, PROGRESS, {"id": "a", "x": "y" * 1500})
    put(board, PROGRESS, {"id": "a", "x": ""})
    put(board, PROGRESS, {"id": "a", "y": "y" * 1900})


def test_a_full_task_can_still_end_unless_the_end_is_large() -> None:
    board = TaskBoard(max_task_bytes=2000)
    put(board, CREATED, {"id": "a", "x": "x" * 1980})
    assert refusal(board, FAILED, {"id": "a", "error": "e" * 1500}) == "task_too_large"
    put(board, FAILED, {"id": "a", "error": "expired"})


def test_the_board_fills_up() -> None:
    board = TaskBoard(max_active=1)
    put(board, CREATED, {"id": "a"})
    assert refusal(board, CREATED, {"id": "b"}) == "board_full"
    assert refusal(board, PROGRESS, {"id": "b"}) == "board_full"
    assert refusal(board, COMPLETED, {"id": "b"}) is None
    put(board, PROGRESS, {"id": "a"})
    put(board, COMPLETED, {"id": "a"})
    put(board, CREATED, {"id": "b"})


def test_the_board_fills_up_by_bytes() -> None:
    board = TaskBoard(max_active_bytes=100)
    put(board, CREATED, {"id": "a", "x": "x" * 60})
    assert refusal(board, CREATED, {"id": "b", "x": "x" * 60}) == "board_full"
    assert refusal(board, PROGRESS, {"id": "a", "y": "x" * 60}) == "board_full"
    put(board, PROGRESS, {"id": "a", "x": "y" * 60})
    put(board, COMPLETED, {"id": "a", "result": "x" * 60})


def test_lower_limits_do_not_change_what_was_accepted() -> None:
    strict = TaskBoard(max_active=1, max_task_bytes=10, max_active_bytes=10)
    strict.apply(CREATED, {"id": "a", "x": "x" * 60}, None, 0.0)
    strict.apply(CREATED, {"id": "b", "x": 1}, None, 0.0)
    assert len(strict) == 2
    assert refusal(strict, PROGRESS, {"id": "a", "x": "y" * 60}) is None


def test_old_finished_tasks_make_way() -> None:
    board = TaskBoard(max_finished=2)
    for n in range(4):
        put(board, COMPLETED, {"id": n})
    assert ids(board.snapshot((), 0.0)["finished"]) == [3, 2]
    put(board, CREATED, {"id": 0})


def test_the_newest_finished_task_is_kept_whatever_its_size() -> None:
    board = TaskBoard(max_finished_bytes=100)
    put(board, COMPLETED, {"id": 1})
    put(board, COMPLETED, {"id": 2, "result": "x" * 500})
    assert ids(board.snapshot((), 0.0)["finished"]) == [2]
    put(board, COMPLETED, {"id": 3})
    assert ids(board.snapshot((), 0.0)["finished"]) == [3]


def test_expired_are_the_longest_silent(board: TaskBoard) -> None:
    for n in range(4):
        put(board, CREATED, {"id": n}, "red", time=float(n))
    put(board, PROGRESS, {"id": 0}, "red", time=4.0)
    put(board, COMPLETED, {"id": 2}, "red", time=5.0)
    assert [task.key for task in board.expired(103.0, 100.0)] == ["1", "3"]
    assert board.expired(100.9, 100.0) == []
    fork = board.fork()
    put(fork, PROGRESS, {"id": 1}, "red", time=6.0)
    assert [task.key for task in fork.expired(106.0, 100.0)] == ["3", "0", "1"]


def test_a_fork_sees_an_end_whose_trace_it_dropped() -> None:
    board = TaskBoard(max_finished=1)
    put(board, CREATED, {"id": "a"})
    fork = board.fork()
    put(fork, COMPLETED, {"id": "a"})
    put(fork, COMPLETED, {"id": "b"})
    assert fork.get("a") is None
    assert fork.stored("a") is None
    put(fork, CREATED, {"id": "a"})
    assert fork.is_active("a")
    assert board.get("b") is None


def test_all_tasks_for_the_api(board: TaskBoard) -> None:
    put(board, CREATED, {"id": 1}, "red")
    put(board, CREATED, {"id": 2})
    put(board, PROGRESS, {"id": 1}, "red")
    put(board, FAILED, {"id": 3})
    assert [(task.key, task.room) for task in board.all_active()] == [("1", "red"), ("2", None)]
    assert [task.data["status"] for task in board.all_finished(0.0)] == ["failed"]


# -------------------------------------------------------------------- model


LIMITS: dict[str, Any] = {
    "finished_for": 20.0,
    "max_active": 3,
    "max_task_bytes": 1500,
    "max_active_bytes": 2500,
    "max_finished": 3,
    "max_finished_bytes": 2500,
}


FIXED = ("id", "room", *SERVER_FIELDS)


def measure(value: object) -> int:
    return len(orjson.dumps(value))


class Model:
    """The rules once more, with nothing kept that can be worked out."""

    def __init__(self) -> None:
        self.active: dict[str, dict[str, Any]] = {}
        self.finished: list[tuple[str, float, dict[str, Any], str]] = []
        # Of each active task: its account, and what each account pays for it.
        self.owners: dict[str, str] = {}
        self.paid: dict[str, Counter[str]] = {}

    def refusal(self, event: str, data: Any, room: str | None, account: str) -> str | None:
        if event not in TASK_EVENTS:
            return None
        return self.state_refusal(event, data, room) or self.limit_refusal(
            event, data, room, account
        )

    def state_refusal(self, event: str, data: Any, room: str | None) -> str | None:
        if type(data) is not dict or type(data.get("id")) not in (int, str) or data["id"] == "":
            return "bad_task"
        if "progress" in data:
            progress = data["progress"]
            if type(progress) not in (int, float) or not 0 <= progress <= 100:
                return "bad_task"
        appends = data.get("append")
        if appends is not None:
            fixed = {*FIXED, "progress", "append", *data}
            if type(appends) is not dict or fixed & appends.keys():
                return "bad_task"
            if any(type(more) not in (str, list) for more in appends.values()):
                return "bad_task"
        key = str(data["id"])
        ended = {k: task for k, _, task, _ in self.finished}
        known = self.active.get(key) or ended.get(key)
        if known and known.get("room") != room:
            return "bad_task"
        if key in ended and event != CREATED:
            return "task_finished"
        if event == CREATED and key in self.active:
            return "task_exists"
        if event == CANCEL and not known:
            return "not_found"
        if event in (PROGRESS, "task_requeued") and known and known["status"] == "cancelling":
            return "task_cancelling"
        if event in CLAIMS:
            # What comes here names no attempt.
            return "claim_lost"
        for name, more in (appends or {}).items():
            before = (known or {}).get(name)
            if type(before) not in (type(None), type(more)):
                return "bad_task"
        return None

    def limit_refusal(
        self, event: str, data: dict[str, Any], room: str | None, account: str
    ) -> str | None:
        old = self.active.get(str(data["id"]))
        new = self.merged(data, room)
        end = event not in (CREATED, PROGRESS)
        grows = not old or measure(new) > measure(old)
        event_size = measure(
            {k: v for k, v in new.items() if not old or (k in data and k not in FIXED)}
        )
        for name in (data.get("append") or {}) if old else ():
            # The whole field when it is new, else what it grows by.
            grown = measure({name: new[name]}) - 1
            event_size += grown - (measure({name: old[name]}) - 1 if name in old else 0)
        if grows and measure(new) > 1500 and not (end and event_size - 1 <= 1024):
            return "task_too_large"
        if end or not grows:
            return None
        board = self.active | {str(data["id"]): new}
        full = len(board) > 3 or sum(measure(task) for task in board.values()) > 2500
        growth = measure(new) - (measure(old) if old else 0)
        return "board_full" if full or self.is_over(account, not old, growth) else None

    def is_over(self, account: str, new: bool, growth: int) -> bool:
        if not is_client(account):
            return False
        mine, clients = self.holding(lambda one: one == account), self.holding(is_client)
        local = account == LOCAL_CLIENTS
        return (
            (new and mine[0] >= (2 if local else 1))
            or mine[1] + growth > (2250 if local else 1500)
            or (new and clients[0] >= 2)
            or clients[1] + growth > 2250
        )

    def holding(self, wanted: Callable[[str], bool]) -> tuple[int, int]:
        return (
            sum(wanted(owner) for owner in self.owners.values()),
            sum(n for paid in self.paid.values() for name, n in paid.items() if wanted(name)),
        )

    def merged(self, data: dict[str, Any], room: str | None) -> dict[str, Any]:
        old = self.active.get(str(data["id"]), {"id": data["id"]})
        new = {**old, **{k: v for k, v in data.items() if k not in FIXED}}
        for name, more in (new.pop("append", None) or {}).items():
            new[name] = more if new.get(name) is None else new[name] + more
        return new if room is None else {**new, "room": room}

    def pay(self, key: str, account: str, growth: int) -> None:
        paid = self.paid.setdefault(key, Counter())
        self.owners.setdefault(key, account)
        if growth > 0:
            paid[account] += growth
        for name in (account, self.owners[key], *paid) if growth < 0 else ():
            given = min(paid[name], -growth)
            paid[name] -= given
            growth += given

    def apply(
        self, event: str, data: Any, room: str | None, time: float, account: str
    ) -> str | None:
        if event in TASK_EVENTS:
            self.finished = [row for row in self.finished if time - row[1] <= 20.0]
        if event not in TASK_EVENTS or self.state_refusal(event, data, room):
            return None
        key, new = str(data["id"]), self.merged(data, room)
        old = self.active.get(key)
        now = round(time * 1000)
        new |= {} if old else {"createdAt": now}
        if event in (CREATED, PROGRESS, CANCEL):
            new["status"] = {CREATED: "queued", PROGRESS: "running", CANCEL: "cancelling"}[event]
            if event == PROGRESS:
                new.setdefault("startedAt", now)
            if event == CANCEL:
                new.setdefault("cancelAt", now)
            self.active[key] = new
            self.finished = [row for row in self.finished if row[0] != key]
            self.pay(key, account, measure(new) - (measure(old) if old else 0))
        else:
            owner = self.owners.get(key, account)
            for gone in (self.active, self.owners, self.paid):
                gone.pop(key, None)
            end = {"status": event.removeprefix("task_"), "endTime": now}
            self.finished.append((key, time, new | end, owner))
        self.finished = [row for row in self.finished if time - row[1] <= 20.0]
        if self.finished and is_client(owner := self.finished[-1][3]):
            self.push_out(
                lambda one: one == owner, *((2, 2250) if owner == LOCAL_CLIENTS else (1, 625))
            )
            self.push_out(is_client, 2, 2250)
        self.push_out(lambda _: True, 3, 2500)
        return key

    def push_out(self, wanted: Callable[[str], bool], count: int, size: int) -> None:
        while True:
            mine = [row for row in self.finished if wanted(row[3])]
            if len(mine) <= count and sum(measure(row[2]) for row in mine) <= size:
                return
            if mine[0] is self.finished[-1]:
                return
            self.finished.remove(mine[0])

    def snapshot(self, rooms: tuple[str, ...], now: float) -> dict[str, Any]:
        visible = (None, *rooms)
        recent = [task for _, time, task, _ in self.finished if now - time <= 20.0]
        return {
            "tasks": [task for task in self.active.values() if task.get("room") in visible],
            "finished": [task for task in reversed(recent) if task.get("room") in visible],
        }


texts = st.sampled_from(["", "x", "é", "任务", "z" * 400, "w" * 900, "q" * 1300])
pieces = st.one_of(texts, st.lists(st.sampled_from([1, "é", []]), max_size=3))
names = st.sampled_from(["text", "text", "list", "result", "id", "append"])
appends = st.one_of(st.none(), st.integers(), st.dictionaries(names, pieces, max_size=2))
values = st.one_of(
    texts,
    st.none(),
    st.integers(-5, 5),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.booleans(), max_size=3),
)
datas = st.fixed_dictionaries(
    {
        "id": st.sampled_from([1, "1", 2, "2", "a", "b", "c"]),
        # Sizes at which tasks of one and of two fields meet each of the limits.
        "big": st.sampled_from([0, 0, 0, 300, 700, 1000, 1010, 1450, 1480]).map("x".__mul__),
    },
    optional={
        "progress": st.one_of(st.integers(0, 100), st.floats(0, 100), st.just(101)),
        "message": values,
        "result": values,
        "status": values,
        "text": texts,
        "append": appends,
        "room": values,
        "__proto__": values,
        "ключ": values,
    },
)
events = st.sampled_from([*sorted(TASK_EVENTS), CREATED, PROGRESS, PROGRESS, COMPLETED, "chat"])
ANN, BOB, *MANY = map(account_of_client, ["ann", "bob", *map(str, range(20))])
ACCOUNTS = [APPLICATION, ANN, BOB, LOCAL_CLIENTS]
# (event, data, room, seconds since the one before, account)
op = st.tuples(
    events,
    st.one_of(datas, datas, datas, datas, datas, datas, values),
    st.sampled_from([None, None, None, None, None, "red"]),
    st.sampled_from([0.0, 0.0, 0.0, 0.001, 1.5, 10.0]),
    st.sampled_from([APPLICATION, APPLICATION, *ACCOUNTS]),
)
# Short histories meet no limit, so none are made; Hypothesis shortens what fails.
ops = st.lists(op, min_size=25, max_size=60)
Op = tuple[str, Any, str | None, float, str]


def timed(raw: list[Op]) -> list[Op]:
    now, result = 1000.0, []
    for event, data, room, step, account in raw:
        now += step
        result.append((event, data, room, now, account))
    return result


SEEN: list[tuple[str, ...]] = [(), ("red",), ("blue",)]


def view(board: Any, now: float = 1000.0) -> list[Any]:
    """What each sees, by the index of the rooms."""
    return [board.snapshot(rooms, now) for rooms in SEEN]


def looked_through(board: TaskBoard, now: float = 1000.0) -> list[Any]:
    """The same, by looking at every task. A fork has no index."""
    active, finished = board.all_active(), board.all_finished(now)
    return [
        {
            "tasks": [task.data for task in active if task.room in (None, *rooms)],
            "finished": [task.data for task in finished if task.room in (None, *rooms)],
        }
        for rooms in SEEN
    ]


def log(board: TaskBoard, todo: list[Op]) -> set[str]:
    """Append as a log does: check, then apply what passed."""
    changed = set()
    for event, data, room, time, account in todo:
        if refusal(board, event, data, room, account) is None:
            key = board.apply(event, data, room, time, account)
            changed |= set() if key is None else {key}
    return changed


def assert_shares(board: TaskBoard, active: list[Task]) -> None:
    """What all accounts have is the board, and none has less than nothing."""
    held = {name: board.shares.of(name) for name in (*ACCOUNTS, *MANY)}
    for account, (tasks, size) in held.items():
        assert tasks == sum(task.charges[0][0] == account for task in active)
        assert size == sum(n for task in active for name, n in task.charges if name == account)
    assert all(size >= 0 for task in active for _, size in task.charges)
    assert board.shares.all == (len(active), sum(task.size for task in active))
    for total, wanted in (
        (board.shares.all, lambda _: True),
        (board.shares.clients, is_client),
    ):
        mine = [held[name] for name in held if wanted(name)]
        assert total == (sum(tasks for tasks, _ in mine), sum(size for _, size in mine))


def store(board: TaskBoard, todo: list[Op], rows: dict[str, list[bytes]]) -> None:
    """Append one batch, and keep the rows of each task as a log does."""
    events: dict[str, list[TaskRow]] = {}
    fork, passed = board.fork(), []
    for one in todo:
        event, data, room, time, account = one
        if refusal(fork, event, data, room, account) is None:
            key = fork.apply(event, data, room, time, account)
            passed.append(one)
            if key is not None:
                draft = Draft(event, data, room, encoded=orjson.dumps(data), account=account)
                events.setdefault(key, []).append(task_row(fork, key, draft, time))
    for row in rows_of(fork, events):
        before = [] if row.replaces else rows[row.key]
        rows[row.key] = before + ([] if row.row is None else [row.row])
    for event, data, room, time, account in passed:
        board.apply(event, data, room, time, account)


def assert_totals(board: TaskBoard) -> None:
    active, finished = board.all_active(), board.all_finished(0.0)
    for task in active + finished:
        assert task.size == measure(task.data)
    assert_shares(board, active)
    assert board._finished.bytes == sum(task.size for task in finished)
    assert len(board._finished) == len(finished)


def test_an_empty_room_costs_nothing_whatever_there_is_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board = TaskBoard()
    for n in range(1000):
        put(board, CREATED, {"id": n}, "red")
    for n in range(500):
        put(board, COMPLETED, {"id": n}, "red")

    def look(_: object) -> Any:
        raise AssertionError("tasks of another room were looked at")

    monkeypatch.setattr(Page, "__iter__", look)
    assert board.snapshot_room("blue", 0.0) == {"tasks": [], "finished": []}


page_ops = st.lists(
    st.tuples(st.sampled_from(["put", "change", "remove", "read"]), st.integers(0, 1 << 16)),
    max_size=60,
)


@given(page_ops, st.randoms(use_true_random=False))
def test_pages_are_of_their_size_and_stay_as_they_were_read(
    todo: list[tuple[str, int]], rng: random.Random
) -> None:
    board = TaskBoard(max_active=1000, max_finished=3)
    held: list[tuple[TaskPage, list[Any]]] = []
    alive: list[int] = []
    for number, (what, size) in enumerate(todo):
        if what == "put" or (what != "read" and not alive):
            alive.append(number)
            put(board, CREATED, {"id": number, "x": "x" * size})
        elif what == "change":
            put(board, PROGRESS, {"id": rng.choice(alive), "x": "y" * size})
        elif what == "remove":
            put(board, COMPLETED, {"id": alive.pop(rng.randrange(len(alive)))})
        for page in (*board.index.active(None), *board.index.finished(None)):
            assert page.size == sum(task.size for task in page)
            assert page.size <= PAGE_BYTES or len(page.items) == 1
            if what == "read":
                page.acquire()
                held.append((page, list(page)))
        assert [task for page in board.index.active(None) for task in page] == board.all_active()
        now = {*board.index.active(None), *board.index.finished(None)}
        gone = {page for page, _ in held} - now
        assert board.index.outdated.bytes == sum(page.size for page in gone)
    for page, tasks in held:
        assert list(page) == tasks
        page.release()
    assert board.index.outdated.bytes == 0


@given(ops)
def test_board_is_the_model(raw: list[Op]) -> None:
    board, model = TaskBoard(**LIMITS), Model()
    for event, data, room, time, account in timed(raw):
        wanted = model.refusal(event, data, room, account)
        before = view(board)
        assert refusal(board, event, data, room, account) == wanted
        assert view(board) == before
        if wanted is None:
            expected = model.apply(event, data, room, time, account)
            assert board.apply(event, data, room, time, account) == expected
        assert view(board, time) == view(model, time)
        assert view(board, time + 5.0) == view(model, time + 5.0)
        assert len(board) == len(model.active)
        for account in ACCOUNTS:
            assert board.shares.of(account) == model.holding(lambda one, a=account: one == a)
        assert_totals(board)


@given(ops)
def test_apply_is_total(raw: list[Op]) -> None:
    """Unasked-for, `apply` still agrees with the model, which knows no limits there."""
    board, model = TaskBoard(**LIMITS), Model()
    for event, data, room, time, account in timed(raw):
        expected = model.apply(event, data, room, time, account)
        assert board.apply(event, data, room, time, account) == expected
        assert view(board, time) == view(model, time)
    assert_totals(board)


@given(ops, ops, ops)
def test_a_fork_goes_its_own_way(first: list[Op], second: list[Op], third: list[Op]) -> None:
    steps = timed(first + second + third)
    a, b = len(first), len(first) + len(second)
    board, twin = TaskBoard(**LIMITS), TaskBoard(**LIMITS)
    log(board, steps[:a])
    log(twin, steps[:a])
    before, expired = view(board), board.expired(2000.0, 0.0)
    fork = board.fork()
    assert log(fork, steps[a:b]) == log(twin, steps[a:b])
    deeper = fork.fork()
    middle = looked_through(fork)
    log(deeper, steps[b:])
    assert looked_through(fork) == middle == view(twin)
    assert_totals(fork)
    log(twin, steps[b:])
    for key in "12abcde":
        assert deeper.get(key) == twin.get(key)
        assert deeper.stored(key) == twin.stored(key)
    assert looked_through(deeper) == view(twin)
    assert deeper.expired(2000.0, 0.0) == twin.expired(2000.0, 0.0)
    assert_totals(deeper)
    assert view(board) == before
    assert board.expired(2000.0, 0.0) == expired


@given(ops, st.integers(1, 7), st.integers(0, 60), st.randoms(use_true_random=False))
def test_restored_at_any_position_it_goes_on_the_same(
    raw: list[Op], batch: int, cut: int, rng: random.Random
) -> None:
    """Stored as the log stores it: batch by batch, only what the batch changed."""
    steps = timed(raw)
    board = TaskBoard(**LIMITS)
    rows: dict[str, list[bytes]] = {}
    for start in range(0, min(cut, len(steps)), batch):
        store(board, steps[start : min(start + batch, cut)], rows)
    shuffled = [row for kept in rows.values() for row in kept]
    rng.shuffle(shuffled)
    restored = TaskBoard(**LIMITS)
    restored.restore(shuffled)
    assert view(restored) == view(board)
    assert plain(restored.expired(2000.0, 0.0)) == plain(board.expired(2000.0, 0.0))
    assert_totals(restored)
    assert [board.shares.of(a) for a in ACCOUNTS] == [restored.shares.of(a) for a in ACCOUNTS]
    assert log(restored, steps[cut:]) == log(board, steps[cut:])
    assert view(restored) == view(board)
    assert plain(restored.all_active()) == plain(board.all_active())


def plain(tasks: list[Task]) -> list[tuple[object, ...]]:
    """Tasks apart from how a board keeps them."""
    return [(t.data, t.size, t.born, t.number, t.time, t.charges) for t in tasks]
