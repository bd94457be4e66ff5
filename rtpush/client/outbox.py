"""The outbox: events that the server has not answered yet.

Rules that hold here:

- Every entry carries an idempotency key, so that the client may send it again:
  it takes effect once. On a new connection the client sends all entries again,
  in order.
- The server remembers the answers of a limited number of events; the client has
  no more than that in flight.
- The outbox is bounded in number and in size. A caller that finds it full waits.
- An entry that was sent again too often is given up: it may be the reason why
  the connections break.
- The outbox calls the `done` of every entry once.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from typing import Any, Final

from ..errors import RtpushError
from ..payloads import JsonDefault, default_of
from ..publisher.request import encode_envelope

__all__ = ["Done", "Outbox"]

_MAX_ENTRIES: Final = 1000
_MAX_BYTES: Final = 16 << 20
_MAX_TRIES: Final = 6
# Entries sent and not answered (PROTOCOL.md, section 5): of more, the application
# would handle some again after a reconnect.
_MAX_IN_FLIGHT: Final = 64

# Called with the refusal, or with None and the answer.
Done = Callable[[RtpushError | None, Any], None]


@dataclass(slots=True)
class _Entry:
    # The envelope as JSON.
    text: bytes
    done: Done
    # Whether the server may take its time to answer: over HTTP it leaves in a request of its own.
    waits: bool = False
    # How often it was sent.
    tries: int = 0
    # Whether it was sent on the connection that stands.
    sent: bool = False


class Outbox:
    """Entries by their `ack`, in the order in which they were added."""

    def __init__(self, json_default: JsonDefault | None = None) -> None:
        self.encode = partial(encode_envelope, default=default_of(json_default))
        self._entries: dict[str, _Entry] = {}
        # Bytes of all entries.
        self._bytes = 0
        self._counter = count(1)
        # Another client, or an earlier run, must not take these acks for its own.
        self._prefix = secrets.token_urlsafe(12)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def full(self) -> bool:
        """Whether the next caller has to wait."""
        return len(self._entries) >= _MAX_ENTRIES or self._bytes >= _MAX_BYTES

    def add(self, envelope: dict[str, Any], done: Done, *, waits: bool = False) -> str:
        """Add an envelope; returns its `ack`. `waits`: it is answered later than those behind it.

        Raises RtpushError (`bad_envelope`) when JSON cannot represent it.
        """
        ack = f"{self._prefix}:{next(self._counter)}"
        text = self.encode({"idempotency_key": ack, **envelope, "ack": ack})
        self._entries[ack] = _Entry(text, done, waits)
        self._bytes += len(text)
        return ack

    def take_due(self) -> list[tuple[bytes, bool]]:
        """The envelopes to send now, and whether each waits. The first are the ones in flight."""
        due = [one for one in islice(self._entries.values(), _MAX_IN_FLIGHT) if not one.sent]
        for entry in due:
            entry.sent = True
            entry.tries += 1
        return [(entry.text, entry.waits) for entry in due]

    def resend(self) -> None:
        """There is a new connection: all entries are due again."""
        for ack, entry in list(self._entries.items()):
            entry.sent = False
            if entry.tries >= _MAX_TRIES:
                self.settle(
                    ack,
                    RtpushError(
                        "unavailable", f"It was sent {_MAX_TRIES} times and never answered."
                    ),
                )

    def refuse_largest(self) -> None:
        """The server closed the connection over a message's size: the largest one's."""
        sent = [(len(entry.text), ack) for ack, entry in self._entries.items() if entry.tries]
        if sent:
            self.settle(
                max(sent)[1], RtpushError("too_large", "The server takes no message this large.")
            )

    def settle(self, ack: Any, error: RtpushError | None, data: Any = None) -> None:
        """An answer has come. Ignored when no entry waits for it."""
        entry = self._entries.pop(ack, None) if isinstance(ack, str) else None
        if entry is not None:
            self._bytes -= len(entry.text)
            entry.done(error, data)

    def give_up(self, error: RtpushError) -> None:
        """No answer will come any more."""
        for ack in list(self._entries):
            self.settle(ack, error)
