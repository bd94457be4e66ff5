"""Leases: how long a claim holds without a word of its worker.

Rules that hold here:

- Of several nodes the leading one keeps the leases. One that begins to lead gives each claim
  a whole lease: it cannot know how long the worker has been silent.
- A report renews a lease: it makes a new version of the task. So does a session that is
  connected to any node and has reported the attempt.
- Time is what passes on this machine: no clock that is set wrong ends a lease.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from ..config.settings import Settings
from ..errors import RtpushError
from ..hub import Hub
from ..log.base import Log
from ..log.bus import Bus
from ..log.entry import lease_ended
from ..log.task import Task

__all__ = ["LeaseKeeper", "Leases"]

# Workers are asked for when this share of a lease is left.
_ASK_BELOW: Final = 2 / 3
# A long-poll client between two requests counts as connected for so many seconds.
_POLL_GAP: Final = 10.0


class _Lease(NamedTuple):
    number: int
    until: float


class Leases:
    """The leases of claimed tasks; pure. Times are in seconds of any steady clock."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._leases: dict[str, _Lease] = {}

    def clear(self) -> None:
        """Know of no claim."""
        self._leases.clear()

    def look(self, claimed: Mapping[str, Task], now: float) -> list[Task]:
        """Note the claims that there are; returns those whose workers are to be asked for."""
        known = self._leases
        self._leases = {}
        for key, task in claimed.items():
            lease = known.get(key)
            if lease is None or lease.number != task.number:
                lease = _Lease(task.number, now + self._seconds)
            self._leases[key] = lease
        ask_until = now + self._seconds * _ASK_BELOW
        return [claimed[key] for key, lease in self._leases.items() if lease.until <= ask_until]

    def renew(self, keys: Collection[str], now: float) -> None:
        """The workers of these tasks are connected."""
        for key in keys:
            if key in self._leases:
                self._leases[key] = self._leases[key]._replace(until=now + self._seconds)

    def ended(self, claimed: Mapping[str, Task], now: float) -> list[Task]:
        """The tasks whose leases have ended."""
        over = [key for key, lease in self._leases.items() if lease.until <= now]
        # A report may have come while the workers were asked for.
        found = (claimed[key] for key in over if key in claimed)
        return [task for task in found if task.number == self._leases[task.key].number]


class LeaseKeeper:
    """Ends the leases of workers that are lost."""

    def __init__(self, log: Log, hub: Hub, bus: Bus, settings: Settings) -> None:
        self._log = log
        self._hub = hub
        self._bus = bus
        self._leases = Leases(settings.claim_lease)
        self._max_attempts = settings.max_attempts
        # The claims of this process's own worker, by key.
        self.own: dict[str, int] = {}
        bus.on("claims", self._answer)

    async def tick(self, now: float) -> None:
        """Once a second. `now` is of a steady clock."""
        if not self._claimed or not await self._log.lead():
            self._leases.clear()
            return
        asked = self._leases.look(self._claimed, now)
        if asked:
            self._leases.renew(await self._held(asked), now)
            self._end(self._leases.ended(self._claimed, now))

    def end_all_of(self, worker: str) -> None:
        """The program of this name has ended: its claims do."""
        self._end([t for t in self._claimed.values() if t.fields.get("worker") == worker])

    @property
    def _claimed(self) -> dict[str, Task]:
        return self._log.board.index.queues.claimed

    def _end(self, tasks: Collection[Task]) -> None:
        # A task that is to end does so after `cancel_timeout`.
        lost = [task for task in tasks if task.fields["status"] == "running"]
        if lost:
            self._log.append([lease_ended(task, self._max_attempts) for task in lost])

    async def _held(self, tasks: Collection[Task]) -> set[str]:
        """Those of the tasks whose workers are connected to any node."""
        claims = {task.key: task.fields["attempt"] for task in tasks}
        held = set(await self._answer({"claims": claims}))
        try:
            held.update(*await self._bus.ask_all("claims", claims=claims))
        except RtpushError:
            # The others cannot be heard: none of their workers is taken for lost by that.
            held.update(claims)
        return held

    async def _answer(self, fields: dict[str, Any]) -> list[str]:
        claims: dict[str, int] = fields["claims"]
        held = {key for key, attempt in self.own.items() if claims.get(key) == attempt}
        for session in list(self._hub.sessions.values()):
            if not session.claims:
                continue
            for key in [key for key in session.claims if key not in self._claimed]:
                session.let_go(key)
            polls_until = session.lease_until or 0.0
            if session.connection is not None or polls_until > self._hub.lease() - _POLL_GAP:
                held |= {key for key, n in session.claims.items() if claims.get(key) == n}
        return sorted(held)
