"""The clock of a log: seconds as they pass, whatever becomes of the wall clock; pure.

Rules that hold here:

- Ages are differences of this clock. A wall clock that is set ahead makes nothing too old, and
  one that is set back keeps nothing for longer.
- While the log is open, the system's count of passing seconds drives it. What passed while
  the log was closed only the wall clock knows: then it is believed.
- Times that users are shown are the wall clock's.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..unix import seconds_passed

__all__ = ["LogClock"]


class LogClock:
    """Begins as the wall clock shows, and then passes by itself.

    `wall` gives seconds since 1970, `passed` seconds since some moment.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        passed: Callable[[], float] = seconds_passed,
    ) -> None:
        self.wall = wall
        self._passed = passed
        # This clock's time when `passed` was zero.
        self._origin = wall() - passed()

    def now(self) -> float:
        """The log's time."""
        return self._origin + self._passed()

    @property
    def wall_ahead(self) -> float:
        """How far the wall clock is ahead of this one, in seconds: it changes when that is set.

        A log that keeps it is opened again with the time that has passed since.
        """
        return self.wall() - self.now()

    def begin(self, time: float) -> None:
        """It is this time now."""
        self._origin = time - self._passed()

    def reach(self, time: float) -> None:
        """It is this time now, or later: a node that is ahead has shown it."""
        if time > self.now():
            self.begin(time)
