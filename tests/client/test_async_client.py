"""`rtpush.Client` against a real server, over every transport, with and without faults."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from clients import until
from needs import needs
from processes import ServerProcess, free_port, nginx, pause, running
from relay import Relay, relay

import rtpush
from rtpush import AsyncPublisher, Client, ConnectError, RtpushError, Server
from rtpush.client import connection, connector, heartbeat, receive_queue

PATIENCE = 10.0
SECRET = "a secret that is long enough for HS256, says RFC 7518"

Connect = Callable[..., Awaitable[Client]]


@pytest.fixture(params=["websocket", "sse", "poll"])
def transport(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server(port=0, log="memory:") as server:
        yield server


@pytest.fixture
async def between(server: Server) -> AsyncIterator[Relay]:
    async with relay(server.port) as one:
        yield one


@pytest.fixture
async def connect(server: Server, transport: str) -> AsyncIterator[Connect]:
    """Clients of one transport, connected to the server."""
    opened: list[Client] = []

    async def connect_one(url: str = server.url, **options: Any) -> Client:
        client = impatient()
        opened.append(client)
        await client.connect(url, **{"transports": [transport], **options})
        return client

    yield connect_one
    for client in opened:
        await client.disconnect()


def impatient(**options: Any) -> Client:
    """A client that reconnects at once."""
    return Client(reconnection_delay=0.01, reconnection_delay_max=0.05, **options)


async def within(awaitable: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(awaitable, PATIENCE)


async def drained(events: receive_queue.Events) -> list[rtpush.Event]:
    """The events that have arrived and were not taken."""
    return [await anext(events) for _ in range(len(events))]


class Seen(list[Any]):
    """The arguments of handler calls, with a way to wait for them."""

    def __init__(self) -> None:
        super().__init__()
        self._grown = asyncio.Event()

    def add(self, *call: Any) -> None:
        self.append(call[0] if len(call) == 1 else call)
        self._grown.set()

    async def until(self, done: Callable[[list[Any]], bool]) -> list[Any]:
        async with asyncio.timeout(PATIENCE):
            while not done(self):
                self._grown.clear()
                await self._grown.wait()
        return list(self)

    async def reach(self, number: int) -> list[Any]:
        return await self.until(lambda seen: len(seen) >= number)


def watched(client: Client) -> Seen:
    """What happens to the connection of a client."""
    seen = Seen()
    client.on("connect", lambda: seen.add("connect"))
    client.on("disconnect", lambda reason: seen.add(str(reason)))
    client.on("connect_error", lambda error: seen.add("connect_error", error["code"]))
    return seen


def token(**claims: Any) -> str:
    return jwt.encode({"sub": "ada", "exp": time.time() + 60, **claims}, SECRET, "HS256")


# ---- events, calls, rooms ---------------------------------------------------------------


async def test_events_reach_handlers_in_order(server: Server, connect: Connect) -> None:
    client = await connect()
    seen = Seen()
    client.on("hello", lambda data: seen.add("hello", data))

    @client.event
    async def later(data: Any) -> None:
        await asyncio.sleep(0)
        seen.add("later", data)

    @client.on("*")
    def anything(event: str, data: Any) -> None:
        if event != "active_tasks":  # which may have come before this handler
            seen.add(event, data)

    for number in range(3):
        await server.emit("later", number)
        await server.emit("hello", number)
    await server.emit("other", {"a": [1]})
    expected = [pair for n in range(3) for pair in (("later", n), ("hello", n))]
    assert await seen.reach(7) == [*expected, ("other", {"a": [1]})]


async def test_a_handler_may_leave_its_arguments_out(server: Server, connect: Connect) -> None:
    client = await connect()
    seen = Seen()
    client.on("tick", lambda: seen.add("tick"))
    await server.emit("tick", 1)
    assert await seen.reach(1) == ["tick"]
    await client.emit("tock", callback=lambda: seen.add("answered"))
    assert await seen.reach(2) == ["tick", "answered"]


async def test_a_handler_may_be_any_function(server: Server, connect: Connect) -> None:
    client = await connect()
    seen, told = Seen(), dict[str, Any]()
    client.on("tick", told.update)
    client.on("seen", seen.add)
    await client.emit("tick", {"a": 1}, callback=told.update)
    await client.emit("seen", 1, callback="none")  # type: ignore[arg-type]
    await client.emit("seen", 2)
    assert await seen.reach(2) == [1, 2]
    await until(lambda: told.keys() == {"a", "id"})


async def test_an_answer_is_what_the_handler_returned(server: Server, connect: Connect) -> None:
    @server.event
    async def add(sid: str, data: dict[str, int]) -> int:
        return data["a"] + data["b"]

    @server.event
    async def refuse(sid: str) -> None:
        raise RtpushError("forbidden", "Not today.")

    client = await connect()
    answers = Seen()
    assert await within(client.call("add", {"a": 1, "b": 2})) == 3
    await client.emit("add", {"a": 3, "b": 4}, callback=answers.add)
    assert await answers.reach(1) == [7]
    with pytest.raises(RtpushError, match="Not today") as caught:
        await within(client.call("refuse"))
    assert caught.value.code == "forbidden"


async def test_a_refused_emit_reaches_the_error_handler_or_the_log(
    server: Server, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    client = await connect()
    with caplog.at_level(logging.WARNING, "rtpush.client"):
        await client.emit("task_progress", {"id": 1, "progress": 400})
        await within(client.call("mark"))
    assert "bad_task" in caplog.text
    seen = Seen()
    client.on("error", seen.add)
    await client.emit("task_progress", {"id": 1, "progress": 400})
    assert [error["code"] for error in await seen.reach(1)] == ["bad_task"]


async def test_the_server_calls_a_client(server: Server, connect: Connect) -> None:
    client = await connect()

    @client.event
    async def double(data: int) -> int:
        # It may ask back: answers do not wait for handlers.
        assert await client.call("mark") is not None
        return 2 * data

    @client.event
    def fail() -> None:
        raise KeyError("no")

    @client.event
    def refuse() -> None:
        raise RtpushError("not_found", "No such thing.")

    assert client.sid is not None
    assert await within(server.call("double", 21, to=client.sid)) == 42
    for event, code in [("fail", "internal"), ("refuse", "not_found"), ("what", "not_found")]:
        with pytest.raises(RtpushError) as caught:
            await within(server.call(event, to=client.sid))
        assert caught.value.code == code


async def test_a_reply_that_is_too_large_is_dropped(connect: Connect) -> None:
    async with Server(port=0, log="memory:") as server:
        client = await connect(server.url)
        life = watched(client)
        client.on("large", lambda: "x" * (17 << 20))
        client.on("small", lambda: "x")
        asking = asyncio.create_task(server.call("large", to=client.sid or ""))
        assert (await life.reach(2))[1] == "connect"
        assert await within(server.call("small", to=client.sid or "")) == "x"
        assert len(life) == 2
        asking.cancel()
        await client.disconnect()


async def test_the_server_calls_a_client_whose_event_it_handles(
    server: Server, connect: Connect
) -> None:
    @server.event
    async def order(sid: str, dish: str) -> str:
        return await server.call("really?", dish, to=sid, timeout=PATIENCE) + dish

    client = await connect()
    client.on("really?", lambda dish: "yes, ")
    assert await within(client.call("order", "soup")) == "yes, soup"


async def test_a_failed_handler_leaves_the_connection_alone(
    server: Server, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    client = await connect()
    seen = Seen()

    @client.event
    def bad() -> None:
        raise ValueError("a bug")

    @client.event
    async def worse() -> None:
        task = asyncio.create_task(asyncio.sleep(PATIENCE))
        task.cancel()
        await task

    client.on("good", lambda: seen.add("good"))
    await server.emit("bad")
    assert client.sid is not None
    with pytest.raises(RtpushError, match="failed to handle"):
        await within(server.call("worse", to=client.sid))
    await server.emit("good")
    await seen.reach(1)
    assert "ValueError: a bug" in caplog.text
    assert "CancelledError" in caplog.text
    assert client.connected


async def test_rooms(server: Server, connect: Connect) -> None:
    early, late = await connect(rooms=["kitchen"]), await connect()
    seen, others = Seen(), Seen()
    early.on("soup", seen.add)
    late.on("soup", others.add)
    await late.call("soup", 1, room="kitchen")
    await late.join("kitchen")
    assert late.rooms == ("kitchen",)
    await late.emit("soup", 2, room="kitchen")
    await others.reach(1)
    await late.leave("kitchen")
    await late.call("soup", 3, room="kitchen")
    assert await seen.reach(3) == [1, 2, 3]
    assert others == [2]
    with pytest.raises(RtpushError) as caught:
        await late.join("x" * 200)
    assert caught.value.code == "bad_room"


async def test_iterating_over_events(server: Server, connect: Connect) -> None:
    client = await connect()
    tasks = client.events("task_*")
    await client.emit("task_created", {"id": 7}, room=None)
    await client.emit("note", "not a task")
    await client.emit("task_progress", {"id": 7, "progress": 50})
    created, progress = await within(anext(tasks)), await within(anext(tasks))
    assert (created.event, created.data["id"]) == ("task_created", 7)
    assert (progress.event, progress.key, progress.id) == ("task_progress", "7", client.position)
    await client.disconnect()
    assert [event async for event in tasks] == []


async def test_a_loop_that_is_left_keeps_no_queue(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receive_queue, "_PAUSE_AT", 50)
    client = await connect()

    async def first() -> rtpush.Event:
        async for event in client.events("n"):
            return event
        raise AssertionError("it ended")

    found = asyncio.create_task(first())
    await asyncio.sleep(0)
    await client.emit("n", 1)
    assert (await within(found)).data == 1
    del found
    gc.collect()
    for number in range(receive_queue._PAUSE_AT + 10):
        await server.emit("n", number)
    # With its queue still there, the client would have stopped reading long ago.
    assert await within(client.call("mark"))
    last = client.events("last")
    await server.emit("last")
    await within(anext(last))


async def test_a_dropped_event_queue_lets_the_client_read_again(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receive_queue, "_PAUSE_AT", 10)
    client = await connect()
    seen, left = Seen(), [client.events("n")]
    client.on("x", lambda: seen.add("x"))
    for number in range(10):
        await server.emit("n", number)
    await until(lambda: len(left[0]) == 10)
    await server.emit("x")
    # Reading has paused by now, or does at this one.
    await asyncio.sleep(0)
    left.clear()
    gc.collect()
    await seen.reach(1)


async def test_volatile_events(server: Server, connect: Connect) -> None:
    client, other = await connect(), await connect()
    moves = other.events("pointer")
    await client.emit("pointer", {"x": 1}, volatile=True)
    move = await within(anext(moves))
    assert (move.data, move.id) == ({"x": 1}, None)
    with pytest.raises(ValueError, match="volatile"):
        await client.emit("pointer", 1, print, volatile=True)


async def test_bad_names_and_data_are_refused_at_once(server: Server, connect: Connect) -> None:
    client = await connect()
    for call, code in [
        (client.emit("x" * 200), "bad_event"),
        (client.emit("x", object()), "bad_envelope"),
        (client.emit("x", room=""), "bad_room"),
        (client.call("connect"), "reserved_event"),
    ]:
        with pytest.raises(RtpushError) as caught:
            await within(call)
        assert caught.value.code == code
    with pytest.raises(ValueError, match="128"):
        client.on("x" * 200, print)
    with pytest.raises(TypeError, match="colour"):
        Client(colour="red")


async def test_disconnect_sends_emitted_events_first(server: Server, connect: Connect) -> None:
    client, other = await connect(), await connect()
    seen = other.events("n")
    for number in range(100):
        await client.emit("n", number)
    await client.emit("n", "last", volatile=True)
    await client.disconnect()
    received = [(await within(anext(seen))).data for _ in range(101)]
    # A volatile event has no place in the order of the logged ones.
    received.remove("last")
    assert received == list(range(100))


async def test_a_handler_disconnects(server: Server, connect: Connect) -> None:
    client = await connect()
    seen = watched(client)
    waiting = asyncio.create_task(client.wait())

    @client.event
    async def bye() -> None:
        await client.disconnect()

    await server.emit("bye")
    await within(waiting)
    assert await seen.reach(1) == ["client disconnect"]
    assert (client.connected, client.transport()) == (False, None)
    for late in (client.emit("x"), client.call("x")):
        with pytest.raises(ConnectError):
            await late
    await client.disconnect()


async def test_a_second_connect_is_refused_and_a_later_one_resumes(
    server: Server, connect: Connect
) -> None:
    client = await connect()
    with pytest.raises(ConnectError, match="disconnect it first"):
        await client.connect(server.url)
    await client.disconnect()
    await server.emit("missed", 1)
    events = client.events("missed")
    await client.connect(server.url)
    # It goes on where it was.
    assert (await within(anext(events))).data == 1


async def test_disconnect_before_the_connection_has_begun(server: Server) -> None:
    client = Client()
    await client.connect(server.url, wait=False)
    await client.disconnect()
    with pytest.raises(ConnectError):
        await client.emit("x")
    await client.connect(server.url)
    await client.disconnect()


async def test_concurrent_disconnects(server: Server, connect: Connect) -> None:
    client = await connect()
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, one: complaints.append(one))
    ending = [asyncio.create_task(client.disconnect())]
    while client.connected:
        await asyncio.sleep(0)
        ending.append(asyncio.create_task(client.disconnect()))
    await within(asyncio.gather(*ending))
    # The task that was reading has ended, too.
    gc.collect()
    assert complaints == []


async def test_a_cancelled_disconnect_disconnects(
    server: Server, between: Relay, connect: Connect
) -> None:
    client = await connect(between.url)
    between.deaf = True
    await client.emit("n", 1)
    ending = asyncio.create_task(client.disconnect())
    await asyncio.sleep(0)
    ending.cancel()
    await within(asyncio.wait([ending]))
    assert not client.connected
    with pytest.raises(ConnectError):
        await client.emit("n", 2)


async def test_wait_returns_after_the_handlers_of_received_events(
    server: Server, connect: Connect
) -> None:
    client = await connect()
    come, handled, release = client.events("n"), Seen(), asyncio.Event()

    @client.event
    async def n(number: int) -> None:
        await release.wait()
        await asyncio.sleep(0)
        handled.add(number)

    for number in range(10):
        await server.emit("n", number)
    await until(lambda: len(come) == 10)
    assert client.sid is not None
    await server.disconnect(client.sid)
    await until(lambda: not client.connected)
    waiting = asyncio.create_task(client.wait())
    await asyncio.sleep(0)
    release.set()
    await within(waiting)
    assert handled == list(range(10))


async def test_handlers_stay_in_order_when_one_reconnects(server: Server, connect: Connect) -> None:
    client = await connect()
    come, handled, running = client.events("n"), Seen(), Seen()

    @client.event
    async def n(number: int) -> None:
        assert not running
        running.add(number)
        if number == 0:
            await until(lambda: len(come) == 3)
            await client.disconnect()
            await server.emit("n", 3)
            await client.connect(server.url)
        await asyncio.sleep(0)
        running.clear()
        handled.add(number)

    for number in range(3):
        await server.emit("n", number)
    assert await handled.reach(4) == list(range(4))


async def test_connecting_in_the_connect_error_handler(server: Server, transport: str) -> None:
    client = Client(reconnection=False)
    connected = Seen()

    @client.event
    async def connect_error(_error: Any) -> None:
        await client.connect(server.url, transports=[transport])
        connected.add("elsewhere")

    with pytest.raises(ConnectError):
        await client.connect(f"http://127.0.0.1:{free_port()}", transports=[transport])
    await connected.reach(1)
    assert await within(client.call("mark"))
    await client.disconnect()


def test_a_client_may_move_to_another_loop(tmp_path: Path) -> None:
    client = Client()

    async def program(url: str) -> None:
        await client.connect(url)
        events = client.events("n")
        await client.emit("n")
        await within(anext(events))
        await client.emit("n")
        # The answer is still to come.
        await client.disconnect()

    async def served() -> None:
        async with running(tmp_path) as process:
            for _ in range(2):
                await asyncio.to_thread(asyncio.run, program(process.url))

    asyncio.run(served())


async def test_a_slow_consumer_pauses_reading(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receive_queue, "_PAUSE_AT", 10)
    client = await connect()
    events = client.events("n")
    text = "x" * 10_000
    for number in range(800):
        await server.emit("n", [number, text])
    await asyncio.sleep(0)
    # It asks although nothing is read: so reading goes on until the answer is there.
    assert await within(client.call("mark"))
    numbers = [(await within(anext(events))).data[0] for _ in range(800)]
    assert numbers == list(range(800))


async def test_calls_are_refused_while_too_many_events_wait(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receive_queue, "_PAUSE_AT", 10)
    monkeypatch.setattr(receive_queue, "_MAX_LENGTH", 100)
    client = await connect()
    events = client.events("n")

    async def go_on() -> None:
        while True:
            await client.call("n")

    with pytest.raises(RtpushError) as caught:
        await within(go_on())
    assert caught.value.code == "too_slow"
    assert len(events) <= 101


# ---- lost connections ----------------------------------------------------------------


async def test_a_cut_loses_and_repeats_nothing(
    server: Server, between: Relay, connect: Connect
) -> None:
    client = await connect(between.url)
    life = watched(client)
    sid, seen = client.sid, client.events("n")
    for number in range(3):
        await server.emit("n", number)
        between.closed = True
        between.cut()
        await life.until(
            lambda life, n=number: life.count("disconnect") > n or life.count("transport error") > n
        )
        await server.emit("n", f"missed {number}")
        between.closed = False
        await life.until(lambda life, n=number: life.count("connect") > n)
    expected = [one for n in range(3) for one in (n, f"missed {n}")]
    assert [(await within(anext(seen))).data for _ in expected] == expected
    assert client.sid == sid


async def test_calls_made_offline_take_effect_once_and_in_order(
    server: Server, between: Relay, connect: Connect
) -> None:
    handled: list[int] = []
    server.on("count", lambda sid, number: handled.append(number))
    client = await connect(between.url)
    life = watched(client)
    between.closed = True
    between.cut()
    await life.reach(1)
    calls = [asyncio.create_task(client.call("count", number)) for number in range(50)]
    await asyncio.sleep(0)
    between.closed = False
    await within(asyncio.gather(*calls))
    assert handled == list(range(50))


async def test_disconnect_reconnects_to_send_what_was_emitted_offline(
    server: Server, between: Relay, connect: Connect
) -> None:
    handled: list[int] = []
    server.on("count", lambda sid, number: handled.append(number))
    client = await connect(between.url)
    life = watched(client)
    between.closed = True
    between.cut()
    await life.reach(1)
    await client.emit("count", 1)
    between.closed = False
    await within(client.disconnect())
    assert handled == [1]


async def test_a_call_whose_answer_was_lost_takes_effect_once(
    server: Server, between: Relay, connect: Connect
) -> None:
    handled = Seen()
    server.on("pay", lambda sid, amount: handled.add(amount))
    client = await connect(between.url)
    between.deaf = True
    paying = asyncio.create_task(client.call("pay", 5))
    await handled.reach(1)
    between.deaf = False
    between.cut()
    await within(paying)
    assert handled == [5]


async def test_many_calls_whose_answers_were_lost_take_effect_once(
    server: Server, between: Relay, connect: Connect
) -> None:
    handled = Seen()
    server.on("pay", lambda sid, amount: handled.add(amount))
    client = await connect(between.url)
    between.deaf = True
    paying = [asyncio.create_task(client.call("pay", amount)) for amount in range(200)]
    await handled.reach(64)
    between.deaf = False
    between.cut()
    await within(asyncio.gather(*paying))
    assert handled == list(range(200))


async def test_kill_9_and_a_restart(transport: str, tmp_path: Path) -> None:
    async with running(tmp_path) as process:
        client, reader = impatient(), impatient()
        await client.connect(process.url, transports=[transport])
        await reader.connect(process.url, transports=[transport])
        seen = reader.events("n")
        calls = []
        for number in range(300):
            calls.append(asyncio.create_task(client.call("n", number)))
            await asyncio.sleep(0)
            if number in (100, 200):
                await process.kill()
                await process.start()
        answers = await asyncio.gather(*calls)
        ids = [answer["id"] for answer in answers]
        read = [await within(anext(seen)) for _ in range(300)]
        assert [event.data for event in read] == list(range(300))
        assert [event.id for event in read] == ids
        await client.disconnect()
        await reader.disconnect()


async def test_calls_survive_a_restart_of_the_server(transport: str, tmp_path: Path) -> None:
    process = ServerProcess(tmp_path)
    await process.start()
    client = impatient()
    await client.connect(process.url, transports=[transport])
    life = watched(client)
    stopping = asyncio.create_task(process.stop())
    calls = []
    while not life:
        calls.append(asyncio.create_task(client.call("n", len(calls))))
        await asyncio.sleep(0.001)
    # A long-poll may have been between two requests.
    assert life[0] in ("transport close", "transport error")
    await stopping
    await process.start()
    await within(asyncio.gather(*calls))
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{process.url}/api/history?limit=1000") as answer,
    ):
        events = (await answer.json())["events"]
    assert [event["data"] for event in events] == list(range(len(calls)))
    await client.disconnect()
    await process.stop()


async def test_a_half_open_connection_times_out(
    server: Server, between: Relay, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "_PING_INTERVAL", 0.05)
    monkeypatch.setattr(heartbeat, "_PONG_TIMEOUT", 0.3)
    client = await connect(between.url)
    life = watched(client)
    standing = client._session.sender.connection
    assert standing is not None
    standing.heartbeat.interval = 0.1
    between.deaf = True
    await server.emit("n", 1)
    events = client.events("n")
    if client.transport() != "poll":  # which has a time of its own for each answer
        assert await life.reach(1) == ["ping timeout"]
    between.cut()
    between.deaf = False
    assert (await within(anext(events))).data == 1


async def test_sending_does_not_postpone_the_ping_timeout(
    server: Server, between: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "_PING_INTERVAL", 0.05)
    monkeypatch.setattr(heartbeat, "_PONG_TIMEOUT", 0.3)
    client = impatient()
    await client.connect(between.url, transports="websocket")
    life = watched(client)
    between.deaf = True
    async with asyncio.timeout(PATIENCE):
        while not life:
            await client.emit("pointer", 1, volatile=True)
            await client.sleep(0.01)
    assert life == ["ping timeout"]
    between.cut()
    between.deaf = False
    await client.disconnect()


async def test_a_proxy_that_cuts_idle_connections_is_learned(
    between: Relay, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "_PONG_TIMEOUT", 0.4)
    monkeypatch.setattr(heartbeat, "_MIN_IDLE", 0.1)
    # No stream has a heartbeat more often than once a second.
    between.max_idle = 1.6 if transport == "sse" else 0.5
    client = impatient()
    await client.connect(between.url, transports=[transport])
    life = watched(client)
    async with asyncio.timeout(4 * PATIENCE):
        while sum(one != "connect" for one in life) < 2:
            await client.sleep(0.05)
        between.chunks = 0
        # Apart by what was learned: together longer than an idle connection lives.
        while between.chunks < 4:
            await client.sleep(0.05)
    assert sum(one != "connect" for one in life) == 2
    await client.disconnect()


async def test_answers_to_posts_show_no_life_of_the_stream() -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        connect = {"event": "connect", "data": {"sid": "s", "heartbeat": 0.05}}
        for envelope in (connect, {"event": "pong"}):
            await response.write(b"data: %b\n\n" % json.dumps(envelope).encode())
        await asyncio.get_running_loop().create_future()
        return response

    answer = saying([{"event": "pong", "data": None}])
    async with stranger(web.get("/sse", stream), web.post("/poll", answer)) as url:
        client = impatient()
        await client.connect(url, transports="sse")
        life = watched(client)
        async with asyncio.timeout(PATIENCE):
            while not life:
                await client.emit("pointer", 1, volatile=True)
                await client.sleep(0.01)
        assert life[0] == "ping timeout"
        await client.disconnect()


async def test_a_blocked_event_loop_is_no_ping_timeout(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "_PING_INTERVAL", 0.3)
    monkeypatch.setattr(heartbeat, "_PONG_TIMEOUT", 0.5)
    monkeypatch.setattr(connection, "_CLOSE_REASON_TIMEOUT", 0)
    client = impatient()
    events = client.events("active_tasks", "n")
    await client.connect(server.url, transports="websocket")
    life = watched(client)
    await within(anext(events))
    # A program that is busy, on the loop that it should leave alone.
    time.sleep(0.7)  # noqa: ASYNC251
    await server.emit("n")
    await within(anext(events))
    assert await within(client.call("mark"))
    assert life == []
    await client.disconnect()


class Shifted:
    """The clock of the running event loop; `shift` makes it later, and timers come due."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self._now, self._ahead = loop.time, 0.0
        monkeypatch.setattr(loop, "time", lambda: self._now() + self._ahead)

    async def shift(self, seconds: float) -> None:
        self._ahead += seconds
        # A timer that came due may lead to the next one, and each has a turn of its own.
        for _ in range(20):
            await asyncio.sleep(0)


async def test_paused_reading_is_no_ping_timeout(
    tmp_path: Path, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events wait for the application, so nothing more is read: the server is not to blame."""
    monkeypatch.setattr(receive_queue, "_PAUSE_AT", 1)
    # A process: its own heartbeats keep to the true time.
    async with running(tmp_path) as server:
        clock = Shifted(monkeypatch)
        client = impatient()
        life, events = watched(client), client.events("n")
        await client.connect(server.url, transports=[transport])
        async with AsyncPublisher(server.url) as publisher:
            for number in range(2):
                await publisher.publish("n", number)
        await until(lambda: len(events) == 1)
        for _ in range(20):
            await clock.shift(heartbeat._PING_INTERVAL)
        assert life == ["connect"]
        assert [(await within(anext(events))).data for _ in range(2)] == [0, 1]
        await client.disconnect()


async def test_resync_beyond_retention(transport: str) -> None:
    async with (
        Server(port=0, log="memory:", retention_count=10) as server,
        relay(server.port) as between,
    ):
        client = impatient()
        await client.connect(between.url, transports=[transport])
        life, seen = watched(client), client.events()
        between.closed = True
        between.cut()
        await life.reach(1)
        await server.emit("task_created", {"id": "t"})
        for number in range(20):
            await server.emit("n", number)
        between.closed = False
        names: list[str] = []
        while names[-2:] != ["resync", "active_tasks"]:
            event = await within(anext(seen))
            names.append(event.event)
        assert [task["id"] for task in event.data["tasks"]] == ["t"]
        await server.emit("n", "after")
        assert (await within(anext(seen))).data == "after"
        await client.disconnect()


# ---- fallback and upgrade -------------------------------------------------------


async def test_fallback_to_sse_and_upgrade_to_websocket(
    server: Server, between: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector, "FALLBACK_TIMEOUT", 0.3)
    monkeypatch.setattr(connection, "_UPGRADE_DELAY", 0.05)
    monkeypatch.setattr(connection, "_UPGRADE_DELAY_MAX", 0.05)
    between.mute = True
    client = impatient()
    await client.connect(between.url)
    assert client.transport() == "sse"
    life, seen, sid = watched(client), client.events("n"), client.sid
    numbers = iter(range(1_000_000))
    published = 0
    between.mute = False
    async with asyncio.timeout(PATIENCE):
        while client.transport() != "websocket":
            await server.emit("n", next(numbers))
            published += 1
            await asyncio.sleep(0.001)
    await server.emit("n", "last")
    received = [(await within(anext(seen))).data for _ in range(published + 1)]
    assert received == [*range(published), "last"]
    assert client.sid == sid
    # The application hears nothing of it.
    assert life == []
    await client.disconnect()


async def test_fallback_when_a_proxy_starts_to_swallow_websockets(
    server: Server, between: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector, "FALLBACK_TIMEOUT", 0.3)
    client = impatient()
    await client.connect(between.url)
    life, seen = watched(client), client.events("n")
    between.mute = True
    between.cut()
    await life.until(lambda life: "connect" in life)
    assert (client.transport(), life) == ("sse", ["transport error", "connect"])
    await server.emit("n", 1)
    assert (await within(anext(seen))).data == 1
    await client.disconnect()


async def test_upgrade_from_long_poll(
    server: Server, between: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector, "FALLBACK_TIMEOUT", 0.3)
    monkeypatch.setattr(connection, "_UPGRADE_DELAY", 0.05)
    between.mute = True
    client = impatient()
    await client.connect(between.url, transports=["websocket", "poll"])
    assert client.transport() == "poll"
    between.mute = False
    seen = client.events("n")
    await until(lambda: client.transport() == "websocket")
    for number in range(10):
        await server.emit("n", number)
        assert (await within(anext(seen))).data == number
    await client.disconnect()


@pytest.mark.parametrize(
    ("names", "used"),
    [("polling", "sse"), (["websocket", "polling"], "websocket"), ("poll", "poll")],
)
async def test_transports_by_socket_io_s_names(server: Server, names: Any, used: str) -> None:
    async with Client() as client:
        await client.connect(server.url, transports=names)
        assert client.transport() == used
    with pytest.raises(ValueError, match="carrier pigeon"):
        await Client().connect(server.url, transports=["carrier pigeon"])


# ---- other programs, and proxies ---------------------------------------------


@asynccontextmanager
async def stranger(*routes: web.RouteDef) -> AsyncIterator[str]:
    """Something that answers HTTP; gives its address."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def saying(answer: Any, status: int = 200) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(_request: web.Request) -> web.Response:
        if isinstance(answer, str):
            return web.Response(text=answer, content_type="text/html", status=status)
        return web.json_response(answer, status=status)

    return handle


GREETING = {"events": [{"event": "connect", "data": {"sid": "s"}}], "last": "a-1"}


@pytest.mark.parametrize("answer", ["<h1>Welcome</h1>", {"status": "ok"}, {"events": []}, [], 1])
async def test_another_http_server_is_refused(transport: str, answer: Any) -> None:
    async with stranger(web.get("/{any:.*}", saying(answer))) as url:
        client = Client()
        with pytest.raises(ConnectError):
            await within(client.connect(url, transports=[transport]))


async def test_an_error_of_another_program_is_retried(transport: str) -> None:
    answer = {"error": {"message": 7, "retry_after": "soon"}}
    async with stranger(web.get("/{any:.*}", saying(answer, 503))) as url:
        client = impatient()
        life = watched(client)
        await client.connect(url, transports=[transport], wait=False)
        assert await life.reach(3) == [("connect_error", "unavailable")] * 3
        await client.disconnect()


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize(
    "page", ["<h1>No.</h1>", {"error": "no"}, {"error": {"code": "blocked", "message": "no"}}]
)
async def test_a_refusal_by_another_program_is_no_final_end(
    transport: str, page: Any, status: int
) -> None:
    async with stranger(web.get("/{any:.*}", saying(page, status))) as url:
        client = impatient()
        life = watched(client)
        await client.connect(url, transports=[transport], wait=False)
        assert await life.reach(3) == [("connect_error", "unavailable")] * 3
        await client.disconnect()


async def test_what_is_sent_over_http_is_declared_as_json() -> None:
    """A web application firewall refuses a POST of a type that it does not know."""
    types = Seen()

    async def post(request: web.Request) -> web.Response:
        types.add(request.content_type)
        return web.json_response([])

    async def poll(request: web.Request) -> web.Response:
        if "last" in request.query:
            await asyncio.sleep(float(request.query["timeout"]))
        return web.json_response(GREETING)

    async with stranger(web.get("/poll", poll), web.post("/poll", post)) as url:
        client = Client()
        await client.connect(url, transports="poll")
        await client.emit("n")
        assert await types.reach(1) == ["application/json"]
        await client.disconnect()


async def test_an_answer_of_another_program_is_ignored() -> None:
    async def poll(request: web.Request) -> web.Response:
        if "last" not in request.query:
            return web.json_response(GREETING)
        await asyncio.sleep(float(request.query["timeout"]))
        return web.json_response({"events": [], "last": "a-1"})

    routes = web.get("/poll", poll), web.post("/poll", saying({"status": "ok"}))
    async with stranger(*routes) as url:
        client = impatient()
        await client.connect(url, transports="poll")
        refused = Seen()
        client.on("error", refused.add)
        # The client sends it again a few times, and then gives it up.
        await client.emit("n")
        assert [error["code"] for error in await refused.reach(1)] == ["unavailable"]
        await client.disconnect()


async def test_fallback_behind_a_proxy_that_refuses_websockets() -> None:
    routes = web.get("/ws", saying("No.", 403)), web.get("/poll", saying(GREETING))
    async with stranger(*routes) as url:
        client = Client()
        await client.connect(url, transports=["websocket", "poll"])
        assert client.transport() == "poll"
        await client.disconnect()


async def test_a_redirect_is_followed_in_both_directions(server: Server, transport: str) -> None:
    async def elsewhere(request: web.Request) -> web.Response:
        raise web.HTTPMovedPermanently(f"http://{host}:{server.port}{request.rel_url}")

    async with stranger(web.route("*", "/{any:.*}", elsewhere)) as url:
        host = "127.0.0.1"
        client = Client()
        await client.connect(url, transports=[transport])
        assert await within(client.call("mark"))
        await client.disconnect()
        host = "localhost"
        if transport != "websocket":
            with pytest.raises(ConnectError, match=r"redirects to http://localhost:\d+: connect"):
                await client.connect(url, transports=[transport])


async def test_sse_in_single_bytes() -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for name in ("connect", "pong", "a", "b"):
            for byte in b': hm\n\nid: a-1\ndata: {"event":\ndata: "%b"}\n\n' % name.encode():
                await response.write(bytes([byte]))
        await asyncio.get_running_loop().create_future()
        return response

    async with stranger(web.get("/sse", stream), web.post("/poll", saying([]))) as url:
        client = Client()
        events = client.events()
        await client.connect(url, transports="sse")
        assert [(await within(anext(events))).event for _ in range(2)] == ["a", "b"]
        await client.disconnect()


async def test_rate_limited_events_are_sent_later(transport: str) -> None:
    async with Server(port=0, log="memory:", rate_messages=100) as server:
        client = Client()
        await client.connect(server.url, transports=[transport])
        life = watched(client)
        client.on("error", life.add)
        for number in range(1100):
            await client.emit("n", number)
        assert await within(client.call("mark"))
        assert life == []
        await client.disconnect()


# ---- connecting --------------------------------------------------------------


async def test_no_server(transport: str) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    client = Client()
    life = watched(client)
    with pytest.raises(ConnectionError, match="cannot be reached"):
        await within(client.connect(url, transports=[transport]))
    assert await life.reach(1) == [("connect_error", "unavailable")]
    with pytest.raises(ValueError, match="not an address"):
        await client.connect("example.org")


async def test_retry_connects_when_the_server_starts(transport: str) -> None:
    port = free_port()
    client = impatient()
    life = watched(client)
    connecting = asyncio.create_task(
        client.connect(f"ws://127.0.0.1:{port}", transports=[transport], retry=True)
    )
    await life.reach(2)
    async with Server(port=port, log="memory:"):
        await within(connecting)
        assert client.connected
        await client.disconnect()


async def test_reconnection_attempts(server: Server, between: Relay, connect: Connect) -> None:
    client = impatient(reconnection_attempts=2)
    await client.connect(between.url)
    life, events = watched(client), client.events()
    between.closed = True
    between.cut()
    await within(client.wait())
    assert life == ["transport error", *[("connect_error", "unavailable")] * 2]
    assert [event.event for event in await drained(events)] == ["active_tasks"]
    with pytest.raises(ConnectError):
        await anext(events)


async def test_tokens(transport: str) -> None:
    async with Server(port=0, log="memory:", auth_secret=SECRET) as server:

        @server.event
        async def who(sid: str) -> Any:
            return (await server.get_session(sid))["subject"]

        @server.event
        async def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
            assert auth["token"]
            await server.save_session(sid, {"subject": environ["rtpush.subject"]})

        for bad in (None, token(exp=1), "no token"):
            client = Client()
            with pytest.raises(ConnectError) as caught:
                await within(client.connect(server.url, auth=bad, transports=[transport]))
            assert caught.value.code == "not_authenticated"
        for good in (token(), {"token": token()}, token, later_token):
            async with Client() as client:
                await client.connect(server.url, auth=good, transports=[transport])
                assert await within(client.call("who")) == "ada"


async def test_a_newline_behind_a_token_is_left_out(transport: str) -> None:
    async with Server(port=0, log="memory:", auth_secret=SECRET) as server:
        for auth in (token() + "\n", {"token": f" {token()}\n"}, lambda: token() + "\r\n"):
            client = Client()
            await client.connect(server.url, transports=[transport], auth=auth)
            await client.disconnect()


async def test_a_header_that_cannot_be_sent_is_refused_at_once() -> None:
    broken: dict[str, Any]
    for broken in ({"auth": "two\nlines"}, {"headers": {"X-Name": "two\nlines"}}):
        with pytest.raises(ValueError, match="is there a newline in it"):
            await Client().connect("http://127.0.0.1:9", **broken)


async def later_token() -> str:
    return token()


async def test_the_token_function_has_a_timeout(server: Server, transport: str) -> None:
    client = Client(request_timeout=0.05)
    with pytest.raises(ConnectError, match="auth failed: TimeoutError"):
        await within(client.connect(server.url, auth=asyncio.Event().wait, transports=[transport]))


async def test_an_expired_token_is_renewed(transport: str) -> None:
    async with Server(port=0, log="memory:", auth_secret=SECRET, auth_leeway=0) as server:
        asked: list[str] = []

        def fresh() -> str:
            asked.append(token(exp=int(time.time()) + (2 if not asked else 60)))
            return asked[-1]

        client = impatient()
        await client.connect(server.url, auth=fresh, transports=[transport])
        life, seen = watched(client), client.events("n")
        await life.until(lambda life: "connect" in life)
        await server.emit("n", 1)
        assert (await within(anext(seen))).data == 1
        assert len(asked) == 2
        await client.disconnect()


@needs("nginx")
async def test_more_rooms_than_an_address_holds(
    server: Server, transport: str, tmp_path: Path
) -> None:
    names = [
        [f"{number:03}{'x' * 74}" for number in range(100)],
        [f"{number:03}{'ж' * 60}" for number in range(70)],
    ]
    async with nginx(tmp_path, PROXY.format(url=server.url)) as url:
        for rooms in names:
            client = impatient()
            await client.connect(url, transports=[transport], rooms=rooms)
            life, events, before = watched(client), client.events("n"), client.sid
            for number in range(2):
                await server.emit("n", number, room=rooms[-1])
                event = await within(anext(events))
                assert (event.data, event.room) == (number, rooms[-1])
                # As after a restart, the server knows the session no more.
                server._hub.release(server._hub.sessions[client.sid or ""])
                await server.emit("n", "missed", room=rooms[0])
                assert (await within(anext(events))).data == "missed"
            assert client.transport() == transport
            assert client.sid != before
            assert not any("connect_error" in one for one in life)
            await client.disconnect()


PROXY = (
    "location / {{ proxy_pass {url}; proxy_http_version 1.1; proxy_set_header Host $http_host; "
    "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }}"
)


@needs("nginx")
async def test_a_proxy_that_holds_streams_back(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector, "FALLBACK_TIMEOUT", 0.5)
    # The greeting fills the proxy's first buffer, so it gets through, and what follows does not.
    await server.emit("task_created", {"id": 1, "formData": {"prompt": "x" * 6000}})
    buffering = PROXY.replace(
        "location / {{", "proxy_ignore_headers X-Accel-Buffering; location / {{"
    )
    async with nginx(tmp_path, buffering.format(url=server.url)) as url:
        client = impatient()
        await client.connect(url, transports=["sse", "poll"])
        assert client.transport() == "poll"
        await client.disconnect()


async def test_another_user_begins_anew(transport: str) -> None:
    options: dict[str, Any] = {"transports": [transport], "rooms": ["all"]}
    settings: dict[str, Any] = {"auth_secret": SECRET, "open_rooms": ["*"]}
    async with (
        Server(port=0, log="memory:", **settings) as server,
        relay(server.port) as between,
    ):
        asked, left, ended = Seen(), Seen(), Seen()
        server.on("slow", lambda sid: asked.add(sid))
        server.on("disconnect", lambda sid, reason: ended.add(sid, reason))

        @server.event
        async def logout(sid: str) -> None:
            left.add(sid)
            await server.disconnect(sid)

        user, client = "ada", impatient()
        await client.connect(between.url, auth=lambda: token(sub=user), **options)
        await client.join("own", presence={"name": "Ada"})
        ada, events = client.sid, client.events("n")
        # The same user comes back with another token.
        between.cut()
        await server.emit("n", 1)
        assert ((await within(anext(events))).data, client.sid) == (1, ada)

        # Another one logs in while the client is away, and one event is not answered.
        user, between.deaf = "ben", True
        slow = asyncio.create_task(client.call("slow"))
        await asked.reach(1)
        between.deaf = False
        between.cut()
        with pytest.raises(ConnectError, match="Another user"):
            await within(slow)
        assert (await within(client.call("n", 2)))["id"]
        assert (client.sid != ada, client.rooms, len(asked)) == (True, ("all",), 1)

        # A new session of hers does not say what the last user said in the room.
        await client.join("own")
        ben = client.sid
        between.closed = True
        between.cut()
        session = server._hub.find(ben)
        assert session is not None
        await until(lambda: session.connection is None)
        # As if the server had been started anew.
        server._hub.release(session)
        between.closed = False
        await until(lambda: client.sid != ben)
        assert await within(client.call("n", 2))
        anew = server._hub.find(client.sid)
        assert anew is not None
        assert (client.rooms, anew.presence) == (("all", "own"), {})

        # What a handler ends is over: the next login is not thrown out by it.
        with suppress(ConnectError):
            await within(client.call("logout"))
        await within(client.wait())
        user = "cy"
        await client.connect(between.url, auth=lambda: token(sub=user), **options)
        cy = client.sid
        assert await within(client.call("n", 3))
        assert len(left) == 1
        # It says goodbye, over every transport.
        await client.disconnect()
        await ended.until(lambda ended: (cy, "client disconnect") in ended)


async def test_no_reconnect_after_a_disconnect_by_the_server(
    server: Server, connect: Connect
) -> None:
    client = await connect()
    life, events = watched(client), client.events()
    assert client.sid is not None
    await server.disconnect(client.sid)
    await within(client.wait())
    assert await life.reach(1) == ["server disconnect"]
    await drained(events)
    with pytest.raises(ConnectError) as caught:
        await anext(events)
    assert caught.value.code == "forbidden"


async def test_a_room_is_rewound(server: Server, connect: Connect) -> None:
    ids = [await server.emit("said", n, room="a") for n in range(5)]
    client = await connect()
    heard = client.events("said")
    await client.join("a", rewind=2)
    live = await server.emit("said", 5, room="a")
    async with asyncio.timeout(PATIENCE):
        found = [await anext(heard) for _ in range(3)]
    assert [event.data for event in found] == [3, 4, 5]
    assert [(event.rewound, event.id) for event in found] == [
        *((id_, None) for id_ in ids[-2:]),
        (None, live),
    ]


async def test_retained_events_reach_handlers_as_if_live(server: Server, connect: Connect) -> None:
    async with AsyncPublisher(server.url) as publisher:
        await publisher.publish("e", 1, key="a", retain=True)
        await publisher.publish("e", 2, key="b", room="room", retain=True)
    client = await connect()
    seen, events = Seen(), client.events("e")
    client.on("e", seen.add)
    await client.join("room")
    await client.emit("e", 3, room="room", key="c", retain=True)
    await client.emit("e", None, key="a", retain=True)
    await seen.until(lambda seen: seen[-3:] == [2, 3, None])
    assert client.retained("e") == {}
    assert client.retained("e", "room") == {"b": 2, "c": 3}
    assert [one.retained for one in await drained(events)][-3:] == [True, False, False]
    await client.leave("room")
    assert client.retained("e", "room") == {}
    assert (await client.call("e", 1, key="a", retain=True)).keys() == {"id"}


async def test_members_of_a_room(server: Server, connect: Connect) -> None:
    ann, bob = await connect(), await connect()
    seen, present = Seen(), ann.presence("room")
    for event in ("join", "change", "leave"):
        present.on(event, lambda one, event=event: seen.add(event, one["info"]))
    await ann.join("room", presence={"name": "Ann"})
    await seen.reach(1)
    await bob.join("room", presence={"name": "Bob"})
    await bob.join("room", presence={"name": "Bo"})
    await seen.until(lambda seen: seen[-1][1] == {"name": "Bo"})
    assert {one["info"]["name"] for one in present.members} == {"Ann", "Bo"}
    assert len(await server.presence("room")) == 2
    await bob.leave("room")
    assert (await seen.until(lambda seen: seen[-1][0] == "leave"))[-1][1] == {"name": "Bo"}
    assert seen[0] == ("join", {"name": "Ann"})


async def test_a_member_is_one_again_in_a_new_session(transport: str) -> None:
    async with Server(port=free_port(), log="memory:") as server:
        client = impatient()
        await client.connect(server.url, transports=[transport])
        await client.join("room", presence={"name": "Ann"})
        sid, settings = client.sid, server.settings
    async with Server(port=settings.port, log="memory:") as server:
        async with asyncio.timeout(PATIENCE):
            while client.sid == sid or not await server.presence("room"):
                await pause()
        await client.disconnect()


async def test_a_room_with_a_token_is_joined_again(transport: str, tmp_path: Path) -> None:
    flags = ("--session-lease=1s",)
    process = ServerProcess(tmp_path, *flags)
    (tmp_path / "rtpush.toml").write_text(f'auth_secret = "{SECRET}"\n')
    await process.start()
    client = impatient()
    await client.connect(process.url, auth=token(rooms=[]), transports=[transport])
    await client.join("vip", token(rooms=["vip"]))
    with pytest.raises(RtpushError):
        await client.join("other")
    assert client.rooms == ("vip",)
    old, seen = client.sid, client.events("active_tasks")
    await process.kill()
    await process.start()
    async with asyncio.timeout(PATIENCE):
        while (await anext(seen)).room != "vip":
            assert client.connected
    assert client.sid != old
    await client.disconnect()
    await process.stop()


async def test_headers_query_and_path() -> None:
    server = Server(log="memory:")
    asked: list[dict[str, Any]] = []
    server.on("connect", lambda sid, environ: asked.append(environ))
    app = web.Application()
    server.attach(app, "/push")
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    for url, path in [
        (f"http://127.0.0.1:{port}/push?team=blue", ""),
        (f"http://127.0.0.1:{port}?team=blue", "push"),
    ]:
        async with Client() as client:
            await client.connect(url, {"X-Team": "red"}, socketio_path=path)
            assert "team=blue" in asked[-1]["QUERY_STRING"]
            assert asked[-1]["HTTP_X_TEAM"] == "red"
    await runner.cleanup()


async def test_a_given_http_session_stays_open(server: Server) -> None:
    async with aiohttp.ClientSession() as http:
        client = Client(http_session=http)
        await client.connect(server.url)
        await client.disconnect()
        assert not http.closed


async def test_local_event_names_from_the_server_are_dropped(
    server: Server, connect: Connect
) -> None:
    client = await connect()
    life = watched(client)
    client.on("*", lambda event, data: life.add(event) if event != "active_tasks" else None)
    # A server with a bug, or another's; a client's `connect` is refused (PROTOCOL.md, 5).
    client._session.receive({"event": "disconnect", "data": {}})
    client._session.receive({"event": ["a"], "data": 1})
    client._session.receive({"ack": {"a": 1}, "data": 1})
    client._session.receive({"event": "connect_error"})
    await server.emit("fine")
    assert await life.reach(1) == ["fine"]
