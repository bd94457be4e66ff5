"""Slow requests: cut connections that send no whole request head for too long, or are too many.

Rules that hold here:

- A connection that made a request is kept open longer than a new one, for the next: balancers
  keep theirs for 60 s, and one that the server ends first costs them a failed request.
- An attacker can make such connections cheaply, so only so many stay for longer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final

from aiohttp.web_protocol import RequestHandler

from ..access.addresses import rate_limit_address

__all__ = ["KEPT_SECONDS", "SlowRequests"]

# How long a connection is kept for its next request. nginx and Amazon's balancers keep
# theirs for 60 s.
KEPT_SECONDS: Final = 75.0
# Connections that are kept for longer than they may take for a first request. Each takes
# some 20 KB.
MAX_KEPT = 1000


class SlowRequests:
    """Cuts connections that wait for a request head (Slowloris).

    aiohttp waits for a first request for ever. Each takes a descriptor, and without
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
            if now - since > (KEPT_SECONDS if requests else self._seconds):
                handler.transport.abort()
            else:
                waiting[handler] = since, requests
        self._waiting = waiting
        self._cut_beyond_share()
        self._cut_kept(now)

    def _cut_kept(self, now: float) -> None:
        """Cut those that are kept for longest, beyond how many may be."""
        kept = [
            (since, handler)
            for handler, (since, _) in self._waiting.items()
            if now - since > self._seconds
        ]
        kept.sort(key=lambda one: one[0], reverse=True)
        for _, handler in kept[MAX_KEPT:]:
            if handler.transport is not None:
                handler.transport.abort()

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
