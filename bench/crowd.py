"""Many cheap WebSocket clients in one process.

Raw sockets and epoll: what arrives is counted and thrown away. A mark, one
byte that occurs once in each published event and nowhere else, tells how many
events have arrived without parsing a frame.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
import time
from collections.abc import Sequence

MARK = b"#"
# Below the backlog that asyncio gives a listening socket.
AT_ONCE = 64
# More connections than this from one address to one port, and ports run out.
PER_ADDRESS = 20_000
PATIENCE = 120.0
# Seconds between looks at what has arrived.
PAUSE = 0.002


def frame(text: str) -> bytes:
    """A text frame as a client sends it, masked with zeros; 126 to 65535 bytes of text."""
    payload = text.encode()
    assert 126 <= len(payload) < 65536
    return b"\x81\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload


def event_text(number: int) -> str:
    """An event with one MARK, of such a length that no byte of a header looks like one."""
    data = {
        "id": f"order-{number:09}",
        "progress": number % 100,
        "message": f"Rendering frame {number % 1000} of 1000 {MARK.decode()}",
        "worker": "worker-3",
    }
    return json.dumps({"event": "news", "data": data}, separators=(",", ":")).ljust(130)


class Crowd:
    """Clients of one server. The first one publishes, and receives as all others do."""

    def __init__(self, port: int, path: str, hello: Sequence[bytes] = ()) -> None:
        self.port = port
        self.received = 0
        # By each client, under its file number.
        self.counts: dict[int, int] = {}
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ).encode()
        self._hello = hello
        self._sockets: list[socket.socket] = []
        self._by_fd: dict[int, socket.socket] = {}
        self._epoll = select.epoll()
        self._buffer = bytearray(1 << 20)

    def __len__(self) -> int:
        return len(self._sockets)

    def open(self, count: int, at_once: int = AT_ONCE) -> None:
        """Connect so many more, and wait until all are answered."""
        for begin in range(0, count, at_once):
            fresh = [self._connect() for _ in range(min(at_once, count - begin))]
            for sock in fresh:
                self._await_handshake(sock)
                self._epoll.register(sock, select.EPOLLIN)
                self._by_fd[sock.fileno()] = sock

    def _connect(self) -> socket.socket:
        source = f"127.0.0.{1 + len(self._sockets) // PER_ADDRESS}", 0
        sock = socket.create_connection(
            ("127.0.0.1", self.port), PATIENCE, None if source[0] == "127.0.0.1" else source
        )
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(self._request)
        self._sockets.append(sock)
        return sock

    def _await_handshake(self, sock: socket.socket) -> None:
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = sock.recv(4096)
            answer += data
            if not data or not answer.startswith(b"HTTP/1.1 101"[: len(answer)]):
                raise ConnectionError(f"refused: {answer[:200]!r}")
        self._count(sock.fileno(), answer.count(MARK))
        for data in self._hello:
            sock.sendall(data)
        sock.setblocking(True)

    def _count(self, fd: int, events: int) -> None:
        self.counts[fd] = self.counts.get(fd, 0) + events
        self.received += events

    def publish(self, data: bytes) -> None:
        """Send frames through the first client, without waiting for anything."""
        threading.Thread(target=self._sockets[0].sendall, args=(data,), daemon=True).start()

    def publish_now(self, data: bytes) -> None:
        """The same for data that is small enough for the socket's buffer."""
        self._sockets[0].sendall(data)

    def post(self, texts: Sequence[str]) -> None:
        """Publish over HTTP, a request for each event, without waiting for anything.

        rtpush alone takes such requests.
        """
        head = f"POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Length: "
        data = "".join(f"{head}{len(text)}\r\n\r\n{text}" for text in texts).encode()
        threading.Thread(target=self._send_over_http, args=(data,), daemon=True).start()

    def _send_over_http(self, data: bytes) -> None:
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as sock:
            sender = threading.Thread(target=sock.sendall, args=(data,), daemon=True)
            sender.start()
            answers = data.count(b"POST ")
            while answers > 0:
                answers -= sock.recv(1 << 16).count(b"HTTP/1.1 200")
            sender.join()

    def wait(self, received: int) -> None:
        """Until so many events have arrived, all clients taken together."""
        deadline = time.monotonic() + PATIENCE
        while self.received < received:
            # Waiting in epoll would have the server's send() wake this process,
            # which on one machine costs it more than the sending.
            time.sleep(PAUSE)
            self.read()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.received} of {received} events arrived")

    def read(self) -> None:
        """Take in what is there."""
        buffer = self._buffer
        for fd, _ in self._epoll.poll(0):
            size = self._by_fd[fd].recv_into(buffer, 0, socket.MSG_DONTWAIT)
            if not size:
                raise ConnectionError("the server closed a connection")
            self._count(fd, buffer.count(MARK, 0, size))

    def close(self) -> None:
        """Reset all, so that no port stays in TIME_WAIT."""
        self._epoll.close()
        for sock in self._sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
