"""One deadline for all that a stop waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

__all__ = ["Deadline"]


class Deadline:
    """A point in time, on the running event loop's clock.

    Args:
        seconds: How far away it is.
    """

    def __init__(self, seconds: float) -> None:
        self._clock = asyncio.get_running_loop().time
        self._until = self._clock() + seconds

    @property
    def left(self) -> float:
        """Seconds until then; 0 when it has passed."""
        return max(0.0, self._until - self._clock())

    async def wait(self, work: Awaitable[object]) -> bool:
        """Wait for work until then, and cancel it; was it done in time?"""
        try:
            async with asyncio.timeout(self.left):
                await work
        except TimeoutError:
            return False
        return True
