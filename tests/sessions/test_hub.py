"""How sessions open, move between rooms, come back and end."""

from __future__ import annotations

from typing import Any

import pytest
from hubs import Connection, House, resyncs, start_of, told, x

from rtpush.access.auth import Grant
from rtpush.errors import RtpushError


def test_nothing_is_left_of_those_who_have_gone(house: House) -> None:
    sessions = [house.open(*rooms)[0] for rooms in ((), ("a",), ("a", "b"), ("b",), ("a",))]
    assert house.hub.groups.rooms() == {"a": 3, "b": 2}
    for session in sessions:
        house.hub.join(session, "c")
        house.hub.leave(session, "a")
    assert house.hub.groups.rooms() == {"b": 2, "c": 5}
    for session in sessions:
        house.hub.close(session)
        house.hub.close(session)
    assert house.hub.groups.rooms() == {}
    assert list(house.hub.groups) == []
    assert house.hub.sessions == {}


def test_who_was_sent_away_cannot_take_its_session_up(house: House) -> None:
    session, connection = house.open()
    house.hub.disconnect(session, RtpushError("forbidden", "Go."))
    assert connection.closed == (4403, "forbidden")
    last = str(house.log.position)
    assert house.open(last=last, sid=session.sid)[0] is not session


def test_a_client_takes_over_a_session_that_seems_connected(house: House) -> None:
    session, dead = house.open("a")
    last = str(house.log.position)
    house.publish(x(1))
    again, connection = house.open(last=last, sid=session.sid)
    assert again is session
    assert dead.closed == (1000, "another connection took over")
    assert told(connection) == [1]
    assert connection.events[0]["data"]["recovered"] is True
    assert house.open(sid=session.sid)[0] is not session, "without a position it begins anew"
    stranger = house.open(last=last, sid=session.sid, grant=Grant(subject="eve"))[0]
    assert stranger is not session


def test_the_application_is_told_once_and_of_sessions_alone(house: House) -> None:
    ends: list[str] = []
    house.hub.on_closed = lambda session, _reason: ends.append(session.sid)
    session, _ = house.open()
    refused = house.hub.prepare()
    for one in (refused, session, session):
        house.hub.close(one)
    assert ends == [session.sid]


def test_nothing_has_changed_after_a_refusal() -> None:
    house = House(max_rooms=2, max_connections=1)
    for rooms, last, code in (
        ([], "nonsense", "bad_position"),
        ([""], None, "bad_room"),
        (["a", "b", "c"], None, "too_many_rooms"),
    ):
        with pytest.raises(RtpushError) as refused:
            house.hub.check_connect_request(rooms, last)
        assert refused.value.code == code
    with pytest.raises(RtpushError, match="bad_position"):
        house.hub.prepare("nonsense")
    house.hub.check_connect_request(["a", "b"], start_of(house))
    house.open()
    with pytest.raises(RtpushError, match="as many connections as it allows"):
        house.open()
    house.hub.stopping = True
    with pytest.raises(RtpushError, match="is stopping"):
        house.open()
    assert len(house.hub.sessions) == 1


def test_a_position_of_another_log_is_answered_with_a_resync(house: House) -> None:
    _, connection = house.open(last="other-5")
    assert [event["event"] for event in connection.events] == [
        "connect",
        "resync",
        "active_tasks",
    ]
    assert connection.events[0]["data"]["recovered"] is False
    assert connection.events[0]["data"]["position"] == str(house.log.position)
    assert resyncs(connection) == ["epoch"]


def test_clients_of_a_server_that_stops_come_back_spread_over_time(house: House) -> None:
    wires = [house.open()[1] for _ in range(200)]
    house.hub.disconnect_all(RtpushError("going_away", "Stopping."))
    waits = [connection.events[-1]["data"]["retry_after"] for connection in wires]
    assert 0.0 <= min(waits) < 0.5
    assert 0.9 < max(waits) <= 1.4
    assert all(round(wait, 2) == wait for wait in waits)


def test_a_session_leaves_the_rooms_that_its_new_token_does_not_list() -> None:
    house = House(auth_secret="s" * 32)
    session, connection = house.open("a", "b", grant=Grant(subject="ada", rooms=("a", "b")))
    house.hub.renew(session, Grant(subject="ada", rooms=("b",)))
    assert list(session.rooms) == ["b"]
    assert connection.events[-1]["data"]["code"] == "forbidden"


def test_a_session_that_is_ended_is_told_why(house: House) -> None:
    error = RtpushError("unavailable", "Enough.")
    for retry, expected in ((None, error.retry_after), (2.5, 2.5)):
        session, connection = house.open()
        house.hub.disconnect(session, error, retry)
        last = connection.events[-1]
        assert last["event"] == "disconnect"
        assert last["data"] == {"reason": "Enough.", "code": 4503, "retry_after": expected}
        assert connection.closed == (4503, "unavailable")
        assert not house.hub.knows(session.sid)


@pytest.mark.parametrize("away", [False, True])
def test_who_was_thrown_out_while_away_hears_of_it(house: House, away: bool) -> None:
    session, _ = house.open()
    last = str(house.log.position)
    if away:
        house.hub.close(session)
    house.hub.evict(session, RtpushError("forbidden", "Out."))
    assert not house.hub.knows(session.sid)
    if away:
        with pytest.raises(RtpushError, match=r"Out\."):
            house.open(last=last, sid=session.sid)
    else:
        assert house.open(last=last, sid=session.sid)[0] is not session


def test_the_next_request_of_a_session_takes_over(house: House) -> None:
    session, first = house.open(room_for=400)
    last = str(house.log.position)
    house.publish(x(1))
    second = Connection(house.hub)
    with pytest.raises(RtpushError, match="bad_position"):
        house.hub.reattach(session, second, "nonsense")
    assert first.closed is None
    house.hub.reattach(session, second, last)
    assert first.closed == (1000, "another request took over")
    assert [event["event"] for event in second.events] == ["x"]
    assert house.hub.lagging() == 0


@pytest.mark.parametrize(
    "client",
    [{"address": "203.0.113.9"}, {"grant": Grant(subject="ada")}],
    ids=["address", "subject"],
)
def test_a_session_that_ended_leaves_its_place_to_another(client: dict[str, Any]) -> None:
    house = House(max_per_address=2, max_per_subject=2)
    for _ in range(3):
        sessions = [house.open(**client)[0] for _ in range(2)]
        with pytest.raises(RtpushError, match="as many connections") as refused:
            house.open(**client)
        assert refused.value.code == "rate_limited"
        sessions.append(house.open(address="203.0.113.10", grant=Grant(subject="bob"))[0])
        for session in sessions:
            house.hub.close(session)


# ---- taking a session up again -------------------------------------------------


def test_a_client_that_is_refused_on_its_return_has_left_once(house: House) -> None:
    ends: list[str] = []
    house.hub.on_closed = lambda session, _reason: ends.append(session.sid)
    session, _ = house.open()
    house.hub.close(session)
    again = house.hub.prepare(str(house.log.position), sid=session.sid)
    house.hub.close(again)
    assert ends == [session.sid]


def test_a_session_leaves_rooms_that_the_token_of_its_return_does_not_list() -> None:
    house = House(auth_secret="s" * 32)
    session, _ = house.open("a", "b", grant=Grant(subject="ada", rooms=("a", "b")))
    house.hub.close(session)
    grant = Grant(subject="ada", rooms=("b",))
    again, connection = house.open(last=str(house.log.position), sid=session.sid, grant=grant)
    assert (again, list(again.rooms)) == (session, ["b"])
    assert connection.events[1]["data"]["code"] == "forbidden"


@pytest.mark.parametrize("back", [False, True], ids=["away", "back"])
def test_a_right_to_a_room_ends_for_sessions_that_are_here(back: bool) -> None:
    house = House(auth_secret="s" * 32)
    expelled: list[str] = []
    house.hub.on_expelled = lambda _session, room: expelled.append(room)
    session, _ = house.open(grant=Grant(rooms=()))
    house.hub.enter(session, "a", house.turns.now + 10)
    house.hub.close(session)
    if back:
        house.open(last=str(house.log.position), sid=session.sid, grant=Grant(rooms=()))
    house.turns.now += 11
    house.hub.tick()
    assert expelled == (["a"] if back else [])


def test_a_polling_session_comes_back_over_another_transport(house: House) -> None:
    session, _ = house.open()
    house.hub.detach(session)
    assert house.open(last=str(house.log.position), sid=session.sid)[0] is session


def test_what_is_sent_to_a_session_that_is_back_comes_once(house: House) -> None:
    session, _ = house.open()
    last = str(house.log.position)
    house.hub.close(session)
    again = house.hub.prepare(last, sid=session.sid)
    house.publish(x("yours", room=session.sid))
    connection = Connection(house.hub)
    house.hub.open(again, connection, last)
    house.turns.settle()
    assert told(connection) == ["yours"]


def test_a_request_at_a_position_of_another_log_is_given_the_board_alone(house: House) -> None:
    session, _ = house.open()
    house.hub.detach(session)
    house.publish(x("yours", room=session.sid))
    connection = Connection(house.hub)
    house.hub.reattach(session, connection, "other-5")
    house.turns.settle()
    assert [event["event"] for event in connection.events] == ["resync", "active_tasks"]


def test_a_detached_session_is_where_it_was_live(house: House) -> None:
    session, _ = house.open()
    # A pass does not touch those whom it does not concern.
    house.publish(x(1, room="a"))
    house.hub.detach(session)
    assert house.hub.position_of(session) == house.log.position


# ---- eviction ------------------------------------------------------------------


def test_the_application_is_told_of_a_session_that_the_server_ends(house: House) -> None:
    ends: list[str] = []
    house.hub.on_closed = lambda _session, reason: ends.append(reason)
    session, _ = house.open()
    assert house.hub.knows(session.sid)
    house.hub.disconnect(session, RtpushError("forbidden", "Go."))
    assert ends == ["server disconnect"]


def test_a_polling_client_that_was_thrown_out_hears_of_it_when_it_is_back(house: House) -> None:
    session, _ = house.open()
    # The answer to its request may be lost.
    session.lease_until = house.hub.lease()
    house.hub.evict(session, RtpushError("forbidden", "Out."))
    with pytest.raises(RtpushError, match=r"Out\."):
        house.open(last=str(house.log.position), sid=session.sid)


def test_a_client_back_on_a_websocket_hears_at_once_that_it_is_thrown_out(house: House) -> None:
    session, _ = house.open()
    session.lease_until = house.hub.lease()
    house.hub.close(session)
    last = str(house.log.position)
    house.open(last=last, sid=session.sid)
    house.hub.evict(session, RtpushError("forbidden", "Out."))
    assert house.open(last=last, sid=session.sid)[0] is not session


def test_a_session_that_was_never_admitted_is_forgotten(house: House) -> None:
    session = house.hub.prepare()
    house.hub.evict(session, RtpushError("forbidden", "Out."))
    assert house.open(last=str(house.log.position), sid=session.sid)[0] is not session


def test_a_session_thrown_out_while_away_keeps_no_other_longer() -> None:
    house = House(session_lease=60)
    first, second = (house.open()[0] for _ in range(2))
    house.hub.close(first)
    house.hub.close(second)
    house.turns.now += 30
    house.hub.evict(first, RtpushError("forbidden", "Out."))
    house.turns.now += 31
    house.hub.tick()
    assert house.hub.find(first.sid) is first
    assert house.hub.find(second.sid) is None
