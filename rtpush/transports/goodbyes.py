"""How a client without a WebSocket says that it goes; a WebSocket's close frame says it else."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ..errors import Reason, RtpushError
from ..sessions.session import Session
from .context import TransportContext

__all__ = ["Goodbyes", "no_session"]


class Goodbyes:
    """Ends sessions of clients that have gone, and connections of pages that were left."""

    def __init__(self, context: TransportContext) -> None:
        self._context = context
        self._hub = context.hub
        context.nodes.bus.on("leave_page", self._answer_leave_page)

    def take(self, session: Session, close: str | None) -> None:
        """Act on the `close` of a request that was answered."""
        if close == "away":
            self.leave_page(session)
        elif close == "1":
            self._end(session, Reason.CLIENT_DISCONNECT)

    def leave_page(self, session: Session) -> None:
        """The session's page was left. It may come back, within a lease."""
        # A page that is back before this came loses its connection, and goes on over another.
        self._hub.leave_page(session)
        self._end(session, Reason.TRANSPORT_CLOSE)

    def _end(self, session: Session, reason: str) -> None:
        if session.connection is not None:
            session.connection.close(1000, "the client disconnected")
        self._hub.close(session, reason)

    async def leave_page_of(self, request: web.Request, sid: str) -> None:
        """The same, of a session that may have lapsed, on any node. Raises RtpushError.

        The browser cuts the connection of such a page before this comes.
        """
        self._context.charge_request(request)
        grant, _ = await self._context.access.grant(request)
        fields = {"sid": sid, "subject": grant.subject}
        if await self._answer_leave_page(fields) is None:
            bus = self._context.nodes.bus
            if not sid or await bus.ask_any("leave_page", **fields) is None:
                raise no_session()

    async def _answer_leave_page(self, fields: dict[str, Any]) -> bool | None:
        session = self._hub.find(fields["sid"])
        if session is None or session.grant.subject != fields["subject"]:
            return None
        self.leave_page(session)
        return True


def no_session() -> RtpushError:
    """What a request is answered with whose `sid` is no session."""
    return RtpushError(
        "not_found", "No such session: it ended. Connect again, and go on with the new sid."
    )
