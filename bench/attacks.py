"""The attacks of `bench/hostile.py`, each with what it may make the server hold."""

from __future__ import annotations

import gzip
import itertools
import json
import random
import socket
import time
import zlib
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

ADDRESS = "203.0.113.7"
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover"
MIB = 1 << 20


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, deflated: bool = False) -> bytes:
    """A frame as a client sends it, masked with zeros."""
    if deflated:
        squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
        payload = (squeeze.compress(payload) + squeeze.flush(zlib.Z_SYNC_FLUSH))[:-4]
    size = len(payload)
    first = bytes([fin << 7 | deflated << 6 | opcode])
    if size < 126:
        return first + bytes([0x80 | size]) + bytes(4) + payload
    if size < 1 << 16:
        return first + b"\xfe" + size.to_bytes(2, "big") + bytes(4) + payload
    return first + b"\xff" + size.to_bytes(8, "big") + bytes(4) + payload


@dataclass
class Attack:
    """What an attack works with: where the server is, and until when it goes on."""

    port: int
    end: float

    @property
    def goes_on(self) -> bool:
        """Is there time left?"""
        return time.monotonic() < self.end

    def connect(self) -> socket.socket:
        """A connection whose reads and writes give up after a second."""
        sock = socket.create_connection(("127.0.0.1", self.port), 5)
        sock.settimeout(1)
        return sock

    def websocket(self, *headers: str, path: str = "/ws", address: str = ADDRESS) -> socket.socket:
        """A WebSocket from the attacker's address, or another."""
        sock = self.connect()
        lines = [
            f"GET {path} HTTP/1.1",
            "Host: 127.0.0.1",
            f"X-Forwarded-For: {address}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            *headers,
        ]
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        return sock

    def post(self, sock: socket.socket, path: str, body: bytes, *headers: str) -> None:
        """A request from the attacker's address, its answer not waited for."""
        lines = [
            f"POST {path} HTTP/1.1",
            "Host: 127.0.0.1",
            f"X-Forwarded-For: {ADDRESS}",
            f"Content-Length: {len(body)}",
            *headers,
        ]
        sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def session(self) -> str:
        """The sid of a long-poll session."""
        with self.connect() as sock:
            request = (
                f"GET /poll HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: {ADDRESS}\r\n"
                "Connection: close\r\n\r\n"
            )
            sock.sendall(request.encode())
            data = b""
            while chunk := sock.recv(MIB):
                data += chunk
        body = json.loads(data.partition(b"\r\n\r\n")[2])
        return str(body["events"][0]["data"]["sid"])

    def flood(self, data: bytes, connections: int, *headers: str) -> None:
        """Send the same bytes on each of some WebSockets again and again."""
        socks = [self.websocket(*headers) for _ in range(connections)]
        for sock in socks:
            sock.setblocking(False)
        left = [data] * connections
        while self.goes_on:
            for index, sock in enumerate(socks):
                with suppress(OSError):
                    sock.recv(MIB)
                with suppress(OSError):
                    left[index] = left[index][sock.send(left[index]) :] or data
            time.sleep(0.001)

    def wait(self) -> None:
        """Hold what is held until the time is up."""
        time.sleep(max(0.0, self.end - time.monotonic()))


# ---- the attacks -------------------------------------------------------------


def six_byte_frames(attack: Attack) -> None:
    """Pongs without data on ten connections, as fast as they are read."""
    attack.flood(frame(10) * 20_000, 10)


def empty_fragments(attack: Attack) -> None:
    """Fragments without data on ten connections."""
    attack.flood(frame(1, b"", fin=False) + frame(0, b"", fin=False) * 20_000 + frame(0), 10)


def costly_json(attack: Attack) -> None:
    """Compressed lists of lists on ten connections."""
    data = b"[" + b"[]," * 300_000 + b"[]]"
    envelope = b'{"event":"x","volatile":true,"room":"nobody","data":' + data + b"}"
    attack.flood(frame(1, envelope, deflated=True), 10, DEFLATE)


def compressed_events(attack: Attack) -> None:
    """Compressed events of a mebibyte on ten connections."""
    envelope = b'{"event":"x","room":"nobody","data":"' + b"x" * (MIB - 300) + b'"}'
    attack.flood(frame(1, envelope, deflated=True), 10, DEFLATE)


def unfinished_messages(attack: Attack) -> None:
    """One unfinished message of a kilobyte, a mebibyte inflated, on each of 800 connections."""
    part = frame(1, b"x" * (MIB - 100), fin=False, deflated=True)
    socks = [attack.websocket(DEFLATE) for _ in range(800)]
    for sock in socks:
        sock.sendall(part)
    attack.wait()


def unfinished_plain_messages(attack: Attack) -> None:
    """One unfinished message of nearly a mebibyte on each of 200 connections."""
    part = frame(1, b"x" * (MIB - 100), fin=False)
    socks = [attack.websocket() for _ in range(200)]
    for sock in socks:
        with suppress(OSError):
            sock.sendall(part)
    attack.wait()


def unfinished_bodies(attack: Attack) -> None:
    """Eight requests that lack the last byte of 16 MiB."""
    path = f"/poll?sid={attack.session()}"
    socks = [attack.connect() for _ in range(8)]
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: {ADDRESS}\r\n"
        f"Content-Length: {16 * MIB}\r\n\r\n"
    ).encode()
    for sock in socks:
        with suppress(OSError):
            sock.sendall(head + b" " * (16 * MIB - 1))
    attack.wait()


def batch_bomb(attack: Attack) -> None:
    """A compressed array of 666,666 envelopes, and a plain one, again and again."""
    plain = b"[" + b",".join([b"{}"] * 340_000) + b"]"
    bomb = gzip.compress(b"[" + b",".join([b"{}"] * 666_666) + b"]")
    path = f"/poll?sid={attack.session()}"
    while attack.goes_on:
        for body, headers in ((bomb, ("Content-Encoding: gzip",)), (plain, ())):
            with suppress(OSError), attack.connect() as sock:
                attack.post(sock, path, body, *headers)
                sock.recv(MIB)


def requests_without_end(attack: Attack) -> None:
    """Handshakes in rooms that nobody else is in, one after the other."""
    number = 0
    while attack.goes_on:
        number += 1
        with suppress(OSError), attack.websocket(path=f"/ws?room=q{number}") as sock:
            sock.recv(MIB)


def fill_board(attack: Attack) -> None:
    """Six tasks of a megabyte from each of nine clients: nearly all that clients may have."""
    letters = "abcdefghijklmnopqrstuvwxyz ,.0123456789"
    text = "".join(random.choices(letters, k=1_000_000))
    for client in range(9):
        with closing(attack.websocket(address=f"198.51.100.{client}")) as sock:
            sock.setblocking(False)
            tasks = [{"id": f"{client}-{number}", "formData": text} for number in range(6)]
            said = [{"event": "task_created", "data": data} for data in tasks]
            left = b"".join(frame(1, json.dumps(one).encode()) for one in said)
            left += frame(1, b'{"event":"ping","data":"#filled#"}')
            tail = b""
            # It hears of the tasks of all, and is read no further while it takes nothing.
            while b"#filled#" not in tail:
                with suppress(BlockingIOError):
                    left = left[sock.send(left) :]
                with suppress(BlockingIOError):
                    tail = tail[-10:] + sock.recv(MIB)
                time.sleep(0.001)


def unread_boards(attack: Attack) -> None:
    """80 clients, each in a room of its own, take nothing of a large board."""
    socks = []
    for number in range(80):
        socks.append(attack.websocket(path=f"/ws?room=unread{number}"))
    attack.wait()


def deflated_boards(attack: Attack) -> None:
    """Ten clients a second, each in a room of its own, with compression, read a large board."""
    socks: list[socket.socket] = []
    number = 0
    due = time.monotonic()
    while attack.goes_on:
        if time.monotonic() > due:
            socks.append(attack.websocket(DEFLATE, path=f"/ws?room=deflated{number}"))
            socks[-1].setblocking(False)
            number, due = number + 1, due + 0.1
        for sock in socks:
            with suppress(OSError):
                sock.recv(MIB)
        time.sleep(0.001)


def tasks_without_end(attack: Attack) -> None:
    """New tasks on ten connections, as many as are taken."""
    _say(attack, lambda name: {"event": "task_created", "data": {"id": name}})


def idempotency_keys(attack: Attack) -> None:
    """Events with a long idempotency key each, on ten connections."""
    pad = "\N{GRINNING FACE}" * 100
    _say(attack, lambda name: {"event": "x", "room": "nobody", "idempotency_key": name + pad})


def _say(attack: Attack, envelope: Callable[[str], dict[str, Any]]) -> None:
    """Another envelope each time, on ten connections, as fast as they are read."""
    socks = [attack.websocket() for _ in range(10)]
    left = [b""] * len(socks)
    for sock in socks:
        sock.setblocking(False)
    names = map(str, itertools.count())
    while attack.goes_on:
        for index, sock in enumerate(socks):
            with suppress(OSError):
                sock.recv(MIB)
            while len(left[index]) < 8 << 10:
                data = json.dumps(envelope(next(names)), ensure_ascii=False)
                left[index] += frame(1, data.encode())
            with suppress(OSError):
                left[index] = left[index][sock.send(left[index]) :]
        time.sleep(0.001)


def bound(
    connections: int = 0, envelopes: int = 0, shares: int = 0, log: int = 0, boards: int = 0
) -> float:
    """Mebibytes, by the table of docs/security.md.

    So many connections, envelopes of a mebibyte that are decoded at the same time (five times
    their text), shares of an address, mebibytes of the log and what it remembers, boards that
    are shown; and 16 for Python itself.
    """
    held = connections * (256 + 3.4) / 1024 + 5 * envelopes + 32 * shares
    return 16 + held + log + 100 * boards


# What each may make the server hold, in MiB.
ATTACKS: dict[Callable[[Attack], None], float] = {
    six_byte_frames: bound(connections=10),
    empty_fragments: bound(connections=10),
    costly_json: bound(connections=10, envelopes=10),
    compressed_events: bound(connections=10, envelopes=10, log=256),
    unfinished_messages: bound(connections=800, shares=1),
    unfinished_plain_messages: bound(connections=200, shares=1),
    unfinished_bodies: bound(connections=8, shares=1),
    batch_bomb: bound(connections=2, envelopes=1),
    requests_without_end: bound(connections=10),
    unread_boards: bound(connections=80, boards=1),
    deflated_boards: bound(connections=1000, boards=1),
    tasks_without_end: bound(connections=10, log=256 + 32),
    idempotency_keys: bound(connections=10, log=256 + 25),
}
# What is there before an attack begins.
PREPARED: dict[Callable[[Attack], None], Callable[[Attack], None]] = {
    unread_boards: fill_board,
    deflated_boards: fill_board,
}
