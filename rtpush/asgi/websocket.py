"""A WebSocket of an ASGI server: messages there, frames here.

Rules that hold here:

- The frames of a write that many connections share are decoded once.
- The ASGI server pings the client and knows when it is dead. A ping of ours is answered here,
  when it is its turn: so a client that takes nothing leaves it unanswered.
- ASGI knows no fragments: a large snapshot is held until it is whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..asgi_types import Event, Scope, Send
from ..transports.closing_handshake import BINARY, CLOSE, PING, PONG, TEXT
from .http1 import ResponseHead, ResponseReader
from .transport import AsgiTransport

__all__ = ["AsgiWebSocket", "FrameCache"]

_FIN: Final = 0x80
_CONTROL: Final = 0x08
# Close codes for a connection that ended without a close frame, and one without a code.
_NO_STATUS: Final = 1005
_ABNORMAL: Final = 1006

# A message's text; an event of another kind; None for a ping.
Message = str | Event | None


def client_frame(opcode: int, payload: bytes) -> bytes:
    """A frame as a client sends it. Its mask of zeros leaves the payload as it is."""
    size = len(payload)
    if size < 126:
        length = bytes((0x80 | size,))
    elif size < 65536:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    return bytes((_FIN | opcode,)) + length + b"\0\0\0\0" + payload


_PONG: Final = client_frame(PONG, b"")


def server_frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The frames of a write, which are whole: each one's first byte and payload."""
    at = 0
    while at < len(data):
        first, size, begin = data[at], data[at + 1], at + 2
        if size >= 126:
            begin += 2 if size == 126 else 8
            size = int.from_bytes(data[at + 2 : begin], "big")
        at = begin + size
        yield first, data[begin:at]


class FrameCache:
    """The last write that held nothing but messages, and their texts."""

    __slots__ = ("data", "texts")

    def __init__(self) -> None:
        self.data = b""
        self.texts: tuple[Message, ...] = ()


class AsgiWebSocket(AsgiTransport[tuple[Message, ...]]):
    """One WebSocket, as the connection that its handshake came on."""

    __slots__ = ("_accepted", "_cache", "_fragments", "_refused", "_response")

    def __init__(self, scope: Scope, send: Send, cache: FrameCache) -> None:
        super().__init__(scope, send)
        self._cache = cache
        self._accepted = False
        # The answer to the handshake; None when it was accepted.
        self._response: ResponseReader | None = ResponseReader()
        # The body of a refusal.
        self._refused = b""
        # Of a message that is not whole.
        self._fragments: list[bytes] = []

    # ------------------------------------------------------- from the client

    def _take(self, event: Event) -> bool:
        if event["type"] == "websocket.receive":
            self._take_message(event)
            return True
        if self._accepted and not self._closing:
            self._take_close(event)
        return False

    def _take_message(self, event: Event) -> None:
        text = event.get("text")
        if text is None:
            frame = client_frame(BINARY, event["bytes"])
        else:
            frame = client_frame(TEXT, text.encode("utf-8", "surrogatepass"))
        self._protocol.data_received(frame)

    def _take_close(self, event: Event) -> None:
        code = event.get("code", _NO_STATUS)
        # uvicorn gives a reason, if an empty one, when there was a close frame.
        if code == _NO_STATUS and event.get("reason") is not None:
            self._protocol.data_received(client_frame(CLOSE, b""))
        elif code not in (_NO_STATUS, _ABNORMAL):
            self._protocol.data_received(client_frame(CLOSE, code.to_bytes(2, "big")))

    # --------------------------------------------------------- to the client

    def _translate(self, data: bytes) -> tuple[Message, ...]:
        if self._response is None:
            return self._messages(data)
        known = self._response.head is not None
        body = self._response.feed(data)
        head = self._response.head
        if head is None:
            return ()
        if head.status == 101:
            return (self._accept(head), *self._messages(body))
        self._refused += body
        return () if known else self._refuse(head)

    def _accept(self, head: ResponseHead) -> Event:
        self._accepted, self._response = True, None
        chosen = head.get(b"sec-websocket-protocol")
        subprotocol = None if chosen is None else chosen.decode()
        return {"type": "websocket.accept", "subprotocol": subprotocol}

    def _refuse(self, head: ResponseHead) -> tuple[Message]:
        if self._can_answer:
            start = "websocket.http.response.start"
            return ({"type": start, "status": head.status, "headers": head.end_to_end},)
        # The ASGI server makes 403 of it.
        return ({"type": "websocket.close"},)

    @property
    def _can_answer(self) -> bool:
        return "websocket.http.response" in self._scope.get("extensions", ())

    def _messages(self, data: bytes) -> tuple[Message, ...]:
        if data is self._cache.data:
            return self._cache.texts
        shared = not self._fragments
        found: list[Message] = []
        for first, payload in server_frames(data):
            shared = shared and first == _FIN | TEXT
            found += (self._control if first & _CONTROL else self._text)(first, payload)
        messages = tuple(found)
        if shared and found:
            self._cache.data, self._cache.texts = data, messages
        return messages

    def _text(self, first: int, payload: bytes) -> list[Message]:
        if self._fragments or not first & _FIN:
            self._fragments.append(payload)
            if not first & _FIN:
                return []
            payload = b"".join(self._fragments)
            self._fragments.clear()
        return [payload.decode()]

    def _control(self, first: int, payload: bytes) -> list[Message]:
        opcode = first & ~_FIN
        if opcode == PING:
            return [None]
        if opcode == CLOSE:
            code = int.from_bytes(payload[:2], "big") or 1000
            return [{"type": "websocket.close", "code": code, "reason": payload[2:].decode()}]
        return []

    async def _send_item(self, item: tuple[Message, ...]) -> None:
        for message in item:
            if isinstance(message, str):
                await self._send({"type": "websocket.send", "text": message})
            elif message is None:
                self._protocol.data_received(_PONG)
            else:
                await self._send(message)
                if message["type"] == "websocket.close":
                    # The ASGI server waits for the client's own.
                    self._lose(None)

    async def _send_end(self) -> None:
        refused = self._response is not None and self._response.head is not None
        if refused and self._can_answer:
            # As one event: granian takes no more.
            await self._send({"type": "websocket.http.response.body", "body": self._refused})
