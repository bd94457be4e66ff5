"""The server as an ASGI application: where it is, how it starts and stops, what handlers see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from asgi_app import other
from clients import PATIENCE, Sse, WebSocket, until
from doors import on_uvicorn
from fastapi import BackgroundTasks, FastAPI, Request
from starlette.middleware.sessions import SessionMiddleware

import rtpush


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def call(app: Any, scope: dict[str, Any], *events: dict[str, Any]) -> list[dict[str, Any]]:
    """What an application answers to the events of one scope."""
    waiting, answers = list(events), []

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    async def send(event: dict[str, Any]) -> None:
        answers.append(event)

    local = {"client": ("127.0.0.1", 1), "query_string": b"", "headers": [(b"host", b"localhost")]}
    async with asyncio.timeout(PATIENCE):
        await app(local | scope, receive, send)
    return answers


async def test_beside_another_application(http: aiohttp.ClientSession) -> None:
    server = rtpush.Server(log="memory:")
    async with on_uvicorn(rtpush.ASGIApp(server, other, prefix="/push")) as url:
        for path in ("/", "/pushed", "/elsewhere/push/ws"):
            async with http.get(url + path) as answer:
                assert await answer.text() == path
        # The page, whose addresses are relative.
        async with http.get(f"{url}/push") as answer:
            assert answer.url.path == "/push/"
            assert "rtpush" in await answer.text()
        await server.emit("started")
    with pytest.raises(RuntimeError, match="does not run"):
        await server.emit("stopped")


async def test_mounted_in_fastapi(http: aiohttp.ClientSession) -> None:
    server = rtpush.Server(log="memory:")
    push = rtpush.ASGIApp(server)
    app = FastAPI(lifespan=push.lifespan)
    app.mount("/rtpush", push)
    app.add_middleware(SessionMiddleware, secret_key="secret")
    seen: dict[str, Any] = {}

    @app.middleware("http")
    async def pass_on(request: Request, call_next: Any) -> Any:
        # Starlette hands the body and the response on in tasks of its own then.
        return await call_next(request)

    @app.get("/login")
    async def login(request: Request) -> None:
        request.session["user"] = "ada"

    @server.event
    async def connect(sid: str, environ: dict[str, Any], auth: object) -> bool:
        seen.update(environ)
        return environ["asgi.scope"]["session"].get("user") == "ada"

    @app.post("/news")
    async def news(background: BackgroundTasks) -> None:
        await server.emit("news", "from the endpoint")
        background.add_task(server.emit, "news", "from a background task")

    @app.post("/blocking")
    def blocking() -> None:
        asyncio.run(server.emit("news", "from a thread"))

    async with on_uvicorn(app, root_path="/site") as url:
        async with http.get(f"{url}/rtpush/sse") as answer:
            assert answer.status == 403
        async with http.get(f"{url}/login") as answer:
            cookie = answer.cookies["session"].value
        ws = await http.ws_connect(f"{url}/rtpush/ws", headers={"Cookie": f"session={cookie}"})
        assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/site/rtpush", "/ws")
        assert seen["REMOTE_ADDR"] == "127.0.0.1"
        for path in ("/news", "/blocking"):
            async with http.post(url + path) as answer:
                assert answer.status == 200
        heard: list[str] = []
        async with asyncio.timeout(PATIENCE):
            while len(heard) < 3:
                envelope = await ws.receive_json()
                heard += [envelope["data"]] * (envelope["event"] == "news")
        assert heard == ["from the endpoint", "from a background task", "from a thread"]
        await ws.close()
        async with http.get(f"{url}/rtpush/sse", headers={"Cookie": f"session={cookie}"}) as stream:
            assert b"connect" in await stream.content.readany()
        await until(lambda: not server._hub.sessions)


# It calls its own HTTP library deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Using `httpx`")
def test_starlettes_test_client_starts_it_again_and_again() -> None:
    from starlette.testclient import TestClient

    server = rtpush.Server(log="memory:", allow_hosts="testserver")
    push = rtpush.ASGIApp(server)
    app = FastAPI(lifespan=push.lifespan)
    app.mount("/rtpush", push)

    @app.post("/news")
    async def news() -> None:
        await server.emit("news")

    for _ in range(2):
        with TestClient(app) as client, client.websocket_connect("/rtpush/ws") as ws:
            heard = [ws.receive_json()["event"] for _ in range(2)]
            assert client.post("/news").status_code == 200
            heard.append(ws.receive_json()["event"])
            assert heard == ["connect", "active_tasks", "news"]


async def test_without_a_lifespan_it_starts_with_the_first_request(
    http: aiohttp.ClientSession,
) -> None:
    server = rtpush.Server(log="memory:")
    async with on_uvicorn(rtpush.ASGIApp(server), lifespan="off") as url:
        clients = [Sse.open(f"{url}/rtpush", http) for _ in range(2)]
        for client in await asyncio.gather(*clients):
            await client.close()
        await server.stop()
        async with http.get(f"{url}/rtpush/healthz") as answer:
            assert answer.status == 503
            assert (await answer.json())["error"]["code"] == "going_away"


async def test_mounted_at_another_path_it_says_what_to_write() -> None:
    app = rtpush.ASGIApp(rtpush.Server(log="memory:"))
    scope = {"type": "http", "method": "GET", "path": "/live/ws", "root_path": "/live"}
    start, body = await call(app, scope, {"type": "http.request"})
    assert start["status"] == 404
    assert b'prefix=\\"\\"' in body["body"]
    assert await call(app, scope | {"type": "websocket"}) == [{"type": "websocket.close"}]
    with pytest.raises(ValueError, match='write it as "/rtpush"'):
        rtpush.ASGIApp(app.server, prefix="rtpush/")


async def test_what_keeps_it_from_starting_is_told_the_asgi_server() -> None:
    app = rtpush.ASGIApp(rtpush.Server(log="sqlite:/nowhere/rtpush.db"), other)
    (failed,) = await call(app, {"type": "lifespan"}, {"type": "lifespan.startup"})
    assert failed["type"] == "lifespan.startup.failed"
    assert "/nowhere" in failed["message"]


async def test_a_line_break_in_a_header_of_http_2_is_refused() -> None:
    app = rtpush.ASGIApp(rtpush.Server(log="memory:"))
    async with app.lifespan():
        scope = {"type": "http", "method": "GET", "path": "/rtpush/api/tasks"}
        headers = [(b"host", b"localhost"), (b"a", b"b\r\nauthorization: Bearer key")]
        start, body = await call(app, scope | {"headers": headers}, {"type": "http.request"})
        assert start["status"] == 400
        assert b"bad_request" in body["body"]


async def test_what_follows_a_body_is_no_request_of_its_own() -> None:
    server = rtpush.Server(log="memory:")
    app = rtpush.ASGIApp(server)
    event = b'{"event":"once"}'
    second = b"POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n\r\n" + event
    length = (b"content-length", b"%d" % len(event))
    async with app.lifespan():
        scope = {"type": "http", "method": "POST", "path": "/rtpush/api/publish"}
        scope["headers"] = [(b"host", b"localhost"), length]
        start, *_ = await call(app, scope, {"type": "http.request", "body": event + second})
        assert start["status"] == 200
        assert server._hub.log.last == 1


async def test_the_reason_of_a_disconnect(http: aiohttp.ClientSession) -> None:
    server = rtpush.Server(log="memory:")
    reasons: asyncio.Queue[str] = asyncio.Queue()

    @server.event
    async def disconnect(sid: str, reason: str) -> None:
        reasons.put_nowait(reason)

    async with on_uvicorn(rtpush.ASGIApp(server)) as url, asyncio.timeout(PATIENCE):
        for end, reason in (
            (lambda client: client.close(), "client disconnect"),
            (lambda client: client._ws.close(1001), "transport close"),
            (lambda client: client._ws.transport.abort(), "transport close"),
            (lambda client: server.disconnect(client.sid), "server disconnect"),
        ):
            client = await WebSocket.open(f"{url}/rtpush", http)
            if (ending := end(client)) is not None:
                await ending
            assert await reasons.get() == reason
            await client.ended()
