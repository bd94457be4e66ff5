"""What a session is told when it begins: `connect` and the board.

Rules that hold here:

- A snapshot names the position it is true at, and is never older than the
  log's newest entry.
- A thousand clients that come at once get, and hold, the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..framing import Framing
from ..log.base import Log
from ..protocol import PROTOCOL_VERSION, Position, encode
from ..version import __version__
from .session import Session

__all__ = ["Snapshots", "connect"]

# Snapshots that are kept framed, until the log grows.
MAX_SNAPSHOTS: Final = 4


def connect(session: Session, position: Position, heartbeat: float, *, recovered: bool) -> bytes:
    """The first envelope of a connection. PROTOCOL.md, section 4."""
    return encode(
        "connect",
        {
            "sid": session.sid,
            "protocol": PROTOCOL_VERSION,
            "server": f"rtpush/{__version__}",
            "heartbeat": heartbeat,
            "recovered": recovered,
            "position": str(position),
            "rooms": list(session.rooms),
        },
    )


class Snapshots:
    """The board as `active_tasks`, framed. `forget` when the board or the time has changed."""

    def __init__(self, log: Log, wall: Callable[[], float]) -> None:
        self._log = log
        self._wall = wall
        self._framed: dict[tuple[frozenset[str], Framing], bytes] = {}

    def forget(self) -> None:
        """What was made is no longer true."""
        self._framed.clear()

    def framed(self, rooms: frozenset[str], framing: Framing) -> bytes:
        """All that somebody in these rooms may see."""
        snapshot = self._framed.get((rooms, framing))
        if snapshot is None:
            position = str(self._log.position)
            board = self._log.board.snapshot(rooms, self._wall())
            if len(self._framed) >= MAX_SNAPSHOTS:
                self._framed.clear()
            snapshot = framing.frame(encode("active_tasks", board, position), position)
            self._framed[rooms, framing] = snapshot
        return snapshot

    def of_room(self, room: str) -> bytes:
        """One room's part, as an envelope."""
        board = self._log.board.snapshot_room(room, self._wall())
        return encode("active_tasks", board, str(self._log.position), room)
