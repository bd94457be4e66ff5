"""Where requests come from: origins, hosts, proxies, and what browsers ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from rtpush.access.origins import Caller, Origins, is_loopback
from rtpush.config.settings import Settings
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
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403),
        ("", 403),
    ],
)
async def test_host_names_that_are_served(host: str, status: int) -> None:
    async with running(allow_hosts=("push.example.com",)) as (server, http):
        assert (await ask(server, http, "/poll", Host=host))[0] == status


# ---- proxies -----------------------------------------------------------------

TRUSTED = Origins(Settings(trusted_proxies=("10.0.0.0/8", "::1")))


@pytest.mark.parametrize(
    ("peer", "forwarded", "address", "direct"),
    [
        ("203.0.113.9", None, "203.0.113.9", True),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9", True),
        # What the client wrote itself stands in front.
        ("10.0.0.1", "127.0.0.1, 203.0.113.9", "203.0.113.9", True),
        ("10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9", True),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3", True),
        ("::1", "2001:db8::7", "2001:db8::7", True),
        # Somebody's claim.
        ("203.0.113.9", "127.0.0.1", "203.0.113.9", False),
        ("127.0.0.1", "203.0.113.9", "127.0.0.1", False),
    ],
)
def test_whom_a_request_is_from(
    peer: str, forwarded: str | None, address: str, direct: bool
) -> None:
    headers = {"Host": "h"} | ({"X-Forwarded-For": forwarded} if forwarded else {})
    caller = TRUSTED.caller(peer, "http", headers)
    assert (caller.address, caller.direct) == (address, direct)


def test_scheme_and_host_are_believed_from_proxies_only() -> None:
    headers = {
        "Host": "inside",
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "push.example.com",
    }
    assert TRUSTED.caller("10.0.0.1", "http", headers) == Caller(
        "203.0.113.9", "https", "push.example.com", True
    )
    assert TRUSTED.caller("192.0.2.1", "http", headers) == Caller(
        "192.0.2.1", "http", "inside", False
    )


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.7", False),
        ("example.com", False),
        ("127.0.0.1.example.com", False),
    ],
)
def test_what_is_this_machine(host: str, local: bool) -> None:
    assert is_loopback(host) is local


def test_a_default_port_is_the_same_origin() -> None:
    caller = Caller("203.0.113.9", "https", "push.example.com:443", True)
    TRUSTED.check_origin("https://push.example.com", caller)
    with pytest.raises(RtpushError, match="forbidden"):
        TRUSTED.check_origin("https://push.example.com:444", caller)
