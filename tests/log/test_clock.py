"""The clock of a log: a wall clock that is set ends nothing and keeps nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import KINDS, Clock, Desk, each

from rtpush.log.base import Log
from rtpush.log.clock import LogClock
from rtpush.log.entry import Draft
from rtpush.log.idempotency import IDEMPOTENCY_FOR
from rtpush.protocol import Envelope

pytestmark = pytest.mark.usefixtures("_redis_for_logs")

DAY = 86_400.0


@given(st.lists(st.tuples(st.sampled_from(["pass", "jump", "reach"]), st.integers(-9999, 9999))))
def test_it_passes_by_itself_and_says_how_far_the_wall_is_ahead(steps: list[Any]) -> None:
    test = Clock()
    clock = test.of_log()
    expected = test.now
    for step, seconds in steps:
        if step == "pass":
            test.now += abs(seconds)
            expected += abs(seconds)
        elif step == "jump":
            test.wrong += seconds
        else:
            clock.reach(expected + seconds)
            expected = max(expected, expected + seconds)
        assert clock.now() == expected
        assert clock.wall() == test.now + test.wrong
        assert clock.now() + clock.wall_ahead == clock.wall()


def test_by_itself_it_is_the_system_s() -> None:
    clock = LogClock()
    assert abs(clock.wall_ahead) < 1
    before = clock.now()
    assert clock.now() >= before


# ---- through each log --------------------------------------------------------


@pytest.fixture(params=each(["memory", "sqlite", "redis"]))
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(KINDS[request.param], tmp_path, retention_age=3600, finished_for=600)
    await desk.open()
    yield desk
    await desk.log.close()


def draft(event: str, data: Any = None, key: str | None = None) -> Draft:
    return Draft.of(Envelope(event, data, idempotency_key=key))


async def work(desk: Desk, name: str) -> None:
    """A task that goes on, one that has ended, and an event with an idempotency key."""
    await desk.append(
        draft("task_created", {"id": f"{name} active"}),
        draft("task_completed", {"id": f"{name} done"}),
        draft("x", key=name),
    )
    desk.log.tick()


def held(log: Log) -> tuple[int, list[str], list[str]]:
    """The oldest entry, the finished tasks that are shown, and those that have expired."""
    finished = [task.key for task in log.board.all_finished(log.now())]
    return log.first, finished, [task.key for task in log.board.expired(log.now(), 600)]


@pytest.mark.parametrize("wrong", [DAY, -DAY])
async def test_a_clock_that_is_wrong_for_a_moment(desk: Desk, wrong: float) -> None:
    await work(desk, "before")
    desk.clock.wrong = wrong
    await work(desk, "meanwhile")
    assert held(desk.log) == (1, ["meanwhile done", "before done"], [])
    task = desk.log.board.get("meanwhile active")
    assert task is not None
    assert task.data["createdAt"] == (desk.clock.now + wrong) * 1000, "users see the wall clock"
    desk.clock.wrong = 0.0
    await work(desk, "after")
    assert held(desk.log) == (1, ["after done", "meanwhile done", "before done"], [])
    names = ("before", "meanwhile", "after")
    assert await desk.append(*(draft("x", key=name) for name in names)) == [3, 6, 9]

    desk.clock.now += IDEMPOTENCY_FOR + 1
    assert held(desk.log) == (1, [], [f"{name} active" for name in names])
    assert await desk.append(*(draft("x", key=name) for name in names)) == [10, 11, 12]
    desk.clock.now += 3000
    await desk.trimmed(10)


async def test_an_id_is_free_when_its_task_is_no_longer_shown(desk: Desk) -> None:
    """Whether or not anything else has happened since, and the log was opened again."""
    await desk.append(draft("task_completed", {"id": 1}))
    desk.clock.now += 601
    assert await desk.append(draft("task_progress", {"id": 1})) == [2]


@pytest.mark.parametrize("desk", each(["sqlite", "redis"]), indirect=True)
async def test_the_time_that_a_log_was_closed_counts(desk: Desk) -> None:
    # Wrong already when the log began, and right again while it was open.
    desk.clock.wrong = -DAY
    await desk.reopen()
    await work(desk, "before")
    desk.clock.wrong = 0.0
    await work(desk, "after")
    await desk.log.close()
    desk.clock.now += 599
    log = await desk.open()
    assert held(log) == (1, ["after done", "before done"], [])
    assert await desk.append(draft("x", key="before")) == [3]
    await log.close()
    desk.clock.now += 2
    assert held(await desk.open()) == (1, [], ["before active", "after active"])
    desk.clock.now += 3000
    await desk.trimmed(6)


@pytest.mark.parametrize("desk", each(["sqlite", "redis"]), indirect=True)
async def test_a_log_from_the_future_goes_on_from_its_newest_entry(desk: Desk) -> None:
    """It was written while the clock was ahead, or the machine has forgotten the time."""
    await work(desk, "before")
    await desk.log.close()
    desk.clock.wrong = -DAY
    log = await desk.open()
    assert held(log) == (1, ["before done"], [])
    desk.clock.now += 601
    assert held(log) == (1, [], ["before active"])


@pytest.mark.parametrize("desk", each(["redis"]), indirect=True)
async def test_nodes_count_the_same_seconds_whatever_their_clocks_show(
    desk: Desk, tmp_path: Path
) -> None:
    other = Desk(KINDS["redis"], tmp_path, retention_age=3600, finished_for=600)
    other.clock.now, other.clock.wrong = 77.0, desk.clock.now - 77.0
    await other.open()
    names = [f"{n} {way}" for n in range(2) for way in ("ahead", "behind")]
    for n, (ahead, behind) in enumerate([(desk, other), (other, desk)]):
        ahead.clock.now += 5
        await work(ahead, f"{n} ahead")
        assert await behind.log.sync()
        assert behind.log.now() == ahead.log.now()
        behind.clock.wrong -= DAY
        await work(behind, f"{n} behind")
        assert await ahead.log.sync()
    finished = [f"{name} done" for name in reversed(names)]
    assert held(desk.log) == held(other.log) == (1, finished, [])
    desk.clock.now += 601
    assert held(desk.log) == (1, [], [f"{name} active" for name in names])
    await other.log.close()
