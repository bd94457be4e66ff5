"""An event loop in a thread of its own, from its begin to its orderly end.

Rules that hold here:

- A call that waits when the loop ends raises ConnectError. A call that is interrupted is
  cancelled on the loop.
- The child of a fork has no such thread. Its calls raise ConnectError, and leave the
  parent's loop alone.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from ..errors import ConnectError

__all__ = ["LoopThread"]

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for callers in any other thread, who wait for the results."""

    def __init__(self, name: str) -> None:
        self._name = name
        # Held while a call is handed to the loop: none is handed to one that ends.
        self._lock = threading.Lock()
        # Both are None while there is no loop.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def started(self) -> bool:
        """Whether it was started and not stopped; it may be the parent's of a fork."""
        return self._thread is not None

    def start(self) -> None:
        """Start the loop. Raises ConnectError (`bad_request`) when there is one."""
        with self._lock:
            if self._thread is not None:
                raise ConnectError("bad_request", "The client is connected; disconnect it first.")
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=_run_loop, args=[self._loop], name=self._name, daemon=True
            )
            self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop, and wait for its result."""
        with self._lock:
            if self._loop is None or self._thread is None or not self._thread.is_alive():
                coroutine.close()
                raise ConnectError(
                    "unavailable", "The client is not connected in this process; call connect()."
                )
            answer = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return answer.result()
        except CancelledError:
            raise ConnectError("unavailable", "The client is disconnected.") from None
        finally:
            # Takes effect only after an interrupt.
            answer.cancel()

    def stop(self) -> None:
        """Cancel what still runs, and end the loop. Idempotent."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
            if loop is None or thread is None or not thread.is_alive():
                return
            loop.call_soon_threadsafe(loop.stop)
        thread.join()


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, and then cancel the tasks that are left."""
    try:
        loop.run_forever()
        loop.run_until_complete(_cancel_all())
    finally:
        loop.close()


async def _cancel_all() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left)
    # The callbacks of a done task run in the next turn of the loop, also for a task
    # that was done in the turn that stopped the loop.
    await asyncio.sleep(0)
