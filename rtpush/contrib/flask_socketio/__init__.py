"""Flask-SocketIO's names: `from rtpush.contrib.flask_socketio import SocketIO, emit`.

Rules that hold here:

- A Flask application moves by its import. `socketio.run(app)` serves it and rtpush on one
  port, in one process: the application's own routes in threads, everything else as always.
- Handlers are plain functions in threads, as there, with Flask's `request` and `session`.
- There is the namespace `/` alone; for others, use rooms.
"""

from __future__ import annotations

from builtins import ConnectionRefusedError

from .extension import SocketIO
from .functions import call, close_room, disconnect, emit, join_room, leave_room, rooms, send
from .namespace import Namespace
from .test_client import SocketIOTestClient

__all__ = [
    "ConnectionRefusedError",
    "Namespace",
    "SocketIO",
    "SocketIOTestClient",
    "call",
    "close_room",
    "disconnect",
    "emit",
    "join_room",
    "leave_room",
    "rooms",
    "send",
]
