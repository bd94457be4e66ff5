"""Slow requests: cut connections that send no whole request head for too long, or are too many.

Rules that hold here:

- A connection that made a request is kept open longer than a new one, for the next: balancers
  keep theirs for 60 s, and one that the server ends first costs them a failed request.
- An attacker can make such connections cheaply, so only so many stay for longer.
- When files run short, new connections take the place of old ones that wait: one of them may be
  the probe that finds out whether the server lives. The addresses with the most give first.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Final

from aiohttp.web_protocol import RequestHandler

from ..access.addresses import rate_limit_address
from ..unix import files_run_short

__all__ = ["KEPT_SECONDS", "SlowRequests"]

logger = logging.getLogger("rtpush.server")

# How long a connection is kept for its next request. nginx and Amazon's balancers keep
# theirs for 60 s.
KEPT_SECONDS: Final = 75.0
# Connections that are kept for longer than they may take for a first request. Each takes
# some 20 KB.
MAX_KEPT = 1000

# When files run short, so many connections are cut at once, or this share of those that wait:
# to look at all of them for each one that comes would be a second attack.
GIVE_WAY: Final = 16
GIVE_WAY_SHARE: Final = 50
# Seconds between two lines that say so.
TELL_AGAIN: Final = 60.0


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
        self._told = -TELL_AGAIN

    def accepted(self, handler: RequestHandler, descriptor: int, now: float) -> None:
        """A connection has come. When files run short, others that wait give way."""
        self._waiting[handler] = now, 0
        if not files_run_short(descriptor):
            return
        if now - self._told >= TELL_AGAIN:
            self._told = now
            logger.warning(
                "files run short: connections that send no request are cut; raise the limit "
                "(ulimit -n, LimitNOFILE), or find out where they come from"
            )
        for victim in self._giving_way():
            if victim.transport is not None:
                victim.transport.abort()

    def _giving_way(self) -> list[RequestHandler]:
        """Of the addresses with the most, the oldest."""
        waiting = [
            handler
            for handler in self._waiting
            if handler.transport is not None
            and not handler.transport.is_closing()
            and not handler._request_in_progress
        ]
        # How many newer ones each has from its address.
        newer: Counter[str] = Counter()
        ranked = []
        for handler in reversed(waiting):
            address = _address_of(handler)
            network = rate_limit_address(address)
            ranked.append((newer[network], handler))
            newer[network] += not self._is_shared(address)
        ranked.reverse()
        ranked.sort(key=lambda one: one[0], reverse=True)
        count = max(GIVE_WAY, len(waiting) // GIVE_WAY_SHARE)
        return [handler for _, handler in ranked[: min(count, len(waiting) - 1)]]

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
