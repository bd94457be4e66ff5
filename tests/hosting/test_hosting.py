"""An application on the server's port: ASGI and WSGI, with all that they may do."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from clients import PATIENCE, WebSocket
from fastapi import FastAPI, Request, Response
from fastapi import WebSocket as AppSocket
from fastapi.responses import StreamingResponse
from flask import Flask, request

from rtpush.server import Server, StartError


@asynccontextmanager
async def hosting(app: Any, **settings: Any) -> AsyncIterator[tuple[Server, str]]:
    """A server with an application, and where that is."""
    server = Server(port=0, log="memory:", **settings)
    server.host_app(app)
    async with server:
        yield server, server.url.removesuffix("/rtpush/")


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_an_asgi_application(http: aiohttp.ClientSession) -> None:
    ended = []

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, str]]:
        yield {"name": "shop"}
        ended.append(True)

    app = FastAPI(lifespan=lifespan)

    @app.api_route("/orders/{name}", methods=["POST", "PATCH"])
    async def orders(name: str, request: Request) -> Response:
        size = len(await request.body())
        await server.emit("order", {"name": name, "size": size})
        client = request.client and request.client.host
        answer = Response(f"{request.state.name} {client} {request.query_params}", 202)
        answer.set_cookie("one", "1")
        answer.set_cookie("two", "2")
        return answer

    @app.head("/orders")
    async def head() -> Response:
        return Response("as long as this")

    @app.websocket("/echo")
    async def echo(socket: AppSocket) -> None:
        await socket.accept(subprotocol="echo")
        await socket.send_text(f"{await socket.receive_text()} {socket.url.path}")
        await socket.send_bytes(await socket.receive_bytes())
        await socket.close(4001, "enough")

    async with hosting(app, trusted_proxies="127.0.0.0/8") as (server, url):
        client = await WebSocket.open(f"{url}/rtpush", http)
        proxied = {"X-Forwarded-For": "203.0.113.7"}
        body = b"x" * 900_000
        async with http.patch(f"{url}/orders/a%2Fb?q=1", data=body, headers=proxied) as answer:
            # The path is the application's to take apart.
            assert answer.status == 404
        async with http.patch(f"{url}/orders/tea?q=1", data=body, headers=proxied) as answer:
            assert (answer.status, await answer.text()) == (202, "shop 203.0.113.7 q=1")
            assert len(answer.headers.getall("Set-Cookie")) == 2
        assert (await client.until("order"))[-1]["data"] == {"name": "tea", "size": len(body)}
        for _ in range(2):
            # What frameworks send with it must not be taken for the next response.
            async with http.head(f"{url}/orders") as answer:
                assert (answer.status, answer.content_length) == (200, 15)
        async with http.ws_connect(f"{url}/echo", protocols=["other", "echo"]) as socket:
            assert socket.protocol == "echo"
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello /echo"
            await socket.send_bytes(b"\0")
            assert await socket.receive_bytes() == b"\0"
            assert (await socket.receive()).data == 4001
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await http.ws_connect(f"{url}/elsewhere")
        async with http.get(f"{url}/rtpush") as answer:
            assert answer.url.path == "/rtpush/"
        await client.close()
        assert not ended
    assert ended


async def test_a_client_that_leaves_does_not_cancel_the_application(
    http: aiohttp.ClientSession,
) -> None:
    """What is half done may be a payment; a stream ends."""
    events: asyncio.Queue[str] = asyncio.Queue()
    leave = asyncio.Event()
    app = FastAPI()

    @app.post("/pay")
    async def pay() -> None:
        events.put_nowait("begun")
        await leave.wait()
        events.put_nowait("paid")

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def numbers() -> AsyncIterator[str]:
            try:
                while True:
                    yield "1"
                    await asyncio.sleep(0)
            finally:
                events.put_nowait("stream over")

        return StreamingResponse(numbers())

    async with hosting(app) as (_, url), asyncio.timeout(PATIENCE):
        paying = asyncio.create_task(http.post(f"{url}/pay"))
        assert await events.get() == "begun"
        paying.cancel()
        answer = await http.get(f"{url}/stream")
        assert await answer.content.readexactly(100) == b"1" * 100
        answer.close()
        assert await events.get() == "stream over"
        leave.set()
        assert await events.get() == "paid"


async def test_a_wsgi_application(http: aiohttp.ClientSession) -> None:
    app, over = Flask("shop"), threading.Event()

    @app.post("/orders")
    def orders() -> str:
        data = {"size": len(request.get_data()), "from": request.remote_addr}
        asyncio.run(server.emit("order", data))
        return f"{request.method} {request.path} {request.args['q']}"

    @app.get("/stream")
    def stream() -> Iterator[str]:
        try:
            while not over.wait(0.001):
                yield "1" * 1000
        finally:
            over.set()

    async with hosting(app) as (server, url), asyncio.timeout(PATIENCE):
        client = await WebSocket.open(f"{url}/rtpush", http)
        async with http.post(f"{url}/orders?q=ä", data=b"x" * 900_000) as answer:
            assert await answer.text() == "POST /orders ä"
        order = (await client.until("order"))[-1]["data"]
        assert order == {"size": 900_000, "from": "127.0.0.1"}
        answer = await http.get(f"{url}/stream")
        assert await answer.content.readexactly(10_000) == b"1" * 10_000
        # Its thread is free again.
        answer.close()
        assert await asyncio.to_thread(over.wait, PATIENCE)
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await http.ws_connect(f"{url}/orders")
        await client.close()


async def test_a_client_that_sends_or_takes_nothing_holds_no_thread() -> None:
    app, ended = Flask("shop"), asyncio.Queue[str]()

    def say(what: str) -> None:
        loop.call_soon_threadsafe(ended.put_nowait, what)

    @app.post("/slow")
    def slow() -> str:
        try:
            return str(len(request.stream.read()))
        finally:
            say("sent nothing")

    @app.get("/large")
    def large() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(1 << 20)
        finally:
            say("took nothing")

    loop = asyncio.get_running_loop()
    async with hosting(app, request_timeout=1, write_timeout=1) as (server, _):
        writers = []
        for head in ("POST /slow HTTP/1.1\r\nContent-Length: 9", "GET /large HTTP/1.1"):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
            writer.write(f"{head}\r\nHost: 127.0.0.1\r\n\r\n".encode())
            writers.append(writer)
        async with asyncio.timeout(PATIENCE):
            assert {await ended.get(), await ended.get()} == {"sent nothing", "took nothing"}
        for writer in writers:
            writer.transport.abort()


async def test_an_application_that_fails(
    http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/late":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"a part", "more_body": True})
        raise ValueError(f"broken {scope['type']}")

    async with hosting(app) as (_, url):
        async with http.get(url) as answer:
            assert answer.status == 500
        with pytest.raises(aiohttp.ClientPayloadError):
            async with http.get(f"{url}/late") as answer:
                await answer.read()
        with pytest.raises(aiohttp.WSServerHandshakeError, match="500"):
            await http.ws_connect(url)
    assert caplog.text.count("ValueError: broken http\n") == 2
    assert caplog.text.count("ValueError: broken websocket\n") == 1


async def test_an_application_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(StartError, match="does not start: no database"):
        async with hosting(app):
            pass
    monkeypatch.setitem(sys.modules, "a2wsgi", None)
    with pytest.raises(StartError, match=r"pip install 'rtpush\[wsgi\]'"):
        async with hosting(Flask("shop")):
            pass
