"""When which session is due, for one shared timer.

Rules that hold here:

- Heartbeats are spread over the seconds of their interval by chance, so that
  a crowd that came at once does not beat at once.
- A slow connection is stuck when its peer has taken nothing for the whole of its time.
- Nothing here knows a clock: the time is given.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterator
from math import ceil, isfinite
from typing import Generic, TypeVar

from .session import Session

__all__ = ["Expiries", "Heartbeats", "LapsedSessions", "StalledWriters"]

K = TypeVar("K", bound=Hashable)


class Heartbeats:
    """Each session once in every `interval` seconds."""

    def __init__(self, interval: float) -> None:
        self._slots: list[dict[Session, None]] = [{} for _ in range(max(1, int(interval)))]
        self._now = 0

    def add(self, session: Session) -> None:
        """Give a session its second."""
        session.heartbeat_slot = random.randrange(len(self._slots))
        self._slots[session.heartbeat_slot][session] = None

    def remove(self, session: Session) -> None:
        """Idempotent."""
        self._slots[session.heartbeat_slot].pop(session, None)

    def tick(self) -> list[Session]:
        """One second has passed: the sessions that are due."""
        self._now = (self._now + 1) % len(self._slots)
        return list(self._slots[self._now])


class LapsedSessions:
    """Sessions whose connection was lost, for as long as they can be taken up again.

    `most` bounds how many are kept: those that were lost last. `on_gone` is told of each
    session that no longer is.
    """

    def __init__(self, seconds: float, most: int, on_gone: Callable[[Session], None]) -> None:
        self._seconds = seconds
        self._most = most
        self._on_gone = on_gone
        # Ordered by time.
        self._until: dict[str, tuple[float, Session]] = {}

    def __contains__(self, sid: str) -> bool:
        return sid in self._until

    def __iter__(self) -> Iterator[Session]:
        return (session for _, session in self._until.values())

    def add(self, session: Session, now: float) -> None:
        """The session is gone, from now."""
        self._until[session.sid] = now + self._seconds, session
        if len(self._until) > self._most:
            self._drop_oldest()

    def get(self, sid: str) -> Session | None:
        """The session with this secret, if it can still be taken up."""
        found = self._until.get(sid)
        return None if found is None else found[1]

    def take(self, sid: str) -> Session | None:
        """The same, and let go of it."""
        session = self.get(sid)
        self._until.pop(sid, None)
        return session

    def tick(self, now: float) -> None:
        """Let go of those whose time is over."""
        while self._until:
            until, _ = next(iter(self._until.values()))
            if until > now:
                return
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, session = self._until.pop(next(iter(self._until)))
        self._on_gone(session)


class Expiries(Generic[K]):
    """Rights that end, by the second in which they do: grants of sessions, and rooms."""

    def __init__(self) -> None:
        self._by_second: dict[int, dict[K, None]] = {}
        self._seconds: dict[K, int] = {}

    def set(self, right: K, expires: float | None) -> None:
        """Note when a right ends, in seconds since 1970; None or infinity is never."""
        self.remove(right)
        if expires is not None and isfinite(expires):
            second = ceil(expires)
            self._seconds[right] = second
            self._by_second.setdefault(second, {})[right] = None

    def remove(self, right: K) -> None:
        """Idempotent."""
        second = self._seconds.pop(right, None)
        if second is not None:
            del self._by_second[second][right]
            if not self._by_second[second]:
                del self._by_second[second]

    def due(self, now: float) -> list[K]:
        """The rights that have ended by now."""
        ended = [second for second in self._by_second if second <= now]
        return [right for second in ended for right in self._by_second[second]]


class StalledWriters:
    """The sessions that wait for their connections to take more, and since when."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        # Ordered by time.
        self._since: dict[Session, tuple[float, int]] = {}

    def __len__(self) -> int:
        return len(self._since)

    def add(self, session: Session, now: float) -> None:
        """The session's connection is full, from now."""
        self._since[session] = now, _taken(session)

    def remove(self, session: Session) -> None:
        """Idempotent."""
        self._since.pop(session, None)

    def stuck(self, now: float) -> list[Session]:
        """Those that took nothing for `deadline` seconds; the others get more time."""
        due = []
        for session, (since, taken) in list(self._since.items()):
            if now - since < self._deadline:
                break
            del self._since[session]
            if _taken(session) > taken:
                self.add(session, now)
            else:
                due.append(session)
        return due


def _taken(session: Session) -> int:
    return session.connection.taken() if session.connection is not None else 0
