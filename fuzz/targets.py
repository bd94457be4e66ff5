"""Feed the server what nobody would send on purpose. `make fuzz` runs each target in turn.

    python fuzz/targets.py envelopes|connection [-max_total_time=SECONDS …]

- `envelopes`: any bytes are an envelope or an `RtpushError`, and an envelope that was taken
  can be encoded.
- `connection`: any bytes on a WebSocket, in any pieces, end in answers or a close; nothing
  raises, and nothing is left behind when the peer has gone.

The options are libFuzzer's. What is found is written to a file that runs again when it is
named after the target.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import atheris
import orjson

with atheris.instrument_imports(include=["rtpush", "websockets"]):
    from websockets.extensions.permessage_deflate import PerMessageDeflate

    from rtpush.config.settings import Settings
    from rtpush.errors import RtpushError
    from rtpush.protocol import Envelope, encode_data, parse
    from rtpush.server import Server
    from rtpush.transports.websocket_connection import WebSocketConnection
    from rtpush.web.batch import parse_many

sys.path.append(str(Path(__file__).parent.parent / "tests/support"))
from frames import frame

EVENTS = ("ping", "join", "leave", "auth", "chat", "task_created", "task_progress", "task_failed")


def envelopes(data: bytes) -> None:
    """`parse`, `parse_many` and what is encoded of it."""
    batch = _or_refused(parse_many, data, 100, 1 << 20) or ()
    for envelope in (*batch, _or_refused(parse, data)):
        if isinstance(envelope, Envelope):
            _or_refused(encode_data, envelope.data)


def _or_refused(function: Callable, *args: object) -> object:
    try:
        return function(*args)
    except RtpushError:
        return None


class Transport:
    """As much of an asyncio transport as a connection uses; it takes everything."""

    def __init__(self) -> None:
        self.closing = False
        self.write = lambda data: None

    def set_write_buffer_limits(self, high: int) -> None: ...
    def set_protocol(self, protocol: object) -> None: ...
    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None: ...
    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close


class Connections:
    """One server, and a connection of its own for each input."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(self._failed)
        logging.disable(logging.WARNING)
        logging.getLogger().addHandler(_Raise())
        self._server = Server(Settings(port=0, log="memory:", retention_count=1000))
        self._loop.run_until_complete(self._server.start())

    def __call__(self, data: bytes) -> None:
        self._loop.run_until_complete(self._feed(data))
        assert not self._server._hub.sessions
        assert not list(self._server._hub.groups)

    async def _feed(self, data: bytes) -> None:
        context = self._server._transport_context
        session = context.hub.prepare()
        session.admitted = True
        context.hub.join(session, "a")
        extensions = [PerMessageDeflate(True, True, 15, 15)]
        connection = WebSocketConnection(Transport(), extensions, context)
        connection.start(session, None, b"")
        for piece in pieces(atheris.FuzzedDataProvider(data)):
            connection.data_received(piece)
        await self._server._log.wait_idle()
        connection.connection_lost(None)

    def _failed(self, _loop: object, context: dict[str, object]) -> None:
        raise SystemError(context)


def pieces(data: atheris.FuzzedDataProvider) -> Iterator[bytes]:
    """Bytes as they are, frames that are well-formed, and envelopes that nearly are."""
    while data.remaining_bytes():
        match data.ConsumeIntInRange(0, 3):
            case 0:
                yield data.ConsumeBytes(data.ConsumeIntInRange(1, 64))
            case 1:
                opcode, rsv = data.ConsumeIntInRange(0, 15), data.ConsumeIntInRange(0, 7)
                payload = data.ConsumeBytes(data.ConsumeIntInRange(0, 200))
                yield frame(opcode, payload, fin=data.ConsumeBool(), rsv=rsv)
            case _:
                envelope = {
                    "event": EVENTS[data.ConsumeIntInRange(0, len(EVENTS) - 1)],
                    "ack": data.ConsumeInt(2),
                    "data": {"id": data.ConsumeInt(1), "room": data.ConsumeUnicodeNoSurrogates(4)},
                }
                text = orjson.dumps(envelope)
                yield frame(1, text, fin=data.ConsumeBool())


class _Raise(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise SystemError(self.format(record))


def main() -> None:
    name = sys.argv.pop(1)
    target = {"envelopes": lambda: envelopes, "connection": Connections}[name]()
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
