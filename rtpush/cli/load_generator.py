"""Load generator: many WebSocket connections in one process, for `rtpush bench`."""

from __future__ import annotations

import json
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

__all__ = ["LoadGenerator", "LoadGeneratorError"]

# A byte that occurs once in each event and nowhere else: counting it counts events without
# parsing frames.
_MARKER: Final = b"#"
# Connections opened at once: below the backlog of any listening socket (asyncio's is 100).
_CONNECT_BATCH: Final = 64
# Seconds without a byte after which a measurement fails. A loaded machine may take some.
_TIMEOUT: Final = 20.0
# Bytes read at once: a burst of 500 events is less than 100 KB for each connection.
_RECEIVE_BUFFER: Final = 1 << 20


class LoadGeneratorError(Exception):
    """The server refused, closed or starved a connection. The message says which."""


class LoadGenerator:
    """WebSocket connections to a server on this machine. The first one publishes, all receive.

    They share the machine with the server, so their cost is part of every
    figure: they are plain sockets and one selector, and what arrives is counted
    and thrown away.
    """

    def __init__(self, port: int) -> None:
        self._address = ("127.0.0.1", port)
        self._sockets: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()
        self._buffer = bytearray(_RECEIVE_BUFFER)

    def __len__(self) -> int:
        return len(self._sockets)

    def open(self, count: int) -> Iterator[int]:
        """Connect `count` clients; yields how many there are by now. Raises LoadGeneratorError."""
        for begin in range(0, count, _CONNECT_BATCH):
            try:
                for sock in [self._connect() for _ in range(min(_CONNECT_BATCH, count - begin))]:
                    self._finish_handshake(sock)
                    self._selector.register(sock, selectors.EVENT_READ)
            except OSError as exc:
                raise LoadGeneratorError(f"client {len(self)} cannot connect: {exc}") from exc
            yield len(self)

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(self._address, _TIMEOUT)
        self._sockets.append(sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(
            f"GET /ws?conflate=0 HTTP/1.1\r\nHost: 127.0.0.1:{self._address[1]}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        return sock

    def _finish_handshake(self, sock: socket.socket) -> None:
        response = b""
        # The snapshot is the last envelope that the server sends by itself.
        while b"active_tasks" not in response:
            data = sock.recv(4096)
            response += data
            if not data or not response.startswith(b"HTTP/1.1 101"[: len(response)]):
                raise LoadGeneratorError(f"a client was refused: {response[:100]!r}")
        sock.setblocking(False)

    def publish(self, first: int, count: int) -> None:
        """Send `count` events over the first connection, in a thread of their own."""
        data = b"".join(_frame(number) for number in range(first, first + count))
        threading.Thread(target=self._send, args=(data,), daemon=True).start()

    def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._sockets[0].send(rest) :]
            except BlockingIOError:
                time.sleep(0.001)
            except OSError:
                return

    def deliveries(self, events: int) -> Iterator[tuple[float, int]]:
        """Receive `events` on every connection.

        Yields the time (`perf_counter`) and the number of deliveries of each
        read. Raises LoadGeneratorError.
        """
        missing = events * len(self)
        while missing > 0:
            ready = self._selector.select(_TIMEOUT)
            if not ready:
                raise LoadGeneratorError(f"{missing:,} deliveries did not arrive")
            for key, _ in ready:
                count = self._receive(key.fileobj)
                missing -= count
                yield time.perf_counter(), count

    def _receive(self, sock: object) -> int:
        assert isinstance(sock, socket.socket)
        size = 0
        with suppress(ConnectionError):
            size = sock.recv_into(self._buffer)
        if not size:
            raise LoadGeneratorError("the server has closed a connection")
        return self._buffer.count(_MARKER, 0, size)

    def close(self) -> None:
        """Close all connections."""
        self._selector.close()
        for sock in self._sockets:
            sock.close()


def _frame(number: int) -> bytes:
    """A masked text frame (RFC 6455, section 5.2) with an event. The mask is zero.

    The length keeps the marker out of every frame's header.
    """
    data = {
        "id": f"order-{number:09}",
        "progress": number % 100,
        "message": f"Rendering frame {number % 1000:03} of 1000 {_MARKER.decode()}",
    }
    text = json.dumps({"event": "bench", "data": data}, separators=(",", ":")).ljust(130)
    return b"\x81\xfe" + len(text).to_bytes(2, "big") + bytes(4) + text.encode()
