"""The contract of every log. A new log is one more row in `KINDS`."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pytest
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import (
    invariant,
    precondition,
    rule,
)
from logs import KEPT, KINDS, Desk, LogMachine, each, memory, try_sequences

from rtpush.errors import RtpushError
from rtpush.log import room_index
from rtpush.log.base import PAGE_BYTES, Log, Outcome
from rtpush.log.entry import Draft, Entry, claimed, lease_ended
from rtpush.log.growth import SERVER_FIELDS
from rtpush.log.idempotency import IDEMPOTENCY_FOR
from rtpush.log.memory import MemoryLog
from rtpush.log.task import Task
from rtpush.log.task_states import Sender
from rtpush.protocol import Envelope, Position

pytestmark = pytest.mark.usefixtures("_redis_for_logs")


@pytest.fixture(params=each(KINDS))
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    mark = request.node.get_closest_marker("settings")
    desk = Desk(KINDS[request.param], tmp_path, **(mark.kwargs if mark else {}))
    await desk.open()
    yield desk
    await desk.log.close()


def draft(event: str = "x", data: Any = None, **fields: Any) -> Draft:
    skip, ack = fields.pop("skip", ()), fields.pop("ack", None)
    return Draft.of(Envelope(event, data, **fields), skip, ack)


def task(event: str, id_: Any, room: str | None = None, **fields: Any) -> Draft:
    return draft(f"task_{event}", {"id": id_, **fields}, room=room)


def said(task: Task) -> dict[str, Any]:
    """A task without what the server says of it."""
    return {name: value for name, value in task.data.items() if name not in SERVER_FIELDS}


def codes(outcomes: Sequence[Outcome]) -> list[int | str]:
    return [one.code if isinstance(one, RtpushError) else one for one in outcomes]


def recent(log: Log, after: int, max_bytes: int) -> list[Entry]:
    """What memory has; nothing where that does not reach back."""
    page = log.recent(after, max_bytes)
    return [] if page is None else page.entries


async def everything(log: Log, after: int = 0, **options: Any) -> list[Entry]:
    """All that can be read after a number, page by page."""
    found: list[Entry] = []
    after = max(after, log.first - 1)
    while after < log.last:
        page = await log.read(after, 7, **options)
        assert page.upto > after, "a page must get ahead"
        assert all(after < entry.seq <= page.upto for entry in page.entries)
        found += page.entries
        after = page.upto
    return found


# ---- appending ---------------------------------------------------------------


async def test_numbers_rise_by_one_and_positions_name_them(desk: Desk) -> None:
    assert (desk.log.first, desk.log.last) == (1, 0)
    assert await desk.append(draft(), draft()) == [1, 2]
    assert await desk.append(draft()) == [3]
    assert desk.log.position == Position(desk.log.epoch, 3)
    assert [entry.id for entry in await everything(desk.log)] == [
        f"{desk.log.epoch}-{number}" for number in (1, 2, 3)
    ]


async def test_what_is_appended_at_once_keeps_its_order(desk: Desk) -> None:
    futures = [desk.log.append([draft(data=[i, j]) for j in range(3)]) for i in range(50)]
    outcomes = [number for future in futures for number in await future]
    assert outcomes == list(range(1, 151))
    jsons = [entry.json for entry in await everything(desk.log)]
    assert all(f"[{i},{j}]".encode() in jsons[3 * i + j] for i in range(50) for j in range(3))


async def test_an_entry_is_what_was_sent(desk: Desk) -> None:
    data = {"text": "你好", "n": [1, 2.5, None, True]}
    await desk.append(draft("e", data, room="r", key="k", skip=("s1", "s2"), ack="a"))
    for entry in (*recent(desk.log, 0, 1), *await everything(desk.log)):
        assert (entry.seq, entry.event, entry.room, entry.key) == (1, "e", "r", "k")
        assert entry.skip == ("s1", "s2")
        assert entry.time == desk.clock.now
        assert entry.json.decode() == (
            '{"event":"e","data":{"text":"你好","n":[1,2.5,null,true]},"room":"r","key":"k",'
            f'"ack":"a","id":"{desk.log.epoch}-1"}}'
        )


async def test_growth_is_told_when_it_can_be_read(desk: Desk) -> None:
    seen: list[int] = []
    desk.log.on_grow = lambda: seen.append(len(recent(desk.log, 0, 1 << 20)))
    future = desk.log.append([draft() for _ in range(2)])
    assert seen == []
    await future
    assert seen == [2]
    await desk.append(draft(idempotency_key="k"))
    await desk.append(draft(idempotency_key="k"))
    assert len(seen) == 2, "a repeat is no growth"


async def test_nothing_to_append(desk: Desk) -> None:
    assert await desk.append() == []
    assert desk.log.last == 0


async def test_waiting_for_idleness(desk: Desk) -> None:
    futures = [desk.log.append([draft()]) for _ in range(5)]
    await desk.log.wait_idle()
    assert all(future.done() for future in futures)
    await desk.log.wait_idle()


async def test_time_never_falls(desk: Desk) -> None:
    await desk.append(draft())
    desk.clock.wrong -= 3600
    await desk.append(draft())
    first, second = await everything(desk.log)
    assert second.time >= first.time


# ---- idempotency -------------------------------------------------------------


async def test_a_repeated_key_is_answered_the_same(desk: Desk) -> None:
    (first,) = await desk.append(draft(data=1, idempotency_key="k"))
    await desk.append(draft())
    desk.clock.now += IDEMPOTENCY_FOR - 1
    assert await desk.append(draft(data=2, idempotency_key="k")) == [first]
    assert desk.log.last == 2


async def test_a_key_is_forgotten_after_its_time(desk: Desk) -> None:
    (first,) = await desk.append(draft(idempotency_key="k"))
    desk.clock.now += IDEMPOTENCY_FOR + 1
    (second,) = await desk.append(draft(idempotency_key="k"))
    assert second != first


async def test_a_key_twice_in_one_call_and_in_two_at_once(desk: Desk) -> None:
    one = desk.log.append([draft(idempotency_key="k"), draft(idempotency_key="k")])
    two = desk.log.append([draft(idempotency_key="k")])
    assert [*await one, *await two] == [1, 1, 1]


async def test_a_refused_draft_does_not_use_up_its_key(desk: Desk) -> None:
    await desk.append(task("created", 1))
    again = Draft.of(Envelope("task_created", {"id": 1}, idempotency_key="k"))
    assert codes(await desk.append(again)) == ["task_exists"]
    assert codes(await desk.append(draft(idempotency_key="k"))) == [2]


# ---- the board ---------------------------------------------------------------


async def test_the_board_is_the_fold_of_the_log(desk: Desk) -> None:
    outcomes = await desk.append(
        task("created", 1, mode="m"),
        task("created", "1"),
        task("progress", 1, progress=5),
        task("completed", 2),
        task("progress", 2),
        draft(),
    )
    assert codes(outcomes) == [1, "task_exists", 2, 3, "task_finished", 4]
    (shown,) = desk.log.board.all_active()
    assert said(shown) == {"id": 1, "mode": "m", "progress": 5}


async def test_what_appends_to_a_task_is_never_superseded(desk: Desk) -> None:
    await desk.append(
        task("progress", 1, append={"text": "a"}),
        draft("task_progress", {"id": 1, "append": {"text": "b"}}, key="mine"),
        task("progress", 1, progress=5),
        task("progress", 1, append={"text": "c"}),
        task("progress", 1, progress=6),
    )
    found = await everything(desk.log, conflate_after=0)
    assert [entry.seq for entry in found] == [1, 2, 4, 5]
    assert [entry.key for entry in found] == [None, None, None, "1"]
    (shown,) = desk.log.board.all_active()
    assert said(shown) == {"id": 1, "text": "abc", "progress": 6}


async def test_a_queued_task_ends_with_its_cancel_and_a_running_one_is_asked(desk: Desk) -> None:
    outcomes = await desk.append(
        task("created", "queued", room="r"),
        task("created", "running"),
        task("progress", "running"),
        task("cancel", "queued", room="r", reason="enough", more=1),
        task("cancel", "running"),
        task("progress", "running"),
        task("cancelled", "queued", room="r"),
        draft(idempotency_key="k"),
    )
    # The end of the queued task is an event of its own.
    assert codes(outcomes) == [1, 2, 3, 4, 6, "task_cancelling", "task_finished", 7]
    end = (await everything(desk.log))[4]
    assert (end.event, end.room) == ("task_cancelled", "r")
    assert b'{"id":"queued","reason":"enough"}' in end.json
    assert await desk.append(draft(idempotency_key="k")) == [7]
    (running,) = desk.log.board.all_active()
    (ended,) = desk.log.board.all_finished(desk.clock.now)
    assert (running.data["status"], ended.data["status"]) == ("cancelling", "cancelled")


async def test_a_task_is_claimed_once_and_its_next_attempt_begins_anew(desk: Desk) -> None:
    await desk.append(task("created", 1, queue="q"))
    (waiting,) = desk.log.board.index.queues.waiting(["q"], rooms=False)
    assert codes(await desk.append(claimed(waiting, "a"), claimed(waiting, "b"))) == [
        2,
        "claim_lost",
    ]
    assert codes(await desk.append(claimed(waiting, "b"))) == ["claim_lost"]
    for text in ("one ", "two "):
        await desk.append(task("progress", 1, attempt=1, append={"text": text}, progress=9))
    await desk.append(task("progress", 1, attempt=1, message="three"))
    if not isinstance(desk.log, MemoryLog):
        await desk.reopen()
    held = desk.log.board.index.queues.claimed["1"]
    late = task("completed", 1, attempt=1)
    outcomes = await desk.append(lease_ended(held, 3), late, task("requeued", 1, attempt=1))
    assert codes(outcomes) == [6, "claim_lost", "claim_lost"]
    again = desk.log.board.get("1")
    assert again is not None
    shown = {name: again.data[name] for name in ("status", "text", "progress", "message", "lost")}
    assert shown == {"status": "queued", "text": None, "progress": 0, "message": None, "lost": 1}
    assert again.size == len(orjson.dumps(again.data))
    (waiting,) = desk.log.board.index.queues.waiting(["q"], rooms=False)
    await desk.append(
        claimed(waiting, "b"), task("progress", 1, attempt=2, append={"text": "anew"})
    )
    second = desk.log.board.index.queues.claimed["1"]
    assert (second.data["text"], second.data["worker"]) == ("anew", "b")
    (ended,) = await desk.append(lease_ended(second, 2))
    assert ended == 9
    (lost,) = desk.log.board.all_finished(desk.clock.now)
    assert (lost.data["status"], lost.data["error"]) == ("failed", "worker_lost")
    assert not desk.log.board.index.queues.claimed


async def test_what_a_sender_says_in_the_servers_name_is_not_logged(desk: Desk) -> None:
    forged = {"id": 1, **dict.fromkeys(SERVER_FIELDS, "forged")}
    for sender in (Sender("ann", False), Sender(None, False)):
        for event in ("task_created", "task_progress", "task_completed"):
            one = Draft.of(Envelope(event, forged | {"id": str(sender)}), sender=sender)
            await desk.append(one)
    assert not any(b"forged" in entry.json for entry in await everything(desk.log))
    owners = [task.data.get("owner") for task in desk.log.board.all_finished(desk.clock.now)]
    assert owners == [None, "ann"]
    await desk.append(task("created", 2, owner="bob"))
    (named,) = desk.log.board.all_active()
    assert named.data["owner"] == "bob"


async def test_an_ended_task_makes_way_within_a_batch_and_after_it(desk: Desk) -> None:
    for _ in range(2):
        await desk.append(task("created", 1, mode="a"), task("failed", 1), task("created", 1))
        (again,) = desk.log.board.all_active()
        assert again.data["status"] == "queued"
        assert "mode" not in again.data
        assert desk.log.board.all_finished(desk.clock.now) == []
        await desk.append(task("completed", 1))
        assert [t.data["status"] for t in desk.log.board.all_finished(desk.clock.now)] == [
            "completed"
        ]


async def test_board_and_log_change_together(desk: Desk) -> None:
    """Whoever is told of growth sees a board that is true at the log's position."""
    seen: list[tuple[int, int]] = []
    desk.log.on_grow = lambda: seen.append((desk.log.last, len(desk.log.board)))
    for i in range(20):
        desk.log.append([task("created", i)])
    await desk.log.wait_idle()
    assert seen
    assert all(last == tasks for last, tasks in seen)


# ---- reading -----------------------------------------------------------------


async def test_recent_gives_at_least_one_and_what_fits(desk: Desk) -> None:
    await desk.append(draft(), draft(), draft())
    assert len(recent(desk.log, 0, 0)) == 1
    assert len(recent(desk.log, 0, 1 << 20)) == 3
    assert desk.log.recent(3, 1 << 20) == ([], 3)


async def test_a_page_has_at_most_its_entries_and_its_bytes(desk: Desk) -> None:
    await desk.append(*(draft(data="x" * (PAGE_BYTES // 4)) for _ in range(10)))
    page = await desk.log.read(0, 100)
    assert sum(len(entry.json) for entry in page.entries) <= PAGE_BYTES
    assert page.upto == page.entries[-1].seq
    assert len((await desk.log.read(0, 2)).entries) == 2
    assert len(await everything(desk.log)) == 10


async def test_an_entry_larger_than_a_page_is_read(desk: Desk) -> None:
    await desk.append(draft(), draft(data="x" * PAGE_BYTES), draft())
    assert [entry.seq for entry in await everything(desk.log)] == [1, 2, 3]


async def test_what_is_superseded_can_be_left_out(desk: Desk) -> None:
    await desk.append(
        draft("a", 1, key="k"),
        draft("a", 2),
        draft("a", 3, key="k", room="r"),
        draft("b", 4, key="k"),
        draft("a", 5, key="other"),
        draft("a", 6, key="k"),
        draft("a", 7, key="k", room="r"),
    )
    newest = [2, 4, 5, 6, 7]
    assert [e.seq for e in await everything(desk.log, conflate_after=0)] == newest
    assert [e.seq for e in await everything(desk.log, conflate_after=1)] == [1, *newest]
    assert len(await everything(desk.log)) == 7
    found = {e.seq: desk.log.superseded(e) for e in await everything(desk.log)}
    # Memory may not reach back that far; what it says must be true.
    assert [seq for seq, gone in found.items() if not gone and seq >= 5] == [5, 6, 7]


async def test_what_some_do_not_see_supersedes_nothing(desk: Desk) -> None:
    await desk.append(draft(data=1, key="k"), draft(data=2, key="k", skip=("s",)))
    entries = await everything(desk.log, conflate_after=0)
    assert [entry.seq for entry in entries] == [1, 2]
    assert not any(desk.log.superseded(entry) for entry in entries)


async def test_pages_get_ahead_when_all_is_superseded(desk: Desk) -> None:
    await desk.append(*(draft(key="k") for _ in range(50)))
    assert [e.seq for e in await everything(desk.log, conflate_after=0)] == [50]


# ---- reading by room ---------------------------------------------------------

# More than a log in Redis keeps in one part of its index, and than a small tail holds.
MANY = 200


async def everything_before(log: Log, before: int, **options: Any) -> list[Entry]:
    """All that can be read before a number, newest first, page by page."""
    found: list[Entry] = []
    while before > log.first:
        page = await log.read_before(before, 7, **options)
        assert page.upto < before, "a page must get ahead"
        assert all(page.upto <= entry.seq < before for entry in page.entries)
        found += page.entries
        before = page.upto
    return found


@pytest.mark.parametrize("many", [room_index.MANY_ROOMS, 1])
async def test_rooms_are_read_alone(desk: Desk, many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when they are too many to look for each of them."""
    monkeypatch.setattr(room_index, "MANY_ROOMS", many)
    names = ["a", "b", None]
    for begin in range(0, MANY, 20):
        await desk.append(*(draft(data=n, room=names[n % 3]) for n in range(begin, begin + 20)))
    for rooms in (["a"], ["b"], [None], ["a", "b"], ["a", None], names, ["c"], ["c", "a"], []):
        wanted = [n + 1 for n in range(MANY) if names[n % 3] in rooms]
        for after in (0, 1, 2, 77, MANY - 2, MANY):
            found = [entry.seq for entry in await everything(desk.log, after, rooms=rooms)]
            assert found == [seq for seq in wanted if seq > after]
        for before in (MANY + 1, MANY, MANY - 1, 77, 3, 2, 1):
            back = [entry.seq for entry in await everything_before(desk.log, before, rooms=rooms)]
            assert back == [seq for seq in reversed(wanted) if seq < before]


async def test_all_rooms_are_read_newest_first(desk: Desk) -> None:
    await desk.append(*(draft(room=room) for room in ["a", None, "b"] * 10))
    assert [e.seq for e in await everything_before(desk.log, 31)] == [*range(30, 0, -1)]
    page = await desk.log.read_before(1000, 2)
    assert ([e.seq for e in page.entries], page.upto) == ([30, 29], 29)
    assert await desk.log.read_before(1, 2) == ([], 1)


async def test_a_room_is_read_in_one_page_however_much_lies_between(desk: Desk) -> None:
    await desk.append(draft(room="quiet"))
    await desk.append(*(draft(room="busy") for _ in range(500)))
    await desk.append(draft(room="quiet"))
    await desk.append(*(draft(room=f"busy-{n}") for n in range(500)))
    for rooms in (["quiet"], ["quiet", "empty", None]):
        page = await desk.log.read(0, 100, rooms=rooms)
        assert ([entry.seq for entry in page.entries], page.upto) == ([1, 502], 1002)
        page = await desk.log.read_before(1003, 100, rooms=rooms)
        assert ([entry.seq for entry in page.entries], page.upto) == ([502, 1], 1)


async def test_memory_knows_of_rooms_in_which_nothing_is_new(desk: Desk) -> None:
    """So a client that comes back to a quiet room costs no read of the store."""
    await desk.append(draft(room="quiet"))
    await desk.append(*(draft(room="busy") for _ in range(100)))
    assert desk.log.active(["quiet", "busy", "unknown"], 1) == ["busy"]
    assert desk.log.recent(1, 1 << 20, ["quiet", "unknown"]) == ([], 101)
    assert "quiet" in desk.log.active(["quiet"], 0)
    await desk.append(draft(room="quiet"))
    assert desk.log.active(["quiet"], 101) == ["quiet"]
    page = desk.log.recent(101, 1 << 20, ["quiet", "busy"])
    assert page is not None
    assert ([entry.seq for entry in page.entries], page.upto) == ([102], 102)


async def test_recent_entries_of_rooms(desk: Desk) -> None:
    await desk.append(draft(room="a"), draft(room="b"), draft(room="a"))
    page = desk.log.recent(0, 0, ["a"])
    assert page is not None
    assert ([entry.seq for entry in page.entries], page.upto) == ([1], 1)
    page = desk.log.recent(0, 1 << 20, ["a"])
    assert page is not None
    assert ([entry.seq for entry in page.entries], page.upto) == ([1, 3], 3)


async def test_a_page_of_a_room_has_at_most_its_bytes(desk: Desk) -> None:
    large = "x" * (PAGE_BYTES // 4)
    await desk.append(*(draft(data=large, room=room) for room in ["a", "b"] * 8))
    page = await desk.log.read(0, 100, rooms=["a"])
    assert [entry.seq for entry in page.entries] == [1, 3, 5]
    assert len(await everything(desk.log, rooms=["a"])) == 8
    page = await desk.log.read_before(17, 100, rooms=["a"])
    assert [entry.seq for entry in page.entries] == [15, 13, 11]
    assert len(await everything_before(desk.log, 17, rooms=["a"])) == 8
    assert len(await everything_before(desk.log, 17)) == 16


async def test_what_is_superseded_is_left_out_of_a_room(desk: Desk) -> None:
    await desk.append(*(draft(room=room, key="k") for room in ["a", "b"] * 20))
    found = await everything(desk.log, rooms=["a", "b"], conflate_after=0)
    assert [entry.seq for entry in found] == [39, 40]
    found = await everything(desk.log, rooms=["a"], conflate_after=5)
    assert [entry.seq for entry in found] == [1, 3, 5, 39]


@pytest.mark.settings(retention_count=100)
async def test_rooms_after_retention(desk: Desk) -> None:
    await desk.append(draft(room="old"))
    for _ in range(10):
        await desk.append(*(draft(room=room) for room in ["a", "b"] * 25))
    await desk.trimmed(402)
    assert [e.seq for e in await everything(desk.log, rooms=["a"])] == [*range(402, 502, 2)]
    assert await everything(desk.log, rooms=["old"]) == []
    assert await everything_before(desk.log, 502, rooms=["old"]) == []
    back = await everything_before(desk.log, 502, rooms=["b", "old"])
    assert [e.seq for e in back] == [*range(501, 401, -2)]


# ---- retention ---------------------------------------------------------------


@pytest.mark.settings(retention_count=10)
async def test_retention_by_count(desk: Desk) -> None:
    for _ in range(4):
        await desk.append(*(draft() for _ in range(10)))
    await desk.trimmed(31)
    assert [entry.seq for entry in await everything(desk.log)] == list(range(31, 41))


@pytest.mark.settings(retention_bytes=20_000)
async def test_retention_by_bytes(desk: Desk) -> None:
    for _ in range(40):
        await desk.append(draft(data="x" * 1000))
    await desk.trimmed(20)
    kept = await everything(desk.log)
    assert kept[-1].seq == 40
    assert 0 < sum(len(entry.json) for entry in kept) <= 20_000


@pytest.mark.settings(retention_bytes=50_000)
async def test_names_count_against_retention(desk: Desk) -> None:
    """Or a client fills the disk with events that have nothing but names."""
    names = {name: name[0] * 120 for name in ("event", "room", "key")}
    for _ in range(300):
        await desk.append(draft(**names, skip=("s" * 100,)))
    await desk.trimmed(200)
    kept = await everything(desk.log)
    assert 0 < sum(len(entry.json) + len(entry.skip[0]) for entry in kept) <= 50_000


@pytest.mark.settings(retention_bytes=30_000)
async def test_what_is_appended_counts_at_most_half_as_much_again_as_its_events(
    desk: Desk,
) -> None:
    """The log in memory counts what an entry may come to hold there."""
    for _ in range(5):
        await desk.append(*(task("progress", 1, append={"text": "word "}) for _ in range(100)))
    await desk.trimmed(270)
    kept = await everything(desk.log)
    if not isinstance(desk.log, MemoryLog):
        assert sum(1.5 * len(entry.json) for entry in kept) > 29_800


@pytest.mark.settings(retention_age=60)
async def test_retention_by_age_also_while_nobody_writes(desk: Desk) -> None:
    await desk.append(draft(), draft())
    desk.clock.now += 30
    await desk.append(draft())
    desk.clock.now += 31
    await desk.trimmed(3)
    assert [entry.seq for entry in await everything(desk.log)] == [3]


@pytest.mark.settings(retention_age=60)
async def test_the_newest_entry_stays(desk: Desk) -> None:
    """It tells the number that comes next."""
    await desk.append(draft(), draft())
    desk.clock.now += 1000
    await desk.trimmed(2)
    assert await desk.append(draft()) == [3]


@pytest.mark.settings(retention_count=5)
async def test_which_positions_are_covered(desk: Desk) -> None:
    for _ in range(4):
        await desk.append(*(draft() for _ in range(5)))
    await desk.trimmed(16)
    epoch, first = desk.log.epoch, desk.log.first
    assert desk.log.covers(Position(epoch, first - 1)) is None
    assert desk.log.covers(desk.log.position) is None
    assert desk.log.covers(Position(epoch, first - 2)) == "expired"
    assert desk.log.covers(Position(epoch, 21)) == "ahead"
    assert desk.log.covers(Position("other", first)) == "epoch"


@pytest.mark.settings(retention_count=1)
async def test_the_board_outlives_the_entries_it_is_made_of(desk: Desk) -> None:
    await desk.append(task("created", 1), task("progress", 1, progress=1))
    await desk.append(*(draft() for _ in range(20)))
    await desk.trimmed(22)
    assert desk.log.board.is_active("1")
    assert codes(await desk.append(task("created", 1))) == ["task_exists"]


# ---- logs that are kept ------------------------------------------------------


@pytest.fixture(params=each(KEPT))
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(KEPT[request.param], tmp_path, finished_for=600)
    await desk.open()
    yield desk
    await desk.log.close()


async def test_a_text_that_grew_is_there_again_and_grows_on(kept: Desk) -> None:
    """Over several lives, in batches of one and of many, with other fields between."""
    written = ""
    for n in range(120):
        drafts = [task("progress", 1, room="r", append={"text": f"{n}-{i} "}) for i in range(n % 3)]
        written += "".join(f"{n}-{i} " for i in range(n % 3))
        await kept.append(*drafts, task("progress", 1, room="r", progress=n % 100))
        if n % 40 == 39:
            before = kept.log.board.snapshot(["r"], kept.clock.now)
            log = await kept.reopen()
            assert log.board.snapshot(["r"], kept.clock.now) == before
    (shown,) = kept.log.board.all_active()
    assert said(shown) == {"id": 1, "room": "r", "progress": 19, "text": written}
    await kept.append(task("completed", 1, room="r", append={"text": "end"}))
    log = await kept.reopen()
    (ended,) = log.board.all_finished(kept.clock.now)
    assert ended.data["text"] == f"{written}end"


async def test_everything_is_there_again(kept: Desk) -> None:
    await kept.append(
        task("created", 1, mode="m"),
        task("progress", 1, progress=40),
        task("created", "done", room="r"),
        task("failed", "done", room="r", error="e"),
        draft("x", {"a": 1}, key="k", room="r", skip=("s",), ack="a"),
        draft(idempotency_key="i"),
    )
    before = [entry.json for entry in await everything(kept.log)]
    board = kept.log.board.snapshot(["r"], kept.clock.now)
    epoch = kept.log.epoch
    log = await kept.reopen()
    assert log.epoch == epoch
    assert [entry.json for entry in await everything(log)] == before
    assert [entry.skip for entry in await everything(log)][4] == ("s",)
    assert log.board.snapshot(["r"], kept.clock.now) == board
    assert codes(await kept.append(task("created", 1))) == ["task_exists"]
    assert codes(await kept.append(task("progress", "done", room="r"))) == ["task_finished"]
    assert await kept.append(draft(idempotency_key="i")) == [6]
    assert await kept.append(draft()) == [7]
    await kept.append(task("created", "done", room="r"))
    log = await kept.reopen()
    assert [t.key for t in log.board.all_active()] == ["1", "done"]
    assert [t.key for t in log.board.all_finished(kept.clock.now)] == []


async def test_closing_stores_what_was_accepted(kept: Desk) -> None:
    futures = [kept.log.append([draft(data=i)]) for i in range(100)]
    await kept.reopen()
    assert [future.result() for future in futures] == [[i + 1] for i in range(100)]
    assert kept.log.last == 100


# ---- any sequence of everything ----------------------------------------------


class Model:
    """What a log is, without any machinery."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, str, str | None, str | None, int]] = []
        self.keys: dict[str, tuple[int, float]] = {}

    @property
    def last(self) -> int:
        return self.entries[-1][0] if self.entries else 0

    def room(self, seq: int) -> str | None:
        return self.entries[seq - 1][2]

    def newest(self, after: int, conflate_after: int) -> list[int]:
        """Numbers after one, without those that a later entry supersedes."""
        latest = {entry[1:4]: entry[0] for entry in self.entries}
        return [
            seq
            for seq, event, room, key, _ in self.entries
            if seq > after
            and (key is None or seq <= conflate_after or latest[event, room, key] == seq)
        ]


NAMES = st.sampled_from(["a", "b"])
MAYBE = st.none() | NAMES


class AnyLog(LogMachine):
    """What was appended is found again by every reader."""

    options: ClassVar = {"retention_count": 20}

    def prepare(self) -> None:
        self.model = Model()

    @rule(
        drafts=st.lists(
            st.tuples(NAMES, MAYBE, MAYBE, st.none() | st.sampled_from("pq"), st.integers(0, 300)),
            max_size=6,
        )
    )
    def append(self, drafts: list[tuple[str, str | None, str | None, str | None, int]]) -> None:
        made = [
            draft(event, "x" * size, room=room, key=key, idempotency_key=once)
            for event, room, key, once, size in drafts
        ]
        outcomes = self.run(self.desk.append(*made))
        for (event, room, key, once, size), outcome in zip(drafts, outcomes, strict=True):
            seen = self.model.keys.get(once or "")
            if seen is not None and self.desk.clock.now - seen[1] <= IDEMPOTENCY_FOR:
                assert outcome == seen[0]
                continue
            assert outcome == self.model.last + 1
            self.model.entries.append((outcome, event, room, key, size))
            if once is not None:
                self.model.keys[once] = outcome, self.desk.clock.now

    @rule(seconds=st.sampled_from([1, 59, IDEMPOTENCY_FOR - 1, IDEMPOTENCY_FOR + 1]))
    def wait(self, seconds: float) -> None:
        self.desk.clock.now += seconds

        async def tick() -> None:
            self.desk.log.tick()

        self.run(tick())

    @precondition(lambda self: type(self).make is not memory)
    @rule()
    def reopen(self) -> None:
        epoch = self.desk.log.epoch
        self.run(self.desk.reopen())
        assert self.desk.log.epoch == epoch

    @rule(back=st.integers(0, 30), limit=st.integers(1, 9), ahead=st.none() | st.integers(0, 30))
    def read(self, back: int, limit: int, ahead: int | None) -> None:
        log = self.desk.log
        after = max(log.last - back, log.first - 1)
        assume(after >= 0)
        conflate_after = after + ahead if ahead is not None else None
        found: list[int] = []
        cursor = after
        while cursor < log.last:
            page = self.run(log.read(cursor, limit, conflate_after))
            assert page.upto > cursor
            found += [entry.seq for entry in page.entries]
            cursor = page.upto
        assert found == self.model.newest(
            after, log.last if conflate_after is None else conflate_after
        )

    @rule(
        back=st.integers(0, 30),
        limit=st.integers(1, 9),
        rooms=st.lists(st.sampled_from([None, "a", "b", "c"]), unique=True),
        ahead=st.none() | st.integers(0, 30),
    )
    def read_rooms(self, back: int, limit: int, rooms: list[str | None], ahead: int | None) -> None:
        log = self.desk.log
        cursor = after = max(log.last - back, log.first - 1)
        conflate_after = after + ahead if ahead is not None else None
        found: list[int] = []
        while cursor < log.last:
            page = self.run(log.read(cursor, limit, conflate_after, rooms))
            assert page.upto > cursor
            found += [entry.seq for entry in page.entries]
            cursor = page.upto
        newest = self.model.newest(after, log.last if conflate_after is None else conflate_after)
        assert found == [seq for seq in newest if self.model.room(seq) in rooms]
        memory = log.recent(after, 1 << 20, rooms)
        if memory is not None:
            every = self.model.newest(after, log.last)
            assert [e.seq for e in memory.entries] == [
                seq for seq in every if self.model.room(seq) in rooms
            ]

    @rule(
        back=st.integers(0, 30),
        limit=st.integers(1, 9),
        rooms=st.none() | st.lists(st.sampled_from([None, "a", "b", "c"]), unique=True),
    )
    def read_before(self, back: int, limit: int, rooms: list[str | None] | None) -> None:
        log = self.desk.log
        cursor = before = max(log.last + 1 - back, log.first)
        found: list[int] = []
        while cursor > log.first:
            page = self.run(log.read_before(cursor, limit, rooms))
            assert page.upto < cursor
            found += [entry.seq for entry in page.entries]
            cursor = page.upto
        assert found == [
            seq
            for seq in reversed(self.model.newest(log.first - 1, log.last))
            if seq < before and (rooms is None or self.model.room(seq) in rooms)
        ]

    @rule(back=st.integers(0, 30), size=st.integers(0, 3000))
    def recent(self, back: int, size: int) -> None:
        log = self.desk.log
        after = max(log.last - back, 0)
        page = log.recent(after, size)
        if page is None:
            return
        seqs = [entry.seq for entry in page.entries]
        assert page.upto == (seqs[-1] if seqs else log.last)
        assert seqs == list(itertools.islice(itertools.count(after + 1), len(seqs)))
        assert bool(seqs) is (after < log.last)

    @invariant()
    def numbers_agree(self) -> None:
        if not hasattr(self, "desk"):
            return
        log = self.desk.log
        assert log.last == self.model.last
        assert 1 <= log.first <= max(1, log.last)
        assert log.covers(Position(log.epoch, log.first - 1)) is None


@pytest.mark.parametrize("name", each(KINDS))
def test_any_sequence_of_everything(name: str, tmp_path: Path) -> None:
    try_sequences(AnyLog, name, tmp_path)
