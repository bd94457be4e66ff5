"""The lifespan of an ASGI server: starts and stops the server, and the application beside it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..asgi_types import Application, Event, Receive, Scope, Send

__all__ = ["Lifespan"]


class Lifespan:
    """One run of the lifespan protocol.

    The server starts before the application, whose startup may emit, and stops before it.
    An application that knows no lifespan, as Django's, is left alone.
    """

    def __init__(
        self, start: Callable[[], Awaitable[object]], stop: Callable[[], Awaitable[object]]
    ) -> None:
        self._start = start
        self._stop = stop
        self._received = False
        self._answered = False

    async def run(
        self, scope: Scope, receive: Receive, send: Send, application: Application | None
    ) -> None:
        """Serve it until the shutdown. Raises what starting the server raises."""

        async def receiving() -> Event:
            event = await receive()
            if event["type"] == "lifespan.startup":
                self._received = True
                await self._start()
            else:
                await self._stop()
            return event

        async def sending(event: Event) -> None:
            self._answered = True
            await send(event)

        if application is not None:
            try:
                await application(scope, receiving, sending)
            except Exception:
                if self._answered:
                    raise
            if self._answered:
                return
        await self._run_alone(receiving, send)

    async def _run_alone(self, receive: Receive, send: Send) -> None:
        if not self._received:
            await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
