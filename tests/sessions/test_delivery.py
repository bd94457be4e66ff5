"""Passes: how the log reaches the sessions that keep up."""

from __future__ import annotations

import pytest
from hubs import House, resyncs, told, x

from rtpush.framing import FRAMINGS, Framing
from rtpush.protocol import Position, encode


@pytest.mark.parametrize("framing", FRAMINGS, ids=lambda framing: f"{framing.index}-{framing.name}")
def test_all_of_a_group_get_the_same_bytes(house: House, framing: Framing) -> None:
    wires = [house.open("a", framing=framing)[1] for _ in range(3)]
    before = [len(connection.written) for connection in wires]
    house.publish(x(1, room="a"), x(2))
    shared = [connection.written[n:] for connection, n in zip(wires, before, strict=True)]
    assert len(shared[0]) == 1, "one write for a pass"
    assert all(written[0] is shared[0][0] for written in shared)


def test_a_broken_wire_does_not_end_the_pass(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    wires = [house.open()[1] for _ in range(3)]

    def fail(data: bytes) -> None:
        raise OSError("gone")

    wires[1].write = fail  # type: ignore[method-assign]
    house.publish(x(1))
    assert [told(wires[0]), told(wires[2])] == [[1], [1]]
    assert len(house.hub.sessions) == 2
    assert "a connection failed" in caplog.text


def test_a_long_pass_breathes_and_whoever_comes_meanwhile_misses_nothing(house: House) -> None:
    wires = [house.open()[1] for _ in range(500)]
    house.turns.step = 0.002
    house.publish(x(1))
    assert house.turns.soon, "it lets the loop breathe"
    assert not house.hub.idle.is_set()
    late = house.open()[1]
    back = house.open(last=str(Position(house.log.epoch, 0)))[1]
    house.publish(x(2))
    house.turns.settle()
    assert house.hub.idle.is_set()
    assert all(told(connection) == [1, 2] for connection in [*wires, back])
    assert told(late) == [2]


def test_a_session_that_comes_between_two_events_gets_the_second(house: House) -> None:
    for _ in range(500):
        house.open()
    house.turns.step = 0.002
    house.publish(x(1))
    house.publish(x(2))
    late = house.open()[1]
    house.publish(x(3))
    house.turns.settle()
    assert told(late) == [3]


def test_a_session_that_moves_to_a_group_already_served_gets_what_it_is_owed(
    house: House,
) -> None:
    for _ in range(500):
        house.open("a")
    session, connection = house.open()
    house.turns.step = 0.002
    house.publish(x(1), x("theirs", room="a"))
    assert told(connection) == []
    house.hub.join(session, "a")
    house.publish(x(2, room="a"))
    house.turns.settle()
    assert told(connection) == [1, 2]


def test_groups_that_an_event_concerns_alike_share_its_bytes(house: House) -> None:
    wires = [house.open(*rooms)[1] for rooms in (("a",), ("a", "b"))]
    house.publish(x(1, room="a"))
    assert wires[0].written[-1] is wires[1].written[-1]


def test_deliveries_are_counted(house: House) -> None:
    assert house.hub.idle.is_set()
    (session, _), _ = house.open("a"), house.open("a")
    house.publish(x(1), x(2))
    house.publish(x(3, room="b"))
    assert house.hub.deliveries == 2
    house.publish(x(4, room=session.sid))
    house.hub.send_volatile(encode("x", 5, room="a"), "a", skip=(session.sid,))
    assert house.hub.deliveries == 4


def test_volatile_events_reach_those_who_keep_up(house: House) -> None:
    (one, first), (two, second), (_, third) = house.open("a"), house.open("a"), house.open()
    house.hub.send_volatile(encode("x", 1, room="a"), "a")
    house.hub.send_volatile(encode("x", 2), None, skip=(one.sid,))
    house.hub.send_volatile(encode("x", 3), one.sid)
    house.hub.pause(one)
    house.hub.pause(two)
    house.hub.send_volatile(encode("x", 4), None)
    house.hub.send_volatile(encode("x", 5), one.sid)
    assert (told(first), told(second), told(third)) == ([1, 3], [1, 2], [2, 4])


def test_a_session_that_is_named_reads_for_itself(house: House) -> None:
    (one, first), (two, second) = house.open("a"), house.open("a")
    house.publish(x(1, room="a"), skip=(one.sid,))
    house.publish(x(2, room=two.sid))
    house.publish(x(3, room="a"), x(4))
    assert told(first) == [3, 4]
    assert told(second) == [1, 2, 3, 4]


def test_a_loss_of_the_log_is_told_to_everyone_in_turn(house: House) -> None:
    house.publish(*(x(n) for n in range(5)))
    wires = [house.open("a")[1] for _ in range(500)]
    house.turns.step = 0.002
    house.lose_the_log()
    assert not house.hub.idle.is_set()
    assert 0 < sum(resyncs(wire) == ["epoch"] for wire in wires) < 500, "it breathes"
    house.publish(x(1), x(2, room="a"))
    house.turns.settle()
    assert house.hub.idle.is_set()
    assert told(wires[0]) == [1, 2]
    # Whose turn came later began behind these.
    assert told(wires[-1]) == []
    house.publish(x(3, room="a"))
    house.turns.settle()
    for wire in wires:
        assert resyncs(wire) == ["epoch"]
        assert told(wire)[-1] == 3
