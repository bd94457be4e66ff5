"""Several workers of one ASGI server, each with a log in its own memory.

An ASGI server does not tell an application how many workers there are. With such a log each would
be a server of its own, and a client would hear a part of what is published, without any error.
"""

from __future__ import annotations

import logging
import multiprocessing
import socket
import sys

__all__ = ["warn_of_siblings"]

logger = logging.getLogger("rtpush.asgi")

# Held by the first of the workers until it ends.
_claim: socket.socket | None = None


def warn_of_siblings(log: str) -> None:
    """Say so when another worker of this process's parent has a log in memory, too. Linux only."""
    global _claim
    parent = multiprocessing.parent_process()
    if parent is None or not log.startswith("memory:") or _claim or sys.platform != "linux":
        return
    claim = socket.socket(socket.AF_UNIX)
    try:
        # An abstract name: it is gone with the process, and no file is left.
        claim.bind(f"\0rtpush-memory-{parent.pid}")
    except OSError:
        claim.close()
        logger.error(
            "another worker of this ASGI server has a log in memory, too: each has its own clients "
            "and events; start one worker, or set log='redis://…'"
        )
    else:
        _claim = claim
