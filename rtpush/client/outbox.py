"""What a client has said and the server has not answered yet.

Rules that hold here:

- Every entry carries an idempotency key, so that saying it again is safe: it
  takes effect once. After a reconnect all entries are said again, in order.
- No more entries are on their way than a server remembers the answers of.
- The box is bounded in number and in size. Who says more waits.
- An entry that was said again too often is given up: it may be what the
  connections die of.
- The end of every entry is told to its `done`, once.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, Final

from ..errors import RtpushError
from ..publisher.request import encode_envelope

__all__ = ["Done", "Outbox"]

_MOST_ENTRIES: Final = 1000
_MOST_BYTES: Final = 16 << 20
_MOST_TRIES: Final = 6
# Entries that wait for their answers at once (PROTOCOL.md, section 5): of more, what
# an application has handled would be handled again after a reconnect.
_MOST_SAID: Final = 64

# Is told the refusal, or None and the answer.
Done = Callable[[RtpushError | None, Any], None]


@dataclass(slots=True)
class _Entry:
    text: bytes
    done: Done
    tries: int = 0
    said: bool = False


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

    def due(self) -> list[bytes]:
        """What to say now. The first entries are those that are on their way."""
        found = [one for one in islice(self._entries.values(), _MOST_SAID) if not one.said]
        for entry in found:
            entry.said = True
            entry.tries += 1
        return [entry.text for entry in found]

    def renew(self) -> None:
        """There is a new connection: nothing is said on it yet."""
        for ack, entry in list(self._entries.items()):
            entry.said = False
            if entry.tries >= _MOST_TRIES:
                self.settle(
                    ack, RtpushError("unavailable", "It was said again and again, in vain.")
                )

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
