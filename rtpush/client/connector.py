"""Open a transport: token, fallback, and the `connect` envelope.

Rules that hold here:

- A transport is open when its `connect` envelope has arrived in time. Nothing else
  counts, because a proxy may accept a connection and then swallow what is sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from .endpoint import Endpoint, identity_of
from .fallback import TRANSPORTS, Fallback
from .http_transports import LongPollTransport, SseTransport
from .transports import Received, Transport, TransportClosed, TransportContext
from .websocket_transport import WebSocketTransport

__all__ = ["FALLBACK_TIMEOUT", "Connector"]

logger = logging.getLogger("rtpush.client")

# Seconds for a transport to connect while there is another one to try.
FALLBACK_TIMEOUT: float = 4.0
# No log has this position: the server refuses it in an envelope, which shows that
# envelopes arrive.
_NO_POSITION: Final = {"last": "-"}

_TRANSPORTS: Final[Mapping[str, type[Transport]]] = {
    "websocket": WebSocketTransport,
    "sse": SseTransport,
    "poll": LongPollTransport,
}


class Connector:
    """Opens the transports of one connection."""

    def __init__(
        self,
        endpoint: Endpoint,
        resume: Callable[[], dict[str, str]],
        max_idle: Callable[[], float | None],
        opened: Callable[[str, Transport, Received], None],
        identified: Callable[[str], None],
    ) -> None:
        """`resume` gives the query parameters that resume the session, and `max_idle` the
        seconds that a proxy lets a connection be idle; None: for ever.

        `opened` is called with the name of a transport that is open, the transport,
        and what arrived with `connect`. It may raise TransportClosed. `identified` is called
        before each attempt, with the user that the credentials name.
        """
        self._endpoint = endpoint
        self._resume = resume
        self._max_idle = max_idle
        self._opened = opened
        self._identified = identified
        self._fallback = Fallback(endpoint.transports)
        self._headers: Mapping[str, str] = {}

    @property
    def can_upgrade(self) -> bool:
        """Whether WebSocket is allowed, so that another transport may be left for it."""
        return TRANSPORTS[0] in self._endpoint.transports

    async def connect(self) -> Transport:
        """Open one of the transports. Raises TransportClosed, of the last one tried."""
        await self._renew_credentials()
        names = self._fallback.order()
        for name in names[:-1]:
            try:
                return await self._open(name, min(FALLBACK_TIMEOUT, self._endpoint.timeout))
            except TransportClosed as closed:
                if closed.is_final or self._fallback.waits_for(name, timed_out=closed.timed_out):
                    raise
                logger.debug("%s does not work: %s", name, closed)
        return await self._open(names[-1], self._endpoint.timeout)

    async def _renew_credentials(self) -> None:
        try:
            async with asyncio.timeout(self._endpoint.timeout):
                credentials = await self._endpoint.credentials()
        except Exception as exc:
            logger.exception("the function that gives `auth` failed")
            why = str(exc) or type(exc).__name__
            raise TransportClosed(1006, f"auth failed: {why}") from exc
        self._headers = {**self._endpoint.headers, **credentials}
        self._identified(identity_of(self._headers))

    async def _open(self, name: str, timeout: float) -> Transport:
        """Raises TransportClosed. `timeout` is in seconds."""
        transport = self._new(name, self._resume, self._endpoint.rooms)
        try:
            first = await _receive_connect(transport, timeout)
            self._fallback.connected(name)
            self._opened(name, transport, first)
        except BaseException as exc:
            await transport.close()
            if isinstance(exc, TimeoutError):
                raise TransportClosed(
                    1006, f"{name}: no connect envelope in time", timed_out=True
                ) from None
            raise
        return transport

    async def open_websocket(self) -> Transport:
        """Open a WebSocket while another transport works. Raises TransportClosed."""
        return await self._open(TRANSPORTS[0], FALLBACK_TIMEOUT)

    async def probe_websocket(self) -> None:
        """Test whether envelopes arrive over a WebSocket, without a session.

        With the session, the server would end the transport that works, also when
        its answers never arrive. Raises TransportClosed.
        """
        transport = self._new(TRANSPORTS[0], lambda: _NO_POSITION, {})
        try:
            await _receive_connect(transport, FALLBACK_TIMEOUT)
        except TimeoutError:
            raise TransportClosed(1006, "no envelope in time") from None
        except TransportClosed as closed:
            if closed.code < 4000:
                raise
        finally:
            await transport.close()

    def _new(
        self, name: str, resume: Callable[[], dict[str, str]], rooms: Mapping[str, str | None]
    ) -> Transport:
        endpoint = self._endpoint
        context = TransportContext(
            endpoint.http,
            endpoint.base,
            endpoint.query,
            rooms,
            self._headers,
            resume,
            self._max_idle,
        )
        return _TRANSPORTS[name](context)


async def _receive_connect(transport: Transport, timeout: float) -> Received:
    """What arrives with `connect`.

    Raises TransportClosed, with the server's reason, and TimeoutError when nothing arrives for
    `timeout` seconds.
    """
    error: Any = None
    try:
        while True:
            async with asyncio.timeout(timeout):
                received = await transport.receive()
            for envelope in received.envelopes:
                if envelope.get("event") == "connect":
                    return received
                if envelope.get("event") == "error":
                    # It comes before a close, which has no room for a message.
                    error = envelope.get("data")
    except TransportClosed as closed:
        if not isinstance(error, dict):
            raise
        raise TransportClosed(
            closed.code, str(error.get("message")), error.get("retry_after")
        ) from closed
