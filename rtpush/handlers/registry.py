"""An application's handlers, and how they are called.

Rules that hold here:

- A handler takes as many of its arguments as it declares: an application that
  needs no `auth` or no `reason` leaves it out.
- A coroutine function runs on the event loop. A plain function runs in a
  thread: it may block, and holds up nobody but its own connection.
- What a handler raises is answered with an error and logged once, with its
  traceback; an `RtpushError` is the handler's own refusal and only answered.
- `*` takes events that have no handler of their own. The board takes its four
  itself, unless the application has a handler for one of them by name.
- The protocol's own words (`COMMANDS`) are the server's. The application can add no
  handler for `ping` or `auth`; it decides about a `join`, and is told of a `leave`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Final

from ..errors import RtpushError
from ..log.task import TASK_EVENTS
from ..protocol import COMMANDS, RESERVED_EVENTS, check_name
from ..threads import DaemonExecutor

__all__ = ["Handler", "HandlerRegistry", "positional"]

logger = logging.getLogger("rtpush.app")

Handler = Callable[..., Any]

# Blocking handlers that run at once; more wait their turn.
MAX_THREADS: Final = 64

_LIFE: Final = ("connect", "disconnect")
# Of COMMANDS, those that leave nothing for an application to decide.
_SERVER_ONLY: Final = ("ping", "auth")
_REFUSED: Final = "The application refused the connection."
_NOT_FOR_CATCH_ALL: Final = {*_LIFE, *COMMANDS, *TASK_EVENTS}
_REFUSED_JOIN: Final = "The application does not let you into this room."


class _Call:
    """A handler, and how many arguments it takes."""

    __slots__ = ("_function", "_most", "_waits")

    def __init__(self, function: Handler) -> None:
        self._function = function
        self._most = positional(function)
        self._waits = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            type(function).__call__
        )

    async def __call__(self, threads: DaemonExecutor, *args: Any) -> Any:
        args = args[: self._most]
        if self._waits:
            return await self._function(*args)
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(threads, copy_context().run, self._function, *args)
        return await result if inspect.isawaitable(result) else result


def positional(function: Handler) -> int | None:
    """How many positional arguments a function takes; None for any number, or who knows."""
    count = 0
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:
        # Some functions that are written in C do not say.
        return None
    for parameter in parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            return None
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            count += 1
    return count


class HandlerRegistry:
    """The handlers of one application, by event."""

    def __init__(self) -> None:
        self._calls: dict[str, _Call] = {}
        # Its threads are started when they are needed.
        self._threads = DaemonExecutor(MAX_THREADS, "rtpush-handler")

    def add(self, event: str, handler: Handler) -> None:
        """Raises ValueError for a name that only the server uses."""
        if event in _SERVER_ONLY:
            raise ValueError(
                f'the server acts on "{event}" itself; give the handler and its event another name'
            )
        if event in RESERVED_EVENTS and event not in _LIFE:
            raise ValueError(f'"{event}" is sent by the server only; it cannot have a handler')
        try:
            check_name("event", event)
        except RtpushError as error:
            raise ValueError(error.message) from None
        self._calls[event] = _Call(handler)

    def has(self, event: str) -> bool:
        """Is there a handler for this event?"""
        if event in self._calls:
            return True
        return "*" in self._calls and event not in _NOT_FOR_CATCH_ALL

    def is_empty(self) -> bool:
        """Is there no handler at all?"""
        return not self._calls

    async def connect(self, sid: str, environ: dict[str, Any], auth: Any) -> None:
        """Ask whether a connection may begin. Raises RtpushError when not."""
        if await self._run(self._calls["connect"], sid, environ, auth) is False:
            raise RtpushError("forbidden", _REFUSED)

    async def disconnect(self, sid: str, reason: str) -> None:
        """Tell that a connection has ended. Raises nothing: nobody waits for an answer."""
        try:
            await self._run(self._calls["disconnect"], sid, reason)
        except RtpushError:
            logger.debug("the disconnect handler of %s failed", sid)

    async def join(self, sid: str, data: Any) -> None:
        """Ask whether a client may enter a room. Raises RtpushError when not."""
        if await self._run(self._calls["join"], sid, data, refusal=_REFUSED_JOIN) is False:
            raise RtpushError("forbidden", _REFUSED_JOIN)

    async def event(self, event: str, sid: str, data: Any) -> Any:
        """Handle an event that `has` a handler; returns what it returns. Raises RtpushError.

        A tuple as `data` is several arguments.
        """
        call = self._calls.get(event)
        args = data if isinstance(data, tuple) else (data,)
        if call is None:
            return await self._run(self._calls["*"], event, sid, *args)
        return await self._run(call, sid, *args)

    async def _run(self, call: _Call, *args: Any, refusal: str = _REFUSED) -> Any:
        try:
            return await call(self._threads, *args)
        except RtpushError:
            raise
        except Exception as exc:
            if _is_refusal(exc):
                raise RtpushError("forbidden", str(exc.args[0]) if exc.args else refusal) from None
            logger.exception("a handler failed")
            raise RtpushError(
                "internal", "The application failed to handle this; its log says more."
            ) from exc

    def close(self) -> None:
        """Let the threads go; blocking handlers under way are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _is_refusal(exc: Exception) -> bool:
    # With an errno it is a database that was not there, not a word to the client.
    return isinstance(exc, ConnectionRefusedError) and not isinstance(exc.errno, int)
