"""Origins: the pages that may speak for their users, and the host names that are served.

Rules that hold here:

- Pure: headers and settings in, decisions out.
- A browser may speak for its user only from our own origin, or from one that
  is listed (cross-site WebSocket hijacking, CORS).
- A host name that is not ours is refused: with a name of its own that leads
  here, a foreign page would be of our origin (DNS rebinding).
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from ..config.settings import Settings
from ..errors import RtpushError
from ..patterns import matches_any
from .addresses import is_loopback
from .callers import Caller

__all__ = ["Origins"]

METHODS: Final = "GET, POST, DELETE"
ALLOWED_HEADERS: Final = "Authorization, Content-Type, Last-Event-ID, Rtpush-Auth"

# A host as RFC 3986, section 3.2.2 has it, and a port. Anything looser lets a name pass
# that another reader of the same header takes for another host: `127.0.0.1:x@evil.example`.
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9A-Za-z._~-]+))(?::[0-9]{0,5})?")


class Origins:
    """Decides from which origins and hosts requests are accepted."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def check_host(self, caller: Caller) -> None:
        """Raises RtpushError (`forbidden`) for a host name that is not ours."""
        name = _host_name(caller.host)
        known = [host.lower() for host in (self._settings.host, *self._settings.allow_hosts)]
        if name and (is_loopback(name) or _is_ip(name) or matches_any(known, name)):
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
        try:
            parts = urlsplit(origin)
        except ValueError:  # brackets that hold no address
            return False
        # A proxy that ends TLS and is not trusted hides the scheme; the host is what
        # tells sites apart.
        default = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
        ours = caller.host.lower()
        return bool(parts.netloc) and ours in (parts.netloc.lower(), parts.netloc.lower() + default)

    def _is_listed(self, origin: str) -> bool:
        return matches_any(self._settings.allow_origins, origin.lower())

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
    """Without a port, and without the brackets of an IPv6 address; empty for no host at all."""
    match = _HOST.fullmatch(host)
    return (match[1] or match[2]).lower().rstrip(".") if match else ""


def _is_ip(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
