"""The log: what every other part reads from.

Rules that hold here:

- There is one append-only log. SEQ rises by one for each entry, with no gap.
- A position, `EPOCH-SEQ`, names the point just behind entry SEQ. Reading at a
  position gives what is newer. EPOCH names one life of the log: a log that
  lost entries it had handed out begins another.
- Entries, the task board and retained events change together or not at all, and only after
  the change is stored. A reader can rely on every entry that it sees.
- `append` answers when the entries are stored, never earlier.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from ..config.settings import Settings
from ..errors import RtpushError
from ..protocol import Position
from .board import TaskBoard
from .entry import Draft, Entry
from .retained import RetainedEvents
from .room_index import Rooms

__all__ = [
    "PAGE_BYTES",
    "Log",
    "LogError",
    "Outcome",
    "Page",
    "new_board",
    "new_retained",
]

# JSON that one `Log.read` returns. Entries may be 1 MiB each, and thousands of
# slow readers each hold a page: their number alone would bound nothing.
PAGE_BYTES: Final = 256 << 10


class LogError(Exception):
    """The log cannot be opened. The message is one sentence for a person."""


def new_board(settings: Settings) -> TaskBoard:
    """An empty board with the limits that the settings give it."""
    return TaskBoard(
        finished_for=settings.finished_for,
        max_active=settings.max_tasks,
        max_task_bytes=settings.max_task,
        max_active_bytes=settings.max_board,
    )


def new_retained(settings: Settings) -> RetainedEvents:
    """No retained events, with the limits that the settings give them."""
    return RetainedEvents(settings.max_retained, settings.max_state, settings.max_message)


class Page(NamedTuple):
    """Entries that were read, and the number up to which nothing is missing from them.

    A reader that wants more reads on at `upto`. It rises with every page while the log
    has something newer, also when each entry that was looked at was left out. Of a page
    that was read newest first, it is the number from which on nothing is missing.
    """

    entries: list[Entry]
    upto: int

    def of_rooms(self, rooms: Rooms) -> Page:
        """The same without the entries of other rooms."""
        wanted = frozenset(rooms)
        return Page([entry for entry in self.entries if entry.room in wanted], self.upto)


# The sequence number that a draft got, or why it got none.
Outcome = int | RtpushError


class Log(ABC):
    """What the hub asks of a log.

    `first` and `last` are the numbers of the oldest and the newest entry
    that can be read (`first == last + 1` when there is none). `board` and `retained` are
    folds of all entries up to `last`. `on_grow` is called, on the event loop,
    each time `last` has risen; `on_lost`, when the log is no longer the one
    that was read so far: another epoch has begun, or entries are gone that
    nobody here has read. What was read before says nothing about it.
    """

    epoch: str
    first: int
    last: int
    board: TaskBoard
    retained: RetainedEvents
    on_grow: Callable[[], None]
    on_lost: Callable[[], None]

    @abstractmethod
    async def open(self) -> None:
        """Make ready. Raises LogError with a sentence that says what to do."""

    @abstractmethod
    async def close(self) -> None:
        """Store what was accepted, then let go of everything."""

    @property
    @abstractmethod
    def failing(self) -> bool:
        """Did the last attempt to store fail, or has one not been answered for long?"""

    @abstractmethod
    async def wait_idle(self) -> None:
        """Wait until everything that was accepted is stored."""

    @abstractmethod
    def append(self, drafts: Sequence[Draft]) -> asyncio.Future[list[Outcome]]:
        """Log drafts in order; done when they are stored.

        One outcome for each draft. A refused draft (`task_exists`, …) does
        not hinder the others. A draft whose idempotency key was seen in the
        last ten minutes gets the number that it got then, and nothing is
        logged. When the store fails, every new entry of the call gets
        `unavailable` and neither log nor board has changed.
        """

    @abstractmethod
    def recent(self, after: int, max_bytes: int, rooms: Rooms | None = None) -> Page | None:
        """Entries newer than `after` from memory, at once; with `rooms`, of these alone.

        At least one (if there is any) and then as many as fit into `max_bytes`. None when
        memory does not know all of them. Costs what it returns, however much is newer.
        """

    @abstractmethod
    def active(self, rooms: Rooms, after: int) -> Rooms:
        """Those of the rooms that may have an entry after a number; the others have none."""

    @abstractmethod
    def nth_newest(self, room: str, count: int) -> int | None:
        """The number of the room's `count`-th newest entry; 0 when the log has fewer.

        None when memory does not know.
        """

    @abstractmethod
    def superseded(self, entry: Entry) -> bool:
        """Does memory hold a later entry with the same conflation key?"""

    @abstractmethod
    async def read(
        self,
        after: int,
        limit: int,
        conflate_after: int | None = None,
        rooms: Rooms | None = None,
    ) -> Page:
        """Of the `limit` entries after `after`, oldest first, from the store.

        With `rooms`, of these rooms' entries: what lies between them costs nothing. As
        many as fit into PAGE_BYTES of JSON, but at least one. With `conflate_after`,
        entries newer than it that a later one supersedes are left out. Entries older
        than `first` are gone: the caller compares first. Raises RtpushError
        (`unavailable`).
        """

    @abstractmethod
    async def read_before(self, before: int, limit: int, rooms: Rooms | None = None) -> Page:
        """At most `limit` entries older than number `before`, newest first; else as `read`."""

    async def sync(self) -> bool:
        """Wait until all is here that was answered before, by whatever node; is it?

        Not for long: a store that is away leaves what is here. A log of one
        process has everything at once.
        """
        return True

    async def lead(self) -> bool:
        """Is this the node that does what one node alone should do?

        It stays so while it asks once a second. With a log of one process it is.
        """
        return True

    @abstractmethod
    def now(self) -> float:
        """The log's clock, which every age is measured by: see `LogClock`."""

    @abstractmethod
    def tick(self) -> None:
        """Let go of what is older than retention allows, but never of the newest entry.

        Once a second.
        """

    @property
    def position(self) -> Position:
        """The newest position."""
        return Position(self.epoch, self.last)

    def covers(self, position: Position) -> str | None:
        """None when every entry after `position` can still be read, else why not."""
        if position.epoch != self.epoch:
            return "epoch"
        if position.seq > self.last:
            return "ahead"
        return "expired" if position.seq < self.first - 1 else None
