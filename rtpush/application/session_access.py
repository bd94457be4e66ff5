"""What an application may know of a session of this server, and keep with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ..errors import RtpushError
from ..hub import Hub
from ..sessions.session import Session
from .admission import Admission
from .home_loop import HomeBound, on_home_loop

__all__ = ["SessionAccess"]


class SessionAccess(HomeBound):
    """The part of `Application` that looks at single sessions by their `sid`."""

    _hub: Hub
    _admission: Admission

    def rooms(self, sid: str) -> list[str]:
        """The rooms of a session.

        Args:
            sid: A session of this server, also in its `disconnect` handler.

        Returns:
            Names: first the room that the session alone is in (its `sid`).

        Raises:
            RtpushError: There is no such session here (`not_found`).
        """
        return [sid, *self._session(sid, "rooms").rooms]

    def transport(self, sid: str) -> str | None:
        """The transport that a session is connected by.

        Args:
            sid: A session of this server, also in its `disconnect` handler.

        Returns:
            `websocket`, `sse` or `poll`; None while the client is away.

        Raises:
            RtpushError: There is no such session here (`not_found`).
        """
        group = self._session(sid, "transport").group
        return group.framing.name if group else None

    def _session(self, sid: str, asked_by: str = "session") -> Session:
        self._home.is_here(asked_by)
        # A `disconnect` handler may still ask who it was.
        session = self._hub.sessions.get(sid) or self._admission.disconnecting.get(sid)
        if session is None:
            raise RtpushError("not_found", "No such session; it may have disconnected.")
        return session

    # ------------------------------------------------------------- sessions

    @on_home_loop
    async def get_session(self, sid: str) -> dict[str, Any]:
        """What was saved with a session.

        Args:
            sid: A session of this server, also in its `disconnect` handler.

        Returns:
            A copy; empty when nothing was saved.

        Raises:
            RtpushError: There is no such session here (`not_found`).
        """
        return dict(self._session(sid).data or {})

    @on_home_loop
    async def save_session(self, sid: str, session: dict[str, Any]) -> None:
        """Keep something with a session, for as long as it lives on this server.

        Args:
            sid: A session of this server, also in its `disconnect` handler.
            session: What to keep, in place of what was saved before.

        Raises:
            RtpushError: There is no such session here (`not_found`).
        """
        # A copy: what the application does with its own is not saved by it.
        self._session(sid).data = dict(session)

    @asynccontextmanager
    async def session(self, sid: str) -> AsyncIterator[dict[str, Any]]:
        """What was saved with a session, to be changed in an `async with` block.

        Args:
            sid: A session of this server, also in its `disconnect` handler.

        Yields:
            A copy, which is saved at the end of the block.

        Raises:
            RtpushError: There is no such session here (`not_found`).
        """
        data = await self.get_session(sid)
        yield data
        await self.save_session(sid, data)
