"""The application API, over every transport and both logs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, get_type_hints

import aiohttp
import pytest
from aiohttp import web
from clients import KINDS, PATIENCE, Client, Ended, Envelope, WebSocket, until

from rtpush.config import ConfigError, Settings
from rtpush.config.options import Options
from rtpush.errors import RtpushError
from rtpush.handlers.options import RENAMED, RenamedOptions
from rtpush.server import Server

Open = Callable[..., Awaitable[Client]]


@pytest.fixture(params=["memory", "sqlite"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    log = "memory:" if request.param == "memory" else f"sqlite:{tmp_path}/rtpush.db"
    async with Server(port=0, log=log) as server:
        yield server


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> type[Client]:
    found: type[Client] = request.param
    return found


def opener(server: Server, kind: type[Client]) -> AbstractAsyncContextManager[Open]:
    """Opens clients of one transport, and closes them."""

    @asynccontextmanager
    async def opening() -> AsyncIterator[Open]:
        opened: list[Client] = []
        async with aiohttp.ClientSession(trust_env=False) as http:

            async def open_one(*args: Any, **options: Any) -> Client:
                client = await kind.open(server.url.rstrip("/"), http, *args, **options)
                opened.append(client)
                return client

            yield open_one
            for client in opened:
                await client.close()

    return opening()


@pytest.fixture
async def connect(server: Server, kind: type[Client]) -> AsyncIterator[Open]:
    async with opener(server, kind) as open_one:
        yield open_one


async def event(client: Client, name: str) -> Envelope:
    """The next such event, whatever comes before it."""
    return (await client.until(name))[-1]


async def quiet(server: Server, *clients: Client) -> list[list[Envelope]]:
    """What each has received besides, up to an event for everyone."""
    await server.emit("mark")
    return [(await client.until("mark"))[:-1] for client in clients]


class Calls(list[Any]):
    """What handlers were called with; can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._grown = asyncio.Event()

    def add(self, *call: Any) -> None:
        self.append(call)
        self._grown.set()

    async def wait(self, count: int) -> list[Any]:
        async with asyncio.timeout(PATIENCE):
            while len(self) < count:
                self._grown.clear()
                await self._grown.wait()
        return list(self)


# ---- handlers ----------------------------------------------------------------


async def test_the_return_value_of_a_handler_is_the_ack(server: Server, connect: Open) -> None:
    @server.event
    async def add(sid: str, data: Any) -> dict[str, Any]:
        return {"sum": data["a"] + data["b"], "sid": sid}

    @server.on("shout")
    def loud(sid: str, data: str) -> str:
        return data.upper()

    client = await connect()
    answer = await client.accepted({"event": "add", "data": {"a": 1, "b": 2}})
    assert answer == {"sum": 3, "sid": client.sid}
    assert await client.accepted({"event": "shout", "data": "hi"}) == "HI"


async def test_an_event_with_a_handler_is_not_relayed(server: Server, connect: Open) -> None:
    server.on("secret", lambda sid, data: None)
    client, other = await connect(), await connect()
    assert await client.accepted({"event": "secret", "data": 1}) is None
    assert await quiet(server, client, other) == [[], []]


async def test_a_handler_may_leave_arguments_out(server: Server, connect: Open) -> None:
    calls = Calls()
    server.on("connect", lambda sid, environ: calls.add("connect", environ["PATH_INFO"]))
    server.on("knock", lambda sid: calls.add("knock"))
    server.on("all", lambda *args: calls.add("all", args))
    server.on("*", lambda event, sid, data: calls.add(event, data))
    client = await connect()
    await client.accepted({"event": "knock", "data": 1})
    await client.accepted({"event": "all", "data": 2})
    await client.accepted({"event": "else", "data": 3})
    assert calls[1:] == [("knock",), ("all", (client.sid, 2)), ("else", 3)]
    assert calls[0] == ("connect", {"poll": "/poll"}.get(client.name) or f"/{_path(client)}")


def _path(client: Client) -> str:
    return "ws" if client.name == "websocket" else client.name


async def test_the_catch_all_leaves_the_board_and_commands_of_the_wire_alone(
    server: Server, connect: Open
) -> None:
    seen = Calls()
    server.on("*", lambda event, sid, data: seen.add(event))
    server.on("join", lambda sid, data: None)
    client = await connect()
    await client.accepted({"event": "task_created", "data": {"id": 1}})
    assert server._log.board.is_active("1")
    await client.accepted({"event": "ping"})
    await client.accepted({"event": "join", "data": {"room": "a"}})
    assert server.rooms(client.sid) == [client.sid, "a"]
    await client.accepted({"event": "leave", "data": {"room": "a"}})
    assert server.rooms(client.sid) == [client.sid]
    assert await client.refused({"event": "auth", "data": {"token": "t"}}) == "forbidden"
    assert list(seen) == []
    await client.accepted({"event": "chat", "data": 1})
    assert list(seen) == [("chat",)]


async def test_a_handler_by_name_takes_the_place_of_what_the_server_does(
    server: Server, connect: Open
) -> None:
    @server.event
    async def task_created(sid: str, data: Any) -> None:
        if "prompt" not in data:
            raise RtpushError("bad_task", "A task needs a prompt.")
        await server.emit("task_created", {**data, "by": sid})

    client = await connect()
    assert await client.refused({"event": "task_created", "data": {"id": 1}}) == "bad_task"
    await client.accepted({"event": "task_created", "data": {"id": 1, "prompt": "a lake"}})
    task = await event(client, "task_created")
    assert task["data"] == {"id": 1, "prompt": "a lake", "by": client.sid}


async def test_a_handler_that_raises_hurts_nobody_else(
    server: Server, connect: Open, caplog: pytest.LogCaptureFixture
) -> None:
    @server.event
    async def boom(sid: str, data: Any) -> None:
        raise KeyError("the application's own affair")

    client, other = await connect(), await connect()
    assert await client.refused({"event": "boom"}) == "internal"
    assert await client.refused({"event": "boom"}) == "internal"
    assert await quiet(server, other) == [[]]
    records = [record for record in caplog.records if record.name == "rtpush.app"]
    assert len(records) == 2
    assert all("the application's own affair" in str(record.exc_info) for record in records)


async def test_an_answer_that_is_not_json_is_an_error(
    server: Server, connect: Open, caplog: pytest.LogCaptureFixture
) -> None:
    server.on("odd", lambda sid, data: object())
    client = await connect()
    assert await client.refused({"event": "odd"}) == "internal"
    assert "not JSON" in caplog.text


async def test_events_of_one_client_are_handled_in_order(server: Server, connect: Open) -> None:
    order: list[int] = []
    gate = asyncio.Event()

    @server.event
    async def step(sid: str, data: int) -> None:
        if data == 0:
            await gate.wait()
        order.append(data)

    client = await connect()
    sending = [
        asyncio.create_task(client.send({"event": "step", "data": i, "ack": i})) for i in range(8)
    ]
    await until(lambda: bool(server._hub.sessions[client.sid].handler_queue))
    gate.set()
    await asyncio.gather(*sending)
    await client.reply(7)
    assert order[0] == 0
    assert sorted(order) == list(range(8))
    if client.name == "websocket":
        # Requests that are sent at once have no order among them; frames do.
        assert order == list(range(8))


async def test_a_blocking_handler_holds_up_nobody_else(server: Server, connect: Open) -> None:
    gate = threading.Event()
    server.on("block", lambda sid, data: gate.wait(PATIENCE))
    slow, quick = await connect(), await connect()
    blocked = asyncio.create_task(slow.request({"event": "block"}))
    assert await quick.accepted({"event": "ping"}) is None
    assert not blocked.done()
    gate.set()
    assert (await blocked)["data"] is True


async def test_what_waits_for_a_slow_handler_is_bounded(server: Server) -> None:
    gate = asyncio.Event()

    @server.event
    async def slow(sid: str, data: Any) -> None:
        await gate.wait()

    async with opener(server, KINDS[2]) as connect:
        client = await connect()
        answers = [
            asyncio.create_task(
                client.http.post(
                    f"{server.url}poll", params={"sid": client.sid}, json={"event": "slow"}
                )
            )
            for _ in range(9)
        ]
        async with asyncio.timeout(PATIENCE):
            done, _ = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
        assert [(await task).status for task in done] == [429]
        gate.set()
        statuses = [(await task).status for task in answers]
        assert sorted(statuses) == [200] * 8 + [429]


async def test_a_ping_overtakes_a_slow_handler(server: Server) -> None:
    gate = asyncio.Event()

    @server.event
    async def slow(sid: str, data: Any) -> None:
        await gate.wait()

    async with opener(server, WebSocket) as connect:
        client = await connect()
        await client.send({"event": "slow", "ack": 1})
        await client.accepted({"event": "ping"})
        gate.set()
        await client.reply(1)


@pytest.mark.parametrize("name", ["connect_error", "active_tasks", "ping", "auth", "", "x" * 129])
def test_names_that_cannot_have_a_handler(name: str) -> None:
    with pytest.raises(ValueError, match=r"handler|characters"):
        Server(port=0, log="memory:").on(name, print)


# ---- connecting --------------------------------------------------------------


@pytest.mark.parametrize("how", ["false", "raise", "code"])
async def test_a_connection_can_be_refused(server: Server, kind: type[Client], how: str) -> None:
    calls = Calls()

    @server.event
    async def connect(sid: str, environ: dict[str, Any], auth: Any) -> bool | None:
        if auth == {"token": "good"}:
            return None
        if how == "raise":
            raise ConnectionRefusedError("Who are you?")
        if how == "code":
            raise RtpushError("not_authenticated", "Who are you?")
        return False

    server.on("disconnect", lambda sid, reason: calls.add(sid, reason))
    await server.emit("private")
    code = "not_authenticated" if how == "code" else "forbidden"
    async with opener(server, kind) as open_one:
        if kind is WebSocket:
            client = kind(server.url.rstrip("/"), aiohttp.ClientSession())
            await client._connect("")
            refusal = await client.next()
            assert (refusal["event"], refusal["data"]["code"]) == ("error", code)
            assert await client.ended() == (4401 if how == "code" else 4403)
            await client.close()
            await client.http.close()
        else:
            path = "sse" if kind.name == "sse" else "poll"
            async with (
                aiohttp.ClientSession() as http,
                http.get(f"{server.url}{path}") as response,
            ):
                assert response.status == (401 if how == "code" else 403)
                assert (await response.json())["error"]["code"] == code
        assert server._hub.sessions == {}
        assert list(calls) == []
        client = await open_one(token="good")
        assert client.hello["recovered"] is False


async def test_a_connect_handler_that_fails_lets_nobody_in(
    server: Server, kind: type[Client]
) -> None:
    @server.event
    async def connect(sid: str, environ: dict[str, Any]) -> None:
        # What a database that is down raises is no refusal of the application's.
        raise ConnectionRefusedError(111, "Connection refused")

    async with opener(server, kind) as open_one:
        with pytest.raises(AssertionError, match="internal"):
            await open_one()
    assert server._hub.sessions == {}


async def test_what_is_sent_while_connecting_arrives_first(server: Server, connect: Open) -> None:
    @server.on("connect")
    async def greet(sid: str, environ: dict[str, Any]) -> None:
        await server.enter_room(sid, "lobby")
        await server.emit("welcome", {"n": 1}, to=sid)
        await server.emit("welcome", {"n": 2}, room=sid)
        await server.emit("news", "for all who were here before")

    client = await connect()
    assert [e["event"] for e in client.greeting] == [
        "connect",
        "welcome",
        "welcome",
        "active_tasks",
    ]
    assert [e["data"]["n"] for e in client.greeting[1:3]] == [1, 2]
    assert client.hello["rooms"] == ["lobby"]
    await server.emit("hello", room="lobby")
    assert (await client.next())["event"] == "hello"


async def test_disconnect_tells_why(server: Server) -> None:
    calls = Calls()
    server.on("disconnect", lambda sid, reason: calls.add(sid, reason))
    async with opener(server, WebSocket) as connect:
        left, lost, sent_away = await connect(), await connect(), await connect()
        await left.close()
        assert await calls.wait(1) == [(left.sid, "client disconnect")]
        assert isinstance(lost, WebSocket)
        lost._ws.transport.abort()
        await calls.wait(2)
        assert calls[1][0] == lost.sid
        assert calls[1][1] in ("transport close", "transport error")
        await server.disconnect(sent_away.sid)
        assert (await event(sent_away, "disconnect"))["data"]["code"] == 4403
        assert await sent_away.ended() == 4403
        assert (await calls.wait(3))[2] == (sent_away.sid, "server disconnect")


async def test_who_is_disconnected_while_connecting_does_not_get_in(
    server: Server, kind: type[Client]
) -> None:
    server.on("connect", lambda sid, environ: None)

    @server.on("connect")
    async def throw_out(sid: str, environ: dict[str, Any]) -> None:
        await server.disconnect(sid)

    async with opener(server, kind) as open_one:
        with pytest.raises((AssertionError, Ended)):
            await open_one()


# ---- sending -----------------------------------------------------------------


async def test_to_everyone_to_rooms_and_to_one(server: Server, connect: Open) -> None:
    a, b, ab = await connect(["a"]), await connect(["b"]), await connect(["a", "b"])
    await server.emit("all", 1)
    await server.emit("a", 2, room="a")
    await server.emit("one", 3, to=b.sid)
    await server.emit("both", 4, to=["a", "b"])
    await server.emit("nobody", 5, to=[])
    await server.send("text", to=a.sid)
    names = [[(e["event"], e["data"]) for e in found] for found in await quiet(server, a, b, ab)]
    assert names[0] == [("all", 1), ("a", 2), ("both", 4), ("message", "text")]
    assert names[1] == [("all", 1), ("one", 3), ("both", 4)]
    assert names[2] == [("all", 1), ("a", 2), ("both", 4)]


async def test_some_can_be_skipped(server: Server, connect: Open) -> None:
    one, two, three = await connect(["r"]), await connect(["r"]), await connect(["r"])
    await server.emit("x", 1, skip_sid=one.sid)
    await server.emit("x", 2, room="r", skip_sid=[one.sid, two.sid, "never was"])
    got = [[e["data"] for e in found] for found in await quiet(server, one, two, three)]
    assert got == [[], [1], [1, 2]]


async def test_who_comes_back_gets_what_was_sent_to_it_alone(
    server: Server, connect: Open, kind: type[Client]
) -> None:
    client, other = await connect(["r"]), await connect(["r"])
    await server.enter_room(client.sid, "given")
    await client.close()
    if kind is WebSocket or kind.name == "sse":
        await until(lambda: client.sid not in server._hub.sessions)
    await server.emit("mine", 1, to=client.sid)
    await server.emit("not mine", 2, skip_sid=client.sid)
    await server.emit("ours", 3, room="given")
    again = client
    if kind.name != "poll":
        # A long-poll session has not ended: its next request goes on.
        again = await connect(["r"], client.position, sid=client.sid)
        assert again.sid == client.sid
    found, others = await quiet(server, again, other)
    events = [(e["event"], e["data"]) for e in found if "id" in e and e["event"] != "active_tasks"]
    assert events == [("mine", 1), ("ours", 3)]
    assert [(e["event"], e["data"]) for e in others] == [("not mine", 2)]


async def test_a_session_that_moves_to_another_transport_stays_itself(server: Server) -> None:
    async with aiohttp.ClientSession(trust_env=False) as http:
        url = server.url.rstrip("/")
        client = await WebSocket.open(url, http)
        await server.save_session(client.sid, {"user": "ada"})
        for kind in (*KINDS[1:], WebSocket):
            moved = await kind.open(url, http, (), client.position, sid=client.sid)
            assert moved.sid == client.sid
            assert await server.get_session(moved.sid) == {"user": "ada"}
            if not isinstance(client, KINDS[2]):
                await client.ended()
            await client.close()
            await server.emit("tick")
            await moved.until("tick")
            client = moved
        assert list(server._hub.sessions) == [client.sid]
        await client.close()


async def test_a_sid_that_is_made_up_is_not_taken(server: Server, connect: Open) -> None:
    client = await connect((), str(server._log.position), sid="A" * 22)
    assert client.sid != "A" * 22


async def test_volatile_events_are_not_logged(server: Server, connect: Open) -> None:
    one, two = await connect(), await connect()
    # A long-poll client hears it only while it waits.
    reading = asyncio.create_task(two.until("cursor"))
    await until(lambda: server._hub.sessions[two.sid].live)
    assert await server.emit("cursor", 1, volatile=True, skip_sid=one.sid) is None
    await reading
    assert server._log.last == 0
    found, _ = await quiet(server, one, two)
    assert found == []


async def test_volatile_to_one(server: Server) -> None:
    async with opener(server, WebSocket) as connect:
        one, two = await connect(), await connect()
        await server.emit("cursor", 1, to=one.sid, volatile=True)
        assert (await one.next())["event"] == "cursor"
        assert await quiet(server, two) == [[]]


async def test_emit_refuses_what_cannot_be_sent(server: Server) -> None:
    with pytest.raises(RtpushError, match="reserved_event"):
        await server.emit("connect")
    with pytest.raises(RtpushError, match="bad_event"):
        await server.emit("")
    with pytest.raises(RtpushError, match="bad_room"):
        await server.emit("x", room="r" * 129)
    with pytest.raises(RtpushError, match="bad_envelope"):
        await server.emit("x", object())
    await server.emit("task_created", {"id": 1})
    await server.emit("task_completed", {"id": 1})
    with pytest.raises(RtpushError, match="task_finished"):
        await server.emit("task_progress", {"id": 1})
    assert server._log.last == 2


async def test_a_task_is_not_for_one_session(server: Server) -> None:
    async with opener(server, WebSocket) as connect:
        client = await connect()
        with pytest.raises(RtpushError, match="bad_task"):
            await server.emit("task_created", {"id": 1}, to=client.sid)


async def test_emit_returns_the_position(server: Server, connect: Open) -> None:
    client = await connect()
    position = await server.emit("x")
    assert (await event(client, "x"))["id"] == position


# ---- asking clients ----------------------------------------------------------


async def test_a_client_can_be_asked(server: Server, connect: Open) -> None:
    client = await connect()
    asking = asyncio.create_task(server.call("question", {"n": 1}, to=client.sid))
    question = await event(client, "question")
    await client.send({"ack": question["ack"], "data": {"n": 2}})
    async with asyncio.timeout(PATIENCE):
        assert await asking == {"n": 2}


async def test_an_answer_may_be_an_error(server: Server, connect: Open) -> None:
    client = await connect()
    asking = asyncio.create_task(server.call("question", to=client.sid))
    question = await event(client, "question")
    error = {"code": "forbidden", "message": "None of your business."}
    await client.send({"ack": question["ack"], "error": error})
    with pytest.raises(RtpushError, match="None of your business"):
        await asking


async def test_a_callback_gets_the_answer(server: Server, connect: Open) -> None:
    calls = Calls()
    client = await connect()
    await server.emit("question", to=client.sid, callback=calls.add)

    async def later(data: Any) -> None:
        calls.add(data)

    await server.emit("question", to=client.sid, callback=later)
    for i in range(2):
        question = await event(client, "question")
        await client.send({"ack": question["ack"], "data": i})
        # A second answer to the same question is nobody's.
        await client.send({"ack": question["ack"], "data": "again"})
    assert await calls.wait(2) == [(0,), (1,)]


async def test_a_callback_that_fails_hurts_nobody(
    server: Server, connect: Open, caplog: pytest.LogCaptureFixture
) -> None:
    client = await connect()
    await server.emit("question", to=client.sid, callback=lambda data: data["missing"])
    question = await event(client, "question")
    await client.send({"ack": question["ack"], "data": {}})
    await until(lambda: "a callback failed" in caplog.text)
    assert await client.accepted({"event": "ping"}) is None


async def test_a_handler_may_ask_the_client_that_it_serves(server: Server, connect: Open) -> None:
    @server.event
    async def order(sid: str, data: Any) -> str:
        return f"shipped to {await server.call('address', to=sid)}"

    client = await connect()
    ordering = asyncio.create_task(client.send({"event": "order", "ack": 1}))
    question = await event(client, "address")
    await client.send({"ack": question["ack"], "data": "Main Street"})
    await ordering
    assert (await client.reply(1))["data"] == "shipped to Main Street"


async def test_who_does_not_answer_in_time(server: Server, connect: Open) -> None:
    client = await connect()
    with pytest.raises(TimeoutError):
        await server.call("question", to=client.sid, timeout=0.01)
    question = await event(client, "question")
    await client.send({"ack": question["ack"], "data": "too late"})
    assert not server._hub.sessions[client.sid].pending_replies


async def test_only_one_session_can_be_asked(server: Server) -> None:
    for target in (None, "a room", ["a", "b"]):
        with pytest.raises(ValueError, match="only one session"):
            await server.emit("question", to=target, callback=print)


async def test_another_client_cannot_answer(server: Server) -> None:
    async with opener(server, WebSocket) as connect:
        asked, other = await connect(), await connect()
        asking = asyncio.create_task(server.call("question", to=asked.sid))
        question = await event(asked, "question")
        await other.send({"ack": question["ack"], "data": "forged"})
        await other.accepted({"event": "ping"})
        await asked.send({"ack": question["ack"], "data": "true"})
        assert await asking == "true"


# ---- rooms and sessions ------------------------------------------------------


async def test_rooms_are_entered_left_and_closed(server: Server, connect: Open) -> None:
    one, two = await connect(), await connect()
    await server.emit("task_created", {"id": 1}, room="r")
    await server.enter_room(one.sid, "r")
    await server.enter_room(two.sid, "r")
    await server.enter_room(two.sid, "r")
    assert server.rooms(two.sid) == [two.sid, "r"]
    await server.emit("x", 1, room="r")
    first, second = await quiet(server, one, two)
    if first[0]["event"] != "active_tasks":
        # A long-poll client that was between two requests reads what it missed first.
        first += await one.until("active_tasks")
    (board,) = (e for e in first if e["event"] == "active_tasks")
    assert board["room"] == "r"
    assert [task["id"] for task in board["data"]["tasks"]] == [1]
    await server.leave_room(one.sid, "r")
    await server.emit("x", 2, room="r")
    second += await two.until("x")
    await server.close_room("r")
    await server.emit("x", 3, room="r")
    assert server.rooms(one.sid) == [one.sid]
    for found, more in zip((first, second), await quiet(server, one, two), strict=True):
        found += more
    assert [e["data"] for e in first if e["event"] == "x"] == [1]
    assert [e["data"] for e in second if e["event"] == "x"] == [1, 2]


async def test_nobody_can_be_put_in_a_room(server: Server) -> None:
    for call in (server.enter_room("gone", "r"), server.leave_room("gone", "r")):
        with pytest.raises(RtpushError, match="not_found"):
            await call
    await server.close_room("empty")
    await server.disconnect("gone")


async def test_sessions_keep_what_is_saved(server: Server) -> None:
    async with opener(server, WebSocket) as connect:
        client = await connect()
        assert await server.get_session(client.sid) == {}
        async with server.session(client.sid) as session:
            session["user"] = "ada"
        assert await server.get_session(client.sid) == {"user": "ada"}
        with pytest.raises(RtpushError, match="not_found"):
            await server.get_session("gone")


@pytest.mark.parametrize("by_server", [False, True])
async def test_a_disconnect_handler_knows_who_it_was(server: Server, by_server: bool) -> None:
    calls = Calls()
    server.on("join", lambda sid, data: None)

    @server.event
    async def disconnect(sid: str, reason: str) -> None:
        async with server.session(sid) as session:
            calls.add(session["user"], server.rooms(sid)[1:])

    async with opener(server, WebSocket) as connect:
        client = await connect(["a"])
        await server.save_session(client.sid, {"user": "ada"})
        if by_server:
            await server.disconnect(client.sid)
        else:
            await client.close()
        assert await calls.wait(1) == [("ada", ["a"])]
        await until(lambda: not server._admission.disconnecting)
        with pytest.raises(RtpushError, match="not_found"):
            await server.get_session(client.sid)


async def test_background_tasks(server: Server) -> None:
    async def work(a: int, *, b: int) -> int:
        await server.sleep(0)
        return a + b

    assert await server.start_background_task(work, 1, b=2) == 3


# ---- running -----------------------------------------------------------------


async def test_attached_to_an_aiohttp_application() -> None:
    app = web.Application()
    server = Server(log="memory:")
    server.on("hello", lambda sid, data: f"hello {data}")
    server.attach(app)

    async def home(_request: web.Request) -> web.Response:
        return web.Response(text="the application's own page")

    app.router.add_get("/", home)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession(trust_env=False) as http:
        async with http.get(url) as response:
            assert await response.text() == "the application's own page"
        for kind in reversed(KINDS):
            client = await kind.open(f"{url}/rtpush", http)
            assert await client.accepted({"event": "hello", "data": kind.name}) == (
                f"hello {kind.name}"
            )
        gone = asyncio.create_task(client.until("disconnect"))
        await runner.cleanup()
        assert (await gone)[-1]["data"]["code"] == 1001


async def test_a_stop_lets_handlers_finish(tmp_path: Path) -> None:
    ended = []

    async with Server(port=0, log="memory:") as server:

        @server.event
        async def disconnect(sid: str, reason: str) -> None:
            await asyncio.sleep(0)
            ended.append(reason)

        async with opener(server, WebSocket) as connect:
            await connect()
            await server.stop()
            assert ended == ["server disconnect"]
            # Once is enough; leaving the block stops again.
            server = Server(port=0, log="memory:")


def test_the_options_of_a_socketio_server_are_understood(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server(
        async_mode="aiohttp",
        cors_allowed_origins="*",
        logger=True,
        ping_interval=10,
        max_http_buffer_size=4096,
    )
    assert server.settings == Settings(allow_origins=("*",), heartbeat=10, max_message=4096)
    assert "async_mode, logger" in caplog.text
    listed = Server(cors_allowed_origins=["https://a.example", "https://b.example"])
    assert listed.settings.allow_origins == ("https://a.example", "https://b.example")


def test_unknown_options_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="unknown option prot; did you mean port\\?"):
        Server(Settings(), prot=1)  # type: ignore[call-arg]


def test_all_problems_of_options_come_at_once_by_the_names_that_were_written() -> None:
    with pytest.raises(ConfigError) as caught:
        Server(prot=1, ping_interval=0, retention_age="1y", cors_allowed_origins=5)  # type: ignore[call-arg, arg-type]
    assert [problem.partition(" ")[0] for problem in caught.value.problems] == [
        "unknown",
        "ping_interval:",
        "retention_age:",
        "cors_allowed_origins:",
    ]


def test_options_are_checked_and_parsed_like_settings() -> None:
    server = Server(
        Settings(port=1, heartbeat=5), port=2, relay="chat_*", task_ttl="30d", ping_interval=None
    )
    expected = Settings(port=2, heartbeat=5, relay=("chat_*",), task_ttl=30 * 86400)
    assert server.settings == expected


def test_renamed_options_have_the_types_of_their_settings() -> None:
    renamed, settings = get_type_hints(RenamedOptions), get_type_hints(Options)
    assert renamed == {name: settings[ours] | None for name, ours in RENAMED.items()}


async def test_what_is_sent_again_is_handled_once(server: Server, connect: Open) -> None:
    calls: list[Any] = []

    @server.event
    async def count(_sid: str, data: Any) -> Any:
        calls.append(data)
        if data == "no":
            raise RtpushError("bad_request", "Not this.")
        return {"calls": len(calls)}

    client = await connect()

    async def outcome(key: str, data: Any = None) -> Any:
        sent = {"event": "count", "data": data, "idempotency_key": key}
        reply = await client.request(sent)
        return reply.get("data") or reply["error"]["code"]

    assert [await outcome("k1"), await outcome("k1"), await outcome("k2")] == [
        {"calls": 1},
        {"calls": 1},
        {"calls": 2},
    ]
    assert [await outcome("k3", "no"), await outcome("k3", "no")] == ["bad_request"] * 2
    assert calls == [None, None, "no"]


async def test_a_session_remembers_its_last_answers_only(server: Server, connect: Open) -> None:
    calls: list[Any] = []

    @server.event
    async def count(_sid: str, data: Any) -> str:
        calls.append(data)
        return "x" * 1000

    client = await connect()
    keys = [f"k{number}" for number in range(40)]
    for key in [*keys, keys[-1], keys[0]]:
        await client.request({"event": "count", "data": key, "idempotency_key": key})
    # The newest was remembered; the first had made room for others.
    assert calls == [*keys, keys[0]]


# ---- what the application changes afterwards ---------------------------------


async def test_the_board_keeps_what_was_emitted(server: Server, connect: Open) -> None:
    data: dict[str, Any] = {"id": 1, "form": {"prompt": "a lake"}}
    await server.emit("task_created", data)
    layers: list[object] = [0]
    await server.emit("task_progress", {"id": 1, "progress": 5, "layers": layers})
    data["form"]["prompt"] = "a sea"
    data["more"] = True
    # No JSON at all.
    layers.append(object())

    client = await connect()
    (task,) = client.greeting[-1]["data"]["tasks"]
    assert (task["form"], task["progress"], task["layers"]) == ({"prompt": "a lake"}, 5, [0])


async def test_what_is_changed_while_it_is_stored_is_not_seen(server: Server) -> None:
    data: dict[str, Any] = {"id": 1, "form": {}}
    storing = asyncio.ensure_future(server.emit("task_created", data))
    await asyncio.sleep(0)
    data["form"]["prompt"] = object()
    await storing
    assert server._log.board.all_active()[0].data["form"] == {}


async def test_a_saved_session_is_a_copy(server: Server) -> None:
    async with opener(server, WebSocket) as connect:
        client = await connect()
        mine = {"user": "ada"}
        await server.save_session(client.sid, mine)
        mine["user"] = "bob"
        assert await server.get_session(client.sid) == {"user": "ada"}
