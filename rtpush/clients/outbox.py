"""What a client has said and the server has not answered yet.

Rules that hold here:

- Every entry carries an idempotency key, so that saying it again is safe: it
  takes effect once. After a reconnect all entries are said again, in order.
- The box is bounded in number and in size. Who says more waits.
- An entry that was said again too often is given up: it may be what the
  connections die of.
- The end of every entry is told to its `done`, once.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from ..errors import RtpushError
from ..wire import encode_envelope

__all__ = ["Done", "Outbox"]

_MOST_ENTRIES: Final = 1000
_MOST_BYTES: Final = 16 << 20
_MOST_TRIES: Final = 6

# Is told the refusal, or None and the answer.
Done = Callable[[RtpushError | None, Any], None]


@dataclass(slots=True)
class _Entry:
    text: bytes
    done: Done
    tries: int = 0


class Outbox:
    """Entries by their `ack`, in the order in which they were said."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._bytes = 0
        self._counted = count(1)
        # Not to be mistaken for those of another client, or of an earlier one.
        self._prefix = secrets.token_urlsafe(12)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def full(self) -> bool:
        """Has whoever says more to wait?"""
        return len(self._entries) >= _MOST_ENTRIES or self._bytes >= _MOST_BYTES

    def add(self, envelope: dict[str, Any], done: Done) -> str:
        """Returns the entry's `ack`. Raises RtpushError (`bad_envelope`) for what is no JSON."""
        ack = f"{self._prefix}:{next(self._counted)}"
        text = encode_envelope({**envelope, "ack": ack, "idempotency_key": ack})
        self._entries[ack] = _Entry(text, done)
        self._bytes += len(text)
        return ack

    def take(self, ack: str) -> bytes | None:
        """The text to say for an entry; None when it is settled or given up."""
        entry = self._entries.get(ack)
        if entry is None:
            return None
        entry.tries += 1
        if entry.tries <= _MOST_TRIES:
            return entry.text
        self.settle(ack, RtpushError("unavailable", "It was said again and again, in vain."))
        return None

    def take_all(self) -> list[bytes]:
        """What to say on a new connection."""
        return [text for ack in list(self._entries) if (text := self.take(ack)) is not None]

    def blame_largest(self) -> None:
        """The connection was closed for a message that is too large: which one, is plain."""
        said = [(len(entry.text), ack) for ack, entry in self._entries.items() if entry.tries]
        if said:
            self.settle(
                max(said)[1], RtpushError("too_large", "The server takes no message this large.")
            )

    def settle(self, ack: Any, error: RtpushError | None, data: Any = None) -> None:
        """The answer to an entry has come. Ignored for one that is not waited for."""
        entry = self._entries.pop(ack, None) if isinstance(ack, str) else None
        if entry is not None:
            self._bytes -= len(entry.text)
            entry.done(error, data)

    def give_up(self, error: RtpushError) -> None:
        """No answer will come."""
        for ack in list(self._entries):
            self.settle(ack, error)
