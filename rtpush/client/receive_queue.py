"""What has come and nobody has taken yet.

Rules that hold here:

- Each event is looked at once by each who wants it, in order.
- Who takes more slowly than the server sends makes the reading pause: then the
  server holds a position and not a queue, and nothing is lost.
- But while somebody waits for an answer, reading goes on, up to a limit at
  which nothing more may be asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Self, TypeVar
from weakref import WeakSet

from ..errors import RtpushError
from ..patterns import matches_any

__all__ = ["Event", "Events", "Inbox", "Queue", "matches"]

# Events that may wait for one taker before reading pauses, and at all.
_ENOUGH: Final = 1000
_MOST: Final = 100_000

T = TypeVar("T")
Q = TypeVar("Q", bound="Queue[Any]")


@dataclass(frozen=True, slots=True)
class Event:
    """One event that has come. Fields as in PROTOCOL.md, section 2.

    `id` is its position in the log; None when it is not of the log.
    """

    event: str
    data: Any = None
    room: str | None = None
    id: str | None = None
    key: str | None = None


class Inbox:
    """All queues of a client. `waits` tells whether it waits for an answer."""

    def __init__(self, waits: Callable[[], bool]) -> None:
        self._waits = waits
        # Weakly: a loop over events that is left by `break` leaves nothing behind.
        self._queues: WeakSet[Queue[Any]] = WeakSet()
        self._changed = asyncio.Event()

    def queue(self) -> Queue[Any]:
        """For one who is given things one by one."""
        return self._added(Queue(self))

    def events(self, patterns: tuple[str, ...]) -> Events:
        """For one who goes through events from now on."""
        return self._added(Events(self, patterns))

    def resume(self, queue: Queue[Any]) -> None:
        """More comes for one who had been told the end."""
        queue.end(None)
        self._queues.add(queue)

    def _added(self, queue: Q) -> Q:
        self._queues.add(queue)
        return queue

    def offer(self, event: Event) -> None:
        """Give an event to all who go through events."""
        for queue in self._queues:
            queue.offer(event)

    def end(self, reason: Exception) -> None:
        """Nothing more comes for anybody: see `Queue.get`."""
        for queue in self._queues:
            queue.end(reason)
        self._queues.clear()
        # The next connection may be on another event loop.
        self._changed = asyncio.Event()

    def look(self) -> None:
        """Something has been taken, or an answer is waited for."""
        self._changed.set()

    async def ready(self) -> None:
        """Wait until more may come."""
        while self._fullest() >= _ENOUGH and not self._waits():
            self._changed.clear()
            await self._changed.wait()

    def check(self) -> None:
        """May something be asked? Raises RtpushError (`too_slow`)."""
        if self._fullest() >= _MOST:
            raise RtpushError(
                "too_slow",
                f"{_MOST:,} events wait to be received; take them, or publish with a Publisher.",
            )

    def _fullest(self) -> int:
        return max(map(len, self._queues), default=0)


class Queue(Generic[T]):
    """Things in order for one taker."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._things: deque[T] = deque()
        self._something = asyncio.Event()
        self._end: Exception | None = None

    def __len__(self) -> int:
        return len(self._things)

    def __del__(self) -> None:
        # Reading may have paused for want of a taker who will never come now.
        self._inbox.look()

    def put(self, thing: T) -> None:
        """Add something at the end."""
        self._things.append(thing)
        self._something.set()

    def end(self, reason: Exception | None) -> None:
        """Nothing more comes: `get` raises this when all is taken. None takes it back."""
        self._end = reason
        self._something.set()

    async def get(self) -> T:
        """The next one. Raises what `end` was given."""
        while not self._things:
            if self._end is not None:
                raise self._end
            self._something.clear()
            await self._something.wait()
        thing = self._things.popleft()
        self._inbox.look()
        return thing

    def offer(self, event: Event) -> None:
        """An event for all who want it; a plain queue is given things one by one."""


class Events(Queue[Event]):
    """Events to go through with `async for`.

    The loop ends with the client's `disconnect`, and with a ConnectError when the
    server lets the client come back no more.
    """

    def __init__(self, inbox: Inbox, patterns: tuple[str, ...]) -> None:
        super().__init__(inbox)
        self._patterns = patterns

    def offer(self, event: Event) -> None:
        """Take it, if it is wanted."""
        if matches(event.event, self._patterns):
            self.put(event)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        return await self.get()


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Is the name like one of these? Without patterns every name is."""
    return not patterns or matches_any(patterns, name)
