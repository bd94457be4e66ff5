"""The exceptions of python-socketio, by its names."""

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
# In python-socketio, `emit` without a connection raises the first of these.
BadNamespaceError = ConnectionError = DisconnectedError = ConnectError
ConnectionRefusedError = builtins.ConnectionRefusedError
TimeoutError = builtins.TimeoutError
