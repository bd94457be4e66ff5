"""Where a request comes from: address, host, origin.

Rules that hold here:

- Pure: headers and settings in, decisions out.
- What a proxy says of its client (`X-Forwarded-…`) is believed only from the
  networks in `trusted_proxies`; from anybody else it is somebody's claim.
- A browser may speak for its user only from our own origin, or from one that
  is listed (cross-site WebSocket hijacking, CORS).
- A host name that is not ours is refused: with a name of its own that leads
  here, a foreign page would be of our origin (DNS rebinding).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from ..config.settings import Settings
from ..errors import RtpushError
from ..patterns import matches_any

__all__ = ["Caller", "Origins", "is_loopback"]

METHODS: Final = "GET, POST, DELETE"
ALLOWED_HEADERS: Final = "Authorization, Content-Type, Last-Event-ID"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request: the client's address, and where it says it is going.

    `direct` is false when a proxy stands between that is not trusted.
    """

    address: str
    scheme: str
    host: str
    direct: bool

    @property
    def is_local(self) -> bool:
        """Is it a program of this machine, as far as can be known?"""
        return self.direct and is_loopback(self.address)


def is_loopback(host: str) -> bool:
    """`127.0.0.0/8`, `::1` or `localhost`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class Origins:
    """Decides who may come in from where."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._proxies: list[IPv4Network | IPv6Network] = [
            ip_network(network, strict=False) for network in settings.trusted_proxies
        ]

    def caller(self, peer: str, scheme: str, headers: Mapping[str, str]) -> Caller:
        """Who sends a request that came from `peer`."""
        forwarded = headers.get("X-Forwarded-For")
        host = headers.get("Host", "")
        if forwarded is None:
            return Caller(peer, scheme, host, "Forwarded" not in headers)
        if not self._is_proxy(peer):
            return Caller(peer, scheme, host, False)
        # The last that a trusted proxy did not add itself: what stands before
        # it, the client may have written.
        hops = [hop.strip() for hop in forwarded.split(",")]
        while len(hops) > 1 and self._is_proxy(hops[-1]):
            hops.pop()
        scheme = headers.get("X-Forwarded-Proto", scheme)
        return Caller(hops[-1], scheme, headers.get("X-Forwarded-Host", host), True)

    def _is_proxy(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._proxies)

    def check_host(self, caller: Caller) -> None:
        """Raises RtpushError (`forbidden`) for a host name that is not ours."""
        name = _host_name(caller.host)
        known = (self._settings.host, *self._settings.allow_hosts)
        if is_loopback(name) or _is_ip(name) or matches_any((k.lower() for k in known), name):
            return
        raise RtpushError(
            "forbidden", "This host name is not served here: list it in `allow_hosts`."
        )

    def check_origin(self, origin: str | None, caller: Caller) -> None:
        """Raises RtpushError (`forbidden`). None is no browser, or its own page's GET."""
        if origin is None or self._is_same(origin, caller) or self._is_listed(origin):
            return
        raise RtpushError(
            "forbidden", "Pages of this origin may not come here: list it in `allow_origins`."
        )

    def _is_same(self, origin: str, caller: Caller) -> bool:
        parts = urlsplit(origin)
        # A proxy that ends TLS and is not trusted hides the scheme; the host is what
        # tells sites apart.
        default = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
        ours = caller.host.lower()
        return bool(parts.netloc) and ours in (parts.netloc.lower(), parts.netloc.lower() + default)

    def _is_listed(self, origin: str) -> bool:
        return matches_any(self._settings.allow_origins, origin)

    def cors(self, origin: str | None) -> dict[str, str]:
        """Headers that let a listed page read an answer (Fetch standard, section 3.2)."""
        if not self._settings.allow_origins:
            return {}
        if origin is None or not self._is_listed(origin):
            return {"Vary": "Origin"}
        if "*" in self._settings.allow_origins:
            # Everybody: but then without cookies.
            return {"Access-Control-Allow-Origin": "*"}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Credentials": "true",
            "Vary": "Origin",
        }

    def preflight(self, origin: str | None) -> dict[str, str]:
        """Headers of the answer to an OPTIONS request of a listed page."""
        return self.cors(origin) | {
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Allow-Headers": ALLOWED_HEADERS,
            "Access-Control-Max-Age": "3600",
        }


def _host_name(host: str) -> str:
    """Without a port, and without the brackets of an IPv6 address."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().rstrip(".")


def _is_ip(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
