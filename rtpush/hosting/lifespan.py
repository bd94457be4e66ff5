"""The lifespan of the application: it starts after the server, and stops before it."""

from __future__ import annotations

import asyncio
from typing import Any

from ..asgi_types import Application, Event
from .scope import ASGI

__all__ = ["AppLifespan", "LifespanError"]


class LifespanError(Exception):
    """The application says that it cannot start. The message is its own."""


class AppLifespan:
    """One run of the lifespan protocol. `state` is what the application leaves for requests."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self.state: dict[str, Any] = {}
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._answers: asyncio.Queue[Event] = asyncio.Queue()
        self._running: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Returns when the application is ready. Raises LifespanError."""
        self._running = asyncio.get_running_loop().create_task(self._run())
        answer = await self._tell("lifespan.startup")
        if answer is not None and answer["type"] == "lifespan.startup.failed":
            raise LifespanError(answer.get("message") or "it gives no reason")

    async def shutdown(self) -> None:
        """Returns when the application has ended."""
        if self._running is not None and not self._running.done():
            await self._tell("lifespan.shutdown")
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": ASGI, "state": self.state}
        await self._app(scope, self._events.get, self._answers.put)

    async def _tell(self, kind: str) -> Event | None:
        """The application's answer; None from one that knows no lifespan."""
        assert self._running is not None
        self._events.put_nowait({"type": kind})
        answering = asyncio.ensure_future(self._answers.get())
        await asyncio.wait({answering, self._running}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            return answering.result()
        answering.cancel()
        # Whoever knows no lifespan says so by an exception, which means nothing else.
        self._running.exception()
        return None
