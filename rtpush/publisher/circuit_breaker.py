"""A circuit breaker: give up events at once while the server is away."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from .request import Outcome, is_retryable

__all__ = ["CircuitBreaker"]

# Seconds without another request after one that found the server away.
_OPEN_FOR: Final = 1.0


class CircuitBreaker:
    """Decides whether to try a request, and counts the events that were given up."""

    def __init__(self) -> None:
        # Events that were given up.
        self.dropped = 0
        self._open_until = 0.0

    def rejects(self, count: int) -> bool:
        """Whether the server was away a moment ago; counts `count` events as given up."""
        if time.monotonic() >= self._open_until:
            return False
        self.dropped += count
        return True

    def settle(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Give up the events that the server could not take now: their outcome is None."""
        late = sum(map(is_retryable, outcomes))
        if late:
            self._open_until = time.monotonic() + _OPEN_FOR
            self.dropped += late
        return [None if is_retryable(outcome) else outcome for outcome in outcomes]
