"""Large envelopes: their bytes count against a client's share until they are answered."""

from __future__ import annotations

from typing import Protocol

__all__ = ["LargeEnvelope"]


class LargeReceiver(Protocol):
    """The connection that a large envelope came on."""

    def send(self, envelope: bytes) -> None:
        """See dispatcher.Responder."""

    def large_done(self, size: int, reply: bytes | None) -> None:
        """Give back the envelope's share, and send the reply, if there is one."""


class LargeEnvelope:
    """Where the outcome of a large envelope goes: its size counts until then."""

    __slots__ = ("_connection", "_size")

    def __init__(self, connection: LargeReceiver, size: int) -> None:
        self._connection = connection
        self._size = size

    def send(self, envelope: bytes) -> None:
        """See dispatcher.Responder."""
        self._connection.send(envelope)

    def done(self, reply: bytes | None) -> None:
        """See dispatcher.Responder."""
        self._connection.large_done(self._size, reply)
