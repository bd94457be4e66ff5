"""Where a client is in the server's log.

Rules that hold here (PROTOCOL.md, section 3):

- The cursor names what has really been taken. The `position` of a `connect`
  envelope is not adopted: what leads up to it is still on its way.
- Positions of different epochs cannot be compared; only the server can say
  what lies between them.
- What does not parse is no position: it is never remembered, and no reason to
  drop an event.
"""

from __future__ import annotations

from typing import Any

from ..errors import RtpushError
from ..protocol import Position

__all__ = ["Cursor"]


class Cursor:
    """The newest position taken, and for each room that of its newest snapshot."""

    def __init__(self, last: str | None = None) -> None:
        self.last = last
        self._rooms: dict[str, str] = {}

    def take(self, envelope: dict[str, Any]) -> bool:
        """Move past an envelope; False when it is no news and must go no further."""
        event, position, room = (envelope.get(name) for name in ("event", "id", "room"))
        if event == "active_tasks":
            return self._take_snapshot(position, room)
        if event == "resync":
            self.last = None
            return True
        fresh = position is None or self.advance(position)
        snapshot = self._rooms.get(room) if isinstance(room, str) else None
        return fresh and not _is_behind(position, snapshot)

    def _take_snapshot(self, position: Any, room: Any) -> bool:
        if room is None:
            return self.advance(position) or position == self.last
        # It says nothing about what happened elsewhere up to then.
        self._rooms[str(room)] = str(position)
        return True

    def advance(self, position: Any) -> bool:
        """Move to a position; False when that lies behind."""
        if _is_behind(position, self.last):
            return False
        if _parse(position) is not None:
            self.last = position
        return True

    def leave(self, room: str) -> None:
        """Its next snapshot is another beginning."""
        self._rooms.pop(room, None)


def _parse(text: Any) -> Position | None:
    try:
        return Position.parse(text) if isinstance(text, str) else None
    except RtpushError:
        return None


def _is_behind(position: Any, last: str | None) -> bool:
    one, other = _parse(position), _parse(last)
    return one is not None and other is not None and one.epoch == other.epoch and one <= other
