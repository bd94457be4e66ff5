"""What time brings: heartbeats, leases, timeouts and tokens that expire."""

from __future__ import annotations

import pytest
from hubs import Connection, House, x

from rtpush.access.auth import Grant
from rtpush.errors import RtpushError


def test_heartbeats_are_spread_and_everybody_gets_them() -> None:
    house = House(heartbeat=10)
    wires = [house.open()[1] for _ in range(200)]
    each_second = []
    for _ in range(10):
        before = sum(connection.beats for connection in wires)
        house.hub.tick()
        each_second.append(sum(connection.beats for connection in wires) - before)
    assert all(connection.beats == 1 for connection in wires)
    assert max(each_second) < 100, "a crowd does not beat at once"


def test_a_session_that_came_back_often_beats_as_one() -> None:
    house = House(heartbeat=10)
    session, connection = house.open()
    for _ in range(20):
        house.hub.close(session)
        connection = house.open(last=str(house.log.position), sid=session.sid)[1]
    for _ in range(10):
        house.hub.tick()
    assert connection.beats == 1


def test_a_wire_of_which_nothing_leaves_is_closed() -> None:
    house = House(write_timeout=60)
    stuck, slow = house.open(room_for=500)[1], house.open(room_for=500)[1]
    house.publish(x("y" * 1000))
    assert house.hub.lagging() == 2
    house.turns.now += 59
    house.hub.tick()
    slow.held -= 1
    house.turns.now += 2
    house.hub.tick()
    assert stuck.closed == (4508, "too_slow")
    assert stuck.events[-1]["event"] == "disconnect"
    assert slow.closed is None
    house.turns.now += 61
    house.hub.tick()
    assert slow.closed == (4508, "too_slow")


def test_a_session_that_was_lost_can_be_taken_up_for_a_while() -> None:
    house = House(session_lease=60)
    ends: list[tuple[str, str]] = []
    house.hub.on_closed = lambda session, reason: ends.append((session.sid, reason))
    session, _ = house.open("a")
    house.hub.join(session, "b")
    house.hub.close(session, "transport error")
    assert ends == [(session.sid, "transport error")]
    house.turns.now += 59
    house.hub.tick()
    again, connection = house.open("c", last=str(house.log.position), sid=session.sid)
    assert again is session
    assert connection.events[0]["data"]["rooms"] == ["a", "b", "c"]
    house.hub.close(again)
    house.turns.now += 61
    house.hub.tick()
    assert house.open(last=str(house.log.position), sid=session.sid)[0] is not session


def test_a_polling_session_ends_when_no_request_comes() -> None:
    house = House(session_lease=60, heartbeat=1)
    ends: list[str] = []
    house.hub.on_closed = lambda _session, reason: ends.append(reason)
    session, _ = house.open()
    house.hub.detach(session)
    session.lease_until = house.hub.lease()
    house.turns.now += 60
    house.hub.tick()
    assert ends == []
    house.turns.now += 1
    house.hub.tick()
    assert ends == ["ping timeout"]


def test_a_session_that_lost_its_right_to_a_room_is_told() -> None:
    house = House(auth_secret="s" * 32)
    expelled: list[str] = []
    house.hub.on_expelled = lambda _session, room: expelled.append(room)
    grant = Grant(rooms=("a",))
    (here, connection), (away, _) = house.open("a", grant=grant), house.open("a", grant=grant)
    for session in (here, away):
        house.hub.enter(session, "b", house.turns.now + 10)
    house.hub.detach(away)
    house.turns.now += 11
    house.hub.tick()
    assert expelled == ["b", "b"]
    assert (list(here.rooms), list(away.rooms)) == (["a"], ["a"])
    assert connection.events[-1]["event"] == "error"
    assert connection.events[-1]["room"] == "b"
    later = Connection(house.hub)
    house.hub.reattach(away, later, str(house.log.position))
    house.hub.reattach(away, later, str(house.log.position))
    assert [event["event"] for event in later.events] == ["error"], "told once"


def test_a_token_that_expires_ends_the_session_unless_it_is_renewed(house: House) -> None:
    grant = Grant(subject="ada", expires=house.turns.now + 10)
    (one, first), (two, second) = (house.open(grant=grant) for _ in range(2))
    with pytest.raises(RtpushError, match="another user"):
        house.hub.renew(one, Grant(subject="eve"))
    house.hub.renew(one, Grant(subject="ada", expires=house.turns.now + 20))
    house.turns.now += 10
    house.hub.tick()
    assert (first.closed, second.closed) == (None, (4401, "not_authenticated"))
    with pytest.raises(RtpushError, match="it ended"):
        house.hub.renew(two, grant)
    house.turns.now += 10
    house.hub.tick()
    assert first.closed == (4401, "not_authenticated")


def test_a_session_without_a_request_is_no_slow_reader() -> None:
    house = House(write_timeout=10, heartbeat=1)
    session, _ = house.open(room_for=400)
    house.publish(x("y" * 1000))
    assert house.hub.lagging() == 1
    house.hub.detach(session)
    assert house.hub.lagging() == 0
    for _ in range(3):
        house.turns.now += 11
        house.hub.tick()
    assert house.hub.knows(session.sid)
