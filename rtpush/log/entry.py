"""Entries: an event that asks to be logged, and one that is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

import orjson

from ..framing import FRAMINGS, Framing
from ..payloads import JsonDefault, is_args
from ..protocol import Envelope, Position, encode_data, encode_logged
from .accounts import APPLICATION
from .growth import APPEND
from .retained import PRESENCE, Change, Name, changes_by_presence
from .task import CLAIMED, REQUEUED, TASK_EVENTS, Task, fields_of, key_of, normalize
from .task_claims import requeued
from .task_states import SERVER, Sender, own_fields

__all__ = [
    "Draft",
    "Entry",
    "cancelled",
    "changes_of",
    "claimed",
    "emptied",
    "lease_ended",
    "new_entry",
]


@dataclass(frozen=True, slots=True)
class Draft:
    """An event that asks to be logged. `encoded` is the JSON of its data.

    `data` is what the board folds: for a task event what was encoded, decoded. The
    application goes on with the object that it passed, and may change it.
    `idempotency_key` is the digest of the sender's key and of the scope that it belongs to.
    `account` is charged for the key, and for what the event adds to the task board.
    `sender` says which tasks it may change.
    `skip` names the sessions that are not to see it, and `ack` asks the one
    session that it is for to reply. With `args`, `data` is several arguments. With `retain`,
    the event is the newest value of its key; `changes` is what it does to retained values.
    """

    event: str
    data: Any = None
    room: str | None = None
    key: str | None = None
    idempotency_key: bytes | None = None
    encoded: bytes = b"null"
    skip: tuple[str, ...] = ()
    ack: str | None = None
    account: str = APPLICATION
    sender: Sender = SERVER
    args: bool = False
    retain: bool = False
    changes: tuple[Change, ...] = ()

    @classmethod
    def of(
        cls,
        envelope: Envelope,
        skip: tuple[str, ...] = (),
        ack: str | None = None,
        key_scope: str = "",
        account: str = APPLICATION,
        sender: Sender = SERVER,
        default: JsonDefault | None = None,
    ) -> Draft:
        """Raises RtpushError when the data cannot be encoded or names no task.

        `key_scope` says whose the envelope's idempotency key is: in another scope the same
        key is another. What only the server says of a task is left out. `default` is for
        `encode_payload`.
        """
        key, encoded, task = envelope.key, encode_data(envelope.data, default), None
        if envelope.event in TASK_EVENTS:
            # Decoded: the rules of tasks are about JSON, whatever the program has sent.
            given = orjson.loads(encoded)
            task = normalize(envelope.event, own_fields(envelope.event, given, sender))
            if task != given:
                encoded = encode_data(task)
            if envelope.event == "task_progress":
                key = _progress_key(task, key)
        event, room, args, retain = (
            envelope.event,
            envelope.room,
            is_args(envelope.data),
            envelope.retain,
        )
        return cls(
            event,
            task,
            room,
            key,
            _digest(key_scope, envelope.idempotency_key),
            encoded,
            skip,
            ack,
            account,
            sender,
            args,
            retain,
            changes_of(event, room, key, encoded, args, retain),
        )


def changes_of(
    event: str, room: str | None, key: str | None, data: bytes, args: bool, retain: bool
) -> tuple[Change, ...]:
    """What an event does to retained values; `data` is JSON."""
    if event == PRESENCE:
        return changes_by_presence(room, data)
    if not retain or key is None:
        return ()
    return (Change(Name(room, event, key), data, args),)


def cancelled(data: dict[str, Any], room: str | None) -> Draft:
    """The end of a task that a `task_cancel` with this data, or such a task itself, asks for."""
    fields = {name: data[name] for name in ("id", "reason") if name in data}
    return Draft.of(Envelope("task_cancelled", fields, room))


def claimed(task: Task, worker: str) -> Draft:
    """A worker is to have a task that waits."""
    attempt = task.fields.get("attempt", 0) + 1
    data = {"id": task.fields["id"], "worker": worker, "attempt": attempt}
    return _of_server(CLAIMED, data, task.room)


def lease_ended(task: Task, max_attempts: int) -> Draft:
    """The worker of a claimed task is lost: another is to begin anew, if not too many were."""
    lost = task.fields.get("lost", 0) + 1
    data = {"id": task.fields["id"], "attempt": task.fields["attempt"]}
    if lost < max_attempts:
        return _of_server(REQUEUED, data | {"lost": lost}, task.room)
    return _of_server("task_failed", data | {"error": "worker_lost"}, task.room)


def emptied(draft: Draft, task: Task) -> Draft:
    """A `task_requeued` with what becomes of the task's fields."""
    data = requeued(task, draft.data)
    return replace(draft, data=data, encoded=encode_data(data))


def _of_server(event: str, data: dict[str, Any], room: str | None) -> Draft:
    return Draft(event, data, room, encoded=encode_data(data))


def _progress_key(data: Any, key: str | None) -> str | None:
    """A reader that is behind needs only the newest progress of a task, but all that grows."""
    fields = fields_of(data)
    if fields.get(APPEND) is not None:
        return None
    return key_of(fields) if key is None else key


def _digest(scope: str, key: str | None) -> bytes | None:
    # 128 bits: no sender makes a key with the digest of another scope's.
    if key is None:
        return None
    return blake2b(f"{scope}:{key}".encode(errors="surrogatepass"), digest_size=16).digest()


@dataclass(slots=True, eq=False)
class Entry:
    """One logged event, and its envelope as it goes out.

    `time` is by the log's clock. `json` is the whole envelope. What each kind
    of connection sends is framed on first use and kept, so that a thousand readers
    cost one framing.
    """

    seq: int
    time: float
    event: str
    room: str | None
    key: str | None
    json: bytes
    id: str
    skip: tuple[str, ...] = ()
    retain: bool = False
    _framed: list[bytes | None] = field(default_factory=lambda: [None] * len(FRAMINGS))

    def framed(self, framing: Framing) -> bytes:
        """The bytes of this entry on a connection of this framing."""
        data = self._framed[framing.index]
        if data is None:
            data = self._framed[framing.index] = framing.frame(self.json, self.id)
        return data

    @property
    def conflation_key(self) -> tuple[str | None, str, str, bool] | None:
        """A later entry with the same one supersedes this one.

        None when the entry skips sessions: for those, the one before is still
        the newest. One that is not retained does not stand for one that is.
        """
        if self.key is None or self.skip:
            return None
        return self.room, self.event, self.key, self.retain

    @property
    def is_append(self) -> bool:
        """Is it progress that appends to a task? Any other progress has a key."""
        return self.event == "task_progress" and self.key is None and not self.skip

    @property
    def size(self) -> int:
        """Bytes of memory that the entry may come to hold, frames and indexes included."""
        return 470 + 3 * len(self.json) + (0 if self.key is None else 150)


def new_entry(
    position: Position,
    time: float,
    event: str,
    room: str | None,
    key: str | None,
    data: bytes,
    skip: tuple[str, ...] = (),
    ack: str | None = None,
    *,
    args: bool = False,
    retain: bool = False,
) -> Entry:
    """The entry at a position; `data` is JSON, of several arguments with `args`."""
    id_ = str(position)
    json = encode_logged(event, data, room, key, id_, ack, args=args, retain=retain)
    return Entry(position.seq, time, event, room, key, json, id_, skip, retain)
