"""Hostile input over HTTP: each case has its exact answer, and the next client is served.

What goes wrong inside of a WebSocket stands in test_websocket_abuse.py.
"""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
from clients import until
from frames import Raw, handshake

from rtpush.config.settings import Settings
from rtpush.errors import RtpushError
from rtpush.hub import Hub
from rtpush.server import Server
from rtpush.web.batch import parse_many

DEEP = "[" * 129 + "]" * 129
NUL, LONE = "\\u0000", "\\ud800"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    settings = Settings(port=0, log="memory:", max_body=2**20, max_batch=10, max_rooms=3)
    async with Server(settings) as running:
        yield running


class Case(NamedTuple):
    """One request and its answer: the status, and the code of the refusal if it is one."""

    name: str
    request: bytes
    status: int
    code: str | None = None


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]).encode()


def send(method: str, path: str, body: str | bytes = b"", *headers: str) -> bytes:
    raw = body.encode() if isinstance(body, str) else body
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(raw)}"]
    return "\r\n".join([*head, *headers, "", ""]).encode() + raw


def publish(body: str | bytes) -> bytes:
    return send("POST", "/api/publish", body)


PUBLISH = [
    Case(f"publish {name}", publish(body), status, code)
    for name, body, status, code in (
        ("nothing", "", 400, "bad_envelope"),
        ("blanks", " \n\n ", 400, "bad_envelope"),
        ("a word", "hello", 400, "bad_envelope"),
        ("half an object", '{"event": "x"', 400, "bad_envelope"),
        ("a number", "1", 400, "bad_envelope"),
        ("null", "null", 400, "bad_envelope"),
        ("an empty object", "{}", 400, "bad_event"),
        ("an event that is a number", '{"event": 1}', 400, "bad_event"),
        ("an event that is a list", '{"event": ["x"]}', 400, "bad_event"),
        ("an empty event", '{"event": ""}', 400, "bad_event"),
        ("an event of 129 characters", json.dumps({"event": "x" * 129}), 400, "bad_event"),
        ("the server's own voice", '{"event": "connect"}', 403, "reserved_event"),
        ("a forged board", '{"event": "active_tasks", "data": {}}', 403, "reserved_event"),
        ("a forged end", '{"event": "disconnect"}', 403, "reserved_event"),
        ("a room that is an object", '{"event": "x", "room": {}}', 400, "bad_room"),
        ("an empty room", '{"event": "x", "room": ""}', 400, "bad_room"),
        (
            "a key of 129 characters",
            json.dumps({"event": "x", "key": "k" * 129}),
            400,
            "bad_envelope",
        ),
        ("a volatile that is a word", '{"event": "x", "volatile": "yes"}', 400, "bad_envelope"),
        ("an ack that is a list", '{"event": "x", "ack": []}', 400, "bad_envelope"),
        (
            "an idempotency key that is a number",
            '{"event": "x", "idempotency_key": 1}',
            400,
            "bad_envelope",
        ),
        (
            "data that is nested too deeply",
            f'{{"event": "x", "data": {DEEP}}}',
            400,
            "bad_envelope",
        ),
        ("brackets without end", "[" * 100_000, 413, "too_large"),
        ("data that is no UTF-8", b'{"event": "x", "data": "\xff"}', 400, "bad_envelope"),
        ("a byte order mark", b'\xef\xbb\xbf{"event": "x"}', 400, "bad_envelope"),
        ("UTF-16", '{"event": "x"}'.encode("utf-16"), 400, "bad_envelope"),
        ("NaN", '{"event": "x", "data": NaN}', 400, "bad_envelope"),
        ("half of a surrogate pair", f'{{"event": "x", "data": "{LONE}"}}', 400, "bad_envelope"),
        ("a reply", '{"ack": 1, "data": 1}', 400, "bad_event"),
        ("a task without an id", '{"event": "task_created", "data": {}}', 400, "bad_task"),
        ("a task that is a list", '{"event": "task_created", "data": []}', 400, "bad_task"),
        (
            "a task with a true id",
            '{"event": "task_created", "data": {"id": true}}',
            400,
            "bad_task",
        ),
        (
            "a task with a fraction",
            '{"event": "task_created", "data": {"id": 1.5}}',
            400,
            "bad_task",
        ),
        (
            "a task with a huge id",
            '{"event": "task_created", "data": {"id": 9007199254740993}}',
            400,
            "bad_task",
        ),
        (
            "progress beyond 100",
            '{"event": "task_progress", "data": {"id": 1, "progress": 101}}',
            400,
            "bad_task",
        ),
        (
            "progress that is a word",
            '{"event": "task_progress", "data": {"id": 1, "progress": "all"}}',
            400,
            "bad_task",
        ),
        (
            "a volatile task",
            '{"event": "task_created", "volatile": true, "data": {"id": 1}}',
            400,
            "bad_task",
        ),
        ("too many", json.dumps([{"event": "x"}] * 11), 413, "too_large"),
        ("too much", b" " * (2**20 + 1), 413, "too_large"),
    )
]

TAKEN = [
    Case(f"publish {name}", publish(body), 200)
    for name, body in (
        ("an empty list", "[]"),
        ("a NUL", f'{{"event": "x", "data": "{NUL}"}}'),
        ("prototype names", '{"event": "__proto__", "data": {"__proto__": {"a": 1}}}'),
        ("an event named like a method", '{"event": "constructor"}'),
        ("unknown fields", '{"event": "x", "sid": "forged", "id": "forged-1"}'),
        ("the same field twice", '{"event": "connect", "event": "x"}'),
        ("markup", '{"event": "<script>alert(1)</script>", "data": "<img onerror=alert(1)>"}'),
        ("a large number", '{"event": "x", "data": 18446744073709551615}'),
    )
]

QUERIES = [
    Case(f"{path} {name}", get(f"{path}?{query}"), status, code)
    for path in ("/sse", "/poll")
    for name, query, status, code in (
        ("a position that is none", "last=nonsense", 400, "bad_position"),
        ("a position without a number", "last=abc-", 400, "bad_position"),
        ("a negative position", "last=abc--1", 400, "bad_position"),
        ("a position with leading zeros", "last=abc-01", 400, "bad_position"),
        ("a position beyond all numbers", "last=abc-" + "9" * 30, 400, "bad_position"),
        ("a position with a line break", "last=abc-1%0d%0aX:%20y", 400, "bad_position"),
        ("an empty room", "room=", 400, "bad_room"),
        ("a room of 129 characters", "room=" + "r" * 129, 400, "bad_room"),
        ("too many rooms", "room=1&room=2&room=3&room=4", 400, "too_many_rooms"),
        ("a conflate that is none", "conflate=maybe", 400, "bad_request"),
    )
] + [
    Case("/poll a timeout that is a word", get("/poll?timeout=soon"), 400, "bad_request"),
    Case("/poll a timeout of NaN", get("/poll?timeout=nan"), 400, "bad_request"),
    Case("/poll a negative timeout", get("/poll?timeout=-1"), 400, "bad_request"),
    Case("/poll for ever", get("/poll?timeout=1e9"), 400, "bad_request"),
    Case(
        "/poll to a session that is none", send("POST", "/poll?sid=guess", "[]"), 404, "not_found"
    ),
    Case("/poll without a session", send("POST", "/poll", "[]"), 404, "not_found"),
    Case("history before time", get("/api/history?after=x"), 400, "bad_position"),
    Case("history of another life", get("/api/history?after=other-1"), 404, "not_found"),
    Case("history of nothing", get("/api/history?limit=0"), 400, "bad_request"),
    Case("history of everything", get("/api/history?limit=1001"), 400, "bad_request"),
    Case("history of a word", get("/api/history?limit=all"), 400, "bad_request"),
    Case("history in other digits", get("/api/history?limit=%D9%A1"), 400, "bad_request"),
    Case("history of a room without a name", get("/api/history?room="), 400, "bad_room"),
    Case("a task that is none", get("/api/tasks/none"), 404, "not_found"),
    Case("a room without end", get("/api/rooms/" + "r" * 200), 400, "bad_room"),
    Case("a connection that is none", send("DELETE", "/api/connections/guess"), 404, "not_found"),
]

PATHS = [
    Case(f"path {path!r:.60}", get(path), 404, "not_found")
    for path in (
        "/../pyproject.toml",
        "/..%2fpyproject.toml",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/....//....//etc/passwd",
        "/..\\..\\etc\\passwd",
        "/%2fetc%2fpasswd",
        "//etc/passwd",
        "/css/../../pyproject.toml",
        "/css",
        "/index.html%00.js",
        "/" + "a" * 4000,
        "/.git/config",
        "/api/nothing",
        "/ws/x",
    )
]

METHODS = [
    Case(f"{method} {path}", send(method, path), 405, "method_not_allowed")
    for method, path in (
        ("POST", "/ws"),
        ("PUT", "/sse"),
        ("DELETE", "/poll"),
        ("PUT", "/api/publish"),
        ("DELETE", "/api/tasks"),
        ("POST", "/healthz"),
    )
]

HANDSHAKES = [
    Case("/ws without an upgrade", get("/ws"), 426, "upgrade_required"),
    Case(
        "/ws with another upgrade",
        get(
            "/ws",
            "Connection: Upgrade",
            "Upgrade: h2c",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ),
        426,
        "upgrade_required",
    ),
    Case(
        "/ws of another version",
        handshake().replace(b"Version: 13", b"Version: 8"),
        400,
        "bad_request",
    ),
    Case(
        "/ws without a key",
        get("/ws", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
        400,
        "bad_request",
    ),
    Case(
        "/ws with a key that is none",
        get(
            "/ws",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: short",
        ),
        400,
        "bad_request",
    ),
    Case(
        "/ws with two keys",
        handshake("/ws", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        400,
        "bad_request",
    ),
]

# aiohttp's own answers: they are no JSON, and end the connection.
MALFORMED = [
    Case("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    Case("a method that is none", send("BREW", "/api/tasks"), 400),
    Case("no path", b"GET\r\n\r\n", 400),
    Case("HTTP/9", b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n", 400),
    Case("a space in the path", b"GET / / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400),
    Case("a header without a colon", b"GET / HTTP/1.1\r\nHost x\r\n\r\n", 400),
    Case("a header with a space before its colon", b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    Case("a folded header", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nA: b\r\n c\r\n\r\n", 400),
    Case("a NUL in a header", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nA: \x00\r\n\r\n", 400),
    Case(
        "a header that is too long",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nA: " + b"a" * 9000 + b"\r\n\r\n",
        400,
    ),
    Case("a path that is too long", get("/" + "a" * 9000), 400),
    Case("too many headers", get("/", *["A: b"] * 200), 400),
    Case(
        "a negative length",
        b"POST /poll HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        400,
    ),
    Case(
        "two lengths",
        b"POST /poll HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        400,
    ),
    Case(
        "length and chunks",
        b"POST /poll HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    Case(
        "chunks of another kind",
        b"POST /poll HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        400,
    ),
    Case(
        "a chunk size that is none",
        b"POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        400,
    ),
]

CASES = [*PUBLISH, *TAKEN, *QUERIES, *PATHS, *METHODS, *HANDSHAKES, *MALFORMED]


async def answer(port: int, request: bytes) -> tuple[int, bytes]:
    """Status and body, of whatever the server says to some bytes."""
    raw = await Raw.connect(port)
    try:
        raw.send(request)
        head = await raw.head()
        status = int(head.split()[1])
        length = [line for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"]
        async with asyncio.timeout(10):
            return status, await raw.reader.readexactly(int(length[0][15:]) if length else 0)
    finally:
        raw.abort()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_hostile_input(server: Server, case: Case) -> None:
    status, body = await answer(server.port, case.request)
    assert status == case.status, body
    if case.code is not None:
        error = json.loads(body)["error"]
        assert error["code"] == case.code
        assert error["message"].endswith(".")
    assert await answer(server.port, get("/healthz")) == (200, b'{"status":"ok"}\n')


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "GZip"])
async def test_compressed_bodies_are_refused(server: Server, encoding: str) -> None:
    """A kilobyte of one costs what a mebibyte of a plain one does."""
    bomb = gzip.compress(b" " * 2**26)
    request = send("POST", "/api/publish", bomb, f"Content-Encoding: {encoding}")
    status, body = await answer(server.port, request)
    assert (status, json.loads(body)["error"]["code"]) == (415, "unsupported_encoding")


def refusals_alive() -> list[RtpushError]:
    return [one for one in gc.get_objects() if isinstance(one, RtpushError)]


async def test_a_refused_body_is_let_go_at_once(server: Server) -> None:
    gc.collect()
    gc.disable()
    # Held by modules of other tests.
    before = refusals_alive()
    try:
        status, _ = await answer(server.port, publish("[" * 30_000))
        assert status == 413
        assert [one for one in refusals_alive() if one not in before] == []
    finally:
        gc.enable()


async def test_the_page_is_safe_in_a_browser(server: Server) -> None:
    raw = await Raw.connect(server.port)
    raw.send(get("/"))
    head = (await raw.head()).decode().lower()
    raw.abort()
    assert "default-src 'self'" in head
    assert "unsafe-inline" not in head
    assert "frame-ancestors 'none'" in head
    assert "x-content-type-options: nosniff" in head
    assert "referrer-policy: no-referrer" in head


async def test_a_batch_that_is_too_long_is_not_taken_apart() -> None:
    """One line too many is seen; a hundred thousand more are not looked at."""
    with pytest.raises(RtpushError) as raised:
        parse_many(b"{}\n" * 100_000, 10, 2**20)
    assert raised.value.code == "too_large"
    with pytest.raises(RtpushError) as raised:
        parse_many(b"[" + b"{}," * 100_000 + b"{}]", 10, 2**20)
    assert raised.value.code == "too_large"


def test_the_lines_of_a_batch_are_checked_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    monkeypatch.setattr("rtpush.web.batch.load_json", decoded.append)
    batch = iter(parse_many(b'{"event":"a"}\n' * 100, 100, 20))
    assert decoded == []
    next(batch)
    assert decoded == [b'{"event":"a"}']


async def test_a_stream_to_an_origin_of_any_letters_leaves_nothing_behind() -> None:
    """An origin that the head of the answer could not name kept its session for ever."""
    settings = Settings(port=0, log="memory:", allow_origins=("https://*.example.org",))
    async with Server(settings) as server:
        raw = await Raw.connect(server.port)
        raw.send(get("/sse", "Origin: https://日.example.org"))
        head = await raw.head()
        assert head.startswith(b"HTTP/1.1 200 ")
        assert "https://日.example.org".encode() in head
        raw.abort()
        await until(lambda: not server._hub.sessions)


@pytest.mark.parametrize("path", ["/ws", "/sse", "/poll"])
async def test_whatever_fails_after_admission_ends_the_session(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Server(Settings(port=0, log="memory:")) as server:

        def fail(*_args: object, **_named: object) -> None:
            raise ValueError("on purpose")

        monkeypatch.setattr(Hub, "_begin", fail)
        raw = await Raw.connect(server.port)
        raw.send(handshake() if path == "/ws" else get(path, "Connection: close"))
        await raw.rest()
        raw.abort()
        assert not server._hub.sessions
        await until(lambda: not server._transport_context.connections)


async def test_answers_of_one_post_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtpush.transports.longpoll.MAX_ANSWERS", 1000)
    async with Server(Settings(port=0, log="memory:")) as server:
        _, body = await answer(server.port, get("/poll"))
        sid = json.loads(body)["events"][0]["data"]["sid"]
        pings = [{"event": "ping", "data": "*" * 400, "ack": i} for i in range(5)]
        _, body = await answer(server.port, send("POST", f"/poll?sid={sid}", json.dumps(pings)))
        found = json.loads(body)
        assert sum(one.get("event") == "pong" for one in found) == 3
        assert [one["error"]["code"] for one in found if "error" in one] == ["rate_limited"] * 2
