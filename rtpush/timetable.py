"""When which session is due, for one shared timer.

Rules that hold here:

- Heartbeats are spread over the seconds of their interval by chance, so that
  a crowd that came at once does not beat at once.
- A slow wire is stuck when nothing has left it for the whole of its time.
- Nothing here knows a clock: the time is given.
"""

from __future__ import annotations

import random

from .session import Session

__all__ = ["Heartbeats", "SlowWires"]


class Heartbeats:
    """Each session once in every `interval` seconds."""

    def __init__(self, interval: float) -> None:
        self._slots: list[dict[Session, None]] = [{} for _ in range(max(1, int(interval)))]
        self._now = 0

    def add(self, session: Session) -> None:
        """Give a session its second."""
        session.slot = random.randrange(len(self._slots))
        self._slots[session.slot][session] = None

    def remove(self, session: Session) -> None:
        """Idempotent."""
        self._slots[session.slot].pop(session, None)

    def tick(self) -> list[Session]:
        """One second has passed: who is due."""
        self._now = (self._now + 1) % len(self._slots)
        return list(self._slots[self._now])


class SlowWires:
    """The sessions that wait for their wires to take more, and since when."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        # Ordered by time.
        self._since: dict[Session, tuple[float, int]] = {}

    def __len__(self) -> int:
        return len(self._since)

    def add(self, session: Session, now: float) -> None:
        """The session's wire is full, from now."""
        self._since[session] = now, _backlog(session)

    def remove(self, session: Session) -> None:
        """Idempotent."""
        self._since.pop(session, None)

    def stuck(self, now: float) -> list[Session]:
        """Those of which nothing has left for `deadline` seconds; the others get more time."""
        due = []
        for session, (since, backlog) in list(self._since.items()):
            if now - since < self._deadline:
                break
            del self._since[session]
            if _backlog(session) < backlog:
                self.add(session, now)
            else:
                due.append(session)
        return due


def _backlog(session: Session) -> int:
    return session.wire.backlog() if session.wire is not None else 0
