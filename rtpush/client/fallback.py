"""Which transports to try, and how long to wait before the next attempt.

Rules that hold here:

- A transport is judged by what it does: it works when its `connect` envelope
  has come.
- The one that worked last comes first. When it is refused it gets two attempts to
  itself: a server that restarts is no reason to leave WebSocket. When it is not
  answered at all, something on the way swallows it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["TRANSPORTS", "Ladder", "Pauses", "transports_of"]

# Best first.
TRANSPORTS: Final = ("websocket", "sse", "poll")
_ALONE: Final = 2


def transports_of(names: Iterable[str] | str | None) -> Sequence[str]:
    """Transports by name, best first; what Socket.IO calls `polling` is the last two.

    Raises ValueError when none of the names is one.
    """
    if names is None:
        return TRANSPORTS
    wanted = {names} if isinstance(names, str) else set(names)
    if "polling" in wanted:
        wanted |= {"sse", "poll"}
    found = [transport for transport in TRANSPORTS if transport in wanted]
    if not found:
        raise ValueError(f"none of the transports {sorted(wanted)} is one of {TRANSPORTS}")
    return found


@dataclass(frozen=True, slots=True)
class Pauses:
    """Seconds between attempts: doubled from `first` to `longest`, and jittered as in Socket.IO.

    Clients that lost the same server must not come back as one wave.
    """

    first: float = 1.0
    longest: float = 5.0
    jitter: float = 0.5

    def before(self, attempt: int) -> float:
        """The pause before an attempt, counted from 0."""
        pause = min(self.first * 2.0 ** min(attempt, 30), self.longest)
        return pause * random.uniform(1 - self.jitter, 1 + self.jitter)


class Ladder:
    """The order in which transports are tried."""

    def __init__(self, transports: Sequence[str]) -> None:
        self._transports = transports
        self._worked: str | None = None
        self._alone = 0

    def next(self) -> Sequence[str]:
        """What an attempt tries, in this order."""
        return sorted(self._transports, key=lambda one: one != self._worked)

    def waits_for(self, transport: str, *, silent: bool) -> bool:
        """Now that this one has failed, is the next attempt to be its own again?

        `silent`: it was not answered at all.
        """
        if transport != self._worked or silent:
            return False
        self._alone -= 1
        return self._alone >= 0

    def succeeded(self, transport: str) -> None:
        """This one has just connected."""
        self._worked, self._alone = transport, _ALONE
