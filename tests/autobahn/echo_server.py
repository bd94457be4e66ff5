"""The server's own WebSocket transport as an echo, for the Autobahn test suite.

    python tests/autobahn/echo_server.py PORT

Only what is said differs: there is no greeting, and a message comes back as it was
instead of being read as an envelope. Handshake, frames, compression, closing and
back pressure are the server's.
"""

from __future__ import annotations

import asyncio
import sys

from websockets.frames import CloseCode

from rtpush.config.settings import Settings
from rtpush.framing import text_frame
from rtpush.server import Server
from rtpush.sessions.session import Session
from rtpush.transports import websocket
from rtpush.transports.websocket_connection import WebSocketConnection


class EchoConnection(WebSocketConnection):
    """Sends each message back."""

    def start(self, session: Session, _last: str | None, head: bytes) -> None:
        """Answer the handshake; nothing else is said."""
        self._session = session
        self._transport.write(head)

    def _take_message(self, data: bytes, *, text: bool) -> None:
        if not text:
            self._say(b"\x82" + text_frame(data)[1:])
            return
        try:
            data.decode()
        except UnicodeDecodeError as exc:
            self._fail(CloseCode.INVALID_DATA, f"invalid UTF-8 at byte {exc.start}")
        else:
            self._say(self.framing.frame(data, None))


async def main() -> None:
    """Serve until the process is ended."""
    websocket.WebSocketConnection = EchoConnection  # type: ignore[misc]
    settings = Settings(
        port=int(sys.argv[1]),
        log="memory:",
        max_message=2**25,
        rate_messages=1_000_000,
        rate_bytes=2**38,
    )
    await Server(settings).serve()


if __name__ == "__main__":
    asyncio.run(main())
