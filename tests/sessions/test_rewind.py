"""Rewinds: slow readers, the store, lost answers, and rooms that a client leaves meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from hubs import BIG, Connection, House, read_all, start_of, x
from hypothesis import given
from hypothesis import strategies as st

from rtpush.errors import RtpushError
from rtpush.log.base import Page
from rtpush.log.memory import MemoryLog
from rtpush.log.room_index import Rooms
from rtpush.sessions.rewind import MAX_REWIND, RewindSpec
from rtpush.sessions.session import Session


class ShortMemory(MemoryLog):
    """A log whose older entries are in its store alone."""

    def recent(self, after: int, max_bytes: int, rooms: Rooms | None = None) -> Page | None:
        return super().recent(after, max_bytes, rooms) if after >= self.last - 1 else None


@pytest.fixture(params=[MemoryLog, ShortMemory])
def house(request: pytest.FixtureRequest) -> House:
    return House(request.param)


def join(house: House, session: Session, room: str, spec: RewindSpec) -> list[bool]:
    """Enter with a rewind; whether it is complete, once that is known."""
    house.hub.join(session, room, rewinds=True)
    (rewind,) = [one for one in session.rewinds if one.room == room]
    found: list[bool] = []

    async def begin() -> None:
        found.append(await house.hub.begin_rewind(session, rewind, spec))

    house.hub._runtime.spawn(begin())
    return found


def seen(connection: Connection) -> list[tuple[bool, Any]]:
    """The events of a connection: was it rewound, and its data."""
    return [("rewound" in e, e["data"]) for e in connection.events if e["event"] == "x"]


def test_what_is_newer_waits_for_a_slow_reader_of_a_rewind() -> None:
    house = House()
    house.publish(*(x([n, BIG], room="a") for n in range(5)), x("skipped", room="b"))
    session, connection = house.open(room_for=400)
    found = join(house, session, "a", RewindSpec(count=3))
    house.publish(x([5, ""], room="a"), x([6, ""]))
    house.turns.settle()
    assert len(seen(connection)) == 1, "one write, then it is full"
    read_all(house, connection)
    assert [(old, data[0]) for old, data in seen(connection)] == [
        *((True, n) for n in (2, 3, 4)),
        *((False, n) for n in (5, 6)),
    ]
    assert found == [True]


def test_a_room_that_is_left_is_not_rewound_further() -> None:
    house = House()
    house.publish(*(x([n, BIG], room="a") for n in range(5)))
    session, connection = house.open(room_for=400)
    join(house, session, "a", RewindSpec(count=5))
    house.turns.settle()
    house.hub.leave(session, "a")
    house.publish(x(["end", ""]))
    read_all(house, connection)
    assert [data[0] for _, data in seen(connection)] == [0, "end"]


def test_a_lost_log_ends_a_rewind() -> None:
    house = House()
    house.publish(*(x([n, BIG], room="a") for n in range(5)))
    session, connection = house.open(room_for=400)
    join(house, session, "a", RewindSpec(count=5))
    house.turns.settle()
    house.lose_the_log()
    house.publish(x(["new", ""], room="a"))
    read_all(house, connection)
    assert [data[0] for _, data in seen(connection)] == [0]
    assert session.rewinds == ()


def test_what_is_skipped_is_not_rewound(house: House) -> None:
    session, connection = house.open()
    house.publish(x(1, room="a"))
    house.publish(x(2, room="a"), skip=(session.sid,))
    join(house, session, "a", RewindSpec(count=5))
    house.turns.settle()
    assert seen(connection) == [(True, 1)]


def test_a_duration_and_a_position(house: House) -> None:
    for n in range(6):
        house.publish(x(n, room="a"), x(n, room="b"))
        house.turns.now += 10
    for spec, wanted in (
        (RewindSpec(seconds=25), [4, 5]),
        (RewindSpec(seconds=1e6), [0, 1, 2, 3, 4, 5]),
        (RewindSpec.parse(start_of(house)), [0, 1, 2, 3, 4, 5]),
        (RewindSpec.parse(f"{house.log.epoch}-8"), [4, 5]),
    ):
        session, connection = house.open()
        assert join(house, session, "a", spec) == []
        house.turns.settle()
        assert [data for _, data in seen(connection)] == wanted


def test_more_than_a_rewind_holds_is_told(house: House) -> None:
    house.publish(*(x(n, room="a") for n in range(MAX_REWIND + 5)))
    session, connection = house.open()
    found = join(house, session, "a", RewindSpec(seconds=60))
    read_all(house, connection)
    assert found == [False]
    assert [data for _, data in seen(connection)] == list(range(5, MAX_REWIND + 5))


def test_an_answer_that_is_lost_is_given_again(house: House) -> None:
    """A long-poll confirms what it has had by its receipt."""
    house.publish(*(x(n, room="a") for n in range(3)))
    session, _ = house.open()
    session.lease_until = house.hub.lease()
    join(house, session, "a", RewindSpec(count=2))
    house.turns.settle()
    for receipt, wanted in (("lost", [1, 2]), ("0", [])):
        house.hub.detach(session)
        session.confirm(receipt)
        connection = Connection(house.hub)
        house.hub.reattach(session, connection, str(house.log.position))
        house.turns.settle()
        assert [data for _, data in seen(connection)] == wanted
    assert session.rewinds == ()


@given(given=st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.lists(st.none())))
def test_anything_as_a_rewind(given: Any) -> None:
    try:
        spec = RewindSpec.parse(given)
    except RtpushError:
        return
    assert spec.count is None or 1 <= spec.count <= MAX_REWIND
