"""Claims: give each task that waits to one worker that asks for one. PROTOCOL.md, section 6.

Rules that hold here:

- The log decides: it takes the first `task_claimed` of a task, whatever node it comes from.
  A node that comes second tries the next task.
- A node offers a task to one worker at a time, to the one that has waited longest.
- Claims that wait are bounded, for each account and for all.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from ..config.settings import Settings
from ..errors import RtpushError
from ..log.accounts import Shares
from ..log.base import Log
from ..log.entry import Draft, claimed
from ..log.task import REQUEUED, Task
from ..log.task_claims import DEFAULT_QUEUE
from ..protocol import Envelope, check_name

__all__ = ["MAX_WAIT", "Ask", "Claims"]

# Seconds for which a claim may wait: a node answers for another within 30.
MAX_WAIT: Final = 25.0
MAX_QUEUES: Final = 100
# Claims that wait, about 1 KiB each.
MAX_WAITING: Final = 10_000

# Refusals that say that the task went to another worker, or ended, meanwhile.
_GONE: Final = frozenset({"claim_lost", "task_finished", "bad_task", "not_found"})


class Ask(NamedTuple):
    """What a worker asks for.

    `rooms`: also tasks that belong to a room. `account` is the one that waits. `gone` says
    whether the worker has left, and hears no answer. `owner` is whose claims end together.
    """

    worker: str = "worker"
    queues: tuple[str, ...] = (DEFAULT_QUEUE,)
    wait: float = 0.0
    rooms: bool = True
    account: str = ""
    gone: Callable[[], bool] = lambda: False
    owner: object = None

    @classmethod
    def parse(cls, data: Any) -> Ask:
        """The data of a `task_claim`. Raises RtpushError (`bad_request`)."""
        fields = {} if data is None else data
        if not isinstance(fields, dict):
            raise _bad('The data of a claim is an object: {"queues", "wait", "worker"}.')
        given = {name: fields[name] for name in cls._fields[:3] if fields.get(name) is not None}
        ask = cls(**given)
        check_name("worker", ask.worker, "bad_request")
        if not isinstance(ask.queues, tuple | list) or len(ask.queues) > MAX_QUEUES:
            raise _bad(f'"queues" is a list of up to {MAX_QUEUES} names.')
        for queue in ask.queues:
            check_name("queue", queue, "bad_request")
        number = isinstance(ask.wait, int | float) and not isinstance(ask.wait, bool)
        if not (number and 0 <= ask.wait <= MAX_WAIT):
            raise _bad(f'"wait" is a number of seconds from 0 to {MAX_WAIT:g}.')
        return ask._replace(queues=tuple(dict.fromkeys(ask.queues)))


class Claims:
    """The claims of one node."""

    def __init__(self, log: Log, wall: Callable[[], float], settings: Settings) -> None:
        """`wall` gives seconds since 1970."""
        self._log = log
        self._wall = wall
        self._lease = settings.claim_lease
        self._shares = Shares.of(MAX_WAITING)
        self._counts: Counter[str] = Counter()
        # Those that wait, the longest first.
        self._waiting: dict[asyncio.Future[Task | None], Ask] = {}
        # Keys of tasks that are being claimed here.
        self._offered: set[str] = set()
        self._stopped = False

    async def claim(self, ask: Ask) -> dict[str, Any]:
        """The answer to a claim: a task, or none in time. Raises RtpushError."""
        if not ask.queues:
            self._end_all_of(ask.owner)
            return {"task": None}
        until = asyncio.get_running_loop().time() + ask.wait
        task = self._next(ask)
        while True:
            if task is None:
                task = await self._wait(ask, until)
            if task is None:
                return {"task": None}
            answer = await self._take(task, ask)
            if answer is not None:
                return answer
            task = self._next(ask)

    def _end_all_of(self, owner: object) -> None:
        for waiting, ask in self._waiting.items():
            if owner is not None and ask.owner is owner and not waiting.done():
                waiting.set_result(None)

    def stop(self) -> None:
        """Give no more tasks: the server stops."""
        self._stopped = True
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(_stopping())

    def offer(self) -> None:
        """The board may have tasks that wait: give them to the workers that wait."""
        queues = self._log.board.index.queues
        if not self._waiting or len(queues) <= len(self._offered):
            return
        for waiting, ask in list(self._waiting.items()):
            if len(queues) <= len(self._offered):
                return
            if waiting.done():
                continue
            if ask.gone():
                waiting.set_result(None)
            elif (task := self._next(ask)) is not None:
                waiting.set_result(task)

    def _next(self, ask: Ask) -> Task | None:
        """The oldest task that fits and is offered to no other worker here."""
        if self._stopped:
            raise _stopping()
        found = self._log.board.index.queues.waiting(ask.queues, rooms=ask.rooms)
        task = next((one for one in found if one.key not in self._offered), None)
        if task is not None:
            self._offered.add(task.key)
        return task

    async def _wait(self, ask: Ask, until: float) -> Task | None:
        loop = asyncio.get_running_loop()
        if until <= loop.time():
            return None
        waiting: asyncio.Future[Task | None] = loop.create_future()
        with self._one_more(ask.account):
            self._waiting[waiting] = ask
            timer = loop.call_at(until, _give_up, waiting)
            try:
                return await waiting
            except asyncio.CancelledError:
                answered = waiting.done() and not waiting.cancelled()
                if answered and waiting.exception() is None and (task := waiting.result()):
                    self._withdraw(task)
                raise
            finally:
                timer.cancel()
                del self._waiting[waiting]

    @contextmanager
    def _one_more(self, account: str) -> Iterator[None]:
        counts = self._counts
        if counts[account] >= self._shares.share(account) or counts.total() >= MAX_WAITING:
            raise RtpushError("rate_limited", "Too many claims wait: ask again a little later.")
        counts[account] += 1
        try:
            yield
        finally:
            counts[account] -= 1
            if not counts[account]:
                del counts[account]

    async def _take(self, task: Task, ask: Ask) -> dict[str, Any] | None:
        """Claim a task; None when another worker was first, or it ended. Raises RtpushError."""
        if ask.gone():
            self._withdraw(task)
            return {"task": None}
        draft = claimed(task, ask.worker)
        try:
            (outcome,) = await self._log.append([draft])
        finally:
            self._withdraw(task)
        if isinstance(outcome, RtpushError):
            if outcome.code in _GONE:
                return None
            raise outcome
        if ask.gone():
            self._give_back(draft)
            return {"task": None}
        attempt, known = draft.data["attempt"], self._log.board.get(task.key) or task
        given = {"status": "running", "worker": ask.worker, "attempt": attempt}
        expires = round((self._wall() + self._lease) * 1000)
        return {"task": known.data | given, "attempt": attempt, "expires": expires}

    def _give_back(self, claim: Draft) -> None:
        """Nobody has heard of this claim."""
        data = {"id": claim.data["id"], "attempt": claim.data["attempt"]}
        self._log.append([Draft.of(Envelope(REQUEUED, data, claim.room))])

    def _withdraw(self, task: Task) -> None:
        self._offered.discard(task.key)
        if self._waiting:
            self.offer()


def _give_up(waiting: asyncio.Future[Task | None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def _bad(message: str) -> RtpushError:
    return RtpushError("bad_request", message)


def _stopping() -> RtpushError:
    return RtpushError("going_away", "The server is stopping; ask the next one.")
