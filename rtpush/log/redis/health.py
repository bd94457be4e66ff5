"""How a log in Redis is: what is in trouble, and what coroutines wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

__all__ = ["Changes", "Problems"]


class Problems:
    """What is in trouble, by the part that told of it; each is a sentence without its end."""

    def __init__(self) -> None:
        self._of_parts: dict[str, str] = {}

    def __str__(self) -> str:
        return "; ".join(dict.fromkeys(self._of_parts.values())) or "Redis is away"

    @property
    def first(self) -> str | None:
        """The one that has lasted longest; None while all is well."""
        return next(iter(self._of_parts.values()), None)

    def note(self, part: str, problem: str | None) -> None:
        """Remember how a part is; None: well."""
        if problem is None:
            self._of_parts.pop(part, None)
        else:
            self._of_parts[part] = problem


class Changes:
    """Lets coroutines wait for something that follows from what comes in."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def notify(self) -> None:
        """Something has changed: all that wait look again."""
        self._next.set()
        self._next = asyncio.Event()

    async def wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until a condition holds, but not for long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._next.wait()
