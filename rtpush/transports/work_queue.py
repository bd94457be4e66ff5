"""Turns of the loop: connections that have much to handle take turns in it.

One connection does a bounded amount of work in a turn. A thousand of them that all had
theirs in the same one would hold the loop for seconds all the same.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["WorkQueue"]

# Seconds of one turn of the loop in which connections go on, one after the other.
TURN_SECONDS: Final = 0.002
# Seconds of one turn in which connections begin with what they have just received: as many of
# them share the passes of the log. The others begin in the next turns.
FRESH_SECONDS: Final = 0.005


class WorkQueue:
    """Connections that have more to handle, in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._planned = False
        # When no more connections begin in this turn; None when none has begun yet.
        self._fresh_until: float | None = None

    def has_time(self) -> bool:
        """May one more connection begin in this turn of the loop?"""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._fresh_until is None:
            self._fresh_until = now + FRESH_SECONDS
            loop.call_soon(self._next_turn)
        return now < self._fresh_until

    def _next_turn(self) -> None:
        self._fresh_until = None

    def add(self, go_on: Callable[[], None]) -> None:
        """Call this in one of the next turns of the loop. Once: it may add itself again."""
        self._waiting.append(go_on)
        self._plan()

    def _plan(self) -> None:
        if not self._planned and self._waiting:
            self._planned = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + TURN_SECONDS
        try:
            # Those that add themselves again have their turn in the next one.
            for _ in range(len(self._waiting)):
                self._waiting.popleft()()
                if loop.time() > end:
                    break
        finally:
            self._planned = False
            self._plan()
