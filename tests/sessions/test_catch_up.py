"""Reading for oneself: sessions that lag, come back, or have lost a connection."""

from __future__ import annotations

from typing import Any

import pytest
from hubs import BIG, Connection, House, keyed, numbers, read_all, resyncs, start_of, told, x

from rtpush.errors import RtpushError
from rtpush.log.base import Page
from rtpush.log.memory import MemoryLog
from rtpush.log.room_index import Rooms


@pytest.mark.parametrize("again", [False, True], ids=["new connection", "next request"])
def test_what_a_client_missed_before_it_came_back_is_never_conflated(
    house: House, again: bool
) -> None:
    house.publish(*keyed(1, 2, 3))
    if again:
        session, _ = house.open()
        house.hub.detach(session)
        connection = Connection(house.hub, room_for=400)
        connection.session = session
        house.hub.reattach(session, connection, start_of(house))
    else:
        _, connection = house.open(last=start_of(house), room_for=400)
    assert connection.held, "it is slow from its first event on"
    house.publish(*keyed(4, 5, 6))
    read_all(house, connection)
    assert numbers(connection) == [1, 2, 3, 6]


def test_a_client_that_lags_is_not_conflated_when_it_asked_for_that(house: House) -> None:
    _, connection = house.open(room_for=400, conflate=False)
    house.publish(*keyed(1, 2, 3, 4))
    read_all(house, connection)
    assert numbers(connection) == [1, 2, 3, 4]


def test_a_client_that_has_caught_up_is_not_conflated_until_it_lags_again(house: House) -> None:
    session, connection = house.open(room_for=400)
    house.publish(*keyed(1, 2, 3))
    read_all(house, connection)
    assert numbers(connection) == [1, 3]
    connection.room_for = 1 << 30
    # The last one lets the session read for itself.
    small = [x([number, ""], key="k") for number in (4, 5)]
    house.publish(*small, x([6, ""], room=session.sid))
    house.turns.settle()
    assert numbers(connection) == [1, 3, 4, 5, 6]


def test_after_a_loss_of_the_log_a_slow_client_is_conflated_from_the_start(house: House) -> None:
    house.publish(*(x(n) for n in range(10)))
    session, connection = house.open(room_for=400)
    away = house.open()[0]
    house.hub.close(away)
    house.hub.pause(session)
    house.lose_the_log()
    house.turns.settle()
    assert resyncs(connection) == []
    assert str(house.hub.position_of(session)) == "lost-0"
    house.hub.resume(session)
    house.turns.settle()
    connection.drain()
    house.publish(*keyed(1, 2, 3))
    read_all(house, connection)
    assert resyncs(connection) == ["epoch"]
    assert numbers(connection) == [1, 3]


def test_a_client_that_stops_and_goes_on_begins_no_second_read() -> None:
    house = House(retention_count=3)
    session, connection = house.open()
    house.hub.pause(session)
    house.publish(*(x(n) for n in range(10)))
    for _ in range(3):
        house.hub.resume(session)
        assert len(house.turns.spawned) == 1
        house.hub.pause(session)
    house.hub.resume(session)
    house.turns.settle()
    assert resyncs(connection) == ["expired"]


def test_a_client_that_stops_and_goes_on_gets_one_write_a_turn(house: House) -> None:
    house.publish(*keyed(1, 2, 3, 4, 5))
    session, connection = house.open(last=start_of(house))
    for _ in range(3):
        house.hub.pause(session)
        house.hub.resume(session)
    assert numbers(connection) == [1]
    for turn in range(2, 6):
        house.turns.turn()
        assert numbers(connection) == list(range(1, turn + 1))


def test_what_is_sent_to_a_session_before_it_opens_reaches_it() -> None:
    house = House(retention_count=3)
    house.publish(*(x(n) for n in range(10)))
    session = house.hub.prepare()
    house.publish(x("yours", room=session.sid), x("all"))
    connection = Connection(house.hub)
    house.hub.open(session, connection)
    assert told(connection) == ["yours"]


def test_what_was_sent_to_a_session_before_it_opens_may_be_gone() -> None:
    house = House(retention_count=3)
    session = house.hub.prepare()
    house.publish(x("yours", room=session.sid), *(x(n) for n in range(10)))
    connection = Connection(house.hub)
    house.hub.open(session, connection)
    assert [event["event"] for event in connection.events] == ["connect", "active_tasks"]


@pytest.mark.parametrize("wakes", ["a message", "a room", "a full connection"])
def test_a_session_whose_rooms_were_silent_has_missed_nothing(wakes: str) -> None:
    house = House(retention_count=3)
    session, connection = house.open("a")
    for n in range(10):
        house.publish(x(n, room="b"))
    if wakes == "a message":
        house.publish(x("yours", room=session.sid))
    elif wakes == "a full connection":
        house.hub.pause(session)
        assert house.hub.lagging() == 1
        house.hub.resume(session)
        assert house.hub.lagging() == 0
        house.publish(x("yours", room="a"))
    else:
        house.hub.join(session, "c")
        house.publish(x("yours", room="c"))
    house.turns.settle()
    assert told(connection) == ["yours"]
    assert resyncs(connection) == []


def test_a_batch_larger_than_the_memory_of_the_log() -> None:
    house = House(retention_count=3)
    (slow, held), (_, quick) = house.open(), house.open()
    house.hub.pause(slow)
    house.publish(*(x(n) for n in range(10)))
    house.turns.settle()
    assert (resyncs(quick), resyncs(held)) == (["expired"], [])
    house.publish(x(10))
    assert told(quick) == [10]


def test_a_room_that_a_session_was_put_in_while_away_is_shown_when_it_is_back(
    house: House,
) -> None:
    session, _ = house.open()
    last = str(house.hub.position_of(session))
    assert last == str(house.log.position)
    house.hub.detach(session)
    house.hub.put(session, "a")
    house.publish(x(1, room="a"))
    connection = Connection(house.hub)
    house.hub.reattach(session, connection, last)
    house.hub.reattach(session, connection, last)
    events = [(event["event"], event.get("room")) for event in connection.events]
    assert events.count(("active_tasks", "a")) == 1
    assert told(connection) == [1, 1]


class ShortMemory(MemoryLog):
    """A log whose older entries are in its store alone."""

    def recent(self, after: int, max_bytes: int, rooms: Rooms | None = None) -> Page | None:
        return super().recent(after, max_bytes, rooms) if after >= self.last - 1 else None


@pytest.fixture
def stored() -> House:
    return House(ShortMemory)


def test_the_store_is_read_without_what_was_superseded(stored: House) -> None:
    _, connection = stored.open(room_for=400)
    _, all_of_it = stored.open(room_for=400, conflate=False)
    stored.publish(*keyed(1))
    stored.turns.settle()
    stored.publish(x([0, ""]))
    stored.publish(*keyed(2, 3, 4))
    read_all(stored, connection)
    read_all(stored, all_of_it)
    assert numbers(connection) == [1, 0, 4]
    assert numbers(all_of_it) == [1, 0, 2, 3, 4]


@pytest.mark.parametrize("log", [MemoryLog, ShortMemory])
def test_a_room_without_conflation_gives_a_slow_client_everything(log: type[MemoryLog]) -> None:
    house = House(log, rooms={"a": {"conflate": False}})
    _, connection = house.open("a", room_for=400)
    house.publish(x([0, BIG], room="a"))
    house.turns.settle()
    house.publish(*(x([number, BIG], room="a", key="k") for number in (1, 2, 3)))
    read_all(house, connection)
    assert numbers(connection) == [0, 1, 2, 3]


def test_the_store_gives_a_client_that_comes_back_all_that_it_missed(stored: House) -> None:
    stored.publish(*keyed(1, 2, 3, 4))
    _, connection = stored.open(last=start_of(stored))
    _, slow = stored.open(last=start_of(stored), room_for=400)
    stored.hub.pause(slow.session)  # type: ignore[arg-type]
    slow.held = 400
    stored.publish(*keyed(5, 6, 7))
    read_all(stored, connection)
    read_all(stored, slow)
    assert numbers(connection)[:4] == [1, 2, 3, 4]
    assert numbers(slow) == [1, 2, 3, 4, 7]


@pytest.mark.parametrize("client", ["stays", "goes", "comes back"])
def test_a_store_that_cannot_be_read(stored: House, client: str) -> None:
    stored.publish(*keyed(1, 2, 3, 4))
    read = stored.log.read

    async def fail(*_: Any) -> Page:
        stored.log.read = read  # type: ignore[method-assign]
        raise RtpushError("unavailable", "The disk is gone.")

    stored.log.read = fail  # type: ignore[method-assign]
    session, connection = stored.open(last=start_of(stored))
    if client == "goes":
        stored.hub.close(session)
    elif client == "comes back":
        connection = Connection(stored.hub)
        stored.hub.reattach(session, connection, start_of(stored))
    stored.turns.settle()
    assert connection.closed == ((4503, "unavailable") if client == "stays" else None)
    assert numbers(connection) == ([1, 2, 3, 4] if client == "comes back" else [])


def test_a_client_that_goes_while_the_store_is_read(stored: House) -> None:
    stored.publish(*keyed(1, 2, 3, 4))
    session, connection = stored.open(last=start_of(stored))
    stored.hub.detach(session)
    again = Connection(stored.hub)
    stored.hub.reattach(session, again, start_of(stored))
    stored.turns.settle()
    assert numbers(connection) == []
    assert numbers(again) == [1, 2, 3, 4]
