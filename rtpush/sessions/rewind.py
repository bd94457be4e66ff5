"""Rewinding: what happened in a room before its client came. PROTOCOL.md, section 5.

Rules that hold here:

- A rewind goes up to the number after which the session sees the room, so that what it gives
  and what follows meet: nothing is missing between them, and nothing comes twice.
- While a rewind is on its way the session is not live: what is newer waits behind it.
- Who came and went is left out: who is present now is told by `state`.
- A session holds no events of it, but a cursor: the log is read again as the connection
  takes more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

from ..config.kinds import parse_duration
from ..errors import RtpushError
from ..framing import Framing
from ..log.base import Log, Page
from ..log.entry import Entry
from ..log.retained import PRESENCE
from ..protocol import Position

__all__ = ["MAX_REWIND", "Rewind", "RewindSpec", "find_start"]

# Events of one rewind, and of all that one connection begins with; and their JSON.
MAX_REWIND: Final = 1000
MAX_REWIND_BYTES: Final = 4 << 20
# How often a long-poll that does not confirm a part of it is given that part.
MAX_GIVEN: Final = 3


@dataclass(frozen=True, slots=True)
class RewindSpec:
    """How far back: so many events, so many seconds, or to a position; one of them is set."""

    count: int | None = None
    seconds: float | None = None
    since: Position | None = None

    @classmethod
    def parse(cls, given: Any) -> Self:
        """Of a number, or of text like "20", "10m" or a position. Raises RtpushError."""
        text = str(given) if isinstance(given, int) else given
        if isinstance(given, bool) or not isinstance(text, str):
            raise _no_rewind()
        if "-" in text:
            return cls(since=Position.parse(text))
        if text.isascii() and text.isdigit():
            count = int(text[:9])
            if not 1 <= count <= MAX_REWIND:
                raise _no_rewind()
            return cls(count=count)
        try:
            return cls(seconds=parse_duration(text))
        except ValueError:
            raise _no_rewind() from None


def _no_rewind() -> RtpushError:
    return RtpushError(
        "bad_request",
        f'"rewind" is a number of events from 1 to {MAX_REWIND}, a duration like "10m", or a '
        "position.",
    )


@dataclass(eq=False, slots=True)
class Rewind:
    """One room's rewind on its way: entries after `at` up to `upto` are still to come.

    `at` is None until it is known where to begin. `confirmed` is what a long-poll has had
    for certain, `times` how often it was given what comes next.
    """

    room: str
    upto: int
    at: int | None = None
    confirmed: int = 0
    times: int = 0

    def begin(self, at: int) -> None:
        """It is known where."""
        self.at = self.confirmed = at

    @property
    def done(self) -> bool:
        """Was everything given?"""
        return self.at is not None and self.at >= self.upto

    def take(self, page: Page, sid: str, framing: Framing) -> list[bytes]:
        """Move past a page; what a connection is given of it."""
        self.at = page.upto
        return [
            framing.frame(_rewound(entry), None)
            for entry in page.entries
            if entry.seq <= self.upto and sid not in entry.skip and entry.event != PRESENCE
        ]

    def confirm(self, had: bool) -> None:
        """A long-poll asks on, and has had the last answer or not."""
        if self.at is None or self.at == self.confirmed:
            return
        self.times = 0 if had else self.times + 1
        if had or self.times >= MAX_GIVEN:
            self.confirmed, self.times = self.at, 0
        else:
            self.at = self.confirmed


def _rewound(entry: Entry) -> bytes:
    """The envelope with its position as `rewound`: a client's position must not follow it."""
    id_ = entry.id.encode()
    return entry.json.removesuffix(b'"id":"%b"}' % id_) + b'"rewound":"%b"}' % id_


async def find_start(
    log: Log, rewind: Rewind, spec: RewindSpec, most: int = MAX_REWIND, bound: int = 0
) -> bool:
    """Find out where a rewind begins; is that as far back as was asked for?

    `most` bounds the events, and nothing up to the number `bound` is given. Raises RtpushError.
    """
    epoch, room = log.epoch, (rewind.room,)
    before, left, size = rewind.upto + 1, min(spec.count or most, most), 0
    oldest = max(log.first - 1, bound)
    if spec.since is not None and spec.since.epoch == epoch:
        oldest = max(oldest, spec.since.seq)
    enough = spec.count is not None and spec.count <= most
    while left and size < MAX_REWIND_BYTES and before > oldest + 1:
        page = await log.read_before(before, left, room)
        if log.epoch != epoch:
            raise RtpushError("unavailable", "The log has begun anew; join again.")
        for entry in page.entries:
            too_old = spec.seconds is not None and entry.time < log.now() - spec.seconds
            if too_old or entry.seq <= oldest:
                rewind.begin(entry.seq)
                return _is_complete(log, spec, entry.seq)
            size += len(entry.json)
        left -= sum(entry.event != PRESENCE for entry in page.entries)
        before = page.upto
    rewind.begin(before - 1)
    if before <= oldest + 1:
        return _is_complete(log, spec, before - 1)
    return enough and not left


def _is_complete(log: Log, spec: RewindSpec, at: int) -> bool:
    """Of a rewind that begins behind `at`: there is nothing older, or none was asked for."""
    return spec.since is None or (log.covers(spec.since) is None and at <= spec.since.seq)
