"""Receive queues: events that have arrived, one queue for each consumer.

Rules that hold here:

- A consumer is a loop over `events`, or the handlers together. Each has a
  `ReceiveQueue` of its own, and takes every event that it wants once, in order.
- `ReceiveQueues` are all queues of one client. When the longest one is long, the
  client stops reading: then the server keeps a position for it instead of a
  queue, and nothing is lost.
- While a caller waits for an answer the client goes on reading, up to a second
  limit, at which it refuses further calls.
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

__all__ = ["Event", "Events", "ReceiveQueue", "ReceiveQueues", "matches"]

# The length of a queue at which the client stops reading.
_PAUSE_AT: Final = 1000
# The length of a queue at which the client sends nothing that needs an answer.
_MAX_LENGTH: Final = 100_000

T = TypeVar("T")
Q = TypeVar("Q", bound="ReceiveQueue[Any]")


@dataclass(frozen=True, slots=True)
class Event:
    """One event that has arrived. Fields as in PROTOCOL.md, section 2.

    `data` is a tuple when the event was emitted with several arguments.
    `id` is its position in the log; None when the event is not logged. `room` is
    None for an event to everybody, and `key` for one that replaces no other. `rewound`
    is the position of an event from before the client joined the room. `retained`: it is
    not new, but the newest of its key from before the client connected or joined.
    """

    event: str
    data: Any = None
    room: str | None = None
    id: str | None = None
    key: str | None = None
    rewound: str | None = None
    retained: bool = False


class ReceiveQueues:
    """All receive queues of a client, and whether it may read more."""

    def __init__(self, awaits_answer: Callable[[], bool]) -> None:
        """`awaits_answer` tells whether a caller waits for an answer of the server."""
        self._awaits_answer = awaits_answer
        # Weakly: a loop that is left by `break` leaves no queue behind.
        self._queues: WeakSet[ReceiveQueue[Any]] = WeakSet()
        self._changed = asyncio.Event()

    def new_queue(self) -> ReceiveQueue[Any]:
        """A queue for a consumer that the client gives items one by one."""
        return self._add(ReceiveQueue(self))

    def new_events(self, patterns: tuple[str, ...]) -> Events:
        """A queue of the events from now on that match one of the patterns."""
        return self._add(Events(self, patterns))

    def reopen(self, queue: ReceiveQueue[Any]) -> None:
        """Use a queue again that `close` has closed."""
        queue.reopen()
        self._queues.add(queue)

    def _add(self, queue: Q) -> Q:
        self._queues.add(queue)
        return queue

    def deliver(self, event: Event) -> None:
        """Put an event into each queue that wants it."""
        for queue in self._queues:
            queue.deliver(event)

    def close(self, reason: Exception) -> None:
        """No event comes any more: see `ReceiveQueue.get`."""
        for queue in self._queues:
            queue.close(reason)
        self._queues.clear()
        # The next connection may be on another event loop.
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """A consumer has taken an item or is gone, or a caller waits for an answer."""
        self._changed.set()

    async def wait_ready(self) -> None:
        """Wait until the client may read more."""
        while self._longest() >= _PAUSE_AT and not self._awaits_answer():
            self._changed.clear()
            await self._changed.wait()

    def check_length(self) -> None:
        """Raises RtpushError (`too_slow`) when the client must not ask for an answer."""
        if self._longest() >= _MAX_LENGTH:
            raise RtpushError(
                "too_slow",
                f"{_MAX_LENGTH:,} events wait to be received; take them, "
                "or publish with a Publisher.",
            )

    def _longest(self) -> int:
        return max(map(len, self._queues), default=0)


class ReceiveQueue(Generic[T]):
    """A FIFO queue for one consumer."""

    def __init__(self, owner: ReceiveQueues) -> None:
        self._owner = owner
        self._items: deque[T] = deque()
        self._filled = asyncio.Event()
        # What `get` raises when the queue is empty; None while more may come.
        self._closed: Exception | None = None

    def __len__(self) -> int:
        return len(self._items)

    def __del__(self) -> None:
        # The client may have stopped reading because of this consumer, which is gone.
        self._owner.changed()

    def put(self, item: T) -> None:
        """Add an item at the end."""
        self._items.append(item)
        self._filled.set()

    def close(self, reason: Exception) -> None:
        """No item comes any more. `get` gives those that are left, and then raises this."""
        self._closed = reason
        self._filled.set()

    def reopen(self) -> None:
        """Items come again."""
        self._closed = None

    async def get(self) -> T:
        """Wait for the next item. Raises what `close` was given."""
        while not self._items:
            if self._closed is not None:
                raise self._closed
            self._filled.clear()
            await self._filled.wait()
        item = self._items.popleft()
        self._owner.changed()
        return item

    def deliver(self, event: Event) -> None:
        """Take an event, if the consumer wants it. A plain queue is only `put` to."""


class Events(ReceiveQueue[Event]):
    """Events to go through with `async for`.

    The loop ends with the client's `disconnect`, and with a ConnectError when the
    client cannot reconnect.
    """

    def __init__(self, owner: ReceiveQueues, patterns: tuple[str, ...]) -> None:
        super().__init__(owner)
        self._patterns = patterns

    def deliver(self, event: Event) -> None:
        """Put the event into the queue, if it matches."""
        if matches(event.event, self._patterns):
            self.put(event)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        return await self.get()


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name matches one of the patterns, as in a shell, or there are none."""
    return not patterns or matches_any(patterns, name)
