"""What clients may do in a room, and what is kept of it. PROTOCOL.md, section 5.

Every question about a room is asked here, when a client enters, sends, looks back, and when
an event is logged or delivered. Pure: the policy holds no session, and the time is given to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Final, Protocol

from ..config.room_rules import NO_RULE, RoomRule, first_rule
from ..config.settings import Settings
from ..errors import RtpushError
from ..log.task import TASK_EVENTS
from ..patterns import matches_any
from .auth import OPEN, Grant

__all__ = ["FOREVER", "Application", "RoomPolicy"]

# The time until which the server keeps a session in a room that it put the session in.
FOREVER: Final = float("inf")
# Rooms whose rules are remembered, about 200 bytes each. A client may name any room.
_MAX_REMEMBERED: Final = 10_000


class Application(Protocol):
    """The application's handlers, as far as rooms depend on them."""

    def is_empty(self) -> bool:
        """Has the application no handler at all?"""

    def has(self, event: str) -> bool:
        """Has the application a handler for this event?"""


class RoomPolicy:
    """Decides by the room's rule, the client's token and the application's handlers.

    A server that knows its clients keeps rooms private. A server that has neither tokens nor an
    application has nothing that decides on entries: there every room is open. A rule that says
    who may `enter` goes before both.
    """

    def __init__(self, settings: Settings, application: Application) -> None:
        self._open_rooms = settings.open_rooms
        self._relay = settings.relay
        self._wants_tokens = bool(settings.auth_secret or settings.auth_keys)
        self._application = application
        self._rules = settings.rooms
        self._remembered = lru_cache(_MAX_REMEMBERED)(self._find)

    def rule(self, room: str | None) -> RoomRule:
        """The first rule that fits the room; `NO_RULE` for others, and for everyone (None)."""
        return self._remembered(room) if self._rules and room is not None else NO_RULE

    def _find(self, room: str) -> RoomRule:
        return first_rule(self._rules, room)

    # -------------------------------------------------------------- entering

    @property
    def _all_open(self) -> bool:
        return not self._wants_tokens and self._application.is_empty()

    def is_open(self, room: str) -> bool:
        """May every client enter the room, and send into it without being in it?"""
        if (enter := self.rule(room).enter) is not None:
            return enter == "anyone"
        return self._all_open or matches_any(self._open_rooms, room)

    def reaches_all(self, grant: Grant) -> bool:
        """May a client with this grant send into every room, and work on the tasks of each?

        A token with the right to publish may do so by the HTTP API anyway.
        """
        return self._all_open and not self._rules if grant is OPEN else grant.publish

    def asks(self, room: str) -> bool:
        """Has the application's `join` handler the last word about entries?"""
        return self.rule(room).enter in (None, "handler") and self._application.has("join")

    def check_entry(self, grant: Grant, room: str) -> None:
        """Raises RtpushError (`forbidden`) when a client with this grant may not ask to enter.

        A `join` handler has the last word; the handler is not asked here.
        """
        if not self.admits(grant, room):
            raise RtpushError("forbidden", self._why_private(grant, room))

    def _why_private(self, grant: Grant, room: str) -> str:
        enter = self.rule(room).enter
        if enter == "handler":
            return (
                f'The rule of the room "{room}" leaves it to a `join` handler, and the server has '
                "none; `enter_room` admits clients."
            )
        if enter == "token" or grant.rooms is not None:
            return f'The token does not list the room "{room}" in `rooms`; join with one that does.'
        return (
            f'The room "{room}" is private: a token that lists it, a `join` handler or '
            "`enter_room` admits clients, and the setting `open_rooms` opens it to all."
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
        enter = self.rule(room).enter
        if enter == "handler":
            return self._application.has("join")
        if self.is_open(room) or grant.lists(room):
            return True
        return enter is None and grant.rooms is None and self._application.has("join")

    # --------------------------------------------------------------- sending

    def check_event(self, event: str, room: str | None) -> None:
        """Raises RtpushError (`forbidden`) when clients may not send this event into the room."""
        allowed = self.rule(room).events
        if allowed is not None:
            if not matches_any(allowed, event):
                raise RtpushError(
                    "forbidden",
                    f'Clients may not send "{event}" into this room: the `events` of the rule '
                    f'"{self.rule(room).pattern}" do not list it.',
                )
        elif event not in TASK_EVENTS and not matches_any(self._relay, event):
            raise RtpushError(
                "forbidden",
                "Clients may not send this event: the setting `relay` does not list it.",
            )

    def keeps(self, room: str | None) -> bool:
        """Are the room's events logged?"""
        return not self.rule(room).volatile

    def conflates(self, room: str | None) -> bool:
        """May an event of the room that a newer one supersedes be left out?"""
        return self.rule(room).conflate

    # ----------------------------------------------------------- looking back

    def check_rewind(self, rooms: Iterable[str | None]) -> None:
        """Raises RtpushError (`forbidden`) when clients may not ask what happened there before."""
        for room in rooms:
            if not self.rule(room).rewind:
                raise RtpushError(
                    "forbidden",
                    f'What happened in the room "{room}" before cannot be asked for: its rule '
                    "has `rewind` off.",
                )

    def check_presence(self, room: str) -> None:
        """Raises RtpushError (`forbidden`) when clients may not be present, or see who is."""
        if not self.rule(room).presence:
            raise RtpushError(
                "forbidden", f'The room "{room}" has no presence: its rule has `presence` off.'
            )
