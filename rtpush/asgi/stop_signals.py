"""The signals that stop an ASGI server, heard before it acts on them.

uvicorn ends the lifespan when all connections have ended, and an event stream does not end by
itself. So the server begins to stop when the signal comes.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

__all__ = ["EarlyStop"]


class EarlyStop:
    """Calls `stop` on the running loop at SIGTERM or SIGINT, then what handled it before."""

    def __init__(self, stop: Callable[[], object]) -> None:
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        self._before: dict[int, Any] = {}
        if threading.current_thread() is not threading.main_thread():
            # Signals belong to the main thread.
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.getsignal(number)
            # Where no Python function handles the signal, ours would replace what does.
            if callable(before):
                self._before[number] = before
                signal.signal(number, self._heard)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._stop)
        self._before[number](number, frame)

    def forget(self) -> None:
        """Give the signals back, unless another program has taken them meanwhile."""
        for number, before in self._before.items():
            if signal.getsignal(number) == self._heard:
                signal.signal(number, before)
