"""HTTP/1.1 in memory: an ASGI scope as a request's head, and a response's bytes as its parts.

Rules that hold here:

- Pure: no asyncio, no sockets.
- A scope may come from HTTP/2, whose headers can hold what ends a line in HTTP/1.1. Such a
  request is refused: the rest of the line would be a header, or a request, of its own.
- What concerns one connection alone is the ASGI server's, in both directions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from ..asgi_types import Scope

__all__ = ["BadScope", "ResponseHead", "ResponseReader", "request_head"]

# RFC 9110, section 7.6.1, and what belongs to a WebSocket's handshake.
_OF_CONNECTION: Final = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding"),
        *(b"upgrade", b"expect", b"http2-settings"),
    )
)
_OF_HANDSHAKE: Final = frozenset(
    (
        *(b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-extensions"),
        *(b"sec-websocket-protocol", b"content-length"),
    )
)
# What aiohttp adds, and the ASGI server, too.
_OF_SERVER: Final = frozenset((b"connection", b"transfer-encoding", b"date", b"server"))

# RFC 9110, sections 5.1 and 5.5; a target is any printable text without spaces.
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(rb"[^\r\n\0]*")
_TARGET: Final = re.compile(rb"[!-~\x80-\xff]*")

# The answer to a handshake depends on it; the ASGI server has its own with the client.
_KEY: Final = b"AAAAAAAAAAAAAAAAAAAAAA=="


class BadScope(Exception):
    """The request cannot be said in HTTP/1.1."""


def request_head(scope: Scope, path: str) -> bytes:
    """The head of an HTTP request, or of a WebSocket's handshake.

    Args:
        scope: The scope. A request without a length has its body in chunks.
        path: The path below the prefix; the scope's own has the prefix as well.

    Raises:
        BadScope: Something in it would end its line.
    """
    websocket = scope["type"] == "websocket"
    method = b"GET" if websocket else scope["method"].encode()
    version = b"1.0" if scope.get("http_version") == "1.0" else b"1.1"
    lines = [b"%b %b HTTP/%b" % (_checked(_TOKEN, method), _target(scope, path), version)]
    left_out = _OF_CONNECTION | _OF_HANDSHAKE if websocket else _OF_CONNECTION
    for name, value in scope["headers"]:
        if name.lower() not in left_out:
            lines.append(b"%b: %b" % (_checked(_TOKEN, name), _checked(_VALUE, value)))
    lines += _handshake(scope) if websocket else _framing(scope)
    return b"\r\n".join((*lines, b"", b""))


def _checked(pattern: re.Pattern[bytes], text: bytes) -> bytes:
    if pattern.fullmatch(text) is None:
        raise BadScope
    return text


def _target(scope: Scope, path: str) -> bytes:
    """The path as the client wrote it, where the ASGI server tells that, and the query."""
    whole: str = scope["path"]
    prefix = quote(whole.removesuffix(path)).encode()
    raw: bytes = (scope.get("raw_path") or b"").partition(b"?")[0]
    written = raw.removeprefix(prefix)
    # Some frameworks take a prefix away from the path alone.
    as_written = unquote(written.decode("latin-1")) == path and _TARGET.fullmatch(written)
    target = written if as_written else quote(path).encode()
    query: bytes = scope.get("query_string", b"")
    return _checked(_TARGET, target + b"?" + query if query else target)


def _handshake(scope: Scope) -> Iterator[bytes]:
    # One that is refused is not kept for another request.
    yield b"Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"
    yield b"Sec-WebSocket-Key: " + _KEY
    if offered := ", ".join(scope.get("subprotocols", ())):
        yield b"Sec-WebSocket-Protocol: " + _checked(_VALUE, offered.encode())


def _framing(scope: Scope) -> Iterator[bytes]:
    yield b"Connection: close"
    if has_chunks(scope):
        yield b"Transfer-Encoding: chunked"


def content_length(scope: Scope) -> int | None:
    """How many bytes the client announced; None when it announced none."""
    for name, value in scope["headers"]:
        if name.lower() == b"content-length" and value.isdigit():
            return int(value)
    return None


def has_chunks(scope: Scope) -> bool:
    """Is the body, if there is one, written in chunks?"""
    return content_length(scope) is None and scope.get("http_version") != "1.0"


class ResponseHead(NamedTuple):
    """Status and headers of a response; names are in lower case."""

    status: int
    headers: list[tuple[bytes, bytes]]

    def get(self, name: bytes) -> bytes | None:
        """The first header of this name."""
        return next((value for found, value in self.headers if found == name), None)

    @property
    def end_to_end(self) -> list[tuple[bytes, bytes]]:
        """The headers without those of the connection."""
        return [header for header in self.headers if header[0] not in _OF_SERVER]


class ResponseReader:
    """Takes one response apart. `head` is None until it is whole."""

    __slots__ = ("_buffer", "_chunks", "head")

    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self._buffer = b""
        self._chunks: _ChunkReader | None = None

    def feed(self, data: bytes) -> bytes:
        """Take what was written; the part of the body in it."""
        if self.head is None:
            head, end, data = (self._buffer + data).partition(b"\r\n\r\n")
            if not end:
                self._buffer = head
                return b""
            self._buffer = b""
            self.head = _parse(head)
            if self.head.get(b"transfer-encoding") == b"chunked":
                self._chunks = _ChunkReader()
        return data if self._chunks is None else self._chunks.feed(data)


def _parse(head: bytes) -> ResponseHead:
    first, *lines = head.split(b"\r\n")
    headers = []
    for line in lines:
        name, _, value = line.partition(b":")
        headers.append((name.lower(), value.strip()))
    return ResponseHead(int(first.split(b" ", 2)[1]), headers)


class _ChunkReader:
    """Takes chunks apart (RFC 9112, section 7.1)."""

    __slots__ = ("_buffer", "_left")

    def __init__(self) -> None:
        self._buffer = b""
        # Bytes of the chunk that are still to come, with the end of its line.
        self._left = 0

    def feed(self, data: bytes) -> bytes:
        data, found = self._buffer + data, []
        while data:
            if not self._left:
                size, end, rest = data.partition(b"\r\n")
                if not end:
                    break
                data, self._left = rest, int(size, 16) + 2
            # Without the end of the line, of which a part may have come.
            found.append(data[: max(0, self._left - 2)])
            taken = min(self._left, len(data))
            data, self._left = data[taken:], self._left - taken
        self._buffer = data
        return b"".join(found)
