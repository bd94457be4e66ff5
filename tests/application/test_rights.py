"""No order of what clients, tokens and the server do delivers, or sends, what is forbidden.

The dispatcher, the admission and the hub run without sockets, and the test owns the time. A
model of the rules beside them says which rooms a client may be in.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from rtpush.access.auth import Authenticator, Grant
from rtpush.access.room_policy import RoomPolicy
from rtpush.application.admission import Admission
from rtpush.application.commands import Commands
from rtpush.application.dispatcher import Dispatcher
from rtpush.application.history import ClientHistory
from rtpush.application.turns import Turns
from rtpush.cluster.nodes import Nodes
from rtpush.config.settings import Settings
from rtpush.errors import RtpushError
from rtpush.framing import JSON
from rtpush.handlers.registry import HandlerRegistry
from rtpush.hub import Hub
from rtpush.log.bus import Bus
from rtpush.log.memory import MemoryLog
from rtpush.metrics import Metrics
from rtpush.protocol import Envelope
from rtpush.sessions.runtime import Runtime
from rtpush.sessions.session import Session

ROOMS = ["a", "b", "banned", "public"]
OPEN_ROOM, BANNED = "public", "banned"
NEVER = float("inf")
rooms = st.sampled_from(ROOMS)
listed = st.none() | st.lists(rooms, max_size=3, unique=True)
# Of a session's token; most outlive the test, or there would be little between two ends.
lifetimes = st.sampled_from([10_000.0, 10_000.0, 10_000.0, 30.0])
room_lifetimes = st.sampled_from([2.0, 30.0, 1000.0])


class Tokens:
    """In the place of the checks of tokens, which are tested elsewhere."""

    wants_tokens = True

    def __init__(self) -> None:
        self.grants: dict[str, Grant] = {}

    def make(self, listed: list[str] | None, expires: float) -> str:
        name = f"t{len(self.grants)}"
        rooms = None if listed is None else tuple(listed)
        self.grants[name] = Grant("ada", rooms, ("x",), expires=expires)
        return name

    async def grant(self, token: str | None) -> Grant:
        return self.grants[token or ""]


class Reader:
    """A client's connection."""

    framing = JSON

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def write(self, data: bytes) -> None:
        self.events += json.loads(b"[%b]" % data)

    def taken(self) -> int:
        return 0

    def heartbeat(self) -> None:
        """Nothing to show."""

    def close(self, code: int, reason: str) -> None:
        """Nothing to close."""


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


class Rights(RuleBasedStateMachine):
    """One client, its tokens, and a server with or without a `join` handler."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now = 1000.0
        self.numbers = 0

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
            self.loop.call_soon, self.loop.create_task, lambda: self.now, lambda: self.now
        )
        self.log = MemoryLog(config, lambda: self.now)
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
                ClientHistory(self.hub, lambda: handlers.has("join")),
                config.max_message,
            ),
            turns,
            Metrics(),
            config,
        )
        self.session: Session | None = None
        self.kept: dict[str, float] = {}
        # Those of them that it had the application's consent for before it had a token.
        self.consented: set[str] = set()
        # The rooms that the client is in, by the model.
        self.model: set[str] = set()
        self.reader = Reader()
        self.last: str | None = None
        self.sid: str | None = None
        wanted = [room for room in ROOMS[:2] if room in (grant or ())]
        self.connect(grant, 10_000.0, wanted)

    # ---- the model ------------------------------------------------------------

    def admits(self, room: str) -> bool:
        """Do the token and the settings allow the client to ask?"""
        listed = self.grant.rooms
        return room == OPEN_ROOM or (self.decides if listed is None else room in listed)

    def may_enter(self, room: str, *, by_token: bool = False) -> bool:
        if room in self.model:
            return True
        return (by_token or self.admits(room)) and not (self.decides and room == BANNED)

    def narrow(self) -> None:
        """The model's side of a new grant."""
        self.consented = {room for room in self.consented if self.admits(room)}
        for room in list(self.model):
            if not self.may_stay(room):
                self.forget(room)

    def may_stay(self, room: str) -> bool:
        until = self.kept.get(room)
        if until is None or room in self.consented:
            return self.admits(room) or (until is not None and until > self.now)
        return until > self.now or room == OPEN_ROOM or room in (self.grant.rooms or ())

    def forget(self, room: str) -> None:
        self.model.discard(room)
        self.kept.pop(room, None)
        self.consented.discard(room)

    # ---- what happens ---------------------------------------------------------

    def run(self, work: Any) -> Any:
        async def settled() -> Any:
            result = await work
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*others)
            return result

        return self.loop.run_until_complete(settled())

    def say(self, envelope: Envelope) -> dict[str, Any]:
        answer = Answer()

        async def dispatch() -> None:
            assert self.session is not None
            self.dispatcher.dispatch(self.session, envelope, answer)
            await answer.done_event.wait()

        self.run(dispatch())
        return answer.reply

    def connect(self, grant: list[str] | None, seconds: float, rooms: list[str]) -> None:
        token = self.tokens.make(grant, self.now + seconds)
        known = self.sid is not None and self.last is not None and self.hub.knows(self.sid)
        self.grant = self.tokens.grants[token]
        if known:
            self.narrow()
        else:
            self.model, self.kept, self.consented = set(), {}, set()
        session = self.hub.prepare(self.last, sid=self.sid, grant=self.grant)
        allowed = all(self.may_enter(room) for room in rooms)
        try:
            self.run(self.admission.admit(session, rooms, dict, None))
        except RtpushError:
            self.hub.close(session)
            assert not allowed
            self.session = self.sid = None
            self.model, self.kept, self.consented = set(), {}, set()
            return
        assert allowed
        self.model |= set(rooms)
        self.reader = Reader()
        self.hub.open(session, self.reader, self.last)
        self.session, self.sid = session, session.sid
        self.check()

    @precondition(lambda self: self.session is None)
    @rule(
        grant=listed, seconds=lifetimes, wanted=st.lists(rooms, max_size=2), recovers=st.booleans()
    )
    def come_back(
        self, grant: list[str] | None, seconds: float, wanted: list[str], recovers: bool
    ) -> None:
        if not recovers:
            self.last = None
        self.connect(grant, seconds, wanted)

    @precondition(lambda self: self.session is not None)
    @rule()
    def go_away(self) -> None:
        assert self.session is not None
        self.last = str(self.hub.position_of(self.session))
        self.hub.close(self.session)
        self.session = None

    @precondition(lambda self: self.session is not None)
    @rule(room=rooms, own=st.none() | room_lifetimes)
    def join(self, room: str, own: float | None) -> None:
        data: dict[str, Any] = {"room": room}
        expires = self.now + (own or 0)
        if own is not None:
            data["token"] = self.tokens.make([room], expires)
        allowed = self.may_enter(room, by_token=own is not None)
        answer = self.say(Envelope("join", data, ack=1))
        assert ("error" not in answer) is allowed, (answer, data, self.model)
        if allowed:
            if own is not None and room in self.model and room not in self.kept:
                self.consented |= {room} if self.grant.rooms is None else set()
            self.model.add(room)
            if own is not None:
                self.kept[room] = max(expires, self.kept.get(room, 0.0))
        self.check()

    @precondition(lambda self: self.session is not None)
    @rule(room=rooms)
    def a_room_token_ends(self, room: str) -> None:
        """The two steps that chance seldom takes one after the other."""
        self.join(room, 2.0)
        self.time_passes(5.0)

    @precondition(lambda self: self.session is not None)
    @rule(room=rooms)
    def leave(self, room: str) -> None:
        self.say(Envelope("leave", {"room": room}, ack=1))
        self.forget(room)
        self.check()

    @precondition(lambda self: self.session is not None)
    @rule(grant=listed, seconds=lifetimes)
    def renew(self, grant: list[str] | None, seconds: float) -> None:
        token = self.tokens.make(grant, self.now + seconds)
        assert "error" not in self.say(Envelope("auth", {"token": token}, ack=1))
        self.grant = self.tokens.grants[token]
        self.narrow()
        self.check()

    @precondition(lambda self: self.session is not None)
    @rule(room=rooms, enters=st.booleans())
    def server_moves_it(self, room: str, enters: bool) -> None:
        assert self.session is not None
        if enters:
            self.hub.put(self.session, room)
            self.model.add(room)
            self.kept[room] = NEVER
        else:
            self.hub.leave(self.session, room)
            self.forget(room)
        self.check()

    @rule(seconds=st.sampled_from([1.0, 5.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.hub.tick()
        if self.session is not None and self.hub.sessions.get(self.session.sid) is None:
            # Its token has expired: the server has ended it.
            assert self.grant.expires is not None
            assert self.grant.expires <= self.now
            self.session, self.sid = None, None
            return
        for room, until in list(self.kept.items()):
            if until <= self.now and self.session is not None and not self.may_stay(room):
                self.forget(room)
        if self.session is not None:
            self.check()

    @rule(room=rooms)
    def somebody_publishes(self, room: str) -> None:
        self.numbers += 1
        before = len(self.reader.events)
        self.run(self.dispatcher.publish([Envelope("x", self.numbers, room)]))
        if self.session is not None:
            heard = [one["data"] for one in self.reader.events[before:] if one["event"] == "x"]
            assert heard == ([self.numbers] if room in self.model else [])

    @precondition(lambda self: self.session is not None)
    @rule(room=rooms, volatile=st.booleans())
    def send(self, room: str, volatile: bool) -> None:
        answer = self.say(Envelope("x", "from the client", room, ack=1, volatile=volatile))
        assert ("error" not in answer) is (room in self.model or room == OPEN_ROOM)
        assert "error" in self.say(Envelope("y", None, room, ack=1))

    def check(self) -> None:
        """The client is in the rooms of the model, and has heard of no others."""
        assert self.session is not None
        assert set(self.session.rooms) == self.model
        self.run(asyncio.sleep(0))


TestRights = Rights.TestCase
TestRights.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
