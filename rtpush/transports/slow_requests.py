"""Slow requests: cut connections that send no whole request head for too long, or are too many."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from aiohttp.web_protocol import RequestHandler

from ..access.addresses import rate_limit_address

__all__ = ["SlowRequests"]


class SlowRequests:
    """Cuts connections that wait for a request head (Slowloris).

    aiohttp waits for a first request for ever. An idle kept-alive connection
    is the same to us: one that sends nothing. Each takes a descriptor, and without
    descriptors nobody gets in: an address has `share` of them. `is_shared` tells the
    addresses that others connect through, which have no share of their own.
    """

    def __init__(self, seconds: float, share: int, is_shared: Callable[[str], bool]) -> None:
        self._seconds = seconds
        self._share = share
        self._is_shared = is_shared
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
        self._cut_beyond_share()

    def _cut_beyond_share(self) -> None:
        """Cut those that wait longest of an address that has too many."""
        if len(self._waiting) <= self._share:
            return
        by_address = defaultdict(list)
        for handler, (since, _) in self._waiting.items():
            address = _address_of(handler)
            if not self._is_shared(address):
                by_address[rate_limit_address(address)].append((since, handler))
        for found in by_address.values():
            found.sort(key=lambda one: one[0], reverse=True)
            for _, handler in found[self._share :]:
                if handler.transport is not None:
                    handler.transport.abort()


def _address_of(handler: RequestHandler) -> str:
    peer = handler.transport.get_extra_info("peername") if handler.transport else None
    return str(peer[0]) if isinstance(peer, tuple) else ""
