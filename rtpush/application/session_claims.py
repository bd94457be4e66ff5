"""Claims of sessions: `task_claim` over a client's connection. PROTOCOL.md, section 6.

Rules that hold here:

- A claim waits beside what its client sends later: a worker reports while it asks for more.
- A claim that is sent again, since its answer was lost, is answered the same.
- A claim whose connection is gone takes no task: its client asks again on the next one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final

import orjson

from ..access.charges import charge_client
from ..errors import RtpushError
from ..hub import Hub
from ..log.task import Task
from ..protocol import Envelope, encode
from ..sessions.session import Session
from .claims import Ask, Claims

__all__ = ["CLAIM", "SessionClaims"]

CLAIM: Final = "task_claim"
# Claims of one session that wait for their answers.
MAX_CLAIMS: Final = 8


class SessionClaims:
    """Lets those sessions claim tasks that may publish."""

    def __init__(self, claims: Claims, hub: Hub) -> None:
        self._claims = claims
        self._hub = hub
        self._waiting: Counter[Session] = Counter()
        # The claims that wait, by session and idempotency key.
        self._latest: dict[tuple[Session, str], object] = {}

    def begin(self, session: Session, envelope: Envelope) -> Coroutine[Any, Any, dict[str, Any]]:
        """The answer of a `task_claim`, to be awaited. Raises RtpushError, also when awaited."""
        if envelope.ack is None:
            raise RtpushError("bad_request", "`task_claim` is answered by a reply: send an `ack`.")
        if not session.grant.publish:
            raise RtpushError("forbidden", "Only a client that may publish claims tasks.")
        if self._waiting[session] >= MAX_CLAIMS:
            raise RtpushError("rate_limited", "Wait for the answers to your claims.")
        return self._claim(session, Ask.parse(envelope.data), envelope.idempotency_key)

    async def _claim(self, session: Session, ask: Ask, key: str | None) -> dict[str, Any]:
        known = session.results.get(key or "")
        if isinstance(known, bytes):
            answer: dict[str, Any] = orjson.loads(known)
            return answer
        marker, place = object(), (session, key or "")
        if key is not None:
            self._latest[place] = marker
        gone = self._gone(session, lambda: self._latest.get(place) in (None, marker))
        ask = ask._replace(
            rooms=self._hub.room_policy.reaches_all(session.grant),
            account=charge_client(session.grant, session.address),
            gone=gone,
            owner=session,
        )
        self._waiting[session] += 1
        try:
            answer = await self._claims.claim(ask)
        finally:
            self._waiting[session] -= 1
            if not self._waiting[session]:
                del self._waiting[session]
            if self._latest.get(place) is marker:
                del self._latest[place]
        if key is not None and answer["task"] is not None:
            session.remember(key, orjson.dumps(answer))
        return answer

    def cancelled(self, task: Task) -> None:
        """Tell the sessions that work on a task of a room which they are not in."""
        if task.room is None:
            return
        fields = {name: task.fields[name] for name in ("id", "reason") if name in task.fields}
        envelope = encode("task_cancel", fields, room=task.room)
        for session in list(self._hub.sessions.values()):
            holds = session.claims and session.claims.get(task.key) == task.fields["attempt"]
            if not holds or task.room in session.rooms:
                continue
            if session.connection is None:
                session.notice(envelope)
            else:
                self._hub.send(session, envelope)

    def _gone(self, session: Session, latest: Callable[[], bool]) -> Callable[[], bool]:
        """Will the client not hear the answer of a claim that it makes now?"""
        connection = session.connection

        def gone() -> bool:
            if self._hub.sessions.get(session.sid) is not session or not latest():
                return True
            # A long-poll client has no connection between two requests.
            return session.lease_until is None and session.connection is not connection

        return gone
