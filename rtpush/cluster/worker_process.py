"""Workers as processes of their own: how the supervisor starts one, and what it hands over.

A worker runs the program again, from its command line, until `Server.run` finds what was
handed over. So one that replaces another has the code of today.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ..unix import SUPERVISOR_SIGNALS

__all__ = ["WorkerContext", "inherited", "spawn"]

# No setting: those begin with RTPUSH_, and are told when they are unknown.
_VARIABLE: Final = "_RTPUSH_WORKER"
READY: Final = b"r"
_ALIVE: Final = b"."


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What a worker is given: its sockets, a pipe to tell the supervisor by, and a file
    descriptor that ends when the supervisor does.
    """

    sockets: Sequence[socket.socket]
    supervisor_pipe: int
    report_pipe: int

    def ready(self) -> None:
        """Say that the worker answers."""
        self._report(READY)

    def beat(self) -> None:
        """Say that the event loop turns, once a second."""
        self._report(_ALIVE)

    def _report(self, message: bytes) -> None:
        # Full while the supervisor is held, broken when it is gone: then this process ends.
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self.report_pipe, message)


def inherited() -> WorkerContext | None:
    """What the supervisor handed over, once; None when this process is no worker."""
    handed = os.environ.pop(_VARIABLE, None)
    if handed is None:
        return None
    supervisor_pipe, report_pipe, *listening = json.loads(handed)
    for descriptor in (supervisor_pipe, report_pipe, *listening):
        # Processes that the application starts are no workers.
        os.set_inheritable(descriptor, False)
    sockets = [socket.socket(fileno=descriptor) for descriptor in listening]
    for sock in sockets:
        sock.setblocking(False)
    os.set_blocking(report_pipe, False)
    return WorkerContext(sockets, supervisor_pipe, report_pipe)


def spawn(sockets: Sequence[socket.socket], supervisor_pipe: int, report_pipe: int) -> int:
    """Start a worker; returns the id of its process. Raises OSError."""
    descriptors = [supervisor_pipe, report_pipe, *(sock.fileno() for sock in sockets)]
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, *sys.orig_argv[1:]],
            os.environ | {_VARIABLE: json.dumps(descriptors)},
            # Ctrl+C reaches the supervisor alone, which then tells the worker.
            setpgroup=0,
            setsigdef=[signal.Signals(number) for number in SUPERVISOR_SIGNALS],
        )
    finally:
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
