"""The event loop that a server runs on, and calls to it from other threads and loops.

Rules that hold here:

- All state of a server belongs to its home loop. A call from another thread or loop is
  handed over to it: futures and callbacks of two loops that meet would wait for each
  other for ever.
- The end of the server ends what was handed over: nobody waits for a loop that is gone.
- A process that was forked has no copy of the loop, only of its memory: calls are refused.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import wraps
from threading import Lock
from typing import Any, Concatenate, ParamSpec, TypeVar

from ..handlers.compat import SocketIOInterface

__all__ = ["HomeBound", "HomeLoop", "on_home_loop"]

P = ParamSpec("P")
T = TypeVar("T")

_ELSEWHERE = "To publish to a server that runs elsewhere, use rtpush.Publisher."


class HomeLoop:
    """The loop of one server; none before it starts and after it has stopped."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        # The process that the server was started in.
        self._pid = 0
        # Held while a call is handed over: none comes after the end.
        self._lock = Lock()
        self._handed: set[Future[Any]] = set()

    @property
    def runs(self) -> bool:
        """Does the server run? Then `forked` says where."""
        return self._loop is not None

    @property
    def forked(self) -> bool:
        """Was this process forked from the one in which the server runs?"""
        return self._loop is not None and self._pid != os.getpid()

    def begin(self) -> None:
        """The running loop is home from now on."""
        self._loop, self._pid = asyncio.get_running_loop(), os.getpid()

    def end(self) -> None:
        """Take no more calls, and cancel those that are under way."""
        with self._lock:
            self._loop = None
            under_way = list(self._handed)
        for one in under_way:
            one.cancel()

    def is_here(self, name: str) -> bool:
        """Does the home loop run the caller? Raises RuntimeError when there is no such loop."""
        home = self._loop
        if home is None:
            raise RuntimeError(f"server.{name}(): this server does not run. {_ELSEWHERE}")
        return asyncio._get_running_loop() is home

    def hand_over(
        self, name: str, call: Callable[[], Coroutine[Any, Any, T]], *, cancel: bool = True
    ) -> Future[T]:
        """Run a coroutine on the home loop. Raises RuntimeError when there is none.

        With `cancel`, the end of the server cancels it.
        """
        with self._lock:
            if self.forked:
                raise RuntimeError(
                    f"server.{name}(): this process was forked from that of the server. "
                    + _ELSEWHERE
                )
            if self._loop is None:
                raise RuntimeError(f"server.{name}(): the server has stopped.")
            handed = asyncio.run_coroutine_threadsafe(call(), self._loop)
            if cancel:
                self._handed.add(handed)
        handed.add_done_callback(self._handed.discard)
        return handed


class HomeBound(SocketIOInterface):
    """An object that lives on one event loop, whichever loop it is called from."""

    def __init__(self) -> None:
        super().__init__()
        self._home = HomeLoop()

    def start_background_task(
        self, target: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> asyncio.Task[Any]:
        """Run a coroutine function beside everything else, until it ends.

        Args:
            target: A coroutine function. It runs on the server's event loop, whichever
                thread asks for it.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Returns:
            The task, which may be awaited or cancelled on the server's event loop.

        Raises:
            RuntimeError: The server does not run.
        """
        start = super().start_background_task
        if self._home.is_here("start_background_task"):
            return start(target, *args, **kwargs)

        async def start_here() -> asyncio.Task[Any]:
            return start(target, *args, **kwargs)

        return self._home.hand_over("start_background_task", start_here).result()


H = TypeVar("H", bound=HomeBound)


def on_home_loop(
    method: Callable[Concatenate[H, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[H, P], Coroutine[Any, Any, T]]:
    """Let a coroutine method be awaited on any loop, of any thread; it runs on the home loop."""

    @wraps(method)
    async def call(self: H, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if self._home.is_here(method.__name__):
            return await method(self, *args, **kwargs)
        handed = self._home.hand_over(method.__name__, lambda: method(self, *args, **kwargs))
        return await asyncio.wrap_future(handed)

    return call
