"""Addresses: this machine's own, and what limits count by."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

__all__ = ["is_loopback", "rate_limit_address"]


# To parse an address takes 2 µs, and several checks of a request ask. A name may be as long as
# a header, 8 KiB.
_remembered: Final = lru_cache(maxsize=1024)


@_remembered
def is_loopback(host: str) -> bool:
    """`127.0.0.0/8`, `::1` or `localhost`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@_remembered
def rate_limit_address(address: str) -> str:
    """The address that limits count by: an IPv6 client has at least a /64 to itself."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed, 64), strict=False))
