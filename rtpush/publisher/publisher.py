"""Publish from synchronous programs: Flask, Django, Celery, a script.

Rules that hold here:

- Every event gets an idempotency key, so that sending it again is safe: when
  an answer was lost, the event is still logged once, within ten minutes.
- `when_away` chooses once what happens while the server is away: `raise` tries
  for a while and then raises, `drop` counts the event and goes on, `spool`
  keeps it on disk and sends it later, in order.
- Threads share a publisher, and the process may fork at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from ..payloads import JsonDefault, default_of
from .circuit_breaker import CircuitBreaker
from .http_client import HttpClient
from .request import batches, encode_envelope, positions_of, with_idempotency_key
from .spool_sender import SpoolSender
from .task import Task, TaskEvent

__all__ = ["Publisher", "WhenAway", "check_spool"]

WhenAway = Literal["raise", "drop", "spool"]


class Publisher:
    """Publishes events to a server, from any thread.

    `dropped` counts the events that were given up.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        key: str | None = None,
        timeout: float = 5.0,
        when_away: WhenAway = "raise",
        spool: str | Path | None = None,
        json_default: JsonDefault | None = None,
    ) -> None:
        """Nothing is sent yet.

        Args:
            url: The server's address; None takes RTPUSH_URL of the environment, else
                port 5000 of this machine.
            key: An API key or a token; None takes RTPUSH_KEY, if it is set.
            timeout: Seconds that one call tries for.
            when_away: What happens to events while the server is away.
            spool: The file for `when_away="spool"`, and only then.
            json_default: Turns a value that JSON does not know into one that it knows; raises
                TypeError for others.

        Raises:
            ValueError: `url` is not an address, or the options do not fit together.
            sqlite3.Error: The spool cannot be opened.
        """
        check_spool(when_away, spool)
        self._encode = partial(encode_envelope, default=default_of(json_default))
        self._http = HttpClient(url, key)
        self._timeout = timeout
        self._when_away = when_away
        self._breaker = CircuitBreaker()
        # None without a spool.
        self._sender = None if spool is None else SpoolSender(self._http, Path(spool), timeout)

    @property
    def dropped(self) -> int:
        """Events that were given up."""
        return self._breaker.dropped

    @property
    def rejected(self) -> int:
        """Events of the spool that the server refused for good; each is logged as a warning."""
        return 0 if self._sender is None else self._sender.rejected

    def publish(
        self,
        event: str,
        data: Any = None,
        *,
        room: str | None = None,
        key: str | None = None,
        volatile: bool = False,
        retain: bool = False,
        idempotency_key: str | None = None,
    ) -> str | None:
        """Publish one event, and wait until the server has stored it.

        Args:
            event: Its name.
            data: Any JSON, and what docs/how-to/from-anywhere.md lists: dataclasses, models,
                dates, arrays. A tuple is several arguments.
            room: The room whose members get it; None: everybody.
            key: For a reader that is behind, a later event with this key replaces it.
            volatile: Send it to those who are connected now, and store it nowhere. It
                is never spooled.
            retain: Keep it for those who come later, until another with the same room,
                name and key takes its place; None as its data removes it.
            idempotency_key: Within ten minutes the server stores only one event with
                this key. None makes a new one.

        Returns:
            Its position in the log, such as `"9f86d081884c-1"`. None for a volatile
            event, one that was dropped, and one that waits in the spool.

        Raises:
            RtpushError: The server refuses the event. `unavailable`: the server was
                away for `timeout` seconds (`when_away="raise"`), or the spool cannot be
                written.
        """
        envelope: dict[str, Any] = {"event": event, "data": data, "room": room, "key": key}
        envelope["retain"] = retain or None
        if volatile:
            return self._post_now([self._encode(envelope | {"volatile": True})])[0]
        envelope["idempotency_key"] = idempotency_key
        return self.publish_many([envelope])[0]

    def publish_many(self, envelopes: Sequence[dict[str, Any]]) -> list[str | None]:
        """Publish events together, in order.

        Args:
            envelopes: One dict for each, with the fields of PROTOCOL.md, section 2.

        Returns:
            For each the same as `publish`.

        Raises:
            RtpushError: As `publish`, for the first that is refused. Others may be
                stored nevertheless.
        """
        encoded = [self._encode(with_idempotency_key(envelope)) for envelope in envelopes]
        if self._sender is not None:
            self._sender.append(encoded)
            return [None] * len(encoded)
        return [position for batch in batches(encoded) for position in self._post_now(batch)]

    def _post_now(self, batch: Sequence[bytes]) -> list[str | None]:
        if self._when_away == "raise":
            return positions_of(self._http.post_until(batch, self._timeout))
        # A caller that drops does not want to wait: one attempt.
        if self._breaker.rejects(len(batch)):
            return [None] * len(batch)
        return positions_of(self._breaker.settle(self._http.post_until(batch, 0.0)))

    def task(self, id: str | int | None = None, **fields: Any) -> Task:
        """A task for a `with` block: created at its start, completed or failed at its end.

        Args:
            id: Its id; None makes a new one.
            **fields: Its own fields (`formData`, `mode`, …), and `room`: the room whose
                members see it. The field `worker` keeps the server's worker from doing
                the task, too.

        Returns:
            The task, which is created when the block is entered.
        """
        return Task(self._publish_task, id, fields)

    def _publish_task(self, event: TaskEvent) -> None:
        self.publish(event.name, event.data, room=event.room)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until the spool is empty.

        Args:
            timeout: Seconds; None: without an end.

        Returns:
            False when it is not empty in time. True without a spool.
        """
        return self._sender is None or self._sender.wait_empty(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Wait until the spool is empty, and close files and connections. Idempotent.

        Args:
            timeout: Seconds to wait. What is left stays on disk.
        """
        if self._sender is not None:
            self._sender.close(timeout)
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def check_spool(when_away: WhenAway, spool: str | Path | None) -> None:
    """Raises ValueError when one of the two is given without the other."""
    if (when_away == "spool") is (spool is None):
        raise ValueError('"spool" names a file when when_away is "spool", and only then')
