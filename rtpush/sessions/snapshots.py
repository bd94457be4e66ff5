"""Snapshots: `connect`, retained events and the task board, encoded once for all readers.

Rules that hold here:

- A snapshot names the position it is true at, and is never older than the
  log's newest entry when it is begun.
- It is `state`, unless nothing is retained, and then `active_tasks`, both at one position.
- A small one is one write. A large one is written in parts, as its connection
  takes them, so that a reader holds no bytes of it but a list of pages.
- Pages are encoded, framed and compressed once, and shared by all that read them
  in whatever rooms. What is kept of that has a bound in bytes; a page that has
  been let go is encoded again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from sys import getsizeof
from typing import Any, Final, TypeVar

from orjson import Fragment

from ..framing import Framing
from ..log.base import Log
from ..log.board_index import TaskPage
from ..log.pages import PAGE_BYTES, Page, Sized
from ..log.retained import Retained
from ..log.task import Task
from ..protocol import PROTOCOL_VERSION, Position, dumps, encode
from ..version import __version__
from .session import Session

__all__ = ["EstimatesOf", "SnapshotReaders", "SnapshotStream", "Snapshots", "connect"]

# Small snapshots that are kept framed until the log grows, and pages that are kept
# framed until others need the room: as much as the largest board, in one framing.
MAX_SMALL_BYTES: Final = 4 << 20
MAX_PAGE_BYTES: Final = 64 << 20
# What one of either takes beside its bytes and the names in its key, as measured.
ENTRY_BYTES: Final = 300
# Bytes of tasks and values that are no longer true and that slow readers of a snapshot
# still hold. Beyond this the readers that are longest at it are closed.
MAX_OUTDATED_BYTES: Final = 32 << 20


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


T = TypeVar("T", bound=Sized)
# What is estimated of the tasks of some rooms.
EstimatesOf = Callable[[Iterable[str | None]], list[dict[str, Any]]]


class _Bounded:
    """Bytes by key; those used longest ago make room for new ones."""

    def __init__(self, max_bytes: int) -> None:
        self.bytes = 0
        self._max_bytes = max_bytes
        # What is kept, and the bytes that it and its key count.
        self._kept: dict[object, tuple[bytes, int]] = {}

    def get(self, key: object, make: Callable[[], bytes], key_bytes: int = 0) -> bytes:
        """What is kept for the key, or what is made for it now.

        `key_bytes` are those of names in the key: 100 long ones hold more than a small board.
        """
        kept = self._kept.pop(key, None)
        if kept is None:
            data = make()
            kept = data, len(data) + key_bytes + ENTRY_BYTES
            self.bytes += kept[1]
        self._kept[key] = kept
        while self.bytes > self._max_bytes and len(self._kept) > 1:
            self.bytes -= self._kept.pop(next(iter(self._kept)))[1]
        return kept[0]

    def clear(self) -> None:
        self._kept.clear()
        self.bytes = 0


class Snapshots:
    """What is true now, framed. `forget` when the log or the time has gone on."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.estimates: EstimatesOf = lambda _rooms: []
        self._small = _Bounded(MAX_SMALL_BYTES)
        self._pages = _Bounded(MAX_PAGE_BYTES)

    def forget(self) -> None:
        """The small snapshots that were made are no longer true; pages may be."""
        self._small.clear()

    @property
    def outdated_bytes(self) -> int:
        """Bytes of tasks and values that only readers of older snapshots hold."""
        return self._log.board.index.outdated.bytes + self._log.retained.outdated.bytes

    def of_rooms(self, rooms: frozenset[str], framing: Framing) -> bytes | None:
        """All that a client in these rooms may see, framed; None when that is large."""
        if self._size((None, *rooms)) > PAGE_BYTES:
            return None
        position = str(self._log.position)

        def make() -> bytes:
            board = self._log.board.snapshot(rooms, self._log.now())
            shown = board | self._estimated((None, *rooms))
            tasks = framing.frame(encode("active_tasks", shown, position), position)
            return self._behind_state((None, *sorted(rooms)), framing, tasks)

        names = getsizeof(rooms) + sum(map(getsizeof, rooms))
        return self._small.get((rooms, framing), make, names)

    def of_room(self, room: str, framing: Framing) -> bytes | None:
        """One room's part, framed; None when that is large."""
        if self._size((room,)) > PAGE_BYTES:
            return None

        def make() -> bytes:
            board = self._log.board.snapshot_room(room, self._log.now())
            shown = board | self._estimated((room,))
            envelope = encode("active_tasks", shown, str(self._log.position), room)
            return self._behind_state((room,), framing, framing.frame(envelope, None), room)

        return self._small.get((room, framing), make, getsizeof(room))

    def _estimated(self, rooms: Iterable[str | None]) -> dict[str, list[dict[str, Any]]]:
        found = self.estimates(rooms)
        return {"estimates": found} if found else {}

    def _behind_state(
        self, rooms: Iterable[str | None], framing: Framing, tasks: bytes, room: str | None = None
    ) -> bytes:
        """The frame of `active_tasks` behind that of `state`, if there is anything to be in it."""
        entries = [Fragment(value.json) for value in self._log.retained.values([*rooms])]
        if not entries:
            return tasks
        state = encode("state", {"entries": entries}, str(self._log.position), room)
        return framing.joiner.join((framing.frame(state, None), tasks))

    def _size(self, rooms: Iterable[str | None]) -> int:
        board, retained = self._log.board.index, self._log.retained
        return sum(board.size(room) + retained.size(room) for room in rooms)

    def stream(
        self, rooms: frozenset[str], framing: Framing, room: str | None = None
    ) -> SnapshotStream:
        """A large snapshot as parts: of these rooms, or of one room alone."""
        scope = (None, *sorted(rooms)) if room is None else (room,)
        return SnapshotStream(self, self._log, scope, room, framing)

    def values(self, page: Page[Retained], framing: Framing) -> bytes:
        """The retained events of a page as a part of an array."""
        return self._pages.get(
            (page, framing), lambda: framing.part(b",".join([value.json for value in page]))
        )

    def tasks(self, page: TaskPage, framing: Framing, *, ended: bool) -> bytes:
        """The tasks of a page as a part of an array; empty when none is shown."""
        shown = [task for task in page if self._is_shown(task)] if ended else list(page)
        if not shown:
            return b""
        key = (page, framing, len(shown))
        return self._pages.get(key, lambda: framing.part(_json(shown, newest_first=ended)))

    def _is_shown(self, task: Task) -> bool:
        return self._log.board.is_recent(task, self._log.now())


def _json(tasks: list[Task], *, newest_first: bool) -> bytes:
    ordered = reversed(tasks) if newest_first else tasks
    return dumps([task.data for task in ordered])[1:-1]


class SnapshotStream:
    """A large snapshot on its way to one session, part by part.

    It is of the log's position when it was made. It ends with `close`, read to the end or not.
    `done` when `next` has returned all of it.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        log: Log,
        rooms: Iterable[str | None],
        room: str | None,
        framing: Framing,
    ) -> None:
        self.room = room
        self.done = False
        self._position = str(log.position)
        self._framing = framing
        rooms, index = list(rooms), log.board.index
        self._estimates = snapshots.estimates(rooms)
        values = deque([page for one in rooms for page in log.retained.pages(one)])
        active = deque([page for one in rooms for page in index.active(one)])
        ended = deque([page for one in rooms for page in reversed(index.finished(one))])
        self._left = values, active, ended
        for page in (*values, *active, *ended):
            page.acquire()
        self._arrays = {
            "entries": _read(values, lambda page: snapshots.values(page, framing)),
            "tasks": _read(active, lambda page: snapshots.tasks(page, framing, ended=False)),
            "finished": _read(ended, lambda page: snapshots.tasks(page, framing, ended=True)),
        }
        self._parts = self._envelopes(with_state=bool(values))

    def next(self) -> tuple[bytes, bool]:
        """The next part, and whether it is the last of its envelope."""
        return next(self._parts)

    def _envelopes(self, *, with_state: bool) -> Iterator[tuple[bytes, bool]]:
        if with_state:
            yield from self._envelope("state", ("entries",), None)
        id_ = self._position if self.room is None else None
        for data, last in self._envelope("active_tasks", ("tasks", "finished"), id_):
            self.done = last
            yield data, last

    def _envelope(
        self, event: str, arrays: Iterable[str], id_: str | None
    ) -> Iterator[tuple[bytes, bool]]:
        framing, opening = self._framing, b'{"event":"%b","data":{' % event.encode()
        for number, name in enumerate(arrays):
            opening += b'"%b":[' % name.encode()
            yield framing.part(opening) if number else framing.first_part(opening, id_), False
            comma = b""
            for data in self._arrays[name]:
                yield comma + data, False
                comma = framing.part(b",")
            opening = b"],"
        room = {} if self.room is None else {"room": self.room}
        rest = dumps(room | {"id": self._position})
        if event == "active_tasks" and self._estimates:
            end = b'],"estimates":' + dumps(self._estimates) + b"},"
        else:
            end = b"]},"
        yield framing.last_part(end + rest[1:]), True

    def close(self) -> None:
        """Let go of the pages that were not read."""
        for pages in self._left:
            for page in pages:
                page.release()
            pages.clear()


def _read(pages: deque[Page[T]], encode_page: Callable[[Page[T]], bytes]) -> Iterator[bytes]:
    """The parts of an array; each page is let go of when it was read, and may show nothing."""
    while pages:
        page = pages.popleft()
        data = encode_page(page)
        page.release()
        if data:
            yield data


class SnapshotReaders:
    """Sessions that large snapshots are on their way to."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        # The longest at it first.
        self._sessions: dict[Session, None] = {}

    def begin(self, session: Session, stream: SnapshotStream) -> None:
        """A session reads a snapshot, in place of the one that it was reading."""
        self.end(session)
        session.live = False
        session.snapshot = stream
        self._sessions[session] = None

    def next_part(self, session: Session) -> tuple[bytes, bool]:
        """The next part for a session that reads one, and whether it ends an envelope."""
        assert session.snapshot is not None
        stream = session.snapshot
        data, last = stream.next()
        if stream.done:
            self.end(session)
        return data, last

    def end(self, session: Session) -> None:
        """A session has read its snapshot, or does not take the rest. Idempotent."""
        stream, session.snapshot = session.snapshot, None
        if stream is not None:
            stream.close()
            del self._sessions[session]

    def outdated(self) -> Session | None:
        """The session to end now: all together hold too much that is no longer true."""
        if self._snapshots.outdated_bytes <= MAX_OUTDATED_BYTES:
            return None
        return next(iter(self._sessions), None)
