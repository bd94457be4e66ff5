"""Coalescing: when a pass waits for more events, so that one write carries several."""

from __future__ import annotations

from typing import Final

__all__ = ["Coalescing"]

# Seconds that a pass waits at most for more events. A pass over 500 sessions takes as long.
MAX_REST: Final = 0.002
# Passes that took less are not waited for: an event loop's timers know milliseconds, and
# such a pass costs little to repeat.
MIN_REST: Final = 0.0005
# Passes that begin at once, at most, before a rest is tried again.
MAX_AT_ONCE: Final = 64


class Coalescing:
    """Decides how long the next pass waits, from the last ones alone.

    A write to a connection costs 4 µs whether it carries one event or twenty. So a
    pass may wait, as long as the last one took, but only when events come faster than
    passes can go out one by one:

    - An event that finds the last pass longer ago than that pass took is sent at once.
      A server at rest adds no delay.
    - A rest in which no second event came was for nothing: a publisher that waits for
      its event to arrive before it sends the next would pay for each. The next pass
      begins at once, after a second such rest the next two, then four.
    """

    __slots__ = ("_at_once", "_busy_until", "_fruitless", "_rest", "_rested")

    def __init__(self) -> None:
        # How long a rest is now, and when the last pass is longer ago than it took.
        self._rest = 0.0
        self._busy_until = 0.0
        # Has the pass that is to come, or is under way, waited?
        self._rested = False
        # Passes that still begin at once, and what that number will be after the
        # next rest that is for nothing.
        self._at_once = 0
        self._fruitless = 1

    def rest(self, now: float) -> float:
        """Seconds that the next pass waits. `now` is on a monotonic clock, in seconds."""
        if now >= self._busy_until:
            self._at_once, self._fruitless = 0, 1
            return 0.0
        if self._at_once:
            self._at_once -= 1
            return 0.0
        self._rested = True
        return self._rest

    def passed(self, began: float, ended: float, events: int) -> None:
        """Note a pass: when it began and ended, in seconds, and how many events it carried."""
        if self._rested:
            self._learn(events)
        took = ended - began
        self._rest = min(took, MAX_REST)
        self._busy_until = ended + took if took >= MIN_REST else 0.0

    def _learn(self, events: int) -> None:
        self._rested = False
        if events > 1:
            self._fruitless = 1
        else:
            self._at_once = self._fruitless
            self._fruitless = min(2 * self._fruitless, MAX_AT_ONCE)
