"""What a `SimpleClient` does with rooms: join and leave them, and look at what is in them."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from .async_client import Client
from .loop_thread import LoopThread
from .presence import Member, Presence, changes

__all__ = ["SimplePresence", "SimpleRoomMethods"]


class SimplePresence:
    """The members of a room that the client is in, looked at from any thread.

    What has changed waits in no queue: `receive` compares what it told last with who is there now.
    """

    def __init__(self, thread: LoopThread, view: Presence) -> None:
        """Runs on the loop."""
        self._thread = thread
        self._view = view
        self._changed = asyncio.Event()
        self._told = view.by_key()
        for event in ("join", "change", "leave"):
            view.on(event, lambda _member: self._changed.set())

    @property
    def members(self) -> list[Member]:
        """Who is there now, each with its `id`, `info`, and `subject` if it has one.

        Raises ConnectError when the client is not connected.
        """

        async def look() -> list[Member]:
            return self._view.members

        return self._thread.run(look())

    def receive(self, timeout: float | None = None) -> tuple[str, Member]:
        """Wait for the next change. A member that came and went meanwhile is not told of.

        Args:
            timeout: Seconds to wait; None: without an end. 0 takes a change that has arrived.

        Returns:
            `join`, `change` or `leave`, and the member.

        Raises:
            TimeoutError: Nothing has changed in time.
            ConnectError: The client is disconnected.
        """
        return self._thread.run(self._next(timeout))

    async def _next(self, timeout: float | None) -> tuple[str, Member]:
        async with asyncio.timeout(timeout):
            while not (told := changes(self._told, self._view.by_key())):
                self._changed.clear()
                await self._changed.wait()
        event, key, member = told[0]
        self._told.pop(key, None)
        if event != "leave":
            self._told[key] = member
        return event, member


class SimpleRoomMethods:
    """The rooms of a `SimpleClient`."""

    _client: Client
    _thread: LoopThread

    def join(
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
                then; None: it is none. `retained("presence", room)` has the members by id.

        Raises:
            RtpushError: `forbidden`, `bad_room`, `too_many_rooms`; and as `call`.
            TimeoutError: As `call`.
        """
        self._thread.run(self._client.join(room, token, rewind=rewind, presence=presence))

    def leave(self, room: str) -> None:
        """Leave a room, if the client is in it.

        Args:
            room: Its name.

        Raises:
            RtpushError: As `call`.
            TimeoutError: As `call`.
        """
        self._thread.run(self._client.leave(room))

    def retained(self, event: str, room: str | None = None) -> dict[str, Any]:
        """The retained events of a name, as the client knows them now.

        Args:
            event: Its name.
            room: A room that the client is in; None: those that are for everybody.

        Returns:
            The data by key.

        Raises:
            ConnectError: The client is not connected.
        """

        async def look() -> dict[str, Any]:
            return self._client.retained(event, room)

        return self._thread.run(look())

    def presence(self, room: str, *, by: Literal["id", "subject"] = "id") -> SimplePresence:
        """Who is present in a room that the client is in.

        Args:
            room: Its name.
            by: By `subject`, the connections of one person count as one.

        Returns:
            A view with `members`, and `receive` for what changes.

        Raises:
            ConnectError: The client is not connected.
        """

        async def look() -> SimplePresence:
            return SimplePresence(self._thread, self._client.presence(room, by=by))

        return self._thread.run(look())
