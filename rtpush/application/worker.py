"""The worker in a server's own process: it claims tasks as every other worker does.

Rules that hold here:

- Each node has its own; the log gives each task to one of them.
- The claims of a process hold while it lives. A server that is alone on its log knows, when it
  starts, that the worker of the one before is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import orjson

from ..errors import RtpushError
from ..log.task import Task
from ..protocol import Envelope
from ..work.crew import Crew
from ..work.task import Work, WorkTask
from .claims import MAX_WAIT, Ask, Claims
from .dispatcher import Dispatcher
from .leases import LeaseKeeper

__all__ = ["Worker"]

logger = logging.getLogger("rtpush.worker")

# The name of the worker of a server that is alone on its log.
_ALONE = "server"


class Worker:
    """Does the tasks of some queues with `work`, `concurrency` at the same time."""

    def __init__(
        self,
        claims: Claims,
        leases: LeaseKeeper,
        dispatcher: Dispatcher,
        work: Work,
        concurrency: int,
        queues: Sequence[str],
    ) -> None:
        self._claims = claims
        self._leases = leases
        self._dispatcher = dispatcher
        self._work = work
        self._concurrency = concurrency
        self._queues = tuple(queues)

    def start(self, node: str | None) -> None:
        """Begin to claim. `node` names this process among several on one log; None: it is alone."""
        name = _ALONE if node is None else f"{_ALONE} {node}"
        if node is None:
            self._leases.end_all_of(name)
        self._ask = Ask(name, self._queues, MAX_WAIT)
        self._crew = Crew(self, self._work, self._concurrency)
        self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            try:
                await self._crew.run()
            except RtpushError as error:
                logger.warning("no task can be claimed: %s", error)
                await asyncio.sleep(1.0)

    async def stop(self) -> None:
        """Claim nothing more, and give back what is under way."""
        self._running.cancel()
        with suppress(asyncio.CancelledError):
            await self._running
        await self._crew.stop()

    def cancelled(self, task: Task) -> None:
        """A client asks for the end of a claimed task."""
        if task.fields["attempt"] == self._leases.own.get(task.key):
            self._crew.cancel(task.key)

    # --------------------------------------------------------------- Workplace

    async def claim(self) -> dict[str, Any] | None:
        """See Workplace."""
        answer = await self._claims.claim(self._ask)
        if answer["task"] is None:
            return None
        # Decoded anew: the board shares its objects with nobody.
        task = orjson.loads(orjson.dumps(answer["task"]))
        self._leases.own[str(task["id"])] = answer["attempt"]
        return answer | {"task": task}

    async def withdraw(self) -> None:
        """See Workplace. A server that stops has ended all claims."""

    async def tell(self, envelope: dict[str, Any]) -> None:
        """See Workplace."""
        await self._dispatcher.emit(Envelope(**envelope))

    async def began(self, task: WorkTask) -> None:
        """See Workplace. What this process has claimed it has."""

    def ended(self, key: str) -> None:
        """See Workplace."""
        self._leases.own.pop(key, None)
