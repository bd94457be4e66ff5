"""How nodes talk to each other: questions, and things that all should know.

Rules that hold here:

- Nothing that must not be lost goes this way: that is what the log is for.
- A question is answered by every node that hears it. One that is silent for
  too long is left out; it may be dead.
- Alone, a node hears nobody and waits for nobody.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final

from ..errors import RtpushError

__all__ = ["ANSWER_TIMEOUT", "Bus", "Handler"]

# Takes the fields of a message; what it returns, or raises as an RtpushError,
# is the answer. None is no answer to a question that one node can answer.
Handler = Callable[[dict[str, Any]], Awaitable[Any]]

# Seconds that other nodes have for an answer. One second was seen to be missed on a
# machine that had several times as much to do as cores.
ANSWER_TIMEOUT: Final = 2.0


class Bus:
    """The bus of a node that is alone. Values and fields are JSON."""

    # Can there be other nodes?
    shared = False

    def __init__(self) -> None:
        # Names this node among all, in this life of its process. Made by `open`: a
        # process that was forked before must not share it.
        self.node = ""
        self._handlers: dict[str, Handler] = {}

    def on(self, op: str, handler: Handler) -> None:
        """Have the messages of one kind handled."""
        self._handlers[op] = handler

    async def open(self) -> None:
        """Begin to hear."""
        self.node = secrets.token_hex(4)

    async def close(self) -> None:
        """Hear nothing more."""

    def tick(self) -> None:
        """Once a second."""

    def broadcast(self, op: str, /, **fields: Any) -> None:
        """Let all other nodes know, those that hear it."""

    async def ask_all(self, op: str, /, **fields: Any) -> list[Any]:
        """The answers of the other nodes. Raises RtpushError (`unavailable`)."""
        return []

    async def ask_any(self, op: str, /, **fields: Any) -> Any:
        """The first answer that is not None, or None. Raises RtpushError."""
        return None

    async def ask_node(self, node: str, op: str, /, timeout: float, **fields: Any) -> Any:
        """The answer of one node. Raises RtpushError, its own included."""
        raise RtpushError("unavailable", "There is no other node.")
