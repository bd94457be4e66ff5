"""What only Unix has: names that are missing on other systems are looked up here."""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Final, NamedTuple

from .config.settings import Settings

__all__ = [
    "SUPERVISOR_SIGNALS",
    "Sent",
    "connections_allowed",
    "file_limit",
    "files_run_short",
    "raise_file_limit",
    "seconds_passed",
    "sent_over",
]

# What the supervisor of several workers handles. Windows has only two of them, and no fork.
SUPERVISOR_SIGNALS: Final = tuple(
    getattr(signal, name)
    for name in ("SIGCHLD", "SIGTERM", "SIGINT", "SIGHUP")
    if hasattr(signal, name)
)

# Of the files that a process may open, those that connections do not get: the log, the
# libraries, and requests to `/healthz`, by which a full server shows that it is alive.
_RESERVED: Final = 100
# Of those, what connections that have sent no request do not get either: half, or of a low limit
# a quarter.
_SPARE: Final = 50

# Where Linux keeps the count of acknowledged bytes in `struct tcp_info`, since version 4.1.
_BYTES_ACKED: Final = 120


# The clock that nobody sets, and that goes on while the machine sleeps: on macOS that is the
# monotonic one, on Linux another.
_PASSING: Final = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def seconds_passed() -> float:
    """Seconds since some moment, those that the machine slept included."""
    return time.monotonic() if _PASSING is None else time.clock_gettime(_PASSING)


class Sent(NamedTuple):
    """What the system did with the bytes of a TCP connection.

    `taken` counts those that the peer's system has acknowledged, `waiting` those that it
    has yet to.
    """

    taken: int
    waiting: int


def sent_over(descriptor: int) -> Sent | None:
    """How far the bytes of a connection have come; None where the system does not tell."""
    if sys.platform != "linux":
        return None
    import termios
    from fcntl import ioctl

    try:
        with socket.socket(socket.AF_INET, fileno=os.dup(descriptor)) as peer:
            info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED + 8)
        waiting = ioctl(descriptor, termios.TIOCOUTQ, bytes(4))
        return Sent(*struct.unpack_from("Q", info, _BYTES_ACKED), *struct.unpack("i", waiting))
    except (OSError, struct.error):  # it is closed, or no TCP
        return None


def _resource() -> ModuleType | None:
    try:
        return import_module("resource")
    except ImportError:  # Windows
        return None


def file_limit(*, hard: bool = False) -> int | None:
    """How many files this process may open, or could be allowed to; None for no limit."""
    resource = _resource()
    if resource is None:
        return None
    limit: int = resource.getrlimit(resource.RLIMIT_NOFILE)[hard]
    return None if limit == resource.RLIM_INFINITY else limit


def raise_file_limit() -> None:
    """Let this process open as many files as it could be allowed to.

    Systems give 1024 at first, for programs that use select().
    """
    resource = _resource()
    if resource is None:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS says "infinity", and means less: then the limit stays as it is.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections_allowed(settings: Settings, *, hard: bool = False) -> int:
    """Of `max_connections`, those for which there are files."""
    limit = file_limit(hard=hard)
    if limit is None:
        return settings.max_connections
    return min(settings.max_connections, max(limit - _RESERVED, limit // 2, 1))


def files_run_short(descriptor: int) -> bool:
    """Does the number of a file that was opened just now show that few more can be?

    The system gives the lowest number that is free.
    """
    limit = file_limit()
    return limit is not None and descriptor >= limit - min(_SPARE, limit // 4)
