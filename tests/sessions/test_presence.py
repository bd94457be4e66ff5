"""The book of members: what it tells makes the log's picture its own."""

from __future__ import annotations

from typing import Any

import orjson
from hubs import House
from hypothesis import given
from hypothesis import strategies as st

from rtpush.config.settings import Settings
from rtpush.errors import Reason
from rtpush.log.accounts import LOCAL_CLIENTS
from rtpush.log.entry import Draft
from rtpush.log.retained import PRESENCE, RetainedEvents
from rtpush.protocol import Envelope, Position
from rtpush.sessions.presence import MAX_TOLD, PresenceBook, gathering_time, member_id
from rtpush.sessions.session import Session

ROOMS = ("a", "b")


def session(sid: str) -> Session:
    return Session(sid, True, "10.0.0.1", 0.0)


class Room:
    """A book, and the retained events that its tellings come to."""

    def __init__(self) -> None:
        self.book = PresenceBook(Settings(max_retained=10_000))
        self.retained = RetainedEvents(100_000, 1 << 30, 1 << 20)
        self.seq = 0

    def tell(self, room: str) -> list[dict[str, int]]:
        """What is told, as numbers of members."""
        events = self.book.take(room, self.retained)
        for data in events:
            self.seq += 1
            draft = Draft.of(Envelope(PRESENCE, data, room))
            self.retained.apply(draft.changes, LOCAL_CLIENTS, Position("e", self.seq))
        return [{what: len(members) for what, members in data.items()} for data in events]

    def shown(self, room: str) -> dict[str, object]:
        members = (orjson.loads(value.json)["data"] for value in self.retained.values([room]))
        return {member["id"]: member["info"] for member in members}


def test_only_what_differs_is_told() -> None:
    room, ann, bob = Room(), session("ann"), session("bob")
    room.book.show(ann, "a", {"n": 1})
    room.book.show(bob, "a", {})
    room.book.hide(bob, "a")
    assert room.tell("a") == [{"joined": 1}]
    room.book.hide_all(ann)
    room.book.show_all(ann)
    assert room.tell("a") == []
    room.book.show(ann, "a", {"n": 2})
    assert room.tell("a") == [{"changed": 1}]
    room.book.hand_over(ann)
    assert (room.tell("a"), len(room.book)) == ([], 0)
    assert room.shown("a") == {member_id("ann"): {"n": 2}}
    room.book.show_all(ann)
    room.book.hide(ann, "a")
    assert room.tell("a") == [{"left": 1}]


def test_a_crowd_is_told_in_events_of_a_bounded_size() -> None:
    room = Room()
    for number in range(MAX_TOLD + 1):
        room.book.show(session(str(number)), "a", {})
    assert room.tell("a") == [{"joined": MAX_TOLD}, {"joined": 1}]
    for number in range(200):
        room.book.show(session(f"large {number}"), "b", {"text": "*" * 1000})
    assert len(room.tell("b")) == 2
    assert [gathering_time(members) for members in (0, 200, 4000, 50_000)] == [0.1, 0.1, 2, 5]


def test_a_member_stays_until_its_session_is_gone() -> None:
    house = House(session_lease=60)
    book, hub = house.hub.presence, house.hub

    def come(**back: Any) -> Session:
        one, _ = house.open("a", **back)
        hub.admit(one)
        return one

    def go(one: Session, seconds: float, reason: str = Reason.TRANSPORT_CLOSE) -> int:
        hub.close(one, reason)
        house.turns.now += seconds
        hub.tick()
        return len(book)

    ann = come()
    hub.show(ann, "a", {"name": "Ann"})
    assert go(ann, 50) == 1
    ann = come(last=str(house.log.position), sid=ann.sid)
    assert (go(ann, 50), go(ann, 11)) == (1, 0)
    bob = come()
    hub.show(bob, "a", {})
    hub.leave_page(bob)
    assert go(bob, 4) == 1
    bob = come(last=str(house.log.position), sid=bob.sid)
    house.turns.now += 2
    hub.tick()
    assert len(book) == 1
    hub.leave_page(bob)
    assert go(bob, 6) == 0
    bob = come(last=str(house.log.position), sid=bob.sid)
    assert len(book) == 1
    assert go(bob, 0, Reason.CLIENT_DISCONNECT) == 0
    # It is taken up again, and not let in.
    bob = hub.prepare(str(house.log.position), sid=bob.sid)
    assert len(book) == 1
    assert go(bob, 0) == 0


OPS = st.tuples(
    st.sampled_from(["show", "hide", "hide_all", "show_all", "tell", "recheck"]),
    st.sampled_from("xyz"),
    st.sampled_from(ROOMS),
    st.integers(0, 2),
)


@given(st.lists(OPS))
def test_what_is_told_makes_the_logs_picture_the_books(
    ops: list[tuple[str, str, str, int]],
) -> None:
    room, sessions = Room(), {sid: session(sid) for sid in "xyz"}
    here: dict[str, dict[str, object]] = {name: {} for name in ROOMS}
    for op, sid, name, number in ops:
        one, id_ = sessions[sid], member_id(sid)
        if op == "tell":
            room.tell(name)
        elif op == "recheck":
            room.book.recheck()
        elif op == "show":
            room.book.show(one, name, {"n": number})
            here[name][id_] = {"n": number}
        elif op == "hide":
            room.book.hide(one, name)
            here[name].pop(id_, None)
        else:
            getattr(room.book, op)(one)
            for where, info in one.presence.items():
                here[where].pop(id_, None)
                if op == "show_all":
                    here[where][id_] = info
    for name in ROOMS:
        room.tell(name)
        assert room.shown(name) == here[name]
        assert {id_ for where, id_ in room.book if where == name} == set(here[name])
    assert len(room.book) == sum(map(len, here.values())) == room.retained.members
