"""Transport fallback: which transports to try, and in which order.

Rules that hold here:

- The client judges a transport by what it does: it works when its `connect`
  envelope has arrived.
- An attempt tries one transport after the other. The one that connected last
  comes first. When it is refused, it gets two attempts without fallback: a server
  that restarts is no reason to leave WebSocket. When it times out, the client
  falls back at once: a proxy swallows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

__all__ = ["TRANSPORTS", "Fallback", "select_transports"]

# Best first.
TRANSPORTS: Final = ("websocket", "sse", "poll")
_ATTEMPTS_WITHOUT_FALLBACK: Final = 2


def select_transports(names: Iterable[str] | str | None) -> Sequence[str]:
    """Transports by name, best first; None: all. Socket.IO's `polling` is the last two.

    Raises ValueError when none of the names is a transport.
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


class Fallback:
    """Decides which transports an attempt tries."""

    def __init__(self, transports: Sequence[str]) -> None:
        """`transports`: the names that are allowed, best first."""
        self._transports = transports
        # The transport that connected last; None before the first.
        self._worked: str | None = None
        self._attempts_left = 0

    def order(self) -> Sequence[str]:
        """The transports that the next attempt tries, in this order."""
        return sorted(self._transports, key=lambda name: name != self._worked)

    def waits_for(self, name: str, *, timed_out: bool) -> bool:
        """Whether the attempt ends with this failed transport, instead of falling back.

        `timed_out`: the server did not answer at all.
        """
        if name != self._worked or timed_out:
            return False
        self._attempts_left -= 1
        return self._attempts_left >= 0

    def connected(self, name: str) -> None:
        """This transport has just connected."""
        self._worked, self._attempts_left = name, _ATTEMPTS_WITHOUT_FALLBACK
