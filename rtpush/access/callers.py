"""Callers: the client that a request comes from, through proxies or not.

Rules that hold here:

- Pure: headers and settings in, a `Caller` out.
- A proxy's word on its client (`X-Forwarded-For`, `-Proto`) counts only from the networks
  in `trusted_proxies`; anybody can write such a header. A header that is sent twice is one
  list (RFC 9110, section 5.3), read from the right: each proxy appends to what it was given.
- `X-Forwarded-Host` is never believed: proxies pass a client's own on unless they are told
  not to, and it would void the check of host names. A proxy passes `Host` on instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, Protocol
from urllib.parse import urlsplit

from ..config.settings import Settings
from ..errors import RtpushError
from .addresses import is_loopback

__all__ = ["Caller", "Callers", "is_private"]

# Headers that proxies and content delivery networks add: a request that carries one has
# not come straight from its client.
PROXY_HEADERS: Final = frozenset(
    {"forwarded", "via", "x-real-ip", "true-client-ip", "x-client-ip", "x-cluster-client-ip"}
)
PROXY_PREFIXES: Final = (
    "x-forwarded",
    "x-original-",
    "x-envoy-",
    "x-amz",
    "x-azure-",
    "x-cloud-",
    "x-appengine-",
    "cf-",
    "fastly-",
    "fly-",
)

# `203.0.113.9:4711` and `[2001:db8::7]:4711`: some balancers add the port.
_WITH_PORT: Final = re.compile(r"\[([^\]]+)\](?::\d{1,5})?|([^:]+):\d{1,5}")


class Headers(Protocol):
    """The headers of a request; names in any case."""

    def get(self, name: str, default: str, /) -> str: ...

    def getall(self, name: str, default: Sequence[str], /) -> Sequence[str]: ...

    def keys(self) -> Iterable[str]: ...


@dataclass(frozen=True, slots=True)
class Caller:
    """The client that sent a request, and the host that it meant.

    `direct` is false when there is any sign of a proxy in the request, trusted or not.
    """

    address: str
    scheme: str
    host: str
    direct: bool

    @property
    def is_local(self) -> bool:
        """Is the client a program of this machine, as far as can be known?"""
        return self.direct and is_loopback(self.address)


class Callers:
    """Finds out which address a request comes from."""

    def __init__(self, settings: Settings) -> None:
        self._proxies: list[IPv4Network | IPv6Network] = [
            ip_network(network, strict=False) for network in settings.trusted_proxies
        ]

    def of(
        self, peer: str, scheme: str, target: str, version: tuple[int, int], headers: Headers
    ) -> Caller:
        """The caller of a request.

        Args:
            peer: The address at the other end of the connection.
            scheme: `http` or `https`, as the connection is.
            target: The request line's target as it was sent.
            version: The request's HTTP version.
            headers: Its headers, all lines of each.

        Raises:
            RtpushError: It names its host more than once (`bad_request`).
        """
        host = _host(target, headers)
        direct = version >= (1, 1) and not _has_proxy_header(headers)
        if not self._is_proxy(peer):
            return Caller(peer, scheme, host, direct)
        forwarded = _list(headers, "X-Forwarded-For")
        scheme = next(reversed(_list(headers, "X-Forwarded-Proto")), scheme).lower()
        return Caller(self._client(peer, forwarded), scheme, host, direct)

    def _client(self, peer: str, hops: Sequence[str]) -> str:
        """The last hop that a trusted proxy named and that is none itself.

        The client may have written all that stands before it.
        """
        address = peer
        for hop in reversed(hops):
            parsed = _address(hop)
            if parsed is None:
                break
            address = parsed
            if not self._is_proxy(address):
                break
        return address

    def is_shared(self, address: str) -> bool:
        """Do many clients connect from this address? A proxy, or this machine's own."""
        return is_loopback(address) or self._is_proxy(address)

    def _is_proxy(self, address: str) -> bool:
        if not self._proxies:
            return False
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._proxies)


def _host(target: str, headers: Headers) -> str:
    hosts = headers.getall("Host", ())
    if len(hosts) > 1:
        raise RtpushError("bad_request", "The request names its host more than once.")
    if not target.startswith(("/", "*")):
        # RFC 9112, section 3.2.2: the authority of an absolute address wins.
        return urlsplit(target).netloc
    return hosts[0] if hosts else ""


def _list(headers: Headers, name: str) -> list[str]:
    """The items of a list header: all its lines, joined."""
    items = (item.strip() for line in headers.getall(name, ()) for item in line.split(","))
    return [item for item in items if item]


def _has_proxy_header(headers: Headers) -> bool:
    names = (name.lower() for name in headers.keys())  # noqa: SIM118  # a multidict's pairs
    return any(name in PROXY_HEADERS or name.startswith(PROXY_PREFIXES) for name in names)


def _address(hop: str) -> str | None:
    """The IP address of a hop, without a port; None for a name, `unknown` and the like."""
    match = _WITH_PORT.fullmatch(hop)
    try:
        return str(ip_address((match[1] or match[2]) if match else hop))
    except ValueError:
        return None


def is_private(settings: Settings) -> bool:
    """Is the server meant for programs of its own machine alone?

    Any setting that lets others in says that it is not, so that a proxy which leaves no
    sign in a request does not make a stranger a program of this machine.
    """
    shared = (settings.allow_hosts, settings.trusted_proxies, settings.auth_secret)
    return is_loopback(settings.host) and not any((*shared, settings.auth_keys, settings.tls_cert))
