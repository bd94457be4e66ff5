"""WebSocket frames, right and wrong: what RFC 6455 and RFC 7692 ask for.

The cases follow the list of the Autobahn test suite, with its numbers, as far as a server
that is no echo can be asked: `{"event": "ping"}` is what it echoes.
"""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import zlib
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from clients import PATIENCE, until
from frames import BINARY, CLOSE, CONT, PING, PONG, TEXT, Raw, close, deflated, frame, handshake

from rtpush.config.settings import Settings
from rtpush.errors import RtpushError
from rtpush.server import Server
from rtpush.transports import stream
from rtpush.transports.closing_handshake import MAX_AFTER_CLOSE
from rtpush.transports.websocket_connection import MAX_TURN_FRAMES, WebSocketConnection

# What the server says: ("pong", payload of a control frame), ("echo", data of the `pong`
# event), ("error", code of an `error` event), ("close", code).
Said = tuple[str, Any]
LIMIT = 2**20


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server(Settings(port=0, log="memory:", max_message=LIMIT)) as running:
        yield running


@pytest.fixture(autouse=True)
def _short_goodbyes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that has stopped reading a client does not see it go, and waits at its stop."""
    monkeypatch.setattr(stream, "CLOSE_TIMEOUT", 0.1)


def echo(data: Any) -> bytes:
    return json.dumps({"event": "ping", "data": data}, ensure_ascii=False).encode()


def text(data: Any) -> bytes:
    return frame(TEXT, echo(data))


def pieces(payload: bytes, size: int, opcode: int = TEXT) -> list[bytes]:
    """A message in fragments."""
    parts = [payload[i : i + size] for i in range(0, len(payload), size)] or [b""]
    return [
        frame(CONT if i else opcode, part, fin=i == len(parts) - 1) for i, part in enumerate(parts)
    ]


def with_bytes(raw: bytes) -> bytes:
    """An envelope with these bytes, which need not be UTF-8, in its data."""
    return b'{"event":"ping","data":"' + raw + b'"}'


GOOD_TEXT = "Hello-µ@ßöäüàá-UTF-8!!"
E, P, C, X = "echo", "pong", "close", "error"
DONE: Said = (C, 1000)
BYE = close(1000)

PINGED = pieces(echo("slow"), 5)

CASES: list[tuple[str, Sequence[bytes], Sequence[Said]]] = [
    # 1: framing. Binary messages are no envelopes.
    *[
        (f"1.1.{n}", [text("*" * size), BYE], [(E, "*" * size), DONE])
        for n, size in enumerate((0, 80, 100, 101, 200, 65500, 70000), 1)
    ],
    (
        "1.1.8 in one byte at a time",
        [bytes([b]) for b in text("*" * 200) + BYE],
        [(E, "*" * 200), DONE],
    ),
    *[
        (f"1.2.{n}", [frame(BINARY, b"\xfe" * size), BYE], [(X, "bad_envelope"), DONE])
        for n, size in enumerate((0, 125, 126, 127, 128, 65535, 65536), 1)
    ],
    # 2: pings and pongs.
    ("2.1", [frame(PING), BYE], [(P, b""), DONE]),
    ("2.2", [frame(PING, b"hello"), BYE], [(P, b"hello"), DONE]),
    ("2.3", [frame(PING, b"\x00\xff\xfe"), BYE], [(P, b"\x00\xff\xfe"), DONE]),
    ("2.4", [frame(PING, b"\xfe" * 125), BYE], [(P, b"\xfe" * 125), DONE]),
    ("2.5 a ping that is too long", [frame(PING, b"\xfe" * 126)], [(C, 1002)]),
    (
        "2.6 in one byte at a time",
        [bytes([b]) for b in frame(PING, b"\xfe" * 125) + BYE],
        [(P, b"\xfe" * 125), DONE],
    ),
    ("2.7 unsolicited pong", [frame(PONG), BYE], [DONE]),
    ("2.8", [frame(PONG, b"unasked"), BYE], [DONE]),
    ("2.9", [frame(PONG, b"unasked"), frame(PING, b"x"), BYE], [(P, b"x"), DONE]),
    (
        "2.10",
        [frame(PING, b"%d" % i) for i in range(10)] + [BYE],
        [(P, b"%d" % i) for i in range(10)] + [DONE],
    ),
    # 3: reserved bits.
    *[
        (f"3.{n}", [text("ok"), frame(TEXT, echo("no"), rsv=bits)], [(E, "ok"), (C, 1002)])
        for n, bits in enumerate((1, 2, 3, 4), 1)
    ],
    ("3.5", [frame(BINARY, b"x", rsv=5)], [(C, 1002)]),
    ("3.6", [frame(PING, b"x", rsv=6)], [(C, 1002)]),
    ("3.7", [frame(CLOSE, rsv=7)], [(C, 1002)]),
    # 4: opcodes.
    *[
        (f"4.{1 if code < 8 else 2}.{code}", [text("ok"), frame(code, b"")], [(E, "ok"), (C, 1002)])
        for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    ],
    # 5: fragmentation.
    ("5.1", [frame(PING, b"x", fin=False)], [(C, 1002)]),
    ("5.2", [frame(PONG, b"x", fin=False)], [(C, 1002)]),
    ("5.3", [*pieces(echo("whole"), 12), BYE], [(E, "whole"), DONE]),
    (
        "5.5 in one byte at a time",
        [bytes([b]) for b in b"".join(pieces(echo("whole"), 12)) + BYE],
        [(E, "whole"), DONE],
    ),
    # In one write, so that one read has all of it: the pong still comes first.
    *[
        (
            f"{name} a ping between fragments",
            [b"".join([parts[0], frame(PING, b"p"), *parts[1:], frame(PING, b"q"), BYE])],
            [(P, b"p"), (E, "w"), (P, b"q"), DONE],
        )
        for name, parts in (
            ("5.6", pieces(echo("w"), 20)),
            ("5.7", pieces(echo("w"), 12)),
            ("5.8", pieces(echo("w"), 1)),
        )
    ],
    ("5.9 a continuation of nothing", [frame(CONT, b"x")], [(C, 1002)]),
    ("5.10", [frame(CONT, b"x"), text("never")], [(C, 1002)]),
    ("5.12", [frame(CONT, b"x", fin=False)], [(C, 1002)]),
    ("5.15", [*pieces(echo("a"), 9), frame(CONT, b"x", fin=False)], [(E, "a"), (C, 1002)]),
    ("5.18 a new message inside of one", [frame(TEXT, b"{", fin=False), text("x")], [(C, 1002)]),
    *[
        (
            f"{name} a message, pings and a message",
            join([*PINGED[:3], frame(PING, b"1"), *PINGED[3:], frame(PING, b"2"), *PINGED, BYE]),
            [(P, b"1"), (E, "slow"), (P, b"2"), (E, "slow"), DONE],
        )
        for name, join in (("5.19", lambda frames: [b"".join(frames)]), ("5.20", list))
    ],
    (
        "5 empty fragments",
        [
            frame(TEXT, b"", fin=False),
            *[frame(CONT, b"", fin=False)] * 2000,
            frame(CONT, echo("e")),
            BYE,
        ],
        [(E, "e"), DONE],
    ),
    # 6: UTF-8.
    ("6.1.1", [frame(TEXT), BYE], [(X, "bad_envelope"), DONE]),
    (
        "6.1.2",
        [frame(TEXT, fin=False), frame(CONT, fin=False), frame(CONT), BYE],
        [(X, "bad_envelope"), DONE],
    ),
    ("6.2.1", [text(GOOD_TEXT), BYE], [(E, GOOD_TEXT), DONE]),
    ("6.2.2 split within a character", [*pieces(echo(GOOD_TEXT), 1), BYE], [(E, GOOD_TEXT), DONE]),
    ("6.2.4", [text("κόσμε"), BYE], [(E, "κόσμε"), DONE]),
    ("6.3.1", [frame(TEXT, with_bytes(b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80edited"))], [(C, 1007)]),
    (
        "6.3.2 split over fragments",
        pieces(with_bytes(b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80edited"), 1),
        [(C, 1007)],
    ),
    (
        "6.5 the whole range",
        [text("\u0001\u007f\u0080\u07ff\u0800\uffff\U00010000\U0010ffff"), BYE],
        [(E, "\u0001\u007f\u0080\u07ff\u0800\uffff\U00010000\U0010ffff"), DONE],
    ),
    *[
        (f"6.{n} {name}", [frame(TEXT, with_bytes(raw))], [(C, 1007)])
        for n, name, raw in (
            (6, "incomplete", b"\xce"),
            (8, "five bytes", b"\xf8\x88\x80\x80\x80"),
            (10, "beyond Unicode", b"\xf4\x90\x80\x80"),
            (12, "lone continuation", b"\x80"),
            (13, "continuation missing", b"\xe1\xbd"),
            (14, "lone start", b"\xc0 \xc1 "),
            (16, "overlong slash", b"\xc0\xaf"),
            (17, "overlong NUL", b"\xe0\x80\x80"),
            (18, "overlong maximum", b"\xf0\x8f\xbf\xbf"),
            (20, "surrogate", b"\xed\xa0\x80"),
            (21, "surrogate pair", b"\xed\xad\xbf\xed\xb0\x80"),
            (15, "impossible bytes", b"\xfe\xff"),
        )
    ],
    (
        "6.22 non-characters",
        [text("\ufffe\uffff\U0001fffe"), BYE],
        [(E, "\ufffe\uffff\U0001fffe"), DONE],
    ),
    # 7: closing.
    ("7.1.1", [text("x"), BYE], [(E, "x"), DONE]),
    ("7.1.2", [BYE, BYE], [DONE]),
    ("7.1.3 a ping after the end", [BYE, frame(PING)], [DONE]),
    ("7.1.4", [BYE, text("too late")], [DONE]),
    ("7.1.5 inside of a message", [frame(TEXT, b"{", fin=False), BYE], [DONE]),
    (
        "7.1.6 behind much",
        [text("*" * 200_000), text("x"), BYE],
        [(E, "*" * 200_000), (E, "x"), DONE],
    ),
    ("7.3.1 no code", [frame(CLOSE)], [(C, 1005)]),
    ("7.3.2 half a code", [frame(CLOSE, b"\x03")], [(C, 1002)]),
    ("7.3.4 a reason", [close(1000, b"enough")], [DONE]),
    ("7.3.5 the longest reason", [close(1000, b"*" * 123)], [DONE]),
    ("7.3.6 too long", [close(1000, b"*" * 124)], [(C, 1002)]),
    ("7.5.1 a reason that is no UTF-8", [close(1000, b"\xce\xba\xed\xa0\x80")], [(C, 1007)]),
    *[
        (f"7.7.{n}", [close(code)], [(C, code)])
        for n, code in enumerate(
            (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999), 1
        )
    ],
    *[
        (f"7.9.{n}", [close(code)], [(C, 1002)])
        for n, code in enumerate((0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999), 1)
    ],
    ("7.13.1", [close(5000)], [(C, 1002)]),
    ("7.13.2", [close(65535)], [(C, 1002)]),
    # 9: limits.
    (
        "9.1 the largest",
        [frame(TEXT, echo("*" * (LIMIT - 30))), BYE],
        [(E, "*" * (LIMIT - 30)), DONE],
    ),
    ("9.1 too large", [frame(TEXT, echo("*" * LIMIT))], [(C, 1009)]),
    ("9.3 too large in fragments", pieces(echo("*" * LIMIT), 4096), [(C, 1009)]),
    (
        "9.5 a length that nobody can hold",
        [frame(TEXT, b"", length=b"\x7f" + b"\x7f" + b"\xff" * 7)],
        [(C, 1009)],
    ),
    (
        "9.6 a length with the highest bit",
        [frame(TEXT, b"", length=b"\x7f" + b"\xff" * 8)],
        [(C, 1009)],
    ),
    ("9.9 unmasked", [frame(TEXT, echo("x"), masked=False)], [(C, 1002)]),
    (
        "10.1 many small ones",
        [text(i) for i in range(500)] + [BYE],
        [(E, i) for i in range(500)] + [DONE],
    ),
]

DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"
COMPRESSED: list[tuple[str, Sequence[bytes], Sequence[Said]]] = [
    ("12.1 small", [frame(TEXT, deflated(echo("x")), rsv=4), BYE], [(E, "x"), DONE]),
    (
        "12.2 large",
        [frame(TEXT, deflated(echo("ab" * 30000)), rsv=4), BYE],
        [(E, "ab" * 30000), DONE],
    ),
    ("12.3 not compressed", [text("plain"), BYE], [(E, "plain"), DONE]),
    (
        "12.4 in fragments",
        [
            frame(TEXT, deflated(echo("pieces"))[:9], fin=False, rsv=4),
            frame(CONT, deflated(echo("pieces"))[9:]),
            BYE,
        ],
        [(E, "pieces"), DONE],
    ),
    ("12.5 a bomb", [frame(TEXT, deflated(echo("*" * 8 * LIMIT)), rsv=4)], [(C, 1009)]),
    ("12.6 not deflate", [frame(TEXT, b"\xff\xff\xff\xff", rsv=4)], [(C, 1002)]),
    (
        "12.7 the bit on a continuation",
        [
            frame(TEXT, deflated(echo("x"))[:5], fin=False, rsv=4),
            frame(CONT, deflated(echo("x"))[5:], rsv=4),
        ],
        [(C, 1002)],
    ),
    ("12.8 the bit on a ping", [frame(PING, b"x", rsv=4)], [(C, 1002)]),
    ("12.9 no UTF-8 within", [frame(TEXT, deflated(with_bytes(b"\xff")), rsv=4)], [(C, 1007)]),
]


async def said(raw: Raw) -> list[Said]:
    """What the server says after its greeting, up to its close frame."""
    heard: list[Said] = []
    message = b""
    while True:
        received = await raw.frame()
        if received.opcode == CLOSE:
            heard.append((C, received.code))
            return heard
        if received.opcode == PONG:
            heard.append((P, received.payload))
        elif received.opcode in (TEXT, CONT):
            message = _inflated(received.payload) if received.rsv & 4 else received.payload
            heard += _meaning(json.loads(message))


def _inflated(payload: bytes) -> bytes:
    return zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")


def _meaning(envelope: dict[str, Any]) -> list[Said]:
    match envelope["event"]:
        case "pong":
            return [(E, envelope["data"])]
        case "error":
            return [(X, envelope["data"]["code"])]
        case _:
            return []


async def check(
    server: Server, sent: Sequence[bytes], expected: Sequence[Said], *headers: str
) -> None:
    bystander = await Raw.upgraded(server.port)
    raw = await Raw.upgraded(server.port, *headers)
    for data in sent:
        raw.send(data)
    heard = await said(raw)
    assert heard == expected, f"{heard!r:.300}"
    # "After sending and receiving a Close, the server closes the TCP connection" (7.1.1).
    if heard[-1][1] not in (1000, 1005):
        raw.send(close(1000))
    raw.send(b"")
    assert await raw.rest() == b""
    raw.abort()
    bystander.send(text("still here") + BYE)
    assert await said(bystander) == [(E, "still here"), DONE]
    bystander.abort()


@pytest.mark.parametrize(("sent", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
async def test_frames(server: Server, sent: Sequence[bytes], expected: Sequence[Said]) -> None:
    await check(server, sent, expected)


@pytest.mark.parametrize(
    ("sent", "expected"), [c[1:] for c in COMPRESSED], ids=[c[0] for c in COMPRESSED]
)
async def test_compressed_frames(
    server: Server, sent: Sequence[bytes], expected: Sequence[Said]
) -> None:
    await check(server, sent, expected, DEFLATE)


@pytest.mark.parametrize(
    ("offer", "accepted"),
    [
        ("permessage-deflate", True),
        ("permessage-deflate; client_max_window_bits", True),
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", True),
        # A window smaller than the shared frames need is declined, not disobeyed.
        ("permessage-deflate; server_max_window_bits=8", False),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", True),
        ("permessage-deflate; no_such_parameter", False),
        ("permessage-bzip2", False),
    ],
)
async def test_compression_is_negotiated(server: Server, offer: str, accepted: bool) -> None:
    """13: negotiation (RFC 7692, section 5.1)."""
    raw = await Raw.connect(server.port)
    raw.send(handshake("/ws", f"Sec-WebSocket-Extensions: {offer}"))
    head = (await raw.head()).decode().lower()
    assert head.startswith("http/1.1 101 ")
    assert ("sec-websocket-extensions: permessage-deflate" in head) is accepted
    raw.abort()


async def test_half_open_peers_are_cut() -> None:
    async with Server(Settings(port=0, log="memory:", heartbeat=1)) as server:
        raw = await Raw.upgraded(server.port)
        for _ in range(4):
            server._hub.tick()
        rest = await raw.rest()
        assert rest
        assert server._hub.sessions == {}
        raw.abort()


async def fill(server: Server) -> tuple[socket.socket, WebSocketConnection]:
    """A client that reads nothing, for which more waits than the system holds."""
    loop = asyncio.get_running_loop()
    client = socket.create_connection(("127.0.0.1", server.port))
    client.setblocking(False)
    await loop.sock_sendall(client, handshake())
    for _ in range(40):
        await server.emit("big", "x" * 500_000)
    await until(lambda: any(one._full for one in server._transport_context.connections))
    (connection,) = server._transport_context.connections
    assert isinstance(connection, WebSocketConnection)
    return client, connection


async def test_a_client_that_reads_slowly_is_alive_and_one_that_hangs_is_not() -> None:
    async with Server(Settings(port=0, log="memory:")) as server:
        client, connection = await fill(server)
        with client:
            for _ in range(6):
                before = connection.taken()
                # Less than what makes the system ask for more.
                while connection.taken() == before:
                    read = asyncio.get_running_loop().sock_recv(client, 1 << 14)
                    await asyncio.wait_for(read, PATIENCE)
                connection.heartbeat()
                assert server._hub.sessions, "its pong waits behind what it has yet to read"
            for _ in range(8):
                connection.heartbeat()
            assert server._hub.sessions == {}


async def test_a_client_whose_pongs_are_not_read_is_alive() -> None:
    async with Server(Settings(port=0, log="memory:", rate_messages=1)) as server:
        raw = await Raw.upgraded(server.port)
        raw.send(text("much") * 1000)
        (connection,) = server._transport_context.connections
        assert isinstance(connection, WebSocketConnection)
        await until(lambda: connection._reading_paused and connection._throttled)
        for _ in range(6):
            connection.heartbeat()
        assert server._hub.sessions
        raw.abort()


async def test_a_ping_flood_is_answered_no_faster_than_it_is_read(server: Server) -> None:
    raw = await Raw.upgraded(server.port)
    flood = frame(PING, b"*" * 125) * 1000
    raw.writer.transport.set_write_buffer_limits(high=0)
    stuck = False
    for _ in range(400):
        raw.send(flood)
        try:
            await asyncio.wait_for(raw.writer.drain(), 0.2)
        except TimeoutError:
            stuck = True
            break
    # The pongs that nobody reads fill the pipe; then the server reads no more.
    assert stuck
    (connection,) = server._transport_context.connections
    assert connection._transport.get_write_buffer_size() < 1 << 20
    raw.abort()


async def test_what_follows_the_handshake_in_one_packet_is_heard(server: Server) -> None:
    raw = await Raw.connect(server.port)
    raw.send(handshake() + text("early") + BYE)
    await raw.head()
    assert await said(raw) == [(E, "early"), DONE]
    raw.abort()


async def test_a_request_behind_an_upgrade_is_no_request(server: Server) -> None:
    """Request smuggling: what follows an upgrade is frames, whatever it looks like."""
    raw = await Raw.connect(server.port)
    raw.send(handshake() + b"GET /api/connections HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    await raw.head()
    assert await said(raw) == [(C, 1002)]
    assert b"HTTP/1.1" not in await raw.rest()
    raw.abort()


async def test_frames_before_the_handshake_are_no_frames(server: Server) -> None:
    raw = await Raw.connect(server.port)
    raw.send(text("early"))
    assert (await raw.head()).startswith(b"HTTP/1.0 400 ")
    assert server._hub.sessions == {}
    raw.abort()


# ---- what it may cost --------------------------------------------------------


def refusals_alive() -> list[RtpushError]:
    return [one for one in gc.get_objects() if isinstance(one, RtpushError)]


@pytest.mark.parametrize("data", [b"[" + b"[]," * 30_000 + b"[]]", b"[" * 30_000])
async def test_a_refused_message_is_let_go_at_once(server: Server, data: bytes) -> None:
    raw = await Raw.upgraded(server.port)
    gc.collect()
    gc.disable()
    # Held by modules of other tests.
    before = refusals_alive()
    try:
        raw.send(frame(TEXT, b'{"event":"x","data":' + data + b"}") + BYE)
        assert [kind for kind, _ in await said(raw)] == [X, C]
        assert [one for one in refusals_alive() if one not in before] == []
    finally:
        gc.enable()
        raw.abort()


async def test_one_turn_of_the_loop_handles_a_bounded_number_of_frames(server: Server) -> None:
    raw = await Raw.upgraded(server.port)
    (connection,) = server._transport_context.connections
    assert isinstance(connection, WebSocketConnection)
    connection.data_received(frame(PING) * 1000)
    # It reads nothing more until these are done, and others have their turn in between.
    assert connection._reading_paused
    left = [connection._reader.held]
    while left[-1]:
        await asyncio.sleep(0)
        left.append(connection._reader.held)
    size = len(frame(PING))
    assert left[0] >= (1000 - MAX_TURN_FRAMES) * size
    assert all(a - b <= MAX_TURN_FRAMES * size for a, b in pairwise(left))
    await until(lambda: not connection._reading_paused)
    raw.abort()


@pytest.mark.parametrize("kind", [PING, PONG, CONT])
async def test_every_frame_counts(kind: int) -> None:
    async with Server(Settings(port=0, log="memory:", rate_messages=10)) as server:
        raw = await Raw.upgraded(server.port)
        (connection,) = server._transport_context.connections
        assert isinstance(connection, WebSocketConnection)
        if kind == CONT:
            raw.send(frame(TEXT, fin=False))
        raw.send(frame(kind, fin=kind != CONT) * 110)
        await until(lambda: connection._throttled)
        raw.abort()


async def test_compressed_messages_count_inflated() -> None:
    async with Server(Settings(port=0, log="memory:", rate_bytes=100_000)) as server:
        raw = await Raw.upgraded(server.port, DEFLATE)
        (connection,) = server._transport_context.connections
        assert isinstance(connection, WebSocketConnection)
        message = frame(TEXT, deflated(echo("*" * 400_000)), rsv=4)
        assert len(message) < 1000
        raw.send(message * 4)
        await until(lambda: connection._throttled)
        raw.abort()


async def test_an_unfinished_compressed_message_is_kept_as_it_came(server: Server) -> None:
    raw = await Raw.upgraded(server.port, DEFLATE)
    (connection,) = server._transport_context.connections
    assert isinstance(connection, WebSocketConnection)
    part = deflated(echo("*" * (LIMIT - 100)))
    raw.send(frame(TEXT, part, fin=False, rsv=4) + frame(PING, b"p"))
    assert await anext(pongs(raw)) == (P, b"p")
    assert connection._reader.held == len(part) < 2000
    raw.abort()


async def test_unfinished_messages_have_a_bound_together() -> None:
    settings = Settings(port=0, log="memory:", max_message=2**16, max_body=2**16)
    async with Server(settings) as server:
        raws = [await Raw.upgraded(server.port) for _ in range(9)]
        budget = server._transport_context.body_reader.clients
        for count, raw in enumerate(raws[:8], 1):
            raw.send(frame(TEXT, b"x" * 65_000, fin=False))
            await until(lambda count=count: budget.held == count * 65_000)
        raws[8].send(frame(TEXT, b"x" * 65_000, fin=False))
        assert (await said(raws[8]))[-1] == (C, 4503)
        for raw in raws:
            raw.abort()
        await until(lambda: budget.held == 0)


async def test_a_message_that_is_not_finished_ends_the_connection() -> None:
    async with Server(Settings(port=0, log="memory:")) as server:
        raw = await Raw.upgraded(server.port)
        (connection,) = server._transport_context.connections
        assert isinstance(connection, WebSocketConnection)
        raw.send(frame(TEXT, b"x" * 5000, fin=False))
        await until(lambda: connection._memory is not None)
        connection.heartbeat()
        connection.data_received(frame(PONG))
        connection.heartbeat()
        assert (await said(raw))[-1] == (C, 4508)
        raw.abort()


async def test_a_refused_client_is_read_for_its_close_alone() -> None:
    async with Server(Settings(port=0, log="memory:", max_connections=1)) as server:
        first = await Raw.upgraded(server.port)
        refused = await Raw.connect(server.port)
        refused.send(handshake())
        await refused.head()
        assert await said(refused) == [(X, "unavailable"), (C, 4503)]
        (connection,) = [
            one
            for one in server._transport_context.connections
            if isinstance(one, WebSocketConnection) and one._session is None
        ]
        refused.send(frame(PONG) * 30_000)
        await until(lambda: connection._reading_paused)
        assert connection._reader.messages == 0
        assert connection._reader.held <= MAX_AFTER_CLOSE
        for raw in (first, refused):
            raw.abort()


async def test_a_connection_that_is_full_handles_nothing_more(server: Server) -> None:
    raw = await Raw.upgraded(server.port)
    (connection,) = server._transport_context.connections
    assert isinstance(connection, WebSocketConnection)
    connection.pause_writing()
    connection.data_received(text("later"))
    assert connection._reader.messages == 0
    connection.resume_writing()
    raw.send(BYE)
    assert await said(raw) == [(E, "later"), DONE]
    raw.abort()


async def pongs(raw: Raw) -> AsyncIterator[Said]:
    while True:
        received = await raw.frame()
        if received.opcode == PONG:
            yield P, received.payload
