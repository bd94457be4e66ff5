"""What a client of a quiet room costs when much has happened in other rooms.

`python bench/rooms.py [--large] [--quick] [--log LOG]`. Linux only; Redis where it is installed.

For each log, after 0, 10,000 and 100,000 events in 1,000 other rooms (`--large`: 1,000,000 too):

1. Clients come back one after the other, each to its room with one missed event.
2. The history of the quiet rooms is asked for.
3. Readers that stopped reading before these events take more: each lags by a few megabytes of its
   room.
4. Not after 10,000: 5,000 such clients come back at once, while a publisher goes on.

At the end each figure is compared with that after 0 events. On a quiet machine, one log a
command, each in less than five minutes:

    python bench/rooms.py --large --log memory
    python bench/rooms.py --large --log sqlite
    python bench/rooms.py --large --log redis
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import statistics
import struct
import tempfile
import threading
import time
from pathlib import Path

from own_redis import own_redis
from servers import Kind, Server, kinds, raise_file_limit

CLIENTS = 200
CROWD = 5000
LAGGING = 10
LAG = (100, 60_000)
PER_POST = 1000
PATIENCE = 120.0


class Api:
    """Requests on one connection."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    def publish(self, events: list[dict[str, object]]) -> tuple[str, float]:
        """The last event's position, and the seconds until the answer."""
        began = time.monotonic()
        self._http.request("POST", "/api/publish", json.dumps(events).encode())
        answers = json.loads(self._http.getresponse().read())
        return answers[-1]["id"], time.monotonic() - began

    def history(self, room: str, after: str) -> int:
        """How many events of the room there are."""
        self._http.request("GET", f"/api/history?room={room}&after={after}")
        return len(json.loads(self._http.getresponse().read())["events"])


def connect(port: int, path: str, receive_buffer: int = 0) -> socket.socket:
    """A WebSocket whose handshake is sent, and not yet answered."""
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(PATIENCE)
    sock.connect(("127.0.0.1", port))
    sock.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    return sock


def read_until(sock: socket.socket, mark: bytes) -> None:
    """Read until the mark has come."""
    data = b""
    while mark not in data:
        more = sock.recv(1 << 16)
        if not more:
            raise ConnectionError(f"closed after {data[-200:]!r}")
        data = data[-100:] + more


def end(sock: socket.socket) -> None:
    """Reset it, so that no port stays in TIME_WAIT."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def quiet(number: int) -> str:
    """A room of one client."""
    return f"quiet-{number}"


class Measured:
    """One server, to which more and more foreign events come."""

    def __init__(self, server: Server, clients: int) -> None:
        self.server = server
        self.clients = clients
        self.api = Api(server.port)
        self.start, _ = self.api.publish([{"event": "start"}])
        mine: list[dict[str, object]] = [
            {"event": "mine", "room": quiet(n), "data": "missed"} for n in range(CROWD)
        ]
        for begin in range(0, CROWD, PER_POST):
            self.api.publish(mine[begin : begin + PER_POST])

    def add_foreign(self, count: int) -> None:
        """Publish events into 1,000 other rooms."""
        # The server closes a connection that was idle for long.
        self.api = Api(self.server.port)
        for begin in range(0, count, PER_POST):
            rooms = range(begin, min(begin + PER_POST, count))
            self.api.publish([{"event": "e", "room": f"busy-{n % 1000}"} for n in rooms])

    def path(self, number: int) -> str:
        """Where a client comes back."""
        return f"/ws?room={quiet(number)}&last={self.start}"

    def returns(self) -> float:
        """Milliseconds of CPU for each client that comes back."""
        began = self.server.cpu()
        for number in range(self.clients):
            sock = connect(self.server.port, self.path(number))
            read_until(sock, b'"missed"')
            end(sock)
        return (self.server.cpu() - began) / self.clients * 1e3

    def histories(self) -> float:
        """Milliseconds of CPU for each page of history."""
        began = self.server.cpu()
        for number in range(self.clients):
            assert self.api.history(quiet(number), self.start) == 1
        return (self.server.cpu() - began) / self.clients * 1e3

    def begin_lagging(self) -> list[socket.socket]:
        """Readers that read nothing of what their rooms are given."""
        count, size = LAG
        readers = []
        for number in range(LAGGING):
            sock = connect(self.server.port, f"/ws?room=lag-{number}&conflate=0", 4096)
            read_until(sock, b'"active_tasks"')
            readers.append(sock)
        for number in range(LAGGING):
            event = {"event": "much", "room": f"lag-{number}", "data": "x" * size}
            for _ in range(0, count, 10):
                self.api.publish([event] * 10)
        return readers

    def end_lagging(self, readers: list[socket.socket]) -> float:
        """Milliseconds of CPU for each reader that reads on."""
        last: list[dict[str, object]] = [
            {"event": "last", "room": f"lag-{n}", "data": "the end"} for n in range(LAGGING)
        ]
        self.api.publish(last)
        began = self.server.cpu()
        for sock in readers:
            read_until(sock, b'"the end"')
        spent = self.server.cpu() - began
        for sock in readers:
            end(sock)
        return spent / LAGGING * 1e3

    def crowd(self) -> str:
        """All come back at once."""
        waits: list[float] = []
        stop = threading.Event()

        def go_on() -> None:
            api = Api(self.server.port)
            while not stop.wait(0.05):
                waits.append(api.publish([{"event": "e", "room": "busy-0"}])[1])

        thread = threading.Thread(target=go_on)
        cpu, began = self.server.cpu(), time.monotonic()
        thread.start()
        try:
            socks = [connect(self.server.port, self.path(n)) for n in range(CROWD)]
            for sock in socks:
                read_until(sock, b'"missed"')
        finally:
            stop.set()
            thread.join()
        took = time.monotonic() - began
        for sock in socks:
            end(sock)
        return (
            f"{CROWD} at once: all back in {took:.1f} s, {self.server.cpu() - cpu:.1f} s of CPU; "
            f"{len(waits)} publishes meanwhile: median {1e3 * statistics.median(waits):.0f} ms, "
            f"slowest {1e3 * max(waits):.0f} ms"
        )


def measure(name: str, kind: Kind, options: list[str], steps: list[int], clients: int) -> None:
    """One log."""
    options = [*options, "--retention-bytes", "8GiB", "--retention-count", "3000000"]
    options += ["--max-per-address", "100000", "--write-timeout", "10m"]
    with Server(kind, options) as one:
        measured, foreign = Measured(one, clients), 0
        measured.returns()
        found: list[tuple[float, float, float]] = []
        for step in steps:
            readers = measured.begin_lagging()
            measured.add_foreign(step - foreign)
            foreign = step
            spent = measured.returns(), measured.histories(), measured.end_lagging(readers)
            found.append(spent)
            print(
                f"{name:7} after {foreign:9,} foreign events, ms of CPU: a return {spent[0]:6.2f}, "
                f"a page of history {spent[1]:6.2f}, a reader that lags {spent[2]:6.1f}",
                flush=True,
            )
            if step != 10_000:
                print(f"{name:7} {measured.crowd()}", flush=True)
        ratios = [last / first for first, last in zip(found[0], found[-1], strict=True)]
        print(
            f"{name:7} {foreign:,} events beside 0, times the CPU: a return {ratios[0]:.1f}, a "
            f"page of history {ratios[1]:.1f}, a reader that lags {ratios[2]:.1f}",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--large", action="store_true", help="1,000,000 foreign events, too")
    parser.add_argument("--quick", action="store_true", help="fewer of everything")
    parser.add_argument("--log", choices=["memory", "sqlite", "redis"], help="this log alone")
    args = parser.parse_args()
    raise_file_limit(20_000)
    steps = [0, 10_000, *([] if args.quick else [100_000]), *([1_000_000] if args.large else [])]
    with tempfile.TemporaryDirectory() as folder, own_redis(folder) as redis:
        kind = kinds(Path(folder))[0]
        logs = {"memory": "memory:", "sqlite": "sqlite:rtpush.db", "redis": redis and redis.url}
        for name, log in logs.items():
            if log is not None and args.log in (None, name):
                measure(name, kind, ["--log", log], steps, 50 if args.quick else CLIENTS)


if __name__ == "__main__":
    main()
