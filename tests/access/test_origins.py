"""Where requests come from: origins, hosts, proxies, and what browsers ask for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from rtpush.access.callers import Caller
from rtpush.access.origins import Origins
from rtpush.config.settings import ConfigError, Settings
from rtpush.errors import RtpushError
from rtpush.server import Server

PATHS = ["/ws", "/sse", "/poll", "/api/tasks"]
LISTED = "https://app.example.com"


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[tuple[Server, aiohttp.ClientSession]]:
    async with (
        Server(Settings(port=0, log="memory:", **settings)) as server,
        aiohttp.ClientSession(trust_env=False) as http,
    ):
        yield server, http


async def ask(
    server: Server, http: aiohttp.ClientSession, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str]]:
    """Status and headers; of a WebSocket handshake, too."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if path == "/ws":
        named |= {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
    async with http.request(method, server.url.rstrip("/") + path, headers=named) as answer:
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}


GOOD = {"/ws": 101}


@pytest.mark.parametrize("path", PATHS)
async def test_only_our_own_pages_may_come_in(path: str) -> None:
    async with running() as (server, http):
        own = server.url.rstrip("/")
        assert (await ask(server, http, path))[0] == GOOD.get(path, 200)
        assert (await ask(server, http, path, Origin=own))[0] == GOOD.get(path, 200)
        for foreign in (
            "https://evil.example",
            own.replace(str(server.port), "1"),
            own + ".evil.example",
            "null",
            "",
            "file://",
            "http://[",
            "http://[::1]evil",
        ):
            assert (await ask(server, http, path, Origin=foreign))[0] == 403, foreign


@pytest.mark.parametrize("path", PATHS)
async def test_listed_pages_may_too_and_may_read_the_answer(path: str) -> None:
    async with running(allow_origins=(LISTED, "https://*.example.org")) as (server, http):
        for origin in (LISTED, "https://a.example.org"):
            status, headers = await ask(server, http, path, Origin=origin)
            assert status == GOOD.get(path, 200)
            if path != "/ws":
                assert headers["access-control-allow-origin"] == origin
                assert headers["access-control-allow-credentials"] == "true"
                assert headers["vary"] == "Origin"
        for foreign in ("http://app.example.com", "https://app.example.com.evil.example"):
            status, headers = await ask(server, http, path, Origin=foreign)
            assert status == 403
            assert "access-control-allow-origin" not in headers


async def test_for_everybody_but_without_cookies() -> None:
    async with running(allow_origins=("*",)) as (server, http):
        status, headers = await ask(server, http, "/api/tasks", Origin="https://any.example")
        assert status == 200
        assert headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in headers


async def test_preflights() -> None:
    async with running(allow_origins=(LISTED,)) as (server, http):
        wanted = {"Access-Control-Request-Method": "POST", "Origin": LISTED}
        status, headers = await ask(server, http, "/api/publish", "OPTIONS", **wanted)
        assert status == 204
        assert headers["access-control-allow-origin"] == LISTED
        assert "POST" in headers["access-control-allow-methods"]
        assert "Authorization" in headers["access-control-allow-headers"]
        assert headers["access-control-max-age"] == "3600"
        wanted["Origin"] = "https://evil.example"
        status, headers = await ask(server, http, "/api/publish", "OPTIONS", **wanted)
        assert status == 403
        assert "access-control-allow-origin" not in headers


async def test_refusals_can_be_read_by_listed_pages() -> None:
    async with running(allow_origins=(LISTED,)) as (server, http):
        status, headers = await ask(server, http, "/api/tasks/none", Origin=LISTED)
        assert status == 404
        assert headers["access-control-allow-origin"] == LISTED


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:5000", 200),
        ("[::1]:5000", 200),
        ("app.localhost", 200),
        ("192.168.1.7:5000", 200),
        ("push.example.com", 200),
        ("PUSH.example.com:443", 200),
        ("push.example.com.", 200),
        ("push.example.com_", 403),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403),
        # What one reader takes for a port or a user, another takes for the host.
        ("127.0.0.1:x@evil.example", 403),
        ("127.0.0.1:80@evil.example", 403),
        ("[::1]evil.example", 403),
        ("[::1", 403),
        ("127.0.0.1:5000:5000", 403),
        ("", 403),
    ],
)
async def test_host_names_that_are_served(host: str, status: int) -> None:
    async with running(allow_hosts=("push.example.com",)) as (server, http):
        assert (await ask(server, http, "/poll", Host=host))[0] == status


ORIGINS = Origins(Settings())


def test_a_default_port_is_the_same_origin() -> None:
    caller = Caller("203.0.113.9", "https", "push.example.com:443", True)
    ORIGINS.check_origin("https://push.example.com", caller)
    with pytest.raises(RtpushError, match="forbidden"):
        ORIGINS.check_origin("https://push.example.com:444", caller)
    # A proxy may hide that TLS ends there.
    plain = Caller("203.0.113.9", "https", "push.example.com:80", True)
    ORIGINS.check_origin("http://push.example.com", plain)


def test_a_request_without_a_host_is_nobodys_own() -> None:
    caller = Caller("203.0.113.9", "https", "", True)
    with pytest.raises(RtpushError, match="forbidden"):
        ORIGINS.check_origin("null", caller)
    with pytest.raises(RtpushError, match="forbidden"):
        Origins(Settings(allow_hosts=("*",))).check_host(caller)


def test_caches_learn_that_the_answer_depends_on_the_origin() -> None:
    """An answer that a cache kept for one page must not be given to another."""
    origins = Origins(Settings(allow_origins=(LISTED,)))
    assert origins.cors(None) == {"Vary": "Origin"}
    assert origins.cors("https://evil.example") == {"Vary": "Origin"}
    assert origins.cors(LISTED)["Vary"] == "Origin"
    assert ORIGINS.cors(LISTED) == {}


@pytest.mark.parametrize(
    ("written", "origin"),
    [
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("https://app.example.com/", "https://app.example.com"),
        ("https://App.Example.com:443", "https://app.example.com"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("https://*.example.org", "https://a.example.org"),
    ],
)
def test_listed_origins_are_found_however_they_are_written(written: str, origin: str) -> None:
    Origins(Settings(allow_origins=(written,))).check_origin(
        origin, Caller("203.0.113.9", "http", "elsewhere", True)
    )


@pytest.mark.parametrize("written", ["localhost:3000", "app.example.com", "https://a.example/x"])
def test_what_no_browser_sends_as_an_origin_is_refused(written: str) -> None:
    with pytest.raises(ConfigError, match="a scheme, a host and no path"):
        Settings(allow_origins=(written,))


async def test_the_address_of_the_request_line_wins() -> None:
    """RFC 9112, section 3.2.2: `Host` is ignored beside an absolute address."""
    async with running() as (server, _):
        assert await status_of(server, "GET http://evil.example/poll HTTP/1.1", OWN) == 403
        own = f"GET http://127.0.0.1:{server.port}/poll HTTP/1.1"
        assert await status_of(server, own, "evil.example") == 200
        assert await status_of(server, "GET /poll HTTP/1.1", OWN, "evil.example") == 400


OWN = "127.0.0.1"


async def status_of(server: Server, line: str, *hosts: str) -> int:
    """The status of a request with these lines of `Host`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    lines = [line, *(f"Host: {host}" for host in hosts), "Connection: close", "", ""]
    writer.write("\r\n".join(lines).encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(answer.split()[1])


async def test_the_log_says_once_what_to_list(caplog: pytest.LogCaptureFixture) -> None:
    strange = 'x" onload=' + "y" * 200
    async with running() as (server, http):
        for origin in (LISTED, LISTED, strange):
            assert (await ask(server, http, "/poll", Origin=origin))[0] == 403
        for number in range(100):
            await ask(server, http, "/poll", Origin=f"https://{number}.example")
    first, second, *others = caplog.messages
    assert first == (
        f"a page of '{LISTED}' was refused; if it is yours, list it: --allow-origins {LISTED}"
    )
    # What a client has made up goes into the log in quotation marks, and not at length.
    assert second.endswith("--allow-origins ORIGIN")
    assert len(second) < 200
    assert len(others) == 98
