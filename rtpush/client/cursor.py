"""The client's cursor: its position in the server's log.

Rules that hold here (PROTOCOL.md, section 3):

- The cursor is the position of the last event that the client has taken. The
  client does not adopt the `position` of a `connect` envelope: the events up to
  it are still on their way.
- Positions of different epochs cannot be compared. Only the server knows what
  lies between them.
- The client never stores a position that does not parse, and drops no event
  because of it.
"""

from __future__ import annotations

from typing import Any

from ..errors import RtpushError
from ..protocol import Position

__all__ = ["Cursor"]


class Cursor:
    """The position of the last event taken, and that of each room's last snapshot."""

    def __init__(self, last: str | None = None) -> None:
        """Start at a position; None: at the log's end, wherever that is."""
        self.last = last
        # The position of the last `active_tasks`, by room.
        self._snapshots: dict[str, str] = {}

    def take(self, envelope: dict[str, Any]) -> bool:
        """Move past an envelope; False when the client had it before and must drop it."""
        event, position, room = (envelope.get(name) for name in ("event", "id", "room"))
        if event == "active_tasks":
            return self._take_snapshot(position, room)
        if event == "resync":
            self.last = None
            return True
        if event == "state":
            # The `active_tasks` behind it has the same position.
            return True
        fresh = position is None or self.advance(position)
        snapshot = self._snapshots.get(room) if isinstance(room, str) else None
        return fresh and not _is_behind(position, snapshot)

    def _take_snapshot(self, position: Any, room: Any) -> bool:
        if room is None:
            return self.advance(position) or position == self.last
        # The snapshot of a room covers no event of another room: the cursor stays.
        self._snapshots[str(room)] = str(position)
        return True

    def advance(self, position: Any) -> bool:
        """Move to a position; False when it is not ahead of the cursor."""
        if _is_behind(position, self.last):
            return False
        if _parse(position) is not None:
            self.last = position
        return True

    def forget(self) -> None:
        """Forget everything: another user reads on, who has received nothing yet."""
        self.last = None
        self._snapshots.clear()

    def leave(self, room: str) -> None:
        """Forget a room's snapshot: when the client joins again it gets another one."""
        self._snapshots.pop(room, None)


def _parse(text: Any) -> Position | None:
    try:
        return Position.parse(text) if isinstance(text, str) else None
    except RtpushError:
        return None


def _is_behind(position: Any, last: str | None) -> bool:
    one, other = _parse(position), _parse(last)
    return one is not None and other is not None and one.epoch == other.epoch and one <= other
