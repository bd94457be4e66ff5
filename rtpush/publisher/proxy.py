"""The proxy to reach a server through, from the environment, as curl and Go read it.

Rules that hold here:

- `HTTP_PROXY` is for `http` addresses, `HTTPS_PROXY` for `https`, in capitals or not;
  `NO_PROXY` lists hosts that are reached without.
- This machine is never reached through a proxy: that would give it our key, and it could
  not connect back.
"""

from __future__ import annotations

from base64 import b64encode
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from ..access.addresses import is_loopback

__all__ = ["Proxy", "find_proxy"]


class Proxy(NamedTuple):
    """An HTTP proxy."""

    url: str
    host: str
    port: int
    # Of `Proxy-Authorization`; empty when the address names no user.
    headers: dict[str, str]


def find_proxy(url: str) -> Proxy | None:
    """The proxy to reach an address through; None: reach it directly.

    Raises ValueError when the environment names something else than an HTTP proxy.
    """
    target = urlsplit(url)
    host = target.hostname or ""
    found = getproxies_environment().get(target.scheme)
    if not found or is_loopback(host):
        return None
    if proxy_bypass(f"{host}:{target.port}" if target.port else host):
        return None
    return _parse(found if "://" in found else f"http://{found}", target.scheme)


def _parse(url: str, scheme: str) -> Proxy:
    try:
        parts = urlsplit(url)
        if parts.scheme == "http" and parts.hostname:
            return Proxy(url, parts.hostname, parts.port or 80, _authorization(parts.netloc))
    except ValueError:  # a bad port
        pass
    # The address may hold a password.
    raise ValueError(f"{scheme.upper()}_PROXY is not an address like http://proxy.example:3128")


def _authorization(netloc: str) -> dict[str, str]:
    user, found, _ = netloc.rpartition("@")
    if not found:
        return {}
    encoded = b64encode(unquote(user).encode()).decode()
    return {"Proxy-Authorization": f"Basic {encoded}"}
