"""What hostile clients cost: the server's memory, and a good client's round trip.

`make bench-hostile`, or `python bench/hostile.py [--seconds 60] [ATTACK …]`. Linux only.

Each attack has a server of its own with default limits, and comes from one address
through a proxy that the server trusts, so the limits of an address hold. A good
client asks for a `pong` again and again, before the attack and while it lasts.

Memory stands beside the bound of docs/security.md, and a round trip during the attack
beside one before it. To add an attack, write a function that takes `Attack` and returns
when its time is up, and name it in ATTACKS with what it may make the server hold.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import socket
import statistics
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass

from crowd import Crowd
from servers import Kind, Server, raise_file_limit

PAUSE = 0.005
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


class Good:
    """A client that asks for a pong and waits for it."""

    def __init__(self, port: int) -> None:
        self._crowd = Crowd(port, "/ws?room=good")
        self._crowd.open(1)
        (self._sock,) = self._crowd._sockets
        self._frame = frame(1, json.dumps({"event": "ping", "data": "#good#"}).encode())

    def round_trips(self, seconds: float) -> list[float]:
        """Milliseconds, one after the other."""
        found: list[float] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(PAUSE)
            begun = time.perf_counter()
            self._sock.sendall(self._frame)
            # What others publish may come in between; it holds no mark.
            tail = b""
            while b"#good#" not in tail:
                tail = tail[-8:] + self._sock.recv(MIB)
            found.append(1e3 * (time.perf_counter() - begun))
        return found

    def close(self) -> None:
        """Go."""
        self._crowd.close()


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

    def websocket(self, *headers: str, path: str = "/ws") -> socket.socket:
        """A WebSocket from the attacker's address."""
        sock = self.connect()
        lines = [
            f"GET {path} HTTP/1.1",
            "Host: 127.0.0.1",
            f"X-Forwarded-For: {ADDRESS}",
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


def bound(connections: int = 0, envelopes: int = 0, shares: int = 0, log: int = 0) -> float:
    """Mebibytes, by the table of docs/security.md.

    So many connections, envelopes of a mebibyte that are decoded at the same time (five times
    their text), shares of an address, mebibytes of the log; and 16 for Python itself.
    """
    return 16 + connections * (256 + 3.4) / 1024 + 5 * envelopes + 32 * shares + log


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
}


# ---- measuring ---------------------------------------------------------------


def run(attack: Callable[[Attack], None], port: int, seconds: float) -> None:
    """An attack, in a process of its own."""
    raise_file_limit(4000)
    attack(Attack(port, time.monotonic() + seconds))


def server_kind() -> Kind:
    """A server with default limits, whose log is in memory."""
    command = [sys.executable, "-m", "rtpush", "--log", "memory:", "--log-level", "error"]
    return Kind("rtpush", [*command, "--trusted-proxies", "127.0.0.1", "--port"], "/ws")


def measure(attack: Callable[[Attack], None], may_hold: float, seconds: float) -> str:
    """One line of the table."""
    with Server(server_kind()) as server, closing(Good(server.port)) as good:
        before, memory = good.round_trips(min(seconds / 3, 10)), server.memory()
        attacker = multiprocessing.Process(target=run, args=(attack, server.port, seconds))
        attacker.start()
        during = good.round_trips(seconds)
        peak = server.peak_memory()
        attacker.join()
    calm, busy = statistics.median(before), statistics.median(during)
    worst = max(before)
    return (
        f"{attack.__name__:<26} {memory / MIB:3.0f} + {(peak - memory) / MIB:4.0f} MiB "
        f"(at most {may_hold:.0f})   median "
        f"{calm:.2f} → {busy:.2f} ms (x {busy / calm:.1f})"
        f"   worst {worst:.1f} → {max(during):.1f} ms (x {max(during) / worst:.1f})"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=10, help="how long each attack lasts [10]")
    names = [attack.__name__ for attack in ATTACKS]
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help=", ".join(names))
    args = parser.parse_args()
    raise_file_limit(4000)
    for attack, may_hold in ATTACKS.items():
        if not args.attacks or attack.__name__ in args.attacks:
            print(measure(attack, may_hold, args.seconds), flush=True)


if __name__ == "__main__":
    main()
