"""Who gets in, and into which rooms: the same over every transport and path."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import jwt
import pytest
from clients import KINDS, PATIENCE, Client, Ended, Envelope, LongPoll, WebSocket, until

from rtpush.errors import RtpushError
from rtpush.server import Server

SECRET = "a secret of more than thirty-two bytes"
Open = Callable[..., Awaitable[Client]]


def token(subject: str | None = "ada", seconds: float = 60, **claims: Any) -> str:
    if subject is not None:
        claims["sub"] = subject
    return jwt.encode({"exp": time.time() + seconds, **claims}, SECRET, "HS256")


@asynccontextmanager
async def serving(kind: type[Client], **options: Any) -> AsyncIterator[tuple[Server, Open]]:
    """A server, and what opens clients of one transport on it."""
    async with (
        Server(port=0, log="memory:", **options) as server,
        aiohttp.ClientSession(trust_env=False) as http,
    ):
        opened: list[Client] = []

        async def open_one(*args: Any, **more: Any) -> Client:
            opened.append(await kind.open(server.url.rstrip("/"), http, *args, **more))
            return opened[-1]

        yield server, open_one
        for client in opened:
            await client.close()


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> type[Client]:
    found: type[Client] = request.param
    return found


def join(room: str, **more: Any) -> Envelope:
    return {"event": "join", "data": {"room": room, **more}}


async def heard(server: Server, client: Client) -> list[str]:
    """The events that a client has received, up to one that is for everyone."""
    await server.emit("mark")
    return [one["event"] for one in (await client.until("mark"))[:-1]]


def later(server: Server, seconds: float) -> None:
    """Let the server's second pass at another time."""
    hub = server._hub
    hub._runtime = replace(hub._runtime, wall=lambda: time.time() + seconds)
    server._hub.tick()


# ---- every reader is admitted ------------------------------------------------


@pytest.mark.parametrize("last", [None, "none-0", "known"])
@pytest.mark.parametrize("more", ["", "&timeout=0", "&once=1", "&sid=made-up"])
async def test_no_read_passes_the_connect_handler_by(last: str | None, more: str) -> None:
    async with serving(LongPoll) as (server, _), aiohttp.ClientSession() as http:
        server.on("connect", lambda sid, environ: False)
        server.on("join", lambda sid, data: None)
        await server.emit("salary", 90_000, room="user:ada")
        position = f"{server._log.epoch}-0" if last == "known" else last
        query = "room=user:ada" + more + ("" if last is None else f"&last={position}")
        async with http.get(f"{server.url}poll?{query}") as answer:
            assert (answer.status, await answer.json()) == (
                403,
                {
                    "error": {
                        "code": "forbidden",
                        "message": "The application refused the connection.",
                    }
                },
            )
        assert server._hub.sessions == {}


async def test_a_read_counts_in_the_shares() -> None:
    async with (
        serving(LongPoll, max_per_address=2, trusted_proxies=("127.0.0.1",)) as (server, _),
        aiohttp.ClientSession(headers={"X-Forwarded-For": "203.0.113.7"}) as http,
    ):
        url = f"{server.url}poll?last={server._log.position}"
        statuses = []
        for _ in range(3):
            async with http.get(url) as answer:
                statuses.append(answer.status)
        assert statuses == [200, 200, 429]


# ---- whose rooms are private -------------------------------------------------


async def test_without_tokens_and_handlers_rooms_are_open(kind: type[Client]) -> None:
    async with serving(kind) as (_, connect):
        client = await connect(["a"])
        await client.accepted(join("b"))
        await client.accepted({"event": "x", "room": "c"})


@pytest.mark.parametrize("handler", ["connect", "chat", "disconnect", "*"])
async def test_the_rooms_of_an_application_are_private(kind: type[Client], handler: str) -> None:
    async with serving(kind, open_rooms="public_*") as (server, connect):
        server.on(handler, lambda *args: None)
        server.on("x", lambda *args: None)
        client = await connect()
        assert await client.refused(join("user:ada")) == "forbidden"
        with pytest.raises((AssertionError, Ended), match="forbidden"):
            await connect(["user:ada"])
        # What the application handles does not go to the room.
        await client.accepted({"event": "x", "room": "user:ada"})
        for volatile in (False, True):
            sent = {"event": "task_created", "data": {"id": 1}, "room": "user:ada"}
            assert await client.refused({**sent, "volatile": volatile}) == "forbidden"
        await server.enter_room(client.sid, "user:ada")
        await client.accepted({"event": "task_created", "data": {"id": 1}, "room": "user:ada"})
        # A setting opens rooms for everyone.
        await client.accepted(join("public_1"))
        await client.accepted({"event": "task_created", "data": {"id": 2}, "room": "public_2"})


@pytest.mark.parametrize("how", ["false", "raise", "code"])
async def test_a_join_handler_decides(kind: type[Client], how: str) -> None:
    asked = []
    async with serving(kind) as (server, connect):

        @server.on("join")
        async def allow(sid: str, data: Any) -> bool | None:
            asked.append((sid, data))
            if data["room"] == "a":
                return None
            if how == "raise":
                raise ConnectionRefusedError("Not yours.")
            if how == "code":
                raise RtpushError("not_found", "No such room.")
            return False

        code = "not_found" if how == "code" else "forbidden"
        await server.emit("task_created", {"id": 1}, room="a")
        client = await connect(["a", "a"])
        assert asked == [(client.sid, {"room": "a"})]
        assert client.hello["rooms"] == ["a"]
        assert await client.refused(join("b")) == code
        with pytest.raises((AssertionError, Ended), match=code):
            await connect(["a", "b"])
        other = await connect()
        answer = await other.accepted(join("a", why="work"))
        assert answer == {"room": "a"}
        assert asked[-1] == (other.sid, {"room": "a", "why": "work"})
        (board,) = (one for one in other.received if one.get("room") == "a")
        assert [task["id"] for task in board["data"]["tasks"]] == [1]
        count = len(asked)
        assert await other.accepted(join("a")) == {"room": "a"}
        # Of a room that the client is in nobody is asked again.
        assert len(asked) == count


async def test_a_join_is_not_decided_by_what_was_true_before(kind: type[Client]) -> None:
    """The right may be gone when the handler has thought it over."""
    gate, asked = asyncio.Event(), asyncio.Event()
    async with serving(kind, auth_secret=SECRET) as (server, connect):

        @server.on("join")
        async def think(sid: str, data: Any) -> None:
            asked.set()
            await gate.wait()

        client = await connect(token=token(rooms=["a"]))
        joining = asyncio.create_task(client.request(join("a")))
        await asyncio.wait_for(asked.wait(), PATIENCE)
        session = server._hub.sessions[client.sid]
        server._hub.renew(session, type(session.grant)("ada", rooms=()))
        gate.set()
        assert (await joining)["error"]["code"] == "forbidden"
        assert list(session.rooms) == []


async def test_a_room_in_the_query_is_refused_after_connect(kind: type[Client]) -> None:
    """`connect` has let it in: `disconnect` is told."""
    calls: list[str] = []
    async with serving(kind) as (server, connect):
        server.on("connect", lambda sid, environ: calls.append("connect"))
        server.on("join", lambda sid, data: False)
        server.on("disconnect", lambda sid, reason: calls.append("disconnect"))
        with pytest.raises((AssertionError, Ended), match="forbidden"):
            await connect(["a"])
        assert calls == ["connect", "disconnect"]
        assert server._hub.sessions == {}


async def test_a_leave_is_told(kind: type[Client]) -> None:
    told: list[Any] = []
    async with serving(kind) as (server, connect):
        server.on("join", lambda sid, data: None)

        @server.on("leave")
        async def left(sid: str, data: Any) -> None:
            told.append((server.rooms(sid)[1:], data))
            raise RtpushError("forbidden", "Too late: it has left.")

        client = await connect(["a", "b"])
        assert await client.accepted({"event": "leave", "data": {"room": "a"}}) == {"room": "a"}
        assert await client.accepted({"event": "leave", "data": {"room": "a"}}) == {"room": "a"}
        assert told == [(["b"], {"room": "a"})]


async def test_who_comes_back_keeps_its_rooms_and_nobody_is_asked(kind: type[Client]) -> None:
    asked: list[str] = []
    async with serving(kind) as (server, connect):
        server.on("join", lambda sid, data: asked.append(data["room"]))
        client = await connect(["a"])
        await server.enter_room(client.sid, "given")
        await client.close()
        again = await connect(["a"], client.position, sid=client.sid)
        assert again.sid == client.sid
        assert server.rooms(client.sid) == [client.sid, "a", "given"]
        assert asked == ["a"]


# ---- what a token allows -----------------------------------------------------


async def test_a_token_bounds_what_the_application_allows(kind: type[Client]) -> None:
    async with serving(kind, auth_secret=SECRET) as (server, connect):
        server.on("join", lambda sid, data: data["room"] != "banned")
        listed = await connect(token=token(rooms=["a", "banned"]))
        assert await listed.accepted(join("a")) == {"room": "a"}
        assert await listed.refused(join("b")) == "forbidden"
        assert await listed.refused(join("banned")) == "forbidden"
        silent = await connect(token=token())
        assert await silent.accepted(join("b")) == {"room": "b"}
        one = join("banned", token=token(rooms=["banned"]))
        assert await silent.refused(one) == "forbidden"
        one = join("c", token=token(rooms=["c"]))
        assert await listed.accepted(one) == {"room": "c"}


async def test_emit_bounds_what_handlers_are_asked(kind: type[Client]) -> None:
    called: list[str] = []
    async with serving(kind, auth_secret=SECRET) as (server, connect):
        server.on("admin_wipe", lambda sid, data: called.append("admin_wipe"))
        server.on("chat_line", lambda sid, data: called.append("chat_line"))
        server.on("*", lambda event, sid, data: called.append(event))
        client = await connect(token=token(emit=["chat_*"], rooms=["a"]))
        for event in ("admin_wipe", "other"):
            assert await client.refused({"event": event}) == "forbidden"
        for event in ("chat_line", "chat_more"):
            await client.accepted({"event": event})
        # The protocol's own words need no listing.
        await client.accepted({"event": "ping"})
        await client.accepted(join("a"))
        assert called == ["chat_line", "chat_more"]


async def test_one_sends_into_rooms_that_one_is_in(kind: type[Client]) -> None:
    async with serving(kind, auth_secret=SECRET, open_rooms="lobby") as (_, connect):
        client, other = await connect(token=token(rooms=["*"])), await connect(token=token())
        assert await client.refused({"event": "x", "room": "a"}) == "forbidden"
        assert await client.refused({"event": "x", "room": other.sid}) == "forbidden"
        await client.accepted(join("a"))
        for room in ("a", "lobby", client.sid):
            await client.accepted({"event": "x", "room": room})


async def test_one_reads_the_history_of_rooms_that_one_may_be_in(kind: type[Client]) -> None:
    def of(room: str) -> Envelope:
        return {"event": "history", "data": {"room": room}}

    async with serving(kind, auth_secret=SECRET, open_rooms="lobby") as (server, connect):
        for room in ("a", "lobby"):
            await server.emit("said", 1, to=room)
        client, other = await connect(token=token(rooms=["a"])), await connect(token=token())
        await server.emit("alone", 1, to=client.sid)
        await server.emit("said", 2, to="a", skip_sid=client.sid)
        for room, events in (("a", ["said"]), ("lobby", ["said"]), (client.sid, ["alone"])):
            page = await client.accepted(of(room))
            assert [one["event"] for one in page["events"]] == events
        assert await other.refused(of("a")) == "forbidden"
        assert await other.refused(of(client.sid)) == "forbidden"
        await server.enter_room(other.sid, "a")
        assert len((await other.accepted(of("a")))["events"]) == 2


async def test_where_a_handler_decides_one_reads_rooms_that_one_is_in(kind: type[Client]) -> None:
    async with serving(kind) as (server, connect):
        server.on("join", lambda sid, data: True)
        await server.emit("said", to="a")
        client = await connect()
        ask = {"event": "history", "data": {"room": "a"}}
        assert await client.refused(ask) == "forbidden"
        await client.accepted(join("a"))
        assert len((await client.accepted(ask))["events"]) == 1


# ---- when a right ends -------------------------------------------------------


async def room_errors(client: Client) -> list[tuple[str, str]]:
    """The rooms that a client was told to have left, up to the next `x`."""
    found = await client.until("x")
    return [(one["room"], one["data"]["code"]) for one in found if one["event"] == "error"]


async def test_a_new_token_that_lists_less_takes_rooms_away(kind: type[Client]) -> None:
    told: list[str] = []
    async with serving(kind, auth_secret=SECRET) as (server, connect):
        server.on("leave", lambda sid, data: told.append(data["room"]))
        client = await connect(["a", "team-1"], token=token(rooms=["a", "team-*"]))
        await server.enter_room(client.sid, "given")
        await client.accepted(join("order", token=token(rooms=["order"])))
        # A long-poll's credentials are those of its request.
        client.headers = {"Authorization": f"Bearer {token(rooms=['team-*'])}"}
        if kind is not LongPoll:
            await client.accepted({"event": "auth", "data": {"token": token(rooms=["team-*"])}})
        else:
            await client.accepted({"event": "ping"})
        assert server.rooms(client.sid)[1:] == ["team-1", "given", "order"]
        assert await client.refused({"event": "x", "room": "a"}) == "forbidden"
        await server.emit("secret", room="a")
        await server.emit("x", room="order")
        assert await room_errors(client) == [("a", "forbidden")]
        assert "secret" not in [one.get("event") for one in client.received]
        await until(lambda: told == ["a"])


async def test_who_comes_back_with_less_leaves_rooms(kind: type[Client]) -> None:
    async with serving(kind, auth_secret=SECRET) as (server, connect):
        client = await connect(["a", "b"], token=token(rooms=["a", "b"]))
        await server.enter_room(client.sid, "given")
        await client.close()
        await server.emit("secret", room="a")
        await server.emit("x", room="b")
        again = await connect((), client.position, sid=client.sid, token=token(rooms=["b"]))
        assert again.sid == client.sid
        assert server.rooms(client.sid)[1:] == ["b", "given"]
        found = [*again.greeting, *await again.until("x")]
        assert ("error", "a") in [(one["event"], one.get("room")) for one in found]
        assert "secret" not in [one["event"] for one in found]


async def test_a_room_token_ends(kind: type[Client]) -> None:
    async with serving(kind, auth_secret=SECRET, auth_leeway=0) as (server, connect):
        client = await connect(token=token(seconds=600, rooms=["mine"]))
        for room in ("order", "given", "mine", "longer"):
            await client.accepted(join(room, token=token(seconds=30, rooms=[room])))
        await server.enter_room(client.sid, "given")
        await client.accepted(join("longer", token=token(seconds=90, rooms=["longer"])))
        later(server, 20)
        assert server.rooms(client.sid)[1:] == ["order", "given", "mine", "longer"]
        later(server, 40)
        assert server.rooms(client.sid)[1:] == ["given", "mine", "longer"]
        assert await client.refused({"event": "x", "room": "order"}) == "forbidden"
        await server.emit("x", room="mine")
        assert await room_errors(client) == [("order", "forbidden")]
        later(server, 100)
        assert server.rooms(client.sid)[1:] == ["given", "mine"]


async def test_a_room_token_does_not_end_an_earlier_consent(kind: type[Client]) -> None:
    async with serving(kind, auth_secret=SECRET, auth_leeway=0) as (server, connect):

        @server.on("join")
        async def allow(_sid: str, _data: Any) -> None:
            """Whoever asks is let in."""

        client = await connect(token=token(seconds=600))
        for room in ("before", "lost"):
            await client.accepted(join(room))
        for room in ("before", "lost", "behind"):
            await client.accepted(join(room, token=token(seconds=30, rooms=[room])))
        await client.accepted({"event": "auth", "data": {"token": token(rooms=["before"])}})
        await client.accepted({"event": "auth", "data": {"token": token(seconds=600)}})
        assert server.rooms(client.sid)[1:] == ["before", "lost", "behind"]
        later(server, 40)
        assert server.rooms(client.sid)[1:] == ["before"]
        await server.emit("x", room="before")
        assert await room_errors(client) == [("lost", "forbidden"), ("behind", "forbidden")]


async def test_a_room_token_ends_while_the_client_is_away(kind: type[Client]) -> None:
    async with serving(kind, auth_secret=SECRET, auth_leeway=0) as (server, connect):
        mine = token(seconds=600)
        client = await connect(token=mine)
        await client.accepted(join("order", token=token(seconds=30, rooms=["order"])))
        await client.close()
        if kind is not LongPoll:
            await until(lambda: client.sid not in server._hub.sessions)
        later(server, 40)
        await server.emit("secret", room="order")
        await server.emit("x")
        again = await connect((), client.position, sid=client.sid, token=mine)
        assert again.sid == client.sid
        assert server.rooms(client.sid)[1:] == []
        found = [*again.greeting, *await again.until("x")]
        assert ("error", "order") in [(one["event"], one.get("room")) for one in found]
        assert "secret" not in [one["event"] for one in found]


async def test_leeway_counts_once_and_the_same_everywhere() -> None:
    async with serving(WebSocket, auth_secret=SECRET, auth_leeway=30) as (server, connect):
        late = token(seconds=-10)
        client = await connect(token=late)
        answer = await client.accepted({"event": "auth", "data": {"token": late}})
        assert answer["expires"] == pytest.approx(time.time() + 20, abs=5)
        await client.accepted(join("order", token=token(seconds=-20, rooms=["order"])))
        later(server, 5)
        assert server.rooms(client.sid)[1:] == ["order"]
        later(server, 12)
        assert server.rooms(client.sid)[1:] == []
        assert await heard(server, client) == ["active_tasks", "error"]
        later(server, 25)
        assert await client.ended() == 4401


# ---- tasks -------------------------------------------------------------------


async def test_a_task_is_changed_by_its_owner_and_by_publishers(kind: type[Client]) -> None:
    async with serving(kind, auth_secret=SECRET) as (server, open_one):
        ann = await open_one(token=token("ann"))
        bob = await open_one(token=token("bob"))
        backend = await open_one(token=token("backend", publish=True))
        await ann.accepted({"event": "task_created", "data": {"id": 1, "owner": "forged"}})
        (created,) = await bob.take(1)
        assert created["data"] == {"id": 1, "owner": "ann"}
        for event in ("task_progress", "task_cancel", "task_completed", "task_failed"):
            assert await bob.refused({"event": event, "data": {"id": 1}}) == "forbidden"
        await backend.accepted({"event": "task_progress", "data": {"id": 1, "progress": 5}})
        await ann.accepted({"event": "task_cancel", "data": {"id": 1}})
        await backend.accepted({"event": "task_cancelled", "data": {"id": 1}})
        # The server and who may publish act for users.
        await server.emit("task_created", {"id": 2, "owner": "bob"})
        assert await ann.refused({"event": "task_cancel", "data": {"id": 2}}) == "forbidden"
        await bob.accepted({"event": "task_cancel", "data": {"id": 2}})


async def test_a_handler_is_not_asked_where_a_rule_lets_anyone_in(kind: type[Client]) -> None:
    rooms: Any = {"lobby": {"enter": "anyone"}, "team": {"enter": "handler"}}
    async with serving(kind, rooms=rooms) as (server, open_one):
        asked: list[str] = []
        server.on("join", lambda sid, data: asked.append(data["room"]))
        client = await open_one(["lobby", "team"])
        assert await client.accepted(join("lobby")) == {"room": "lobby"}
        await client.accepted({"event": "history", "data": {"room": "lobby"}})
        assert asked == ["team"]
