"""Held memory: what one WebSocket makes the server hold, out of the budget of all clients."""

from __future__ import annotations

from typing import Final

from ..access.rate_limits import MemoryBudget, owners_of
from ..sessions.session import Session

__all__ = ["UNCHARGED", "HeldMemory"]

# Bytes of unfinished messages that count against nobody's share of memory: a message
# that TCP cuts in two is no attack.
UNCHARGED: Final = 4 << 10


class HeldMemory:
    """The bytes of one connection that count: unfinished messages, and larger envelopes."""

    __slots__ = ("_budget", "_owners", "_unread")

    def __init__(self, budget: MemoryBudget, session: Session) -> None:
        self._budget = budget
        self._owners = owners_of(session.address, session.grant.key_scope)
        # Bytes that were received and not handled, as far as they count.
        self._unread = 0

    def set_unread(self, size: int) -> bool:
        """So many bytes were received and not handled; is there room for them?"""
        counted = size if size > UNCHARGED else 0
        more = counted - self._unread
        if more > 0 and not self._budget.take(self._owners, more):
            return False
        if more < 0:
            self._budget.give_back(self._owners, -more)
        self._unread = counted
        return True

    def take(self, size: int) -> bool:
        """Is there room for an envelope, until it is answered?"""
        return self._budget.take(self._owners, size)

    def give_back(self, size: int) -> None:
        """An envelope is answered."""
        self._budget.give_back(self._owners, size)
