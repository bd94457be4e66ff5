"""When a pass waits for more events."""

from __future__ import annotations

import pytest
from hubs import House, told, x

from rtpush.sessions.coalescing import MAX_AT_ONCE, MAX_REST, Coalescing


def passes(coalescing: Coalescing, *, every: float, took: float, events: int, count: int) -> int:
    """How many of so many passes rested, each begun `every` seconds behind the last."""
    rested, now = 0, 100.0
    for _ in range(count):
        rest = coalescing.rest(now)
        rested += rest > 0
        began = now + rest
        coalescing.passed(began, began + took, events if rest else 1)
        now = began + took + every
    return rested


@pytest.mark.parametrize(
    ("every", "took", "events", "rested"),
    [
        (0.0001, 0.002, 20, 99),  # a stream: all but the first
        (0.003, 0.002, 1, 0),  # longer ago than a pass takes: a server at rest
        (0.0, 0.0001, 1, 0),  # short passes are not worth a timer
    ],
)
def test_rests_while_events_come_faster_than_passes(
    every: float, took: float, events: int, rested: int
) -> None:
    assert passes(Coalescing(), every=every, took=took, events=events, count=100) == rested


def test_rests_that_brought_nothing_grow_rare() -> None:
    rested = passes(Coalescing(), every=0.0001, took=0.002, events=1, count=1000)
    assert 1000 / MAX_AT_ONCE < rested < 1000 / MAX_AT_ONCE + 8


def test_a_rest_is_as_long_as_the_pass_and_bounded() -> None:
    coalescing = Coalescing()
    coalescing.passed(1.0, 1.001, 1)
    assert coalescing.rest(1.0011) == pytest.approx(0.001)
    coalescing.passed(2.0, 2.5, 2)
    assert coalescing.rest(2.6) == MAX_REST


def test_a_stream_of_single_events_leaves_in_fewer_writes(house: House) -> None:
    connection = house.open()[1]
    house.turns.step = 0.001
    house.publish(x(1))
    house.turns.settle()
    written = len(connection.written)
    house.publish(x(2))
    assert len(connection.written) == written, "it waits behind a pass that has just ended"
    assert not house.hub.idle.is_set()
    house.publish(x(3))
    house.turns.settle()
    assert len(connection.written) == written + 1
    assert told(connection) == [1, 2, 3]
    assert house.hub.idle.is_set()
