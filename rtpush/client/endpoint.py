"""The endpoint of a client: the server's address, the token, and how to connect.

Rules that hold here:

- An address and a token that are not given come from the environment, as in
  every other part of rtpush that connects to a server.
- The client asks for the token before each attempt: the last one may have expired.
"""

from __future__ import annotations

import inspect
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from yarl import URL

from ..publisher.backoff import Backoff
from ..publisher.proxy import find_proxy
from ..publisher.request import clean_key, resolve_server

__all__ = [
    "Auth",
    "Endpoint",
    "check_headers",
    "identity_of",
    "new_http_session",
    "resolve_address",
]

# A token; what the server's `connect` handler gets as `auth`, in which `token` is one; or a
# function that returns either, called before each attempt.
Auth = str | Mapping[str, Any] | Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a client connects, and how."""

    http: aiohttp.ClientSession
    # Whether the client made `http`, and so has to close it.
    owns_http: bool
    # Where the server is mounted.
    base: URL
    # Query parameters of the application, added to each opening.
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    # None: without a token.
    auth: Auth | None
    # Names, best first.
    transports: Sequence[str]
    # Seconds for one attempt.
    timeout: float
    # Failed attempts in a row after which the client gives up; None: never.
    attempts: int | None
    # Between attempts.
    backoff: Backoff
    # The rooms to be in, and the token of each; None: the client's own is enough.
    rooms: Mapping[str, str | None]

    @property
    def can_renew_token(self) -> bool:
        """Whether the application can give another token."""
        return callable(self.auth)

    async def credentials(self) -> dict[str, str]:
        """The headers with what `auth` gives for the next attempt.

        Raises what the application's function raises, TypeError when it is no JSON, and
        ValueError when a token cannot be sent in a header.
        """
        found: Any = self.auth() if callable(self.auth) else self.auth
        if inspect.isawaitable(found):
            found = await found
        return _auth_headers(found)


def check_headers(headers: Mapping[str, str], auth: Auth | None) -> None:
    """Raises ValueError when one of the headers, or a given token, cannot be sent."""
    for name, value in headers.items():
        if not str(value).isprintable():
            raise ValueError(f"the header {name} is no single line; is there a newline in it?")
    if auth is not None and not callable(auth):
        _auth_headers(auth)


def identity_of(headers: Mapping[str, str]) -> str:
    """The user that credentials name.

    That is the subject of the token, or the token itself where it is no JWT, and the rest of
    `auth`.
    """
    token = headers.get("Authorization", "")
    try:
        payload = token.split(".")[1]
        claims = orjson.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        token = repr(claims.get("sub"))
    except (ValueError, LookupError, AttributeError):
        # It is no JWT.
        pass
    return f"{token}\n{headers.get('Rtpush-Auth', '')}"


def _auth_headers(auth: Any) -> dict[str, str]:
    rest = dict(auth) if isinstance(auth, Mapping) else {"token": auth}
    token = rest.pop("token", None)
    headers = {} if token is None else {"Authorization": f"Bearer {clean_key(str(token))}"}
    if rest:
        encoded = urlsafe_b64encode(orjson.dumps(rest)).rstrip(b"=")
        headers["Rtpush-Auth"] = encoded.decode()
    return headers


def resolve_address(
    url: str | None, path: str
) -> tuple[URL, Sequence[tuple[str, str]], str | None]:
    """Where the server is mounted, the query of `url`, and the token of the environment.

    `path` is where it is mounted when `url` has no path. Raises ValueError when
    `url` is not an address.
    """
    if url is not None and url.startswith(("ws://", "wss://")):
        url = f"http{url[2:]}"
    address, key = resolve_server(url, None)
    base = URL(address)
    query = list(base.query.items())
    base = base.with_query(None)
    has_path = base.path != "/" or not path.strip("/")
    return base if has_path else base.joinpath(path.strip("/")), query, key


def new_http_session(base: URL, ssl_verify: bool) -> aiohttp.ClientSession:
    """An HTTP session without limits: a long-poll that waits must not delay a POST.

    Raises ValueError when the environment names a proxy that cannot be used.
    """
    proxy = find_proxy(str(base))
    return aiohttp.ClientSession(
        proxy=None if proxy is None else proxy.url,
        connector=aiohttp.TCPConnector(limit=0, ssl=ssl_verify),
        timeout=aiohttp.ClientTimeout(total=None),
    )
