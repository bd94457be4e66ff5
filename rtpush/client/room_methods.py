"""The part of `rtpush.Client` that is about rooms: joining them, what they retain, who is there."""

from __future__ import annotations

from typing import Any, Literal

from .presence import Presence
from .session import Session

__all__ = ["RoomMethods"]


class RoomMethods:
    """See `rtpush.Client`."""

    _session: Session

    async def join(
        self,
        room: str,
        token: str | None = None,
        *,
        rewind: int | str | None = None,
        presence: dict[str, Any] | None = None,
    ) -> None:
        """Join a room, and stay in it over every reconnect; its `active_tasks` follows.

        Args:
            room: Its name.
            token: A token for this room alone; None: the client's own is enough.
            rewind: What happened there before, ahead of anything newer: so many events, those
                of a duration like "10m", or those since a position. Such an event has its
                position as `rewound`, and no `id`.
            presence: What others in the room are to know of this client, which is a member
                then; None: it is none.

        Raises:
            RtpushError: `forbidden`, `bad_room`, `too_many_rooms`; and as `call`.
        """
        await self._session.join(room, token, rewind, presence)

    async def leave(self, room: str) -> None:
        """Leave a room, if the client is in it.

        Args:
            room: Its name.

        Raises:
            RtpushError: As `call`.
            TimeoutError: As `call`.
        """
        await self._session.leave(room)

    def retained(self, event: str, room: str | None = None) -> dict[str, Any]:
        """The retained events of a name, as the client knows them now.

        Each also reaches the handlers of the event: those that were there when the client
        connected or joined, each change, and None for one that is removed.

        Args:
            event: Its name.
            room: A room that the client is in; None: those that are for everybody.

        Returns:
            The data by key.
        """
        return self._session.retained.of(event, room)

    def presence(self, room: str, *, by: Literal["id", "subject"] = "id") -> Presence:
        """Who is present in a room that the client is in.

        Args:
            room: Its name.
            by: By `subject`, the connections of one person count as one.

        Returns:
            A view with `members`, and handlers of `join`, `change` and `leave`.
        """
        return self._session.presence.add(room, by)
