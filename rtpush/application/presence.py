"""Tell the log who is present: the changes of each room, gathered for a while.

Rules that hold here:

- One telling of a room is under way at a time, and the next one begins from what the log holds
  then. What could not be stored is told again later.
- Members whose node has died are held by no node. The node that leads asks all nodes how many
  members they have; when the log has another number, it looks for members that are nobody's,
  and tells that they have left when they are still nobody's at the next look.
- A server that is stopping tells nothing: its clients come back, here or on another node.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Final

import orjson

from ..errors import RtpushError
from ..hub import Hub
from ..log.accounts import LOCAL_CLIENTS
from ..log.bus import Bus
from ..log.entry import Draft
from ..log.retained import PRESENCE, Name
from ..protocol import Envelope
from ..sessions.presence import MAX_TOLD, gathering_time

__all__ = ["PresenceTeller", "members_of"]

logger = logging.getLogger("rtpush.presence")

# Seconds between two looks for members of dead nodes.
LOOK_EVERY: Final = 5
# Seconds after which what could not be stored is told again.
TELL_AGAIN_AFTER: Final = 1.0

Place = tuple[str, str]


def members_of(hub: Hub, room: str) -> list[dict[str, Any]]:
    """The members of a room, in the order of their last changes."""
    values = hub.log.retained.values([room])
    found = (orjson.loads(value.json)["data"] for value in values if value.name.event == PRESENCE)
    return list(found)


class PresenceTeller:
    """Tells what the hub's book of members and the log's retained events differ in."""

    def __init__(self, hub: Hub, bus: Bus) -> None:
        self._hub = hub
        self._log = hub.log
        self._bus = bus
        self._book = hub.presence
        self._book.on_change = self._begin
        # The telling that is under way, by room.
        self._telling: dict[str, asyncio.Task[None]] = {}
        self._ticks = 0
        # Members that were nobody's at the last look.
        self._suspects: set[Place] = set()
        self._looking: asyncio.Task[None] | None = None
        bus.on("present", self._answer_count)
        bus.on("present_ids", self._answer_ids)

    # --------------------------------------------------------------- telling

    def _begin(self, room: str) -> None:
        if room not in self._telling and not self._hub.stopping:
            self._telling[room] = asyncio.get_running_loop().create_task(self._tell(room))

    async def _tell(self, room: str) -> None:
        try:
            while self._book.has_changes(room) and not self._hub.stopping:
                await asyncio.sleep(gathering_time(self._log.retained.count(room)))
                await self._tell_once(room)
        finally:
            del self._telling[room]

    async def _tell_once(self, room: str) -> None:
        for data in self._book.take(room, self._log.retained):
            if not await self._store(room, data):
                told = (member["id"] for members in data.values() for member in members)
                self._book.again(room, told)
                await asyncio.sleep(TELL_AGAIN_AFTER)

    async def _store(self, room: str, data: dict[str, Any]) -> bool:
        # All clients together pay for it: an event tells of members of many.
        draft = Draft.of(Envelope(PRESENCE, data, room), account=LOCAL_CLIENTS)
        (outcome,) = await self._log.append([draft])
        if isinstance(outcome, RtpushError):
            logger.warning("who is present in a room cannot be told now: %s", outcome.message)
        return not isinstance(outcome, RtpushError)

    # -------------------------------------------------- members of dead nodes

    async def begin(self) -> None:
        """A server that is alone begins with nobody: who was present is so no more."""
        if not self._bus.shared:
            await self._end(self._in_log())

    def tick(self) -> None:
        """Once a second."""
        self._ticks += 1
        if self._ticks % LOOK_EVERY == 0 and self._bus.shared and self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look())

    def stop(self) -> None:
        """Tell nothing more."""
        for task in (*self._telling.values(), self._looking):
            if task is not None:
                task.cancel()

    async def _look(self) -> None:
        try:
            if await self._log.lead():
                await self._end_lost()
        except RtpushError as error:
            # A node that is silent may have them.
            logger.debug("it is not known who is present on all nodes: %s", error)
        finally:
            self._looking = None

    async def _end_lost(self) -> None:
        counts = [len(self._book), *await self._bus.ask_all("present")]
        if sum(counts) == self._log.retained.members:
            self._suspects.clear()
            return
        held = set(self._book)
        for answer in await self._bus.ask_all("present_ids"):
            held.update((room, id_) for room, id_ in answer)
        lost = self._in_log() - held
        # Between two nodes a session is on none for a moment.
        await self._end(lost & self._suspects)
        self._suspects = lost

    def _in_log(self) -> set[Place]:
        names = (value.name for value in self._log.retained.values())
        return {(name.room or "", name.key) for name in names if name.event == PRESENCE}

    async def _end(self, lost: Iterable[Place]) -> None:
        by_room: dict[str, list[dict[str, Any]]] = {}
        for room, id_ in lost:
            value = self._log.retained.get(Name(room, PRESENCE, id_))
            if value is not None:
                by_room.setdefault(room, []).append(orjson.loads(value.json)["data"])
        for room, members in by_room.items():
            for start in range(0, len(members), MAX_TOLD):
                await self._store(room, {"left": members[start : start + MAX_TOLD]})

    async def _answer_count(self, _fields: dict[str, Any]) -> int:
        return len(self._book)

    async def _answer_ids(self, _fields: dict[str, Any]) -> list[Place]:
        return list(self._book)
