"""Many cheap clients in one process, to measure a server with.

Rules that hold here:

- What arrives is counted and thrown away. A mark, one byte that occurs once in
  each event of ours and nowhere else, tells how many have come without a frame
  being parsed.
- They and the server share a machine: what they cost is part of every figure,
  so they are plain sockets and one selector.
"""

from __future__ import annotations

import json
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

__all__ = ["Crowd", "CrowdError"]

_MARK: Final = b"#"
# Connections that are opened at once: below any backlog.
_AT_ONCE: Final = 64
# Seconds without any news after which the server is given up.
_PATIENCE: Final = 20.0
_BUFFER: Final = 1 << 20


class CrowdError(Exception):
    """The server does not do its part. The message says which."""


class Crowd:
    """Clients of the server on a port of this machine. The first one publishes."""

    def __init__(self, port: int) -> None:
        self._address = ("127.0.0.1", port)
        self._sockets: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()
        self._buffer = bytearray(_BUFFER)

    def __len__(self) -> int:
        return len(self._sockets)

    def open(self, count: int) -> Iterator[int]:
        """Connect so many; gives how many there are, again and again. Raises CrowdError."""
        for begin in range(0, count, _AT_ONCE):
            try:
                for sock in [self._connect() for _ in range(min(_AT_ONCE, count - begin))]:
                    self._await_handshake(sock)
                    self._selector.register(sock, selectors.EVENT_READ)
            except OSError as exc:
                raise CrowdError(f"client {len(self)} cannot connect: {exc}") from exc
            yield len(self)

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(self._address, _PATIENCE)
        self._sockets.append(sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(
            f"GET /ws?conflate=0 HTTP/1.1\r\nHost: 127.0.0.1:{self._address[1]}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        return sock

    def _await_handshake(self, sock: socket.socket) -> None:
        answer = b""
        # The snapshot is the last of what a client is greeted with.
        while b"active_tasks" not in answer:
            data = sock.recv(4096)
            answer += data
            if not data or not answer.startswith(b"HTTP/1.1 101"[: len(answer)]):
                raise CrowdError(f"a client was refused: {answer[:100]!r}")
        sock.setblocking(False)

    def publish(self, first: int, count: int) -> None:
        """Send events through the first client, without waiting for anything."""
        data = b"".join(_frame(number) for number in range(first, first + count))
        threading.Thread(target=self._send, args=(data,), daemon=True).start()

    def _send(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[self._sockets[0].send(left) :]
            except BlockingIOError:
                time.sleep(0.001)
            except OSError:
                return

    def arrivals(self, events: int) -> Iterator[tuple[float, int]]:
        """When (`perf_counter`) how many arrived, until all have got so many. Raises CrowdError."""
        left = events * len(self)
        while left > 0:
            ready = self._selector.select(_PATIENCE)
            if not ready:
                raise CrowdError(f"{left:,} deliveries did not arrive")
            for key, _ in ready:
                count = self._receive(key.fileobj)
                left -= count
                yield time.perf_counter(), count

    def _receive(self, sock: object) -> int:
        assert isinstance(sock, socket.socket)
        size = 0
        with suppress(ConnectionError):
            size = sock.recv_into(self._buffer)
        if not size:
            raise CrowdError("the server has closed a connection")
        return self._buffer.count(_MARK, 0, size)

    def close(self) -> None:
        """Leave."""
        self._selector.close()
        for sock in self._sockets:
            sock.close()


def _frame(number: int) -> bytes:
    """An event as a client sends it, masked with zeros.

    Its length is such that no byte of a header looks like the mark.
    """
    data = {
        "id": f"order-{number:09}",
        "progress": number % 100,
        "message": f"Rendering frame {number % 1000:03} of 1000 {_MARK.decode()}",
    }
    text = json.dumps({"event": "bench", "data": data}, separators=(",", ":")).ljust(130)
    return b"\x81\xfe" + len(text).to_bytes(2, "big") + bytes(4) + text.encode()
