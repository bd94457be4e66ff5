"""A server whose clients are decided about by an HTTP backend."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from clients import LongPoll, Sse, until

from rtpush import Client, ConnectError, Server
from rtpush.config.hook_settings import HookOptions, HookSettings
from rtpush.errors import RtpushError
from rtpush.hooks import backend as backend_module
from rtpush.hooks.backend import Backend
from rtpush.hooks.signature import HEADER, is_genuine

SECRET = "0123456789abcdef" * 2
ASK = ("connect", "join", "leave", "disconnect", "chat", "no")

Answer = Callable[[dict[str, Any]], Awaitable[web.StreamResponse]]

pytestmark = pytest.mark.asyncio(loop_scope="module")


class App:
    """The backend: an application that knows its users by a cookie."""

    def __init__(self) -> None:
        self.asked: deque[dict[str, Any]] = deque()
        self.cookies: list[str | None] = []
        self.connections: set[object] = set()
        # What it says in place of its own answers.
        self.answer: Answer | None = None
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        assert is_genuine(SECRET, request.headers.get(HEADER), body)
        asked: dict[str, Any] = json.loads(body)
        self.asked.append(asked)
        self.cookies.append(request.headers.get("Cookie"))
        self.connections.add(request.transport)
        if self.answer is not None:
            return await self.answer(asked)
        return self._decide(asked, request.cookies.get("user"))

    def _decide(self, asked: dict[str, Any], user: str | None) -> web.Response:
        if asked["hook"] == "connect":
            if user is None:
                return web.json_response({"message": "Log in first."}, status=401)
            rooms = [f"user:{user}"]
            return web.json_response({"subject": user, "rooms": rooms, "data": {"of": user}})
        if asked["hook"] == "join" and asked["room"] != "public":
            return web.json_response({"code": "not_found", "message": "No room."}, status=403)
        if asked.get("event") == "no":
            return web.Response(status=403)
        if asked.get("event") == "chat":
            data = asked["session"]["subject"], asked["data"]
            events = [{"event": "said", "data": data, "room": "public"}]
            return web.json_response({"data": "sent", "emit": events})
        return web.Response(status=204)

    def heard(self, hook: str) -> dict[str, Any]:
        """The one request of this hook; forgets all."""
        (found,) = (asked for asked in self.asked if asked["hook"] == hook)
        self.asked.clear()
        return found


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def running() -> AsyncIterator[App]:
    app = App()
    http = web.Application()
    http.router.add_post("/hooks", app.handle)
    runner = web.AppRunner(http, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    app.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks"
    yield app
    await runner.cleanup()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server(running: App) -> AsyncIterator[Server]:
    hooks: HookOptions = {"url": running.url, "ask": ASK, "secret": SECRET}
    async with Server(port=0, log="memory:", hooks=hooks) as server:
        yield server


@pytest.fixture
def app(running: App) -> App:
    running.answer = None
    running.asked.clear()
    running.cookies.clear()
    return running


@asynccontextmanager
async def connected(server: Server, user: str = "ada", **options: Any) -> AsyncIterator[Client]:
    client = Client()
    await client.connect(server.url, headers={"Cookie": f"user={user}"}, **options)
    yield client
    await client.disconnect()


@pytest.mark.parametrize("transport", ["websocket", "poll"])
async def test_the_cookie_decides_who_gets_in(app: App, server: Server, transport: str) -> None:
    auth = {"device": 1}
    async with connected(server, transports=transport, auth=auth) as client:
        assert server.rooms(client.sid or "")[1:] == ["user:ada"]
        asked = app.heard("connect")
        assert asked["auth"] == {"device": 1}
        assert asked["session"] == {"sid": client.sid, "subject": None, "data": None}
        assert app.cookies == ["user=ada"]
    client = Client()
    with pytest.raises(ConnectError, match=r"not_authenticated: Log in first\."):
        await client.connect(server.url, transports=transport)


async def test_rooms_are_asked_about(app: App, server: Server) -> None:
    async with connected(server) as client:
        app.asked.clear()
        await client.join("public")
        asked = app.heard("join")
        assert asked["room"] == "public"
        assert asked["session"] == {"sid": client.sid, "subject": "ada", "data": {"of": "ada"}}
        with pytest.raises(RtpushError, match=r"not_found: No room\."):
            await client.join("private")
        app.asked.clear()
        await client.leave("public")
        await until(lambda: bool(app.asked))
        assert app.heard("leave")["room"] == "public"


async def test_events_are_answered_and_sent_by_the_backend(app: App, server: Server) -> None:
    async with connected(server) as client:
        await client.join("public")
        said = client.events("said")
        assert await client.call("chat", {"text": "hi"}) == "sent"
        assert (await anext(said)).data == ["ada", {"text": "hi"}]
        with pytest.raises(RtpushError, match="forbidden"):
            await client.call("no")


async def test_the_end_of_a_session_is_told(app: App, server: Server) -> None:
    async with connected(server) as client:
        sid = client.sid
        app.asked.clear()
    await until(lambda: bool(app.asked))
    asked = app.heard("disconnect")
    assert asked["reason"] == "client disconnect"
    assert asked["session"] == {"sid": sid, "subject": "ada", "data": {"of": "ada"}}


async def test_a_session_goes_on_for_its_subject_in_the_rooms_of_the_newest_answer(
    app: App, server: Server
) -> None:
    async def other_rooms(asked: dict[str, Any]) -> web.Response:
        return web.json_response({"subject": "ada", "rooms": ["user:ada", "new"]})

    async def another(asked: dict[str, Any]) -> web.Response:
        return web.json_response({"subject": "bob"})

    async with aiohttp.ClientSession(headers={"Cookie": "user=ada"}) as http:
        first = await Sse.open(server.url.rstrip("/"), http)
        await first.close()
        app.answer = other_rooms
        options = {"last": first.position, "sid": first.sid}
        again = await Sse.open(server.url.rstrip("/"), http, **options)  # type: ignore[arg-type]
        assert again.sid == first.sid
        assert again.hello["rooms"] == ["user:ada", "new"]
        await again.close()
        app.answer = another
        query = f"sid={first.sid}&last={again.position}"
        async with http.get(f"{server.url}poll?{query}") as answer:
            assert answer.status == 403


async def test_nonsense_of_the_backend_refuses_and_is_logged_once(
    app: App, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async def nonsense(asked: dict[str, Any]) -> web.Response:
        return web.json_response({"rooms": 5, "emit": [{"data": 1}]})

    async with connected(server) as client:
        app.answer = nonsense
        with pytest.raises(RtpushError, match="unavailable"):
            await client.call("chat", 1)
        async with aiohttp.ClientSession() as http, http.get(f"{server.url}poll") as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "1"
        app.answer = None
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == [
        f"the backend at {app.url} fails for event: `emit` of its answer: bad_event: "
        '"event" must be a string of 1 to 128 characters.'
    ]


async def test_what_cannot_be_passed_on_is_refused_without_a_traceback(
    app: App, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    async with aiohttp.ClientSession(headers={"Cookie": "user=ada"}) as http:
        client = await Sse.open(server.url.rstrip("/"), http)
        assert await client.refused({"event": "chat", "data": deep}) == "bad_envelope"
        await client.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /poll HTTP/1.1\r\nHost: localhost\r\nCookie: user=\xff\r\n\r\n")
    assert b" 400 " in await reader.readline()
    writer.close()
    assert "Traceback" not in caplog.text


async def test_a_handler_of_the_program_takes_the_place_of_a_hook(app: App) -> None:
    server = Server(port=0, log="memory:", hooks={"url": app.url, "secret": SECRET})
    server.on("connect", lambda sid: None)
    async with server, aiohttp.ClientSession() as http:
        client = await LongPoll.open(server.url.rstrip("/"), http)
        await client.close()
    assert not app.asked


# ---- when the backend is away, or slow ---------------------------------------


@asynccontextmanager
async def backend(url: str, **options: Any) -> AsyncIterator[Backend]:
    backend = Backend(HookSettings(url, secret=SECRET, **options))
    yield backend
    await backend.close()


async def fails(backend: Backend) -> None:
    with pytest.raises(RtpushError) as caught:
        await backend.ask("connect", {}, str)
    assert caught.value.code == "unavailable"


async def test_a_backend_that_is_away_refuses_and_is_logged_once(
    app: App, unused_tcp_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with backend(f"http://127.0.0.1:{unused_tcp_port}/") as away:
        await fails(away)
        await fails(away)
        away._settings = HookSettings(app.url, secret=SECRET)
        await away.ask("leave", {}, str)
    told = [record for record in caplog.records if record.name == "rtpush.hooks"]
    assert [record.levelname for record in told] == ["ERROR", "INFO"]
    assert "answers again" in told[1].getMessage()


@pytest.mark.parametrize("answer", ["redirect", "large", "slow"])
async def test_answers_have_limits(app: App, answer: str) -> None:
    over = asyncio.Event()

    async def respond(asked: dict[str, Any]) -> web.StreamResponse:
        if answer == "redirect":
            return web.Response(status=307, headers={"Location": app.url})
        if answer == "large":
            return web.json_response({"data": "x" * backend_module.MAX_ANSWER})
        await over.wait()
        return web.Response()

    app.answer = respond
    timeout = 0.1 if answer == "slow" else 5.0
    async with backend(app.url, timeout=timeout) as impatient:
        await fails(impatient)
    over.set()
    assert len(app.asked) == 1


async def test_so_many_are_asked_at_once(app: App) -> None:
    """The second waits for its turn; another program's questions do not."""
    over = asyncio.Event()
    under_way, most = 0, 0

    async def respond(asked: dict[str, Any]) -> web.Response:
        nonlocal under_way, most
        if asked["other"]:
            return web.json_response({})
        under_way += 1
        most = max(most, under_way)
        await over.wait()
        under_way -= 1
        return web.json_response({})

    app.answer = respond
    async with backend(app.url, max_requests=1) as one_by_one, backend(app.url) as other:
        asking = [
            asyncio.create_task(one_by_one.ask("connect", {"other": False}, str)) for _ in range(2)
        ]
        for _ in range(3):
            await other.ask("connect", {"other": True}, str)
        over.set()
        await asyncio.gather(*asking)
    assert (most, len(app.asked)) == (1, 5)


async def test_what_is_told_is_tried_again_under_the_same_id(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(asked: dict[str, Any]) -> web.Response:
        return web.Response(status=500 if len(app.asked) < 3 or asked["never"] else 200)

    app.answer = broken
    monkeypatch.setattr(backend_module, "RETRY_AFTER", (0.0, 0.0, 0.0))
    async with backend(app.url) as away:
        await away.tell("disconnect", {"never": False})
        assert len(app.asked) == 3
        assert len({asked["id"] for asked in app.asked}) == 1
        assert "given up" not in caplog.text
        app.asked.clear()
        await away.tell("disconnect", {"never": True})
        assert len(app.asked) == 4
        assert "given up" in caplog.text


async def test_what_was_not_told_when_the_server_stops_is_logged(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(asked: dict[str, Any]) -> web.Response:
        return web.Response(status=500)

    app.answer = broken
    async with backend(app.url) as away:
        telling = asyncio.create_task(away.tell("disconnect", {}))
        await until(lambda: bool(app.asked))
        telling.cancel()
        await asyncio.wait([telling])
    assert "was not told of 1 sessions" in caplog.text


async def test_a_kept_connection_that_the_backend_has_closed_is_no_failure(app: App) -> None:
    async def kept(asked: dict[str, Any]) -> web.Response:
        return web.Response()

    app.connections.clear()
    app.answer = kept
    async with backend(app.url) as one:
        await one.ask("leave", {}, str)
        await one.ask("leave", {}, str)
        (connection,) = app.connections
        # As if it had been closed while the next request was on its way.
        connection.abort()  # type: ignore[attr-defined]
        await one.ask("leave", {}, str)
    assert len(app.connections) == 2
