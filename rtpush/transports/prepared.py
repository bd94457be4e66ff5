"""Prepared connect requests: `POST /session`, for what is too long for an address.

Rules that hold here:

- What is prepared is kept for one connection, and not for long. Nobody is admitted by it: the
  connection that names it is, as if all of it stood in its address.
- It counts as it was sent, in a budget with a share for each address and each subject.
- The name shows that something is prepared, so that no other `sid` is asked about elsewhere.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any, Final

from ..access.rate_limits import MemoryBudget, Owners
from ..errors import RtpushError
from ..protocol import load_json
from ..sessions.rewind import RewindSpec
from .connect_request import ConnectRequest

__all__ = ["MAX_PREPARED", "PreparedRequests", "is_prepared", "parse_prepared"]

# Bytes of one: a hundred names of the longest kind, each character escaped.
MAX_PREPARED: Final = 256 << 10
# Seconds that a client has to connect.
LEASE: Final = 60.0
# Bytes of all, and of one address or subject.
TOTAL: Final = 16 << 20
SHARE: Final = 2 << 20
# What each costs beyond its bytes.
OVERHEAD: Final = 512
PREFIX: Final = "prepared."


def is_prepared(sid: str | None) -> bool:
    """Is this the name of something prepared, and not a session's?"""
    return sid is not None and sid.startswith(PREFIX)


def parse_prepared(body: bytes | str) -> ConnectRequest:
    """A connect request as JSON. Raises RtpushError (`bad_request`, `too_large`)."""
    try:
        asked = load_json(body)
    except RtpushError as error:
        raise error if error.code == "too_large" else _malformed() from None
    if not isinstance(asked, dict):
        raise _malformed()
    rooms, conflate = asked.get("rooms", []), asked.get("conflate", True)
    texts = [*rooms, *_texts(asked)] if isinstance(rooms, list) else [None]
    if not all(isinstance(text, str) for text in texts) or not isinstance(conflate, bool):
        raise _malformed()
    rewind = asked.get("rewind")
    return ConnectRequest(
        rooms,
        asked.get("last"),
        conflate,
        asked.get("sid"),
        None if rewind is None else RewindSpec.parse(rewind),
    )


def _texts(asked: dict[str, Any]) -> list[Any]:
    return [asked[name] for name in ("last", "sid") if asked.get(name) is not None]


def _malformed() -> RtpushError:
    return RtpushError(
        "bad_request",
        'A session is prepared by one JSON object: {"rooms": ["…"]}, with "last", "sid", '
        '"rewind" and "conflate" (true or false) as far as they are needed.',
    )


class PreparedRequests:
    """The requests that wait for their connections, by name."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._budget = MemoryBudget(TOTAL, SHARE)
        # Until when, for whose account, and the JSON; ordered by time.
        self._waiting: dict[str, tuple[float, Owners, bytes]] = {}

    def add(self, body: bytes, owners: Owners) -> str:
        """Keep a request; returns its name. Raises RtpushError (`rate_limited`)."""
        self._forget_expired()
        if not self._budget.take(owners, len(body) + OVERHEAD):
            raise RtpushError(
                "rate_limited",
                "Too many prepared sessions wait for their connections; try again later.",
                LEASE,
            )
        name = PREFIX + secrets.token_urlsafe(16)
        self._waiting[name] = self._clock() + LEASE, owners, body
        return name

    def take(self, name: str) -> bytes | None:
        """The request of this name, which is forgotten by it; None when there is none."""
        self._forget_expired()
        _, owners, body = self._waiting.pop(name, (0.0, (), None))
        if body is not None:
            self._budget.give_back(owners, len(body) + OVERHEAD)
        return body

    def _forget_expired(self) -> None:
        while self._waiting:
            name, (until, owners, body) = next(iter(self._waiting.items()))
            if until > self._clock():
                return
            del self._waiting[name]
            self._budget.give_back(owners, len(body) + OVERHEAD)
