"""Signals: how a server's process is told to stop, and what SIGHUP means to it.

The first SIGTERM or SIGINT stops in order, a second one at once. SIGHUP reads the
certificate again, unless the terminal that the server was started from has been closed:
then it stops, as every other program does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

__all__ = ["StopSignals"]

logger = logging.getLogger("rtpush.server")


class StopSignals:
    """Waits until the process is told to stop. For one event loop.

    Args:
        abort: Called at the second signal: cut every connection.
        reload: Called at a SIGHUP that no terminal has sent.
    """

    def __init__(self, abort: Callable[[], None], reload: Callable[[], None]) -> None:
        self._abort = abort
        self._reload = reload
        self._stopping = asyncio.Event()
        self._had_terminal = _has_terminal()

    def watch(self, supervisor_pipe: int | None) -> None:
        """Handle signals from now on.

        Args:
            supervisor_pipe: A file descriptor that ends with the supervisor, and then this
                process should too; None when there is no supervisor.
        """
        loop = asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread():
            # Signals belong to the main thread: `Server.stop` ends this server.
            return
        # Windows has no such handlers; there Ctrl+C cancels the coroutine that serves.
        with suppress(NotImplementedError):
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stop)
        with suppress(NotImplementedError, AttributeError):
            loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        if supervisor_pipe is not None:
            loop.add_reader(supervisor_pipe, self._orphaned, supervisor_pipe)

    async def wait(self) -> None:
        """Wait for the first signal to stop."""
        await self._stopping.wait()

    def stop(self) -> None:
        """As the first signal to stop."""
        self._stopping.set()

    def _stop(self) -> None:
        if self._stopping.is_set():
            logger.warning("stopped at once; connections were cut")
            self._abort()
            raise SystemExit(1)
        self._stopping.set()

    def _hung_up(self) -> None:
        if self._had_terminal and not _has_terminal():
            logger.warning("the terminal was closed: the server stops (nohup lets it go on)")
            self._stopping.set()
        else:
            self._reload()

    def _orphaned(self, supervisor_pipe: int) -> None:
        asyncio.get_running_loop().remove_reader(supervisor_pipe)
        self._stopping.set()


def _has_terminal() -> bool:
    """Is there a terminal that controls this process?"""
    if sys.platform == "win32":
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
