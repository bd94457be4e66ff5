"""Programs as python-socketio's documentation has them, with nothing but the import changed."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import socketio as original
from aiohttp import web
from asgi_app import other
from doors import on_uvicorn

import rtpush.contrib.socketio as socketio
from rtpush import Server

PATIENCE = 10.0
CLASSES = ["AsyncServer", "AsyncClient", "SimpleClient", "AsyncSimpleClient"]
TABLES = Path(__file__).parents[2] / "docs/how-to/from-python-socketio.md"


@asynccontextmanager
async def served(sio: socketio.AsyncServer) -> AsyncIterator[str]:
    """An application of aiohttp's with the server in it, as `web.run_app` would run it."""
    app = web.Application()
    sio.attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def within(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, PATIENCE)


async def test_a_chat_with_rooms_sessions_and_acknowledgements() -> None:
    sio = socketio.AsyncServer(async_mode="aiohttp", cors_allowed_origins="*", log="memory:")
    gone: asyncio.Queue[Any] = asyncio.Queue()
    other: asyncio.Queue[Any] = asyncio.Queue()

    @sio.event
    async def connect(sid, environ, auth):  # type: ignore[no-untyped-def]
        if environ.get("HTTP_X_USERNAME") is None:
            raise socketio.exceptions.ConnectionRefusedError("authentication failed")
        await sio.save_session(sid, {"username": environ["HTTP_X_USERNAME"]})

    @sio.event
    def disconnect(sid, reason):  # type: ignore[no-untyped-def]
        if reason == sio.reason.CLIENT_DISCONNECT:
            gone.put_nowait("the client disconnected")
        else:
            gone.put_nowait(reason)

    @sio.event
    async def begin_chat(sid):  # type: ignore[no-untyped-def]
        await sio.enter_room(sid, "chat_users")
        return sio.rooms(sid)

    @sio.event
    async def exit_chat(sid):  # type: ignore[no-untyped-def]
        await sio.leave_room(sid, "chat_users")

    @sio.on("my message")
    async def message(sid, data):  # type: ignore[no-untyped-def]
        async with sio.session(sid) as session:
            session["messages"] = session.get("messages", 0) + 1
            name = session["username"]
        await sio.emit("my reply", {"from": name, "text": data}, room="chat_users", skip_sid=sid)
        return "OK", 123

    @sio.on("*")
    async def any_event(event, sid, data):  # type: ignore[no-untyped-def]
        other.put_nowait((event, data))

    async with served(sio) as url:
        refused = socketio.AsyncClient()
        with pytest.raises(socketio.exceptions.ConnectionError, match="authentication failed"):
            await within(refused.connect(url))

        ada, bob = socketio.AsyncClient(logger=False), socketio.AsyncClient()
        replies: asyncio.Queue[Any] = asyncio.Queue()

        @bob.on("my reply")
        async def on_reply(data):  # type: ignore[no-untyped-def]
            replies.put_nowait(data)

        await ada.connect(url, headers={"X-Username": "ada"})
        await bob.connect(url, headers={"X-Username": "bob"}, wait_timeout=10)
        assert ada.sid in await within(ada.call("begin_chat"))
        await within(bob.call("begin_chat"))

        acknowledged: asyncio.Queue[Any] = asyncio.Queue()
        await ada.emit("my message", "hello", callback=lambda *args: acknowledged.put_nowait(args))
        assert await within(acknowledged.get()) == ("OK", 123)
        assert await within(replies.get()) == {"from": "ada", "text": "hello"}
        assert (await sio.get_session(ada.sid))["messages"] == 1

        await ada.emit("something else", {"a": 1})
        assert await within(other.get()) == ("something else", {"a": 1})
        await ada.disconnect()
        assert await within(gone.get()) == "the client disconnected"
        await bob.disconnect()


async def test_the_server_asks_and_runs_things_in_the_background() -> None:
    sio = socketio.AsyncServer(log="memory:")
    ticks: asyncio.Queue[Any] = asyncio.Queue()

    async def count(to: str, number: int) -> None:
        for tick in range(number):
            await sio.sleep(0)
            await sio.emit("tick", tick, to=to)

    @sio.event
    async def start(sid, number):  # type: ignore[no-untyped-def]
        sio.start_background_task(count, sid, number)

    async with served(sio) as url:
        client = socketio.AsyncClient()
        client.on("tick", handler=ticks.put_nowait)

        @client.event
        async def question(data):  # type: ignore[no-untyped-def]
            return {"answer": data["number"] * 2}

        enough = asyncio.Event()

        @client.event
        async def slow():  # type: ignore[no-untyped-def]
            await enough.wait()

        await client.connect(url)
        assert client.transport() == sio.transport(client.sid) == "websocket"
        await client.emit("start", 3)
        assert [await within(ticks.get()) for _ in range(3)] == [0, 1, 2]
        assert await sio.call("question", {"number": 21}, to=client.sid) == {"answer": 42}
        answered: asyncio.Queue[Any] = asyncio.Queue()
        await sio.emit("question", {"number": 4}, to=client.sid, callback=answered.put_nowait)
        assert await within(answered.get()) == {"answer": 8}
        with pytest.raises(socketio.exceptions.TimeoutError):
            await sio.call("slow", to=client.sid, timeout=0.01)
        enough.set()
        waiting = client.start_background_task(client.wait)
        await sio.disconnect(client.sid)
        await within(waiting)
        assert not client.connected


async def test_the_simple_client() -> None:
    sio = socketio.AsyncServer(log="memory:")

    @sio.event
    async def add(sid, data):  # type: ignore[no-untyped-def]
        await sio.emit("added", data, to=sid)
        await sio.emit("done", to=sid)
        return data["a"] + data["b"]

    def program(url: str) -> None:
        with socketio.SimpleClient() as client:
            client.connect(url, transports=["websocket"])
            assert client.sid is not None
            assert client.transport == "websocket"
            client.emit("ignored", "x")
            assert client.call("add", {"a": 1, "b": 2}) == 3
            assert client.receive(timeout=PATIENCE) == ["ignored", "x"]
            assert client.receive(timeout=PATIENCE) == ["added", {"a": 1, "b": 2}]
            assert client.receive(timeout=PATIENCE) == ["done"]
            with pytest.raises(socketio.exceptions.TimeoutError):
                client.receive(timeout=0.01)
        with pytest.raises(socketio.exceptions.DisconnectedError):
            client.receive()

    async with served(sio) as url:
        await asyncio.to_thread(program, url)


async def test_an_address_may_say_where_the_server_is() -> None:
    sio = socketio.AsyncServer(log="memory:")
    async with served(sio) as url:
        for address in (url, f"{url}/", f"{url}/socket.io", f"{url}/socket.io/?a=b"):
            client = socketio.AsyncClient()
            await within(client.connect(address))
            await client.disconnect()


@pytest.mark.parametrize("prefix", ["", "/socket.io"])
async def test_a_client_of_socketio_itself_is_told_what_this_is(prefix: str) -> None:
    app, server = web.Application(), Server(port=0, log="memory:")
    server.attach(app, prefix or "/rtpush")
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = site.name if prefix else f"{site.name}/rtpush"
    path = "/socket.io" if prefix else "/rtpush/socket.io"
    client, told = original.AsyncClient(reconnection=False), []
    client.on("connect_error", told.append)
    with pytest.raises(original.exceptions.ConnectionError):
        await within(client.connect(url, socketio_path=path, transports=["polling"]))
    assert "rtpush" in told[0]["message"]
    await client.disconnect()
    await runner.cleanup()


async def test_exceptions_are_caught_by_their_names() -> None:
    theirs = {name for name, _ in inspect.getmembers(original.exceptions, inspect.isclass)}
    assert theirs <= set(socketio.exceptions.__all__)
    for name in ("BadNamespaceError", "SocketIOError"):
        with pytest.raises(getattr(socketio.exceptions, name)):
            await socketio.AsyncClient().emit("x")


async def test_the_simple_client_with_coroutines() -> None:
    sio = socketio.AsyncServer(log="memory:")

    @sio.event
    async def add(sid, data):  # type: ignore[no-untyped-def]
        await sio.emit("added", data, to=sid)
        return data["a"] + data["b"]

    async with served(sio) as url, socketio.AsyncSimpleClient() as client:
        with pytest.raises(socketio.exceptions.DisconnectedError):
            await client.receive()
        await within(client.connect(url, namespace="/"))
        assert client.sid is not None
        assert client.transport == "websocket"
        await client.emit("ignored", "x")
        assert await within(client.call("add", {"a": 1, "b": 2})) == 3
        assert await within(client.receive()) == ["ignored", "x"]
        assert await within(client.receive()) == ["added", {"a": 1, "b": 2}]
        with pytest.raises(socketio.exceptions.TimeoutError):
            await client.receive(timeout=0.01)
        await client.disconnect()
        with pytest.raises(socketio.exceptions.DisconnectedError):
            await client.receive()


async def test_classes_of_handlers() -> None:
    class Chat(socketio.AsyncNamespace):
        async def on_connect(self, sid, environ):  # type: ignore[no-untyped-def]
            await self.save_session(sid, {"said": 0})

        async def on_say(self, sid, text):  # type: ignore[no-untyped-def]
            async with self.session(sid) as session:
                session["said"] += 1
            await self.emit("said", [text, session["said"]], to=sid)
            return "OK"

    heard: asyncio.Queue[Any] = asyncio.Queue()

    class Listener(socketio.AsyncClientNamespace):
        def on_said(self, data):  # type: ignore[no-untyped-def]
            heard.put_nowait(data)

        async def say(self, text: str) -> Any:
            return await self.call("say", text)

    sio = socketio.AsyncServer(log="memory:")
    sio.register_namespace(Chat("/"))
    async with served(sio) as url:
        client, listener = socketio.AsyncClient(), Listener()
        with pytest.raises(AttributeError, match="register_namespace"):
            await listener.say("too early")
        client.register_namespace(listener)
        await within(client.connect(url))
        assert await within(listener.say("hello")) == "OK"
        assert await within(heard.get()) == ["hello", 1]
        await client.disconnect()


async def test_the_main_namespace_may_be_named_and_no_other() -> None:
    sio = socketio.AsyncServer(log="memory:")

    @sio.on("ask", namespace="/")
    async def ask(sid, data):  # type: ignore[no-untyped-def]
        await sio.enter_room(sid, "asked", namespace="/")
        await sio.emit("answer", data, room="asked", namespace="/")

    @sio.event(namespace="/")
    def bye(sid):  # type: ignore[no-untyped-def]
        return sio.rooms(sid, namespace="/")

    async with served(sio) as url:
        client, answers = socketio.AsyncClient(), asyncio.Queue[Any]()
        client.on("answer", answers.put_nowait, namespace="/")
        await within(client.connect(url, namespaces=["/"]))
        await client.emit("ask", 1, namespace="/")
        assert await within(answers.get()) == 1
        assert "asked" in await within(client.call("bye", namespace="/"))
        for refused in (client.emit, sio.emit):
            with pytest.raises(ValueError, match="only '/': use rooms"):
                await refused("ask", namespace="/chat")
        with pytest.raises(ValueError, match="use rooms"):
            sio.on("ask", namespace="/chat")
        with pytest.raises(ValueError, match="use rooms"):
            await socketio.AsyncClient().connect(url, namespaces=["/", "/chat"])
        with pytest.raises(ValueError, match="use rooms"):
            socketio.AsyncNamespace("/chat")
        await client.disconnect()


async def test_an_asgi_application() -> None:
    sio = socketio.AsyncServer(async_mode="asgi", log="memory:")
    calls = []

    async def startup() -> None:
        await sio.emit("ready")
        calls.append("startup")

    @sio.on("ask")
    def ask(sid: str, data: int) -> int:
        return data + 1

    app = socketio.ASGIApp(
        sio, other, on_startup=startup, on_shutdown=lambda: calls.append("shutdown")
    )
    async with on_uvicorn(app) as url, aiohttp.ClientSession() as http:
        async with http.get(f"{url}/elsewhere") as answer:
            assert await answer.text() == "/elsewhere"
        client = socketio.AsyncClient()
        await client.connect(url)
        assert await within(client.call("ask", 1)) == 2
        await client.disconnect()
    assert calls == ["startup", "shutdown"]
    with pytest.raises(NotImplementedError, match="static_files"):
        socketio.ASGIApp(sio, static_files={"/": "index.html"})


def test_every_name_is_there_or_says_what_to_use() -> None:
    for name in original.__all__:
        ours = getattr(socketio, name)
        if name in socketio.__all__:
            continue
        with pytest.raises(NotImplementedError, match=f"^rtpush has no {name}, which "):
            ours("anything", at="all")
    with pytest.raises(NotImplementedError, match="SimpleClient"):
        socketio.Client()


def rows(title: str) -> dict[str, str]:
    """Method → what becomes of it, from the table under a title."""
    text = TABLES.read_text()
    section = text.split(f"## `{title}`\n", 1)[1].split("\n## ", 1)[0]
    found: dict[str, str] = {}
    for methods, fate in re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", section, re.M):
        found |= dict.fromkeys(re.findall(r"`(\w+)`", methods), fate.strip())
    return found


@pytest.mark.parametrize("name", CLASSES)
def test_the_tables_tell_of_every_method(name: str) -> None:
    theirs, ours = getattr(original, name), getattr(socketio, name)
    table = rows(name)
    public = {one for one, _ in inspect.getmembers(theirs) if not one.startswith("_")}
    # Attributes of the class that are no part of what is documented.
    assert public - {"client_class", "is_asyncio_based", "reserved_events"} == set(table)
    for method, fate in table.items():
        if fate.startswith("the same"):
            assert hasattr(ours, method), method
        elif fate.startswith("not there"):
            assert not hasattr(ours, method), method


@pytest.mark.parametrize("name", CLASSES)
def test_what_is_the_same_takes_the_same_arguments(name: str) -> None:
    theirs, ours = getattr(original, name), getattr(socketio, name)
    for method, fate in rows(name).items():
        function = getattr(theirs, method)
        if not fate.startswith("the same") or not inspect.isfunction(function):
            continue
        wanted = set(inspect.signature(function).parameters)
        wanted -= {"ignore_queue", "args", "kwargs"}
        taken = set(inspect.signature(getattr(ours, method)).parameters)
        assert wanted <= taken, (method, wanted - taken)
