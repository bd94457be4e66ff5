"""The door: hands what clients send to aiohttp, whoever accepted their connections."""

from __future__ import annotations

import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from ..config.settings import Settings
from .slow_requests import KEPT_SECONDS

__all__ = ["Door"]


class Door:
    """Handles the connections that another program accepts; see Listener for a port of its own."""

    def __init__(self, app: web.Application, settings: Settings) -> None:
        self._settings = settings
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_http_logger(),
            # Our own heartbeats find the dead sooner; a system call less for each connection.
            tcp_keepalive=False,
            # Compressed bodies are refused; what has come of one need not be inflated for it.
            auto_decompress=False,
            keepalive_timeout=KEPT_SECONDS,
            handler_cancellation=True,
            # `close` has waited already.
            shutdown_timeout=0.1,
        )

    @property
    def port(self) -> int:
        """The port in use; that of the settings when there is none."""
        return self._settings.port

    async def start(self) -> None:
        """Be ready for connections."""
        await self._runner.setup()

    @property
    def is_open(self) -> bool:
        """Has it started, and not closed?"""
        return self._runner.server is not None

    def request_handler(self) -> RequestHandler:
        """The protocol of a new connection."""
        assert self._runner.server is not None
        return self._runner.server()

    def tick(self) -> None:
        """Once a second."""

    async def stop_accepting(self) -> None:
        """Take no new connections; those that are open go on."""

    async def close(self, seconds: float) -> None:
        """Wait for the requests that are under way, then end what is left of the connections."""
        if self._runner.server is not None:
            # Kept connections on which no request is under way have nothing to wait for.
            self._runner.server.pre_shutdown()
            # aiohttp waits twice: for the request, and for what its cancellation does.
            await self._runner.server.shutdown(seconds / 2)
        await self._runner.cleanup()


def _http_logger() -> logging.Logger:
    """aiohttp's messages without a traceback for each request that is no HTTP.

    Anybody can send those, as fast as a disk can be filled.
    """
    http = logging.getLogger("rtpush.http")
    http.addFilter(_is_ours)
    return http


def _is_ours(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
