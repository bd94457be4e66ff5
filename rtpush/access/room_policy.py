"""Which rooms a client may enter, stay in and send to. PROTOCOL.md, section 5.

Pure: the policy holds no session, and the time is given to it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Protocol

from ..config.settings import Settings
from ..errors import RtpushError
from ..patterns import matches_any
from .auth import Grant

__all__ = ["FOREVER", "Application", "RoomPolicy"]

# The time until which the server keeps a session in a room that it put the session in.
FOREVER: Final = float("inf")


class Application(Protocol):
    """The application's handlers, as far as rooms depend on them."""

    def is_empty(self) -> bool:
        """Has the application no handler at all?"""

    def has(self, event: str) -> bool:
        """Has the application a handler for this event?"""


class RoomPolicy:
    """Decides by the server's settings, the client's token and the application's handlers.

    A server that knows its clients keeps rooms private. A server that has neither tokens nor an
    application has nothing that decides on entries: there every room is open.
    """

    def __init__(self, settings: Settings, application: Application) -> None:
        self._open_rooms = settings.open_rooms
        self._wants_tokens = bool(settings.auth_secret or settings.auth_keys)
        self._application = application

    def is_open(self, room: str) -> bool:
        """May every client enter the room, and send into it without being in it?"""
        if not self._wants_tokens and self._application.is_empty():
            return True
        return matches_any(self._open_rooms, room)

    def check_entry(self, grant: Grant, room: str) -> None:
        """Raises RtpushError (`forbidden`) when a client with this grant may not ask to enter.

        A `join` handler has the last word; the handler is not asked here.
        """
        if self.admits(grant, room):
            return
        if grant.rooms is not None:
            raise RtpushError(
                "forbidden",
                f'The token does not list the room "{room}" in `rooms`; join with one that does.',
            )
        raise RtpushError(
            "forbidden",
            f'The room "{room}" is private: a token that lists it, a `join` handler or '
            "`enter_room` admits clients, and the setting `open_rooms` opens it to all.",
        )

    def may_stay(
        self,
        grant: Grant,
        room: str,
        kept_until: Mapping[str, float],
        consented: Collection[str],
        now: float,
    ) -> bool:
        """May a session go on in a room that it is in?

        `kept_until` has the rooms that the session is in whatever its grant says, and until
        when, in seconds since 1970. `consented` has those of them that it was in already, by
        the application's consent, when it brought a token for the room.
        """
        until = kept_until.get(room)
        if until is None or room in consented:
            return self.admits(grant, room) or (until is not None and until > now)
        # The application has consented to a room token for as long as the token is valid.
        return until > now or self.is_open(room) or grant.lists(room)

    def admits(self, grant: Grant, room: str) -> bool:
        """May a client with this grant ask to enter, and stay once it was let in?"""
        if self.is_open(room) or grant.lists(room):
            return True
        return grant.rooms is None and self._application.has("join")
