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
from ..entry import Entry, new_entry
from ..group_commit import Batch

__all__ = ["arguments_of", "entry_of", "page_of"]


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
    """A batch as the script takes it: the keys to look for, nine values for each entry, five
    for each row of a task.
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
        yield draft.idempotency_key or b""
    for key, number, row, replaces, ended in batch.rows():
        yield key
        yield f"{number:016}"
        yield row or b""
        yield "1" if replaces else "0"
        yield "1" if ended else "0"


class StreamEntry(NamedTuple):
    """An entry of the stream, the id of its batch, its data, and the account that is charged.

    `wall` is what users are shown of its time; only events about tasks have it.
    """

    entry: Entry
    batch_id: str
    data: bytes
    account: str
    wall: float | None


def entry_of(epoch: str, raw: Any) -> StreamEntry:
    """An entry as the stream has it."""
    id_, pairs = raw
    fields = dict(zip(pairs[::2], pairs[1::2], strict=True))

    def text(name: bytes) -> str | None:
        value = fields.get(name)
        return None if value is None else value.decode()

    skip = text(b"s")
    entry = new_entry(
        Position(epoch, int(id_.partition(b"-")[0])),
        float(fields[b"t"]),
        fields[b"e"].decode(),
        text(b"r"),
        text(b"k"),
        fields[b"d"],
        tuple(skip.split()) if skip else (),
        text(b"a"),
        args=b"m" in fields,
    )
    wall = None if b"w" not in fields else float(fields[b"w"])
    return StreamEntry(entry, fields[b"n"].decode(), fields[b"d"], text(b"c") or APPLICATION, wall)
