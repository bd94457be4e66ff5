"""No order of what clients, tokens and the server do delivers, or sends, what is forbidden.

The dispatcher, the admission and the hub run without sockets, and the test owns the time. A
model of the rules beside them says which rooms a client may be in.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from rtpush.access.auth import Authenticator, Grant
from rtpush.access.room_policy import RoomPolicy
from rtpush.application.admission import Admission
from rtpush.application.claims import Claims
from rtpush.application.commands import Commands
from rtpush.application.dispatcher import Dispatcher
from rtpush.application.history import ClientHistory
from rtpush.application.session_claims import SessionClaims
from rtpush.application.turns import Turns
from rtpush.cluster.nodes import Nodes
from rtpush.config.settings import Settings
from rtpush.errors import RtpushError
from rtpush.framing import JSON, SSE, WEBSOCKET, Framing
from rtpush.handlers.registry import HandlerRegistry
from rtpush.hub import Hub
from rtpush.log.bus import Bus
from rtpush.log.clock import LogClock
from rtpush.log.memory import MemoryLog
from rtpush.metrics import Metrics
from rtpush.protocol import Envelope
from rtpush.sessions.rewind import RewindSpec
from rtpush.sessions.runtime import Runtime
from rtpush.sessions.session import Session

ROOMS = ["a", "b", "banned", "public"]
OPEN_ROOM, BANNED = "public", "banned"
NEVER = float("inf")
rooms = st.sampled_from(ROOMS)
# The three transports, by how their bytes look.
FRAMINGS = (WEBSOCKET, SSE, JSON)
framings = st.sampled_from(FRAMINGS)
clients = st.sampled_from(range(3))
listed = st.none() | st.lists(rooms, max_size=3, unique=True)
# Of a session's token; most outlive the test, or there would be little between two ends.
lifetimes = st.sampled_from([10_000.0, 10_000.0, 10_000.0, 30.0])
room_lifetimes = st.sampled_from([2.0, 30.0, 1000.0])
# For which the server knows a session that has gone.
LEASE = Settings().session_lease
THROWN_OUT = RtpushError("forbidden", "Thrown out.")
# Events of a room that a rewind asks for.
REWIND = 3


class Tokens:
    """In the place of the checks of tokens, which are tested elsewhere."""

    wants_tokens = True

    def __init__(self) -> None:
        self.grants: dict[str, Grant] = {}

    def make(self, subject: str, listed: list[str] | None, expires: float) -> str:
        name = f"t{len(self.grants)}"
        rooms = None if listed is None else tuple(listed)
        self.grants[name] = Grant(subject, rooms, ("x",), expires=expires)
        return name

    async def grant(self, token: str | None) -> Grant:
        return self.grants[token or ""]


def unframed(data: bytes) -> Iterator[Any]:
    """The envelopes of a server's text frames."""
    while data:
        size, begin = data[1], 2
        if size >= 126:
            begin = 4 if size == 126 else 10
            size = int.from_bytes(data[2:begin], "big")
        yield json.loads(data[begin : begin + size])
        data = data[begin + size :]


class Reader:
    """A client's connection."""

    def __init__(self, framing: Framing) -> None:
        self.framing = framing
        self.closed = False
        self.events: list[dict[str, Any]] = []

    def write(self, data: bytes) -> None:
        assert not self.closed
        if self.framing is SSE:
            lines = [line[6:] for line in data.split(b"\n") if line.startswith(b"data: ")]
            self.events += map(json.loads, lines)
        elif self.framing is WEBSOCKET:
            self.events += unframed(data)
        else:
            self.events += json.loads(b"[%b]" % data)

    def taken(self) -> int:
        return 0

    def heartbeat(self) -> None:
        """Nothing to show."""

    def close(self, code: int, reason: str) -> None:
        self.closed = True


class Answer:
    """Where an envelope is answered."""

    def __init__(self) -> None:
        self.reply: dict[str, Any] = {}
        self.done_event = asyncio.Event()

    def send(self, envelope: bytes) -> None:
        """A pong or a snapshot."""

    def done(self, reply: bytes | None) -> None:
        self.reply = json.loads(reply or b"{}")
        self.done_event.set()


class Client:
    """One client, by the model: the rooms that it may be in, and the connection it has."""

    def __init__(self, house: Rights, subject: str) -> None:
        self.house = house
        self.subject = subject
        self.session: Session | None = None
        self.sid: str | None = None
        self.last: str | None = None
        # Rooms that the client has a token of their own for, and until when.
        self.kept: dict[str, float] = {}
        # Those of them that it had the application's consent for before it had a token.
        self.consented: set[str] = set()
        # The rooms that the client is in, by the model.
        self.model: set[str] = set()
        # Those that have been rewound in this stay.
        self.rewound: set[str] = set()
        self.grant = Grant(subject)
        self.reader = Reader(JSON)
        # What the client left behind when it went, and until when the server knows that it was
        # thrown out meanwhile.
        self.away: Session | None = None
        self.evicted_until = 0.0

    def admits(self, room: str) -> bool:
        """Do the token and the settings allow the client to ask?"""
        listed = self.grant.rooms
        return room == OPEN_ROOM or (self.house.decides if listed is None else room in listed)

    def may_enter(self, room: str, *, by_token: bool = False) -> bool:
        if room in self.model:
            return True
        return (by_token or self.admits(room)) and not (self.house.decides and room == BANNED)

    def narrow(self) -> None:
        """The model's side of a new grant."""
        self.consented = {room for room in self.consented if self.admits(room)}
        for room in list(self.model):
            if not self.may_stay(room):
                self.forget(room)

    def may_stay(self, room: str) -> bool:
        until = self.kept.get(room)
        if until is None or room in self.consented:
            return self.admits(room) or (until is not None and until > self.house.now)
        return until > self.house.now or room == OPEN_ROOM or room in (self.grant.rooms or ())

    def forget(self, room: str) -> None:
        for held in (self.model, self.consented, self.rewound):
            held.discard(room)
        self.kept.pop(room, None)

    def forget_all(self) -> None:
        self.model, self.kept, self.consented, self.rewound = set(), {}, set(), set()

    def heard(self, begin: int = 0, *, rewound: bool = False) -> list[tuple[str, int]]:
        """The room and the number of each event, live ones or those of the room's past."""
        return [
            (event["room"], event["data"])
            for event in self.reader.events[begin:]
            if event["event"] == "x" and ("rewound" in event) is rewound
        ]

    def say(self, envelope: Envelope) -> dict[str, Any]:
        answer = Answer()

        async def dispatch() -> None:
            assert self.session is not None
            self.house.dispatcher.dispatch(self.session, envelope, answer)
            await answer.done_event.wait()

        self.house.run(dispatch())
        return answer.reply

    def prepare(self) -> Session | None:
        try:
            return self.house.hub.prepare(self.last, sid=self.sid, grant=self.grant)
        except RtpushError as error:
            if error is not THROWN_OUT:
                raise
            return None

    def connect(
        self,
        framing: Framing,
        grant: list[str] | None,
        seconds: float,
        rooms: list[str],
        *,
        rewinds: bool = False,
    ) -> None:
        token = self.house.tokens.make(self.subject, grant, self.house.now + seconds)
        known = self.sid is not None and self.last is not None and self.house.hub.knows(self.sid)
        self.grant = self.house.tokens.grants[token]
        if known:
            self.narrow()
        else:
            self.forget_all()
        session = self.prepare()
        if self.last is not None and self.house.now < self.evicted_until:
            assert session is None
            return
        assert session is not None
        self.away, self.evicted_until = None, 0.0
        session.rewind = RewindSpec(count=REWIND) if rewinds else None
        allowed = all(self.may_enter(room) for room in rooms)
        try:
            self.house.run(self.house.admission.admit(session, rooms, dict, None))
        except RtpushError:
            self.house.hub.close(session)
            assert not allowed
            self.session = self.sid = None
            self.forget_all()
            return
        assert allowed
        self.model |= set(rooms)
        self.reader = Reader(framing)
        self.house.hub.open(session, self.reader, self.last)
        self.session, self.sid = session, session.sid
        self.check()
        # What it missed, too, is only of rooms where it may be now.
        assert {room for room, _ in self.heard()} <= self.model
        fresh = self.model if rewinds and self.last is None else set()
        past = [one for room in fresh for one in self.house.past(room)]
        assert sorted(self.heard(rewound=True)) == sorted(past)
        self.rewound |= fresh

    def time_has_passed(self) -> None:
        if self.session is None:
            return
        if self.house.hub.sessions.get(self.session.sid) is None:
            # Its token has expired: the server has ended it.
            assert self.grant.expires is not None
            assert self.grant.expires <= self.house.now
            self.session, self.sid = None, None
            return
        for room, until in list(self.kept.items()):
            if until <= self.house.now and not self.may_stay(room):
                self.forget(room)
        self.check()

    def check(self) -> None:
        """The client is in the rooms of the model, and has heard of no others."""
        assert self.session is not None
        assert set(self.session.rooms) == self.model
        self.house.run(asyncio.sleep(0))


class Rights(RuleBasedStateMachine):
    """Clients of two subjects over all transports; a server with or without a `join` handler."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now = 1000.0
        self.numbers = 0
        # The room and the number of each logged event.
        self.logged: list[tuple[str, int]] = []

    def teardown(self) -> None:
        self.loop.close()

    @initialize(decides=st.booleans(), grant=listed)
    def begin(self, decides: bool, grant: list[str] | None) -> None:
        config = Settings(log="memory:", auth_secret="s" * 32, open_rooms=(OPEN_ROOM,))
        handlers = HandlerRegistry()
        if decides:

            async def join(_sid: str, data: Any) -> bool:
                # Others have their turn while the handler thinks.
                await asyncio.sleep(0)
                return bool(data["room"] != BANNED)

            handlers.add("join", join)
        self.decides = decides
        self.tokens = Tokens()
        auth = cast(Authenticator, self.tokens)
        runtime = Runtime(
            self.loop.call_soon,
            self.loop.call_later,
            self.loop.create_task,
            lambda: self.now,
            lambda: self.now,
        )
        self.log = MemoryLog(config, LogClock(lambda: self.now, lambda: self.now))
        self.hub = Hub(self.log, config, runtime, RoomPolicy(config, handlers))
        turns = Turns(self.loop.create_task)
        self.admission = Admission(self.hub, handlers, auth, turns)
        self.dispatcher = Dispatcher(
            self.log,
            self.hub,
            Nodes(Bus(), self.hub),
            handlers,
            Commands(
                self.admission,
                ClientHistory(self.hub),
                config.max_message,
            ),
            turns,
            SessionClaims(Claims(self.log, lambda: self.now, config), self.hub),
            self.loop.create_task,
            Metrics(),
            config,
        )
        self.clients = [Client(self, subject) for subject in ("ada", "ada", "bob")]
        for client, framing in zip(self.clients, FRAMINGS, strict=True):
            client.connect(framing, grant, 10_000.0, [r for r in ROOMS[:2] if r in (grant or ())])

    def past(self, room: str) -> list[tuple[str, int]]:
        """What a rewind of a room gives."""
        return [one for one in self.logged if one[0] == room][-REWIND:]

    @contextmanager
    def heard_by_those_in(self, room: str) -> Iterator[int]:
        """The number of an event that is sent to a room meanwhile, if it is."""
        self.numbers += 1
        before, number = [len(one.reader.events) for one in self.clients], self.numbers
        yield number
        sent = self.numbers == number
        for one, begin in zip(self.clients, before, strict=True):
            hears = sent and one.session is not None and room in one.model
            assert one.heard(begin) == ([(room, number)] if hears else [])

    # ---- what happens ---------------------------------------------------------

    def run(self, work: Any) -> Any:
        async def settled() -> Any:
            result = await work
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*others)
            return result

        return self.loop.run_until_complete(settled())

    @rule(
        client=clients,
        framing=framings,
        grant=listed,
        seconds=lifetimes,
        wanted=st.lists(rooms, max_size=2),
        recovers=st.booleans(),
        rewinds=st.booleans(),
    )
    def come_back(
        self,
        client: int,
        framing: Framing,
        grant: list[str] | None,
        seconds: float,
        wanted: list[str],
        recovers: bool,
        rewinds: bool,
    ) -> None:
        """Over any transport: a connection that it still has is taken over."""
        one = self.clients[client]
        if one.session is not None:
            one.last = str(self.hub.position_of(one.session))
        if not recovers:
            if one.session is not None:
                self.hub.close(one.session)
            one.last = None
        one.connect(framing, grant, seconds, wanted, rewinds=rewinds)

    @rule(client=clients)
    def go_away(self, client: int) -> None:
        one = self.clients[client]
        if one.session is not None:
            one.last = str(self.hub.position_of(one.session))
            self.hub.close(one.session)
            one.away, one.session = one.session, None

    @rule(client=clients)
    def kick(self, client: int) -> None:
        """It may come back as any other; if it has not heard of it, it is told once more."""
        one = self.clients[client]
        if one.session is not None:
            one.last = str(self.hub.position_of(one.session))
            self.hub.evict(one.session, THROWN_OUT)
            assert one.reader.events[-1]["event"] == "disconnect"
            one.session = None
        elif one.away is not None and self.hub.knows(one.away.sid):
            self.hub.evict(one.away, THROWN_OUT)
            one.evicted_until = self.now + LEASE

    @rule(client=clients, framing=framings)
    def kick_while_away(self, client: int, framing: Framing) -> None:
        """The steps that chance seldom takes one after the other."""
        self.go_away(client)
        self.kick(client)
        self.come_back(client, framing, [], 10_000.0, [], recovers=True, rewinds=False)

    @rule(thief=clients, owner=clients, framing=framings)
    def use_the_sid_of_another(self, thief: int, owner: int, framing: Framing) -> None:
        """A sid is worth nothing to a client of another subject."""
        of, by = self.clients[owner], self.clients[thief]
        if of.session is None or of.subject == by.subject:
            return
        last = str(self.hub.position_of(of.session))
        session = self.hub.prepare(last, sid=of.sid, grant=Grant(by.subject, ()))
        assert session is not of.session
        assert not set(session.rooms) & set(ROOMS)
        self.hub.close(session)
        of.check()

    @rule(client=clients, room=rooms, own=st.none() | room_lifetimes, rewinds=st.booleans())
    def join(self, client: int, room: str, own: float | None, rewinds: bool = False) -> None:
        one = self.clients[client]
        if one.session is None:
            return
        data: dict[str, Any] = {"room": room} | ({"rewind": REWIND} if rewinds else {})
        expires = self.now + (own or 0)
        if own is not None:
            data["token"] = self.tokens.make(one.subject, [room], expires)
        allowed = one.may_enter(room, by_token=own is not None)
        fresh, begin = room not in one.model, len(one.reader.events)
        answer = one.say(Envelope("join", data, ack=1))
        assert ("error" not in answer) is allowed, (answer, data, one.model)
        if allowed:
            if own is not None and room in one.model and room not in one.kept:
                one.consented |= {room} if one.grant.rooms is None else set()
            one.model.add(room)
            if own is not None:
                one.kept[room] = max(expires, one.kept.get(room, 0.0))
        one.check()
        past = one.heard(begin, rewound=True)
        assert ("rewind" in answer.get("data", {})) is (
            allowed and rewinds and room not in one.rewound
        )
        if fresh:
            assert past == (self.past(room) if allowed and rewinds else [])
        # Of a room where it was already: what was logged before it came.
        assert {name for name, _ in past} <= {room}
        one.rewound |= {room} if allowed and rewinds else set()

    @rule(client=clients, room=rooms)
    def a_room_token_ends(self, client: int, room: str) -> None:
        """The two steps that chance seldom takes one after the other."""
        one = self.clients[client]
        if one.session is None:
            return
        self.join(client, room, 2.0)
        self.time_passes(5.0)

    @rule(client=clients, room=rooms)
    def leave(self, client: int, room: str) -> None:
        one = self.clients[client]
        if one.session is None:
            return
        one.say(Envelope("leave", {"room": room}, ack=1))
        one.forget(room)
        one.check()

    @rule(client=clients, grant=listed, seconds=lifetimes)
    def renew(self, client: int, grant: list[str] | None, seconds: float) -> None:
        one = self.clients[client]
        if one.session is None:
            return
        token = self.tokens.make(one.subject, grant, self.now + seconds)
        assert "error" not in one.say(Envelope("auth", {"token": token}, ack=1))
        one.grant = self.tokens.grants[token]
        one.narrow()
        one.check()

    @rule(client=clients, room=rooms, enters=st.booleans())
    def server_moves_it(self, client: int, room: str, enters: bool) -> None:
        one = self.clients[client]
        if one.session is None:
            return
        if enters:
            self.hub.put(one.session, room)
            one.model.add(room)
            one.kept[room] = NEVER
        else:
            self.hub.leave(one.session, room)
            one.forget(room)
        one.check()

    @rule(seconds=st.sampled_from([1.0, 5.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.hub.tick()
        for one in self.clients:
            one.time_has_passed()

    @rule(room=rooms)
    def somebody_publishes(self, room: str) -> None:
        with self.heard_by_those_in(room) as number:
            self.run(self.dispatcher.publish([Envelope("x", number, room)]))
        self.logged.append((room, number))

    @rule(client=clients, room=rooms, volatile=st.booleans())
    def send(self, client: int, room: str, volatile: bool) -> None:
        one = self.clients[client]
        if one.session is None:
            return
        allowed = room in one.model or room == OPEN_ROOM
        with self.heard_by_those_in(room) as number:
            answer = one.say(Envelope("x", number, room, ack=1, volatile=volatile))
            assert ("error" not in answer) is allowed
            self.numbers += not allowed
        if allowed and not volatile:
            self.logged.append((room, number))
        assert "error" in one.say(Envelope("y", None, room, ack=1))


TestRights = Rights.TestCase
TestRights.settings = settings(
    max_examples=2 * settings().max_examples, stateful_step_count=40, deadline=None
)
