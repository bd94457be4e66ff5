"""Snapshots: the `connect` envelope and the task board, encoded once for all readers.

Rules that hold here:

- A snapshot names the position it is true at, and is never older than the
  log's newest entry when it is begun.
- A small one is one write. A large one is written in parts, as its connection
  takes them, so that a reader holds no bytes of it but a list of pages.
- Pages are encoded, framed and compressed once, and shared by all that read them
  in whatever rooms. What is kept of that has a bound in bytes; a page that has
  been let go is encoded again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from sys import getsizeof
from typing import Final

from ..framing import Framing
from ..log.base import Log
from ..log.board_index import BoardIndex, TaskPage
from ..log.pages import PAGE_BYTES
from ..log.task import Task
from ..protocol import PROTOCOL_VERSION, Position, dumps, encode
from ..version import __version__
from .session import Session

__all__ = ["SnapshotReaders", "SnapshotStream", "Snapshots", "connect"]

# Small snapshots that are kept framed until the log grows, and pages that are kept
# framed until others need the room: as much as the largest board, in one framing.
MAX_SMALL_BYTES: Final = 4 << 20
MAX_PAGE_BYTES: Final = 64 << 20
# What one of either takes beside its bytes and the names in its key, as measured.
ENTRY_BYTES: Final = 300
# Bytes of tasks that the board no longer has and that slow readers of a snapshot
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
    """The board as `active_tasks`, framed. `forget` when the board or the time has changed."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._small = _Bounded(MAX_SMALL_BYTES)
        self._pages = _Bounded(MAX_PAGE_BYTES)

    def forget(self) -> None:
        """The small snapshots that were made are no longer true; pages may be."""
        self._small.clear()

    @property
    def outdated_bytes(self) -> int:
        """Bytes of tasks that only readers of older snapshots hold."""
        return self._log.board.index.outdated.bytes

    def of_rooms(self, rooms: frozenset[str], framing: Framing) -> bytes | None:
        """All that a client in these rooms may see, framed; None when that is large."""
        if self._size((None, *rooms)) > PAGE_BYTES:
            return None
        position = str(self._log.position)

        def make() -> bytes:
            board = self._log.board.snapshot(rooms, self._log.now())
            return framing.frame(encode("active_tasks", board, position), position)

        names = getsizeof(rooms) + sum(map(getsizeof, rooms))
        return self._small.get((rooms, framing), make, names)

    def of_room(self, room: str, framing: Framing) -> bytes | None:
        """One room's part, framed; None when that is large."""
        if self._size((room,)) > PAGE_BYTES:
            return None

        def make() -> bytes:
            board = self._log.board.snapshot_room(room, self._log.now())
            envelope = encode("active_tasks", board, str(self._log.position), room)
            return framing.frame(envelope, None)

        return self._small.get((room, framing), make, getsizeof(room))

    def _size(self, rooms: Iterable[str | None]) -> int:
        return sum(self._log.board.index.size(room) for room in rooms)

    def stream(
        self, rooms: frozenset[str], framing: Framing, room: str | None = None
    ) -> SnapshotStream:
        """A large snapshot as parts: of these rooms, or of one room alone."""
        scope = (None, *sorted(rooms)) if room is None else (room,)
        return SnapshotStream(self, self._log.board.index, scope, room, self._log.position, framing)

    def page(self, page: TaskPage, framing: Framing, *, ended: bool) -> bytes:
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
    """A large `active_tasks` on its way to one session, part by part.

    It is of the board at `position`. It ends with `close`, read to the end or not.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        index: BoardIndex,
        rooms: Iterable[str | None],
        room: str | None,
        position: Position,
        framing: Framing,
    ) -> None:
        self.room = room
        self._snapshots = snapshots
        self._position = str(position)
        self._framing = framing
        rooms = list(rooms)
        self._left = deque([page for one in rooms for page in index.active(one)])
        self._finished_left = deque(
            [page for one in rooms for page in reversed(index.finished(one))]
        )
        for page in (*self._left, *self._finished_left):
            page.acquire()
        self._begun = self._in_finished = self._comma = False

    def next(self) -> tuple[bytes, bool]:
        """The next part, and whether it is the last."""
        framing = self._framing
        if not self._begun:
            self._begun = True
            id_ = self._position if self.room is None else None
            return framing.first_part(b'{"event":"active_tasks","data":{"tasks":[', id_), False
        if self._left:
            return self._page(self._left.popleft(), ended=False), False
        if not self._in_finished:
            self._in_finished, self._comma = True, False
            return framing.part(b'],"finished":['), False
        if self._finished_left:
            return self._page(self._finished_left.popleft(), ended=True), False
        rest = (
            {"id": self._position}
            if self.room is None
            else {
                "room": self.room,
                "id": self._position,
            }
        )
        return framing.last_part(b"]}," + dumps(rest)[1:]), True

    def _page(self, page: TaskPage, *, ended: bool) -> bytes:
        data = self._snapshots.page(page, self._framing, ended=ended)
        page.release()
        if data and self._comma:
            data = self._framing.part(b",") + data
        self._comma |= bool(data)
        return data

    def close(self) -> None:
        """Let go of the pages that were not read."""
        for page in (*self._left, *self._finished_left):
            page.release()
        self._left.clear()
        self._finished_left.clear()


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
        """The next part for a session that reads one, and whether it is the last."""
        assert session.snapshot is not None
        data, last = session.snapshot.next()
        if last:
            self.end(session)
        return data, last

    def end(self, session: Session) -> None:
        """A session has read its snapshot, or does not take the rest. Idempotent."""
        stream, session.snapshot = session.snapshot, None
        if stream is not None:
            stream.close()
            del self._sessions[session]

    def outdated(self) -> Session | None:
        """The session to end now: all together hold too much that the board no longer has."""
        if self._snapshots.outdated_bytes <= MAX_OUTDATED_BYTES:
            return None
        return next(iter(self._sessions), None)
