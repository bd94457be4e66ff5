"""Threads that call coroutines of the loop that they work for.

Rules that hold here:

- Nothing reaches the loop after `close`: it may be gone.
- A call that is under way then ends with TaskEnded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from threading import Lock
from typing import Any, TypeVar

from ..threads import DaemonExecutor
from .task import TaskEnded

__all__ = ["WorkThreads"]

T = TypeVar("T")


class WorkThreads:
    """As many threads as tasks are done at the same time."""

    def __init__(self, most: int) -> None:
        self._loop = asyncio.get_running_loop()
        # A stop does not wait for a long step of a model.
        self._executor = DaemonExecutor(most, "rtpush-worker", patient=False)
        # Held while a thread hands a call over.
        self._handing = Lock()
        self._closed = False
        self._calls: set[Future[Any]] = set()

    def run(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Run a function in a thread."""
        return asyncio.wrap_future(self._executor.submit(function))

    def call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """In a thread: the result of a coroutine that the loop runs. Raises TaskEnded."""
        try:
            return self.start(make).result()
        except CancelledError:
            raise TaskEnded from None

    def start(self, make: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """In a thread: have the loop run a coroutine. Raises TaskEnded."""
        with self._handing:
            if self._closed:
                raise TaskEnded
            call = asyncio.run_coroutine_threadsafe(make(), self._loop)
            self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return call

    def close(self) -> None:
        """Take no more calls; the threads end with what they are at."""
        with self._handing:
            self._closed = True
        for call in list(self._calls):
            call.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)
