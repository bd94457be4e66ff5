"""A WSGI application on the server's port: bodies, streams, failures, clients that go."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any
from wsgiref.validate import validator

import aiohttp
import pytest
from aiohttp import web
from clients import until

from rtpush.web.wsgi import WsgiHandler

BIG = b"y" * 900_000


class Endless:
    """A stream without an end; `closed` is set when the server lets go of it."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield b"more\n" * 1000

    def close(self) -> None:
        self.closed.set()


endless = Endless()


def application(environ: dict[str, Any], start_response: Any) -> Any:
    """Answers by the path."""
    path, plain = environ["PATH_INFO"], [("Content-Type", "text/plain")]
    if path == "/late":
        raise ValueError
    if path == "/broken":
        start_response("200 OK", plain)
        return iter_then_fail()
    start_response("201 Made", [*plain, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    if path == "/endless":
        return endless
    if path == "/body":
        body = environ["wsgi.input"]
        return [body.readline(), str(len(body.read())).encode()]
    shown = [environ[name] for name in ("REQUEST_METHOD", "QUERY_STRING", "HTTP_X_A")]
    return [path.encode("latin-1"), "".join(shown).encode()]


def iter_then_fail() -> Iterator[bytes]:
    yield b"begun"
    raise ValueError


@pytest.fixture
async def url() -> AsyncIterator[str]:
    handler, app = WsgiHandler(application), web.Application()
    checked = WsgiHandler(validator(application))
    app.router.add_route("*", "/checked{path:.*}", checked.__call__)
    app.router.add_route("*", "/{path:.*}", handler.__call__)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()
    handler.close()
    checked.close()


async def test_requests_and_responses_arrive_whole(url: str) -> None:
    async with aiohttp.ClientSession(trust_env=False) as http:
        async with http.get(f"{url}/é?q=%C3%A4", headers={"X-A": "1", "X_A": "2"}) as answer:
            assert (answer.status, answer.reason) == (201, "Made")
            assert answer.headers.getall("Set-Cookie") == ["a=1", "b=2"]
            assert await answer.text() == "/éGETq=%C3%A41"
        async with http.head(f"{url}/", headers={"X-A": ""}) as answer:
            assert (answer.status, await answer.read()) == (201, b"")
        async with http.post(f"{url}/body", data=b"line\n" + BIG) as answer:
            assert await answer.read() == b"line\n900000"

        async def pieces() -> AsyncIterator[bytes]:
            yield b"line\n"
            yield b"more"

        async with http.post(f"{url}/body", data=pieces()) as answer:
            assert await answer.read() == b"line\n4"
        async with http.get(f"{url}/checked", headers={"X-A": ""}) as answer:
            assert answer.status == 201


async def test_a_failure_is_told_by_a_status_or_a_broken_connection(url: str) -> None:
    async with aiohttp.ClientSession(trust_env=False) as http:
        async with http.get(f"{url}/late") as answer:
            assert answer.status == 500
        with pytest.raises(aiohttp.ClientPayloadError):
            async with http.get(f"{url}/broken") as answer:
                await answer.read()


async def test_a_client_that_goes_ends_its_stream(url: str) -> None:
    async with aiohttp.ClientSession(trust_env=False) as http:
        async with http.get(f"{url}/endless") as answer:
            assert await answer.content.readline() == b"more\n"
            answer.close()
        await until(endless.closed.is_set)
