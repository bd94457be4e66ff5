"""The listener: a port, plain or with TLS, whose connections aiohttp accepts."""

from __future__ import annotations

import logging
import time
from asyncio import Transport
from collections.abc import Iterator, Sequence
from socket import socket
from ssl import SSLContext
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from ..access.callers import Callers
from ..access.tls import TlsError, load_certificate, make_context
from ..config.settings import Settings
from .door import Door
from .slow_requests import SlowRequests

__all__ = ["BACKLOG", "Listener"]

logger = logging.getLogger("rtpush.server")

# Connections that the kernel holds while the loop is busy: a crowd that
# reconnects at once must not be turned away.
BACKLOG: Final = 4096


class Listener(Door):
    """Listens where the settings say, or on `sockets` that are bound already."""

    def __init__(
        self, app: web.Application, settings: Settings, sockets: Sequence[socket] | None
    ) -> None:
        super().__init__(app, settings)
        self._sockets = sockets
        self._tls: SSLContext | None = None
        self._slow_requests = SlowRequests(
            settings.request_timeout, settings.max_per_address, Callers(settings).is_shared
        )

    @property
    def port(self) -> int:
        """The port in use; before `start` the one of the settings."""
        addresses = self._runner.addresses
        return addresses[0][1] if addresses else self._settings.port

    async def start(self) -> None:
        """Listen. Raises TlsError, and OSError when the address cannot be used."""
        await super().start()
        self._watch_connections()
        self._tls = make_context(self._settings)
        for site in self._sites():
            await site.start()

    def _watch_connections(self) -> None:
        server = self._runner.server
        assert server is not None
        made = server.connection_made

        def connection_made(handler: RequestHandler, transport: Transport) -> None:
            made(handler, transport)
            descriptor = transport.get_extra_info("socket").fileno()
            self._slow_requests.accepted(handler, descriptor, time.monotonic())

        # aiohttp has no other place at which a connection is known before its request.
        server.connection_made = connection_made  # type: ignore[method-assign]

    def _sites(self) -> Iterator[web.BaseSite]:
        if self._sockets is None:
            host, port = self._settings.host, self._settings.port
            yield web.TCPSite(self._runner, host, port, backlog=BACKLOG, ssl_context=self._tls)
            return
        for sock in self._sockets:
            yield web.SockSite(self._runner, sock, backlog=BACKLOG, ssl_context=self._tls)

    def tick(self) -> None:
        """Once a second: cut connections that send no request, or are too many."""
        if self._runner.server is not None:
            self._slow_requests.tick(self._runner.server.connections, time.monotonic())

    def reload_certificate(self) -> None:
        """Read the certificate again; connections that are open go on with the old one."""
        if self._tls is None:
            logger.info("there is no certificate to read again")
            return
        try:
            load_certificate(self._tls, self._settings)
        except TlsError as exc:
            logger.error("the certificate is kept: %s", exc)
        else:
            logger.info("the certificate was read again")

    async def stop_accepting(self) -> None:
        """Take no new connections; those that are open go on."""
        for site in list(self._runner.sites):
            await site.stop()
