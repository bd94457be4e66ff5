"""Dispatch events to a client's handlers.

Rules that hold here:

- The client calls handlers one after the other, in the order in which the events
  came, on the event loop.
- What a handler returns is the answer, when the server asked for one. What it
  raises is logged with its traceback, and the answer is an error.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from ..errors import ConnectError, RtpushError
from ..handlers.registry import Handler, positional
from ..protocol import check_name
from .receive_queue import ReceiveQueue, ReceiveQueues

__all__ = ["LOCAL_EVENTS", "HandlerDispatcher", "arguments_of", "data_of"]

logger = logging.getLogger("rtpush.client")

# Events of the client itself. When the server sends one by this name, it is dropped.
LOCAL_EVENTS: Final = frozenset({"connect", "connect_error", "disconnect"})


@dataclass(frozen=True, slots=True)
class _Call:
    """A handler to call, and its arguments."""

    handler: Handler
    args: tuple[Any, ...]
    # What the server will know the answer by; None: it did not ask for one.
    ack: Any = None


class HandlerDispatcher:
    """Handlers by event, and the calls of them that are still to be made."""

    def __init__(self, queues: ReceiveQueues, reply: Callable[[dict[str, Any]], None]) -> None:
        """`reply` sends an answer to the server."""
        self._queues = queues
        self._reply = reply
        # With each handler, the number of arguments that it takes; None: any number.
        self._handlers: dict[str, tuple[Handler, int | None]] = {}
        self._calls: ReceiveQueue[_Call] = queues.new_queue()
        # Makes the calls; None before the first connection.
        self._task: asyncio.Task[None] | None = None

    def add(self, event: str, handler: Handler) -> None:
        """Register a handler. Raises ValueError when `event` cannot be a name."""
        try:
            check_name("event", event)
        except RtpushError as error:
            raise ValueError(error.message) from None
        self._handlers[event] = (handler, positional(handler))

    def dispatch(self, event: str, *args: Any, ack: Any = None) -> bool:
        """Call the event's handler when it is its turn; False when there is none."""
        handler, count = self._handlers.get(event, (None, 0))
        if handler is None and event not in LOCAL_EVENTS and "*" in self._handlers:
            handler, count = self._handlers["*"]
            args = (event, *args)
        if handler is not None:
            self._calls.put(_Call(handler, args[:count], ack))
        elif ack is not None:
            refusal = RtpushError("not_found", f"This client has no handler for {event!r}.")
            self._reply({"ack": ack, "error": refusal.as_data()})
        return handler is not None

    def dispatch_call(self, function: Callable[..., Any], *args: Any) -> None:
        """Call another function, such as a callback, when it is its turn."""
        # Looked at late: when it is not a function, that fails as a handler does.
        self._calls.put(_Call(lambda: function(*args[: positional(function)]), ()))

    def start(self) -> None:
        """Make the calls in a task, until the queues are closed."""
        if self._task is None or self._task.done():
            self._calls = self._queues.new_queue()
            self._task = asyncio.create_task(self._run())
        else:
            # A handler of the last connection still runs: the calls go on after it.
            self._queues.reopen(self._calls)

    async def wait_done(self, timeout: float | None) -> None:
        """Wait up to `timeout` seconds until all calls are made; None: without an end.

        Returns at once in a handler, which cannot wait for itself.
        """
        if self._task is not None and self._task is not asyncio.current_task():
            await asyncio.wait([self._task], timeout=timeout)

    async def _run(self) -> None:
        with suppress(StopAsyncIteration, ConnectError):
            while True:
                await self._invoke(await self._calls.get())

    async def _invoke(self, call: _Call) -> None:
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
            # Not this task was cancelled, but one that the handler waited for.
            self._failed(call, exc)

    def _failed(self, call: _Call, exc: BaseException) -> None:
        error = RtpushError("internal", "The client failed to handle this; its log says more.")
        if isinstance(exc, RtpushError) and call.ack is not None:
            # The handler refuses, and tells the server why.
            error = exc
        else:
            logger.error("a handler failed", exc_info=exc)
        if call.ack is not None:
            self._reply({"ack": call.ack, "error": error.as_data()})


def data_of(envelope: Mapping[str, Any]) -> Any:
    """The data of an envelope; a tuple when it is several arguments."""
    data = envelope.get("data")
    return tuple(data) if envelope.get("args") is True and isinstance(data, list) else data


def arguments_of(data: Any) -> tuple[Any, ...]:
    """The arguments that data is to a handler."""
    return data if isinstance(data, tuple) else (data,)
