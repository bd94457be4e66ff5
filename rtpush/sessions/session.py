"""Sessions: one client's position in the log, its rooms and its connection.

A session holds no queue: what its client has not been given yet is in the log.
Nothing here reads the log or writes to a connection; the hub does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..access.auth import OPEN
from ..access.rate_limits import RateLimit
from ..errors import RtpushError
from ..framing import Framing
from ..log.entry import Entry
from ..log.room_index import Rooms
from ..protocol import Reply

if TYPE_CHECKING:
    from .groups import Group
    from .rewind import Rewind, RewindSpec
    from .snapshots import SnapshotStream

__all__ = ["Connection", "Session"]


# Results of handled events that a session keeps, so that an event which the client
# repeats, because the answer was lost, is not handled again. A client has at most
# this many events in flight.
MAX_RESULTS: Final = 64
MAX_RESULT_BYTES: Final = 16 << 10
# Most sessions have none, and an empty dictionary each would be 64 bytes.
_NONE: Final[dict[str, bytes | RtpushError]] = {}
_NOT_KEPT: Final[dict[str, float]] = {}
_NONE_GIVEN: Final[dict[str, int]] = {}
_NOT_PRESENT: Final[dict[str, dict[str, Any]]] = {}
_NO_CLAIMS: Final[dict[str, int]] = {}
# Times that a room's snapshot goes out to a long-poll client that confirms no answer.
MAX_GIVEN: Final = 4
# Notices that a session keeps for a client that is away.
MAX_NOTICES: Final = 100


class Connection(Protocol):
    """One connection to one client, as the hub sees it."""

    framing: Framing

    def write(self, data: bytes) -> None:
        """Send framed bytes. Never blocks, never raises for a peer that is gone."""

    def write_part(self, data: bytes, *, last: bool) -> None:
        """Send a part of an envelope. What `write` is given before the last part follows it."""

    def taken(self) -> int:
        """How much the peer has taken: a number that grows with each byte."""

    def heartbeat(self) -> None:
        """Called every `heartbeat` seconds: show life, and see whether there is any."""

    def close(self, code: int, reason: str) -> None:
        """End it, after what was written has left (soon: a deadline holds)."""


class Session:
    """One client's place in the log."""

    __slots__ = (
        "address",
        "admitted",
        "bad_envelopes",
        "began",
        "claims",
        "conflate",
        "conflate_after",
        "connection",
        "consented",
        "cursor",
        "data",
        "eviction",
        "grant",
        "group",
        "handler_queue",
        "heartbeat_slot",
        "kept_until",
        "lagging",
        "lease_until",
        "live",
        "notices",
        "opened",
        "outlasted",
        "paused",
        "pending_replies",
        "pending_snapshots",
        "presence",
        "rate_limits",
        "reading",
        "receipt",
        "results",
        "rewind",
        "rewinds",
        "rewound",
        "rooms",
        "sid",
        "snapshot",
        "unconfirmed",
    )

    def __init__(self, sid: str, conflate: bool, address: str, opened: float) -> None:
        # The secret that names the session, and the room that it alone is in;
        # empty for a reader without a session of its own.
        self.sid = sid
        # May a keyed event that a newer one supersedes be left out when the client is slow?
        self.conflate = conflate
        # The client's IP address; empty when there is none.
        self.address = address
        # When the session began, in seconds since 1970.
        self.opened = opened

        # ---- where it reads
        # Each room, and the sequence number after which the session sees its events.
        self.rooms: dict[str, int] = {}
        # The sequence number up to which the client was given everything; a live
        # session is at the head of delivery, whatever stands here.
        self.cursor = 0
        # Entries up to this number are never conflated: the client was owed them
        # when it came (back).
        self.conflate_after = 0
        # None while the client is away.
        self.connection: Connection | None = None
        # The sessions that share its bytes; None until it has had a connection.
        self.group: Group | None = None

        # ---- how it reads
        # It has everything up to the head, so it takes the bytes that its group shares.
        self.live = False
        # Its connection was full, and it has not caught up since.
        self.lagging = False
        # Its connection is full now.
        self.paused = False
        # A read from the store, or the next write, is under way.
        self.reading = False
        # The large snapshot that is on its way, part by part. Events wait for its end.
        self.snapshot: SnapshotStream | None = None

        # ---- what it may
        # The application (if there is one) let it in; until then it hears nothing,
        # and nobody hears it.
        self.admitted = False
        self.grant = OPEN
        # Rooms that it is in whatever its grant says, and until when, in seconds since
        # 1970: those that the server put it in, and those of a token of their own.
        self.kept_until: dict[str, float] = _NOT_KEPT
        # Those of them that it was in already, by the application's consent, when it brought
        # a token for the room: the token's end does not end that consent.
        self.consented: frozenset[str] = frozenset()
        # Its own and its address's; empty until the client sends something.
        self.rate_limits: tuple[RateLimit, ...] = ()
        # Envelopes in a row that could not be understood.
        self.bad_envelopes = 0
        # Why it was thrown out; told to a client that comes back with its `sid`.
        self.eviction: RtpushError | None = None

        # ---- timers
        # The second of the heartbeat interval in which its heartbeat is due.
        self.heartbeat_slot = 0
        # Long-poll: when the session ends unless the client asks again, on the
        # monotonic clock; None for connections that tell when they are lost.
        self.lease_until: float | None = None

        # ---- what the application keeps with it
        # What `save_session` saved.
        self.data: dict[str, Any] | None = None
        # Events that wait for the handler of the one before; None while no handler runs.
        self.handler_queue: deque[Callable[[], Any]] | None = None
        # What the last handled events came to, by idempotency key: JSON, or the refusal.
        self.results: dict[str, bytes | RtpushError] = _NONE
        # The tasks that it works on, by key: the attempt of each that it has reported.
        self.claims: dict[str, int] = _NO_CLAIMS
        # Callbacks for the replies that the server has asked for, by `ack`.
        self.pending_replies: dict[str, Callable[[Reply], None]] | None = None
        # Rooms that it has entered and whose snapshots it has yet to be sent: when it
        # has caught up, and its connection has room.
        self.pending_snapshots: tuple[str, ...] = ()
        # Long-poll: rooms whose snapshots went out with answers that the client has not
        # confirmed, and how often; and the number by which it confirms the last answer.
        self.unconfirmed: dict[str, int] = _NONE_GIVEN
        self.receipt = 0
        # How far back its rooms go when its connection begins; None: not at all.
        self.rewind: RewindSpec | None = None
        # Has it missed what the rule of one of its rooms no longer lets it have?
        self.outlasted = False
        # The rooms that were rewound, and the number up to which that goes in a room that the
        # session was in from the start; None until it has begun.
        self.rewound: frozenset[str] = frozenset()
        self.began: int | None = None
        # Rooms whose earlier events it is given before anything that is newer.
        self.rewinds: tuple[Rewind, ...] = ()
        # The rooms that it is a member of, and what it says of itself there.
        self.presence: dict[str, dict[str, Any]] = _NOT_PRESENT
        # Envelopes that told it of a room which it had to leave while the client was away.
        self.notices: tuple[bytes, ...] = ()

    def keep_in(self, room: str, until: float) -> None:
        """Keep the session in a room until then, whatever its grant says."""
        if self.kept_until is _NOT_KEPT:
            self.kept_until = {}
        self.kept_until[room] = max(until, self.kept_until.get(room, until))

    def show(self, room: str, info: dict[str, Any]) -> None:
        """It is a member of a room."""
        if self.presence is _NOT_PRESENT:
            self.presence = {}
        self.presence[room] = info

    def notice(self, envelope: bytes) -> None:
        """Keep an envelope for the client's return."""
        self.notices = (*self.notices, envelope)[-MAX_NOTICES:]

    def give(self, room: str) -> None:
        """Note that a room's snapshot goes out with an answer, which may get lost."""
        if self.unconfirmed is _NONE_GIVEN:
            self.unconfirmed = {}
        self.unconfirmed[room] = self.unconfirmed.get(room, 0) + 1

    def confirm(self, receipt: str | None) -> None:
        """The client asks on: it has had the answer with this receipt, and no later one."""
        for rewind in self.rewinds:
            rewind.confirm(receipt == str(self.receipt))
        if receipt == str(self.receipt):
            self.unconfirmed = _NONE_GIVEN
            return
        lost = [room for room, times in self.unconfirmed.items() if times < MAX_GIVEN]
        self.unconfirmed = {room: self.unconfirmed[room] for room in lost}
        self.pending_snapshots = tuple(dict.fromkeys((*lost, *self.pending_snapshots)))

    def next_rewind(self) -> Rewind | None:
        """The rewind that comes next. What a long-poll was given it may have to be given again."""
        if self.lease_until is None:
            self.rewinds = tuple(one for one in self.rewinds if not one.done)
        else:
            self.rewinds = tuple(one for one in self.rewinds if one.confirmed < one.upto)
        return next((one for one in self.rewinds if not one.done), None)

    def end_rewind(self, room: str) -> None:
        """Give no more of a room's earlier events."""
        self.rewinds = tuple(one for one in self.rewinds if one.room != room)
        self.rewound -= {room}

    def hold(self, task: str, attempt: int) -> None:
        """Its client works on a task: while it is connected, the claim holds."""
        if self.claims is _NO_CLAIMS:
            self.claims = {}
        self.claims[task] = attempt

    def let_go(self, task: str) -> None:
        """Its client works on a task no longer."""
        if task in self.claims:
            del self.claims[task]

    def remember(self, key: str, result: bytes | RtpushError) -> None:
        """Keep the result of an event with this idempotency key: JSON, or the refusal."""
        if self.results is _NONE:
            self.results = {}
        self.results[key] = result
        size = sum(len(one) for one in self.results.values() if isinstance(one, bytes))
        while len(self.results) > MAX_RESULTS or size > MAX_RESULT_BYTES:
            oldest = self.results.pop(next(iter(self.results)))
            size -= len(oldest) if isinstance(oldest, bytes) else 0

    @property
    def reads(self) -> Rooms:
        """The rooms that the session reads: its own ones, its `sid`, and what is for everyone."""
        return {None, self.sid, *self.rooms}

    def sees(self, entry: Entry) -> bool:
        """Is the entry for this session?"""
        if entry.skip and self.sid in entry.skip:
            return False
        if entry.room is None or entry.room == self.sid:
            return True
        since = self.rooms.get(entry.room)
        return since is not None and entry.seq > since
