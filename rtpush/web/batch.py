"""Batches: the envelopes of one body, in each of the three forms that a body may have.

Pure: bytes in, envelopes out. What is too much is refused before it is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

from ..errors import RtpushError
from ..protocol import Incoming, load_json, to_envelope

__all__ = ["Batch", "parse_many"]

_LINE: Final = re.compile(rb"\S[^\n]*")


class Batch:
    """The envelopes of one body; each is checked when its turn comes.

    Each is judged by itself, so that one bad line does not hide the good ones:
    its place holds the error. `many` is false for an envelope that stands alone.
    """

    def __init__(self, items: Sequence[Any], max_message: int, *, many: bool) -> None:
        # Decoded values, or lines of JSON that are not decoded yet.
        self._items = items
        self._max_message = max_message
        self.many = many
        # Bytes of the line that was checked last; 0 for a value that was decoded before.
        self.last_size = 0

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Incoming]:
        for item in self._items:
            yield self._judge(item)

    def _judge(self, item: Any) -> Incoming:
        self.last_size = 0
        try:
            if type(item) is bytes:
                self.last_size = len(item)
                return to_envelope(_load_text(item, self._max_message))
            return to_envelope(item)
        except RtpushError as exc:
            return exc


def parse_many(raw: bytes, max_batch: int, max_message: int) -> Batch:
    """One envelope, or an array of them, or NDJSON (one to a line).

    One JSON text has at most `max_message` bytes; a larger body is lines. Raises
    RtpushError: `bad_envelope` when the body is no JSON at all, `too_large` when it
    holds more than `max_batch` envelopes, or a text that is larger than allowed.
    """
    try:
        value = _load_text(raw, max_message)
    except RtpushError:
        # An array that is broken or too large has lines, too, but they are no envelopes.
        lines = [] if raw.lstrip()[:1] == b"[" else _lines(raw, max_batch)
        if len(lines) < 2:
            raise
        return Batch(lines, max_message, many=True)
    if not isinstance(value, list):
        return Batch([value], max_message, many=False)
    if len(value) > max_batch:
        raise _too_many(max_batch)
    return Batch(value, max_message, many=True)


def _lines(raw: bytes, max_batch: int) -> list[bytes]:
    """The lines that are not blank; looks no further than the first one that is too many."""
    lines = [match[0] for match in islice(_LINE.finditer(raw), max_batch + 1)]
    if len(lines) > max_batch:
        raise _too_many(max_batch)
    return lines


def _too_many(max_batch: int) -> RtpushError:
    return RtpushError("too_large", f"Send at most {max_batch} envelopes at once.")


def _load_text(raw: bytes, max_message: int) -> Any:
    if len(raw) > max_message:
        raise RtpushError(
            "too_large",
            f"An envelope, or an array of them, may have {max_message} bytes; "
            "a larger batch has one envelope to a line.",
        )
    return load_json(raw)
