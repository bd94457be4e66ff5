"""What hostile connections cost a good one.

`python bench/hostile.py [--quick]`. Linux only.

10,000 idle clients are connected, and one good client asks for a `pong` again
and again, before and while 1,000 hostile ones are at work: a third send the
head of a request byte by byte, a third read nothing of what is published, a
third connect, are greeted, and begin again. Events of 20 KB are published all
the while, so that who does not read falls behind.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import socket
import statistics
import struct
import tempfile
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

from crowd import Crowd
from reconnect import Publisher
from servers import Server, kinds, raise_file_limit

PAUSE = 0.005
BIG = 20_000
SLOW_BYTE = 1.0
# The hostile ones take turns to begin again; as fast as one core can is no crowd.
AGAIN = 1.0


def ping(text: str) -> bytes:
    """A text frame of fewer than 126 bytes, masked with zeros."""
    return bytes([0x81, 0x80 | len(text)]) + bytes(4) + text.encode()


class Good:
    """A client that asks for a pong and waits for it."""

    def __init__(self, port: int) -> None:
        self._crowd = Crowd(port, "/ws?room=good")
        self._crowd.open(1)
        (self._sock,) = self._crowd._sockets
        self._frame = ping(json.dumps({"event": "ping", "data": "#"}))

    def round_trips(self, count: int) -> list[float]:
        """Milliseconds, one after the other."""
        found = []
        for _ in range(count):
            time.sleep(PAUSE)
            begun = time.perf_counter()
            self._sock.sendall(self._frame)
            # The published events hold no mark; the pong holds one.
            while b"#" not in self._sock.recv(1 << 16):
                pass
            found.append(1e3 * (time.perf_counter() - begun))
        return found

    def close(self) -> None:
        """Go."""
        self._crowd.close()


def attack(port: int, count: int) -> None:
    """The hostile clients; runs until its process is ended."""
    asyncio.run(_attack(port, count))


async def _attack(port: int, count: int) -> None:
    kinds_of = (_slow_head, _never_reads, _again_and_again)
    await asyncio.gather(*(kinds_of[i % 3](port) for i in range(count)))


HEAD = (
    b"GET /ws?room=bulk HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def _slow_head(port: int) -> None:
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            for byte in HEAD[:-2]:
                writer.write(bytes([byte]))
                await asyncio.sleep(SLOW_BYTE)
            writer.transport.abort()


async def _never_reads(port: int) -> None:
    loop = asyncio.get_running_loop()
    while True:
        sock = socket.socket()
        sock.setblocking(False)
        with suppress(OSError):
            await loop.sock_connect(sock, ("127.0.0.1", port))
            await loop.sock_sendall(sock, HEAD)
            await asyncio.sleep(3600)
        sock.close()


async def _again_and_again(port: int) -> None:
    while True:
        with suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEAD)
            await reader.readuntil(b"active_tasks")
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        await asyncio.sleep(AGAIN)


def told(name: str, trips: list[float], memory: int) -> str:
    """One line of the result."""
    cuts = statistics.quantiles(trips, n=100)
    return (
        f"{name:<10} round trip: median {cuts[49]:.2f} ms, 95 % below {cuts[94]:.2f} ms; "
        f"resident memory of the server {memory / 1e6:.0f} MB"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer of everything")
    args = parser.parse_args()
    idle, hostile, trips = (1000, 100, 200) if args.quick else (10_000, 1000, 2000)
    raise_file_limit(60_000)
    stop = threading.Event()

    def publish(port: int) -> None:
        publisher = Publisher(port)
        text = json.dumps({"event": "news", "room": "good", "data": "x" * 100})
        big = json.dumps({"event": "bulk", "data": "x" * BIG, "room": "bulk"})
        while not stop.wait(0.05):
            publisher.publish([text, big])

    with tempfile.TemporaryDirectory() as build:
        rtpush = kinds(Path(build))[0]
        with Server(rtpush) as server, closing(Crowd(server.port, "/ws?room=idle")) as crowd:
            crowd.open(idle)
            with closing(Good(server.port)) as good:
                thread = threading.Thread(target=publish, args=(server.port,))
                thread.start()
                before = good.round_trips(trips)
                print(told("before", before, server.memory()), flush=True)
                attackers = multiprocessing.Process(target=attack, args=(server.port, hostile))
                attackers.start()
                time.sleep(3)
                during = good.round_trips(trips)
                print(told("meanwhile", during, server.memory()), flush=True)
                stop.set()
                thread.join()
                attackers.kill()
    ratio = statistics.median(during) / statistics.median(before)
    print(f"{hostile} hostile among {idle} idle connections: median x {ratio:.2f}")


if __name__ == "__main__":
    main()
