"""Turns: the events of one session, one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ..sessions.session import Session

__all__ = ["Act", "Spawn", "Turns"]

# Acts at once, or returns what the session's next act has to wait for.
Act = Callable[[], Awaitable[None] | None]
Spawn = Callable[[Coroutine[Any, Any, None]], object]


class Turns:
    """Lets each session's acts have their turn. Sessions do not wait for each other."""

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn

    def take(self, session: Session, act: Act) -> None:
        """Act now, or behind what the session has under way."""
        if session.handler_queue is not None:
            session.handler_queue.append(act)
            return
        work = act()
        if work is not None:
            session.handler_queue = deque()
            self._spawn(self._drain(session, session.handler_queue, work))

    async def _drain(
        self, session: Session, queue: deque[Callable[[], Any]], work: Awaitable[None]
    ) -> None:
        await work
        while queue:
            next_work = queue.popleft()()
            if next_work is not None:
                await next_work
        session.handler_queue = None
