"""Exponential backoff with jitter: the delay before each further attempt."""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["Backoff"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that double from `first` to `longest`, and vary by chance.

    Clients that lost the same server must not come back as one wave.
    """

    # Seconds before the second attempt.
    first: float = 1.0
    # Seconds that a delay doubles up to.
    longest: float = 5.0
    # The share of a delay that chance adds or takes away, as Socket.IO's randomization factor.
    jitter: float = 0.5

    def delay(self, attempt: int) -> float:
        """Seconds to wait after an attempt, counted from 0, has failed."""
        delay = min(self.first * 2.0 ** min(attempt, 30), self.longest)
        return delay * random.uniform(1 - self.jitter, 1 + self.jitter)
