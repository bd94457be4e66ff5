"""A client's handlers, and how they are called.

Rules that hold here:

- One after the other, in the order in which things came, on the event loop.
- What a handler returns answers the server, where that has asked; what it
  raises is logged, with its traceback, and answered with an error.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from ..errors import ConnectError, RtpushError
from ..handlers.registry import Handler, positional
from ..protocol import check_name
from .receive_queue import Inbox, Queue

__all__ = ["LOCAL", "Handling"]

logger = logging.getLogger("rtpush.client")

# Fired by the client itself; from outside they go nowhere.
LOCAL: Final = frozenset({"connect", "connect_error", "disconnect"})


@dataclass(frozen=True, slots=True)
class _Call:
    """A handler to call; `ack` when the server waits for what it returns."""

    handler: Handler
    args: tuple[Any, ...]
    ack: Any = None


class Handling:
    """Handlers by event, and the calls of them that are to be made."""

    def __init__(self, inbox: Inbox, reply: Callable[[dict[str, Any]], None]) -> None:
        self._inbox = inbox
        self._reply = reply
        self._handlers: dict[str, tuple[Handler, int | None]] = {}
        self._calls: Queue[_Call] = inbox.queue()
        self._working: asyncio.Task[None] | None = None

    def add(self, event: str, handler: Handler) -> None:
        """Raises ValueError for what cannot be an event's name."""
        try:
            check_name("event", event)
        except RtpushError as error:
            raise ValueError(error.message) from None
        self._handlers[event] = (handler, positional(handler))

    def put(self, event: str, *args: Any, ack: Any = None) -> bool:
        """Have an event handled when it is its turn; False when there is nobody for it."""
        handler, most = self._handlers.get(event, (None, 0))
        if handler is None and event not in LOCAL and "*" in self._handlers:
            handler, most = self._handlers["*"]
            args = (event, *args)
        if handler is not None:
            self._calls.put(_Call(handler, args[:most], ack))
        elif ack is not None:
            refusal = RtpushError("not_found", f"This client has no handler for {event!r}.")
            self._reply({"ack": ack, "error": refusal.as_data()})
        return handler is not None

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """Call something else, when it is its turn."""
        # What is no function, or takes no such arguments, fails where it is called.
        self._calls.put(_Call(lambda: function(*args[: positional(function)]), ()))

    def begin(self) -> asyncio.Task[None]:
        """Make the calls, until the inbox ends; returns the task that does."""
        if self._working is None or self._working.done():
            self._calls = self._inbox.queue()
            self._working = asyncio.create_task(self._run())
        else:
            # A handler is still at it, or has connected anew itself: the rest waits for it.
            self._inbox.resume(self._calls)
        return self._working

    async def _run(self) -> None:
        with suppress(StopAsyncIteration, ConnectError):
            while True:
                await self._make(await self._calls.get())

    async def _make(self, call: _Call) -> None:
        try:
            result = call.handler(*call.args)
            if inspect.isawaitable(result):
                result = await result
            if call.ack is not None:
                self._reply({"ack": call.ack, "data": result})
        except Exception as exc:
            self._failed(call, exc)
        except asyncio.CancelledError as exc:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Not we were cancelled, but what the handler has waited for.
            self._failed(call, exc)

    def _failed(self, call: _Call, exc: BaseException) -> None:
        error = RtpushError("internal", "The client failed to handle this; its log says more.")
        if isinstance(exc, RtpushError) and call.ack is not None:
            # The handler's own refusal, and the server is who has to know.
            error = exc
        else:
            logger.error("a handler failed", exc_info=exc)
        if call.ack is not None:
            self._reply({"ack": call.ack, "error": error.as_data()})
