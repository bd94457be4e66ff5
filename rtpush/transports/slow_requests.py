"""Slow requests: cut connections that send no whole request head for too long."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp.web_protocol import RequestHandler

__all__ = ["SlowRequests"]


class SlowRequests:
    """Cuts connections that have not sent a whole request head for too long (Slowloris).

    aiohttp waits for a first request for ever. An idle kept-alive connection
    is the same to us: one that sends nothing.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # Since when each connection waits, and how many requests it had made by then.
        self._waiting: dict[RequestHandler, tuple[float, int]] = {}

    def tick(self, connections: Iterable[RequestHandler], now: float) -> None:
        """Once a second, with every connection that aiohttp still has."""
        waiting: dict[RequestHandler, tuple[float, int]] = {}
        for handler in connections:
            if handler._request_in_progress or handler.transport is None:
                continue
            requests = handler._request_count
            since, before = self._waiting.get(handler, (now, requests))
            if before != requests:
                since = now
            if now - since > self._seconds:
                handler.transport.abort()
            else:
                waiting[handler] = since, requests
        self._waiting = waiting
