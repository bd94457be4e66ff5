"""Whom a client talks to, and how.

Rules that hold here:

- An address and a token that are not given come from the environment, as for
  everything else that talks to a server.
- The token is asked for before each attempt: it may have expired meanwhile.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from ..publisher.request import resolve_server
from .fallback import Pauses

__all__ = ["Auth", "Target", "address_of", "new_session"]

# A token, `{"token": …}`, or a function that gives one and is asked before each attempt.
Auth = str | Mapping[str, Any] | Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Target:
    """See the module's rules.

    `timeout` is for one attempt, in seconds; after `attempts` in vain (None: no
    end) it is given up. `rooms` have the token that they are entered with.
    """

    http: aiohttp.ClientSession
    base: URL
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    auth: Auth | None
    transports: Sequence[str]
    timeout: float
    attempts: int | None
    pauses: Pauses
    rooms: Mapping[str, str | None]

    @property
    def renewable(self) -> bool:
        """May another token be had?"""
        return callable(self.auth)

    async def token(self) -> str | None:
        """The one to come with now. Raises what the application's function raises."""
        found: Any = self.auth() if callable(self.auth) else self.auth
        if inspect.isawaitable(found):
            found = await found
        token = found.get("token") if isinstance(found, Mapping) else found
        return None if token is None else str(token)


def address_of(url: str | None, path: str) -> tuple[URL, Sequence[tuple[str, str]], str | None]:
    """Where the server is mounted, what to add to each query, and the environment's token.

    `path` is where it is mounted when `url` does not say it. Raises ValueError for
    what is no address.
    """
    if url is not None and url.startswith(("ws://", "wss://")):
        url = f"http{url[2:]}"
    address, key = resolve_server(url, None)
    base = URL(address)
    query = list(base.query.items())
    base = base.with_query(None)
    says_it = base.path != "/" or not path.strip("/")
    return base if says_it else base.joinpath(path.strip("/")), query, key


def new_session(ssl_verify: bool) -> aiohttp.ClientSession:
    """Connections without limits of their own: reads that wait must not hold up what is said."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=ssl_verify),
        timeout=aiohttp.ClientTimeout(total=None),
    )
