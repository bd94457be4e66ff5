"""What python-socketio's users raise and catch, by its names."""

from __future__ import annotations

import builtins

from ...errors import ConnectError

__all__ = ["ConnectionError", "ConnectionRefusedError", "DisconnectedError", "TimeoutError"]

ConnectionError = DisconnectedError = ConnectError
ConnectionRefusedError = builtins.ConnectionRefusedError
TimeoutError = builtins.TimeoutError
