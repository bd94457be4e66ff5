"""Entries and batches as Redis's script and stream have them.

Rules that hold here:

- A field that is empty is left out of the stream.
- An entry carries the id of the batch that it came with, `EPOCH.NODE.NUMBER`:
  by it two histories of a log can be told apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ...protocol import Position
from ..accounts import APPLICATION
from ..base import PAGE_BYTES, Page
from ..entry import Entry, changes_of, new_entry
from ..group_commit import Batch
from ..retained import Change, Name, RetainedRow, index_of, place_of, seq_of

__all__ = ["StreamEntry", "arguments_of", "entry_of", "page_of", "retained_of"]


def page_of(epoch: str, upto: int, found: Sequence[Any], step: int = 1) -> Page:
    """What the script read, cut to PAGE_BYTES; with `step` -1, newest first."""
    entries: list[Entry] = []
    size = 0
    for raw in found:
        entry = entry_of(epoch, raw).entry
        size += len(entry.json)
        if size > PAGE_BYTES and entries:
            return Page(entries, entry.seq - step)
        entries.append(entry)
    return Page(entries, upto)


def arguments_of(batch: Batch, keys: Sequence[bytes]) -> Iterator[str | bytes]:
    """A batch as the script takes it: the keys to look for, ten values for each entry, three
    for each retained value, five for each row of a task.
    """
    yield from keys
    for draft in batch.drafts:
        yield draft.event
        yield draft.room or ""
        yield draft.key or ""
        yield draft.encoded
        yield " ".join(draft.skip)
        yield draft.ack or ""
        yield draft.account
        yield "1" if draft.args else ""
        yield "1" if draft.retain else ""
        yield draft.idempotency_key or b""
    for change, place, account in batch.retained_rows():
        yield str(seq_of(place) - batch.base)
        yield "\0".join((change.name.room or "", change.name.event, change.name.key))
        yield b"" if change.removes else _value(change, place, account)
    for key, number, row, replaces, ended in batch.rows():
        yield key
        yield f"{number:016}"
        yield row or b""
        yield "1" if replaces else "0"
        yield "1" if ended else "0"


def _value(change: Change, place: int, account: str) -> bytes:
    head = f"{index_of(place)} {int(change.args)} {account}"
    return head.encode(errors="surrogatepass") + b"\0" + change.data


def retained_of(pairs: Sequence[bytes]) -> Iterator[RetainedRow]:
    """The retained values as the script gives them, each behind its name."""
    for name, value in zip(pairs[::2], pairs[1::2], strict=True):
        room, event, key = name.decode().split("\0", 2)
        head, _, data = value.partition(b"\0")
        seq, index, args, account = head.decode().split(" ", 3)
        change = Change(Name(room or None, event, key), data, args == "1")
        yield RetainedRow(change, place_of(int(seq), int(index)), account)


class StreamEntry(NamedTuple):
    """An entry of the stream, the id of its batch, its data, and the account that is charged.

    `wall` is what users are shown of its time; only events about tasks have it. `args`: the
    data is several arguments.
    """

    entry: Entry
    batch_id: str
    data: bytes
    account: str
    wall: float | None
    args: bool

    @property
    def changes(self) -> tuple[Change, ...]:
        """What it does to retained values."""
        entry = self.entry
        return changes_of(entry.event, entry.room, entry.key, self.data, self.args, entry.retain)


def entry_of(epoch: str, raw: Any) -> StreamEntry:
    """An entry as the stream has it."""
    id_, pairs = raw
    fields = dict(zip(pairs[::2], pairs[1::2], strict=True))

    def text(name: bytes) -> str | None:
        value = fields.get(name)
        return None if value is None else value.decode()

    skip, args = text(b"s"), b"m" in fields
    entry = new_entry(
        Position(epoch, int(id_.partition(b"-")[0])),
        float(fields[b"t"]),
        fields[b"e"].decode(),
        text(b"r"),
        text(b"k"),
        fields[b"d"],
        tuple(skip.split()) if skip else (),
        text(b"a"),
        args=args,
        retain=b"x" in fields,
    )
    wall = None if b"w" not in fields else float(fields[b"w"])
    account = text(b"c") or APPLICATION
    return StreamEntry(entry, fields[b"n"].decode(), fields[b"d"], account, wall, args)
