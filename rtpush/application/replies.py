"""Replies that the application waits for: the answers of clients to what it asked them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, Final

from ..cluster.nodes import Nodes
from ..hub import Hub
from ..protocol import Reply
from ..sessions.session import Session

__all__ = ["PendingReplies"]

# Replies of one session that are waited for.
MAX_OF_SESSION: Final = 1000
# Replies of all sessions on other nodes that are waited for.
MAX_REMOTE: Final = 10_000

Take = Callable[[Reply], None]


class PendingReplies:
    """The replies that are waited for, of sessions on every node.

    What waits for a session of this node is kept with the session; what waits
    for one of another node is kept here.
    """

    def __init__(self, hub: Hub, nodes: Nodes) -> None:
        self._hub = hub
        self._bus = nodes.bus
        self._numbers = count(1)
        # By session and `ack`.
        self._remote: dict[tuple[str, str], Take] = {}
        nodes.on_released = self._keep
        nodes.bus.on("reply", self._hear)

    def expect(self, sid: str, take: Take) -> str:
        """Let `take` have a session's answer; returns the `ack` to ask with."""
        # The log outlives the process: the answer to a question of an earlier
        # process must not be taken for one to ours.
        ack = f"{self._bus.node}-{next(self._numbers)}"
        session = self._hub.sessions.get(sid)
        if session is None:
            self._expect_remote(sid, ack, take)
            return ack
        if session.pending_replies is None:
            session.pending_replies = {}
        elif len(session.pending_replies) >= MAX_OF_SESSION:
            # It never answers: the oldest question is the least likely to be.
            del session.pending_replies[next(iter(session.pending_replies))]
        session.pending_replies[ack] = take
        return ack

    def forget(self, sid: str, ack: str) -> None:
        """Wait no longer. Idempotent."""
        session = self._hub.sessions.get(sid)
        if session is not None and session.pending_replies:
            session.pending_replies.pop(ack, None)
        self._remote.pop((sid, ack), None)

    def take_stray(self, session: Session, reply: Reply) -> None:
        """Take a reply that this node's session does not wait for; another node may."""
        take = self._remote.pop((session.sid, str(reply.ack)), None)
        if take is not None:
            take(reply)
        elif not str(reply.ack).startswith(f"{self._bus.node}-"):
            fields = {"data": reply.data, "args": isinstance(reply.data, tuple)}
            self._bus.broadcast(
                "reply", sid=session.sid, ack=reply.ack, error=reply.error, **fields
            )

    async def _hear(self, fields: dict[str, Any]) -> None:
        take = self._remote.pop((fields["sid"], str(fields["ack"])), None)
        if take is not None:
            data = tuple(fields["data"]) if fields["args"] else fields["data"]
            take(Reply(fields["ack"], data, fields["error"]))

    def _keep(self, session: Session) -> None:
        """Keep what waits for a session that another node has taken over."""
        for ack, take in (session.pending_replies or {}).items():
            self._expect_remote(session.sid, ack, take)

    def _expect_remote(self, sid: str, ack: str, take: Take) -> None:
        if len(self._remote) >= MAX_REMOTE:
            del self._remote[next(iter(self._remote))]
        self._remote[sid, ack] = take
