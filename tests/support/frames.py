"""Raw WebSocket frames, right and wrong, for tests that look at the wire itself (RFC 6455)."""

from __future__ import annotations

import asyncio
import base64
import os
import zlib
from typing import NamedTuple

PATIENCE = 10.0

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MASK = b"\x37\xfa\x21\x3d"


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    length: bytes | None = None,
) -> bytes:
    """One frame as a client sends it; `length` replaces the length field."""
    size = len(payload)
    if length is None:
        if size < 126:
            length = bytes([size])
        elif size < 65536:
            length = b"\x7e" + size.to_bytes(2, "big")
        else:
            length = b"\x7f" + size.to_bytes(8, "big")
    head = bytes([fin << 7 | rsv << 4 | opcode, length[0] | masked << 7]) + length[1:]
    if not masked:
        return head + payload
    return head + MASK + masked_with(MASK, payload)


def masked_with(mask: bytes, payload: bytes) -> bytes:
    """RFC 6455, section 5.3; as one number, since payloads here are large."""
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
    return number.to_bytes(len(payload), "big")


def close(code: int, reason: bytes = b"") -> bytes:
    """A close frame with a code, valid or not."""
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


def deflated(payload: bytes) -> bytes:
    """The payload of a compressed message (RFC 7692, section 7.2.1)."""
    compress = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (compress.compress(payload) + compress.flush(zlib.Z_SYNC_FLUSH))[:-4]


class Frame(NamedTuple):
    """One frame as the server sends it, not decompressed."""

    opcode: int
    payload: bytes
    fin: bool
    rsv: int

    @property
    def code(self) -> int:
        """The code of a close frame; 1005 when it has none."""
        assert self.opcode == CLOSE
        return int.from_bytes(self.payload[:2], "big") if self.payload else 1005


class Raw:
    """A TCP connection to the server, after a handshake or before one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int) -> Raw:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    @classmethod
    async def upgraded(cls, port: int, *headers: str, path: str = "/ws") -> Raw:
        """A WebSocket."""
        raw = await cls.connect(port)
        raw.send(handshake(path, *headers))
        head = await raw.head()
        assert head.startswith(b"HTTP/1.1 101 "), head
        return raw

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> bytes:
        """The head of an HTTP answer."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def frame(self) -> Frame:
        """The next frame. Raises asyncio.IncompleteReadError at the end."""
        async with asyncio.timeout(PATIENCE):
            first, second = await self.reader.readexactly(2)
            assert not second & 0x80, "a server must not mask (RFC 6455, section 5.1)"
            size = second & 0x7F
            if size >= 126:
                size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
            payload = await self.reader.readexactly(size)
        return Frame(first & 0x0F, payload, bool(first & 0x80), first >> 4 & 7)

    async def rest(self) -> bytes:
        """Everything up to the end of the connection; a reset is an end, too."""
        data = b""
        async with asyncio.timeout(PATIENCE):
            try:
                while chunk := await self.reader.read(65536):
                    data += chunk
            except ConnectionResetError:
                return data
        return data

    def abort(self) -> None:
        self.writer.transport.abort()


def handshake(path: str = "/ws", *headers: str) -> bytes:
    """A client's opening handshake."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()
