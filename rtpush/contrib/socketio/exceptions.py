"""What python-socketio's users raise and catch, by its names."""

from __future__ import annotations

import builtins

from ...errors import ConnectError, RtpushError

__all__ = [
    "BadNamespaceError",
    "ConnectionError",
    "ConnectionRefusedError",
    "DisconnectedError",
    "SocketIOError",
    "TimeoutError",
]

SocketIOError = RtpushError
# There, the first of these is what an `emit` without a connection raises.
BadNamespaceError = ConnectionError = DisconnectedError = ConnectError
ConnectionRefusedError = builtins.ConnectionRefusedError
TimeoutError = builtins.TimeoutError
