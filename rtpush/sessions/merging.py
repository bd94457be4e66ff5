"""Merge what tasks append, for readers that are behind; pure.

Rules that hold here:

- Only events that follow each other, as the reader sees them, are merged, and the merged event
  has the position of the last. So wherever the connection is lost, the position that the client
  has tells exactly what it was given: a merged event that stood before or behind another one
  would be given in part twice, or not at all.
- Nothing is left out. A reader that wants each event as it came asks for `conflate=0`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from ..log.entry import Entry
from ..log.growth import merge_data
from ..log.task import task_key
from ..protocol import dumps

__all__ = ["merge_appends"]


def merge_appends(entries: Sequence[Entry], max_bytes: int) -> Iterator[Entry]:
    """The entries, with those in a row that append to one task as one.

    `max_bytes`: no merged envelope is larger.
    """
    run: list[Entry] = []
    size = 0
    for entry in entries:
        size += len(entry.json)
        if run and not (entry.is_append and entry.room == run[0].room and size <= max_bytes):
            yield from _merge_run(run)
            run, size = [], len(entry.json)
        if entry.is_append:
            run.append(entry)
        else:
            yield entry
    yield from _merge_run(run)


def _merge_run(run: Sequence[Entry]) -> Iterator[Entry]:
    if len(run) < 2:
        yield from run
        return
    last, data = run[0], _data_of(run[0])
    merged = False
    for entry in run[1:]:
        more = _data_of(entry)
        if data and more and task_key(data) == task_key(more):
            data, merged = merge_data(data, more), True
        else:
            yield _entry(last, data) if merged else last
            data, merged = more, False
        last = entry
    yield _entry(last, data) if merged else last


def _data_of(entry: Entry) -> dict[str, Any]:
    """The data of an entry; empty for one that asks its reader for a reply of its own."""
    envelope = orjson.loads(entry.json)
    return {} if "ack" in envelope else envelope["data"]


def _entry(last: Entry, data: dict[str, Any]) -> Entry:
    json = dumps(orjson.loads(last.json) | {"data": data})
    return Entry(last.seq, last.time, last.event, last.room, None, json, last.id)
