"""The sessions of all nodes as one picture.

Rules that hold here:

- What concerns a session of this node is done at once; else the others are
  asked. Each node answers for its own sessions only, so one that is dead is no
  longer in the picture.
- A session is on one node at a time. Its client may come to any: the node that
  it comes to takes the session over.
- Nothing here is logged: events go by the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, Final

from orjson import Fragment

from ..access.auth import Grant
from ..errors import RtpushError
from ..hub import Hub
from ..log.bus import Bus
from ..protocol import dumps
from ..sessions.handover import dump_session
from ..sessions.session import Session

__all__ = ["Nodes"]

logger = logging.getLogger("rtpush.nodes")

UNKNOWN: Final = "No such session; it may have disconnected."


class Nodes:
    """This node's hub and, by the bus, those of the others."""

    def __init__(self, bus: Bus, hub: Hub) -> None:
        self.bus = bus
        # Told of a session that another node has taken over.
        self.on_released: Callable[[Session], None] = lambda _session: None
        self._hub = hub
        self._taking: set[asyncio.Future[Session | None]] = set()
        for op, handler in (
            ("connections", self._answer_connections),
            ("rooms", self._answer_rooms),
            ("members", self._answer_members),
            ("knows", self._answer_knows),
            ("disconnect", self._answer_disconnect),
            ("enter", self._answer_enter),
            ("leave", self._answer_leave),
            ("close_room", self._answer_close_room),
            ("take", self._answer_take),
            ("volatile", self._hear_volatile),
        ):
            bus.on(op, handler)

    # ------------------------------------------------------------------ looking

    async def connections(self) -> list[dict[str, Any]]:
        """Every session. Raises RtpushError (`unavailable`), as all that asks others."""
        return await self._gather("connections", self._answer_connections)

    async def rooms(self) -> dict[str, int]:
        """Every room that has sessions, and how many."""
        rooms = Counter(await self._answer_rooms({}))
        for others in await self.bus.ask_all("rooms"):
            rooms.update(others)
        return dict(rooms)

    async def members(self, room: str) -> list[dict[str, Any]]:
        """The sessions in a room, on all nodes."""
        return await self._gather("members", self._answer_members, room=room)

    async def knows(self, sid: str) -> bool:
        """Is there such a session, or may it come back?"""
        return self._hub.knows(sid) or bool(await self.bus.ask_any("knows", sid=sid))

    async def _gather(self, op: str, own: Any, **fields: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await own(fields)
        for others in await self.bus.ask_all(op, **fields):
            found += others
        return found

    def _describe(self, session: Session) -> dict[str, Any]:
        position = self._hub.position_of(session)
        return {
            "sid": session.sid,
            "transport": session.group.framing.name if session.group else None,
            "address": session.address,
            "opened": session.opened,
            "rooms": list(session.rooms),
            "position": str(position),
            "behind": self._hub.log.last - position.seq,
        }

    async def _answer_connections(self, _fields: dict[str, Any]) -> list[dict[str, Any]]:
        return [self._describe(session) for session in self._hub.sessions.values()]

    async def _answer_rooms(self, _fields: dict[str, Any]) -> dict[str, int]:
        return self._hub.groups.rooms()

    async def _answer_members(self, fields: dict[str, Any]) -> list[dict[str, Any]]:
        return [self._describe(session) for session in self._hub.groups.members(fields["room"])]

    async def _answer_knows(self, fields: dict[str, Any]) -> str | None:
        return "yes" if self._hub.knows(fields["sid"]) else None

    # ----------------------------------------------------------------- steering

    async def disconnect(self, sid: str, message: str) -> bool:
        """End a session, wherever it is; was there one?"""
        fields = {"sid": sid, "message": message}
        return bool(
            await self._answer_disconnect(fields) or await self.bus.ask_any("disconnect", **fields)
        )

    async def enter(self, sid: str, room: str) -> None:
        """Put a session in a room. Raises RtpushError (`not_found`, as `Hub.join` does)."""
        await self._steer("enter", self._answer_enter, sid=sid, room=room)

    async def leave(self, sid: str, room: str) -> None:
        """Take a session out of a room. Raises RtpushError (`not_found`)."""
        await self._steer("leave", self._answer_leave, sid=sid, room=room)

    async def _steer(self, op: str, own: Any, **fields: Any) -> None:
        if not (await own(fields) or await self.bus.ask_any(op, **fields)):
            raise RtpushError("not_found", UNKNOWN)

    async def close_room(self, room: str) -> None:
        """Take everybody out of a room."""
        await self._answer_close_room({"room": room})
        await self.bus.ask_all("close_room", room=room)

    async def _answer_disconnect(self, fields: dict[str, Any]) -> str | None:
        session = self._hub.find(fields["sid"])
        if session is None or session.eviction is not None:
            return None
        self._hub.evict(session, RtpushError("forbidden", fields["message"]))
        return "done"

    async def _answer_enter(self, fields: dict[str, Any]) -> str | None:
        session = self._hub.sessions.get(fields["sid"])
        if session is None:
            return None
        self._hub.put(session, fields["room"])
        return "done"

    async def _answer_leave(self, fields: dict[str, Any]) -> str | None:
        session = self._hub.sessions.get(fields["sid"])
        if session is None:
            return None
        self._hub.leave(session, fields["room"])
        return "done"

    async def _answer_close_room(self, fields: dict[str, Any]) -> str:
        for session in self._hub.groups.members(fields["room"]):
            self._hub.leave(session, fields["room"])
        return "done"

    # ----------------------------------------------------------------- volatile

    def send_volatile(self, envelope: bytes, room: str | None, skip: Collection[str] = ()) -> None:
        """To the sessions that are connected to any node, and keep up now."""
        self._hub.send_volatile(envelope, room, skip)
        self.bus.broadcast("volatile", envelope=Fragment(envelope), room=room, skip=list(skip))

    async def _hear_volatile(self, fields: dict[str, Any]) -> None:
        self._hub.send_volatile(dumps(fields["envelope"]), fields["room"], fields["skip"])

    # ------------------------------------------------------------------- moving

    async def take(self, sid: str, address: str, grant: Grant) -> Session | None:
        """Take a session over from the node that has it.

        Returns it when it goes on by long-poll, ready to be reattached. Any
        other is left for `Hub.prepare` to take up. Raises RtpushError when it
        was thrown out there.
        """
        if self._hub.knows(sid) or not self.bus.shared:
            return None
        # Shielded: a client that hangs up must not leave its session between two nodes.
        taking = asyncio.ensure_future(self._take(sid, address, grant))
        self._taking.add(taking)
        taking.add_done_callback(self._taking.discard)
        session = await asyncio.shield(taking)
        # It may have ended before this turn came: this node stops, or another one took it.
        return session if self._hub.sessions.get(sid) is session else None

    async def _take(self, sid: str, address: str, grant: Grant) -> Session | None:
        try:
            moved = await self.bus.ask_any("take", sid=sid, subject=grant.subject)
        except RtpushError as error:
            # It begins anew instead, and misses nothing of the log by it.
            logger.debug("a session cannot be taken over: %s", error)
            return None
        if moved is None:
            return None
        if "eviction" in moved:
            raise RtpushError.of(moved["eviction"])
        session = self._hub.adopt(sid, moved, address, grant)
        return session if moved["polls"] else None

    async def _answer_take(self, fields: dict[str, Any]) -> dict[str, Any] | None:
        found = self._hub.find(fields["sid"])
        if found is None or found.grant.subject != fields["subject"] or not found.admitted:
            # A client that has found a sid out does not become its owner by it.
            return None
        if found.eviction is not None:
            return {"eviction": found.eviction.as_data()}
        moved = dump_session(found) | {
            "polls": found.lease_until is not None,
            "lapsed": found.sid not in self._hub.sessions,
        }
        self._hub.release(found)
        self.on_released(found)
        return moved
