"""Calls of the application from other threads, loops and processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import warnings
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from clients import PATIENCE, WebSocket

from rtpush.server import Server, StartError


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server(port=0, log="memory:") as server:
        yield server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[WebSocket]:
    async with aiohttp.ClientSession(trust_env=False) as http:
        client = await WebSocket.open(server.url.rstrip("/"), http)
        yield client
        await client.close()


CALLS: dict[str, Callable[[Server, str], Any]] = {
    "emit": lambda server, sid: server.emit("told", 1, to=sid),
    "send": lambda server, sid: server.send(1, to=sid),
    "call": lambda server, sid: server.call("ask", to=sid, timeout=PATIENCE),
    "enter_room": lambda server, sid: server.enter_room(sid, "a"),
    "leave_room": lambda server, sid: server.leave_room(sid, "a"),
    "close_room": lambda server, sid: server.close_room("a"),
    "get_session": lambda server, sid: server.get_session(sid),
    "save_session": lambda server, sid: server.save_session(sid, {"a": 1}),
    "sleep": lambda server, sid: server.sleep(),
    "disconnect": lambda server, sid: server.disconnect("nobody"),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_plain_handler_may_run_every_coroutine(
    server: Server, client: WebSocket, name: str
) -> None:
    async def run(sid: str) -> Any:
        async with asyncio.timeout(PATIENCE):
            return await CALLS[name](server, sid)

    # Plain handlers run in threads: each asyncio.run is a loop of its own.
    server.on("work", lambda sid: asyncio.run(run(sid)) or "done")

    await client.send({"event": "work", "ack": 1})
    if name == "call":
        asked = (await client.until("ask"))[-1]
        await client.send({"ack": asked["ack"], "data": "an answer"})
    reply = await client.reply(1)
    assert "error" not in reply
    # The server still lives.
    assert await server.emit("after")


async def test_two_plain_handlers_that_emit_do_not_freeze_the_server(server: Server) -> None:
    @server.event
    def work(sid: str) -> None:
        for n in range(20):
            asyncio.run(server.emit("progress", n, to=sid))

    async with aiohttp.ClientSession(trust_env=False) as http:
        clients = [await WebSocket.open(server.url.rstrip("/"), http) for _ in range(2)]
        for client in clients:
            await client.send({"event": "work", "ack": 1})
        for client in clients:
            await client.reply(1)
            told = [e["data"] for e in client.received if e.get("event") == "progress"]
            assert told == list(range(20))
            await client.close()


async def test_a_session_block_in_a_plain_handler(server: Server, client: WebSocket) -> None:
    async def keep(sid: str) -> None:
        async with server.session(sid) as data:
            data["name"] = "ada"

    server.on("work", lambda sid: asyncio.run(keep(sid)))
    await client.accepted({"event": "work"})
    assert await server.get_session(client.sid) == {"name": "ada"}


async def test_a_background_task_started_by_a_plain_handler(
    server: Server, client: WebSocket
) -> None:
    async def tell(sid: str) -> None:
        await server.emit("told", to=sid)

    server.on("work", lambda sid: server.start_background_task(tell, sid).get_name())
    await client.send({"event": "work"})
    await client.until("told")


async def test_a_forgotten_await_in_a_plain_handler_is_named(
    server: Server, client: WebSocket
) -> None:
    @server.event
    def work(sid: str) -> None:
        server.emit("told", to=sid)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await client.accepted({"event": "work"})
    (warning,) = (one for one in caught if issubclass(one.category, RuntimeWarning))
    assert str(warning.message) == "coroutine 'Application.emit' was never awaited"
    assert warning.filename == __file__


async def test_what_a_thread_waits_for_ends_with_the_server() -> None:
    server = Server(port=0, log="memory:", grace=1)
    async with aiohttp.ClientSession(trust_env=False) as http, server:
        client = await WebSocket.open(server.url.rstrip("/"), http)
        asking = server.call("never answered", to=client.sid, timeout=1000)
        waiting = asyncio.create_task(asyncio.to_thread(asyncio.run, asking))
        await client.until("never answered")
        await server.stop()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_another_thread_may_stop_the_server() -> None:
    server = Server(port=0, log="memory:")
    await server.start()
    async with asyncio.timeout(PATIENCE):
        await asyncio.to_thread(asyncio.run, server.stop())
    with pytest.raises(RuntimeError, match="does not run"):
        await server.emit("late")


@pytest.mark.parametrize("name", CALLS)
async def test_a_server_that_does_not_run_says_so(name: str) -> None:
    if name == "sleep":
        return
    with pytest.raises(RuntimeError, match=r"does not run.*rtpush\.Publisher"):
        await CALLS[name](Server(log="memory:"), "s")


def test_what_needs_no_await_says_so_too() -> None:
    server = Server(log="memory:")
    for call in (server.rooms, server.transport, server.start_background_task):
        with pytest.raises(RuntimeError, match=r"does not run.*rtpush\.Publisher"):
            call("s")


async def test_a_server_is_started_once(server: Server) -> None:
    with pytest.raises(StartError, match="runs already"):
        await server.start()


def in_a_child(server: Server, answers: Any) -> None:
    async def start() -> None:
        try:
            await server.start()
        except StartError as exc:
            answers.put(str(exc))
        try:
            await server.emit("twice")
        except RuntimeError as exc:
            answers.put(str(exc))

    asyncio.run(start())


async def test_a_fork_of_a_server_that_runs_is_not_a_server(server: Server) -> None:
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    child = await asyncio.to_thread(_forked, fork, server, answers)
    assert "started before the process was forked" in await asyncio.to_thread(answers.get)
    assert "this process was forked from that of the server" in await asyncio.to_thread(answers.get)
    await asyncio.to_thread(child.join, PATIENCE)
    answers.close()


def _forked(fork: Any, server: Server, answers: Any) -> Any:
    child = fork.Process(target=in_a_child, args=(server, answers))
    child.start()
    return child
