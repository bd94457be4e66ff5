"""Bounds of a room's past: found in memory or in the store, by count and by age."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpush.access.room_policy import RoomPolicy
from rtpush.config import Settings
from rtpush.handlers.registry import HandlerRegistry
from rtpush.log.clock import LogClock
from rtpush.log.entry import Draft
from rtpush.log.memory import MemoryLog
from rtpush.protocol import Envelope, Position
from rtpush.sessions.history_bounds import HistoryBounds


class Forgetful(MemoryLog):
    """A log whose memory does not know a room's numbers. `reads` counts reads of the store."""

    reads = 0

    def nth_newest(self, room: str, count: int) -> int | None:
        return None

    async def read_before(self, *args: Any, **more: Any) -> Any:
        self.reads += 1
        return await super().read_before(*args, **more)


async def written(log: MemoryLog, rooms: str) -> None:
    await log.append([Draft.of(Envelope("x", room=room)) for room in rooms])


def bounds_of(
    log_type: type[MemoryLog], **rule: Any
) -> tuple[MemoryLog, HistoryBounds, list[float]]:
    rules: Any = {"a": rule}
    settings, now = Settings(log="memory:", rooms=rules, retention_count=9), [100.0]
    log = log_type(settings, LogClock(lambda: now[0], lambda: now[0]))
    return log, HistoryBounds(log, RoomPolicy(settings, HandlerRegistry())), now


@pytest.mark.parametrize("log_type", [MemoryLog, Forgetful])
@given(rooms=st.text("ab", max_size=14), count=st.integers(0, 6))
async def test_the_bound_by_count_is_that_of_a_list(
    log_type: type[MemoryLog], rooms: str, count: int
) -> None:
    log, bounds, _ = bounds_of(log_type, history_count=count)
    await written(log, rooms)
    kept = range(log.first, log.last + 1)
    older = [n for n in kept if rooms[n - 1] == "a"][: -count or None]
    assert await bounds.of("a") == (older[-1] if older else 0)
    for last in range(log.first - 1, log.last + 1):
        position = Position(log.epoch, last)
        assert await bounds.passed("ab", position) is any(n > last for n in older)


@given(st.lists(st.integers(0, 3), max_size=9), st.integers(0, 12))
async def test_the_bound_by_age_is_that_of_a_list(pauses: list[int], later: int) -> None:
    log, bounds, now = bounds_of(MemoryLog, history_age=5)
    times = []
    for pause in pauses:
        now[0] += pause
        times.append(now[0])
        await written(log, "a")
        await bounds.of("a")
    old = [number for number, time in enumerate(times, 1) if time < now[0] + later - 5]
    now[0] += later
    assert await bounds.of("a") == (old[-1] if old else 0)


async def test_a_quiet_room_is_counted_once() -> None:
    log, bounds, _ = bounds_of(Forgetful, history_count=1)
    await written(log, "aab")
    for _ in range(3):
        assert await bounds.of("a") == 1
    await written(log, "b")
    assert await bounds.of("a") == 1
    assert log.reads == 1  # type: ignore[attr-defined]
    await written(log, "a")
    assert await bounds.of("a") == 2


async def test_rooms_without_a_bound_cost_nothing() -> None:
    log, bounds, _ = bounds_of(Forgetful)
    await written(log, "aab")
    assert not await bounds.passed("ab", Position(log.epoch, 0))
    assert log.reads == 0  # type: ignore[attr-defined]
