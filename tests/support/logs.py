"""Every kind of log, as a test opens it: with a clock of its own, in a folder of its own."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize
from needs import needs
from redisserver import RedisServer

from rtpush.config.settings import Settings
from rtpush.log.base import Log, Outcome
from rtpush.log.clock import LogClock
from rtpush.log.entry import Draft
from rtpush.log.memory import MemoryLog
from rtpush.log.redis.log import RedisLog
from rtpush.log.sqlite import SqliteLog

PATIENCE = 10.0


class Clock:
    """The time of a test, and a wall clock that may be wrong by some seconds."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.wrong = 0.0

    def of_log(self) -> LogClock:
        """A log's clock that passes with this one."""
        return LogClock(lambda: self.now + self.wrong, lambda: self.now)


Make = Callable[..., Log]


def memory(settings: Settings, _folder: Path, clock: LogClock, **bounds: int) -> Log:
    return MemoryLog(settings, clock, **bounds)


def sqlite(settings: Settings, folder: Path, clock: LogClock, **bounds: int) -> Log:
    return SqliteLog(settings, folder / "rtpush.db", clock, **bounds)


def small_tail(settings: Settings, folder: Path, clock: LogClock, **bounds: int) -> Log:
    """So small a memory that most reads go to the file."""
    return sqlite(settings, folder, clock, tail_count=3, tail_bytes=2000, segment=5, **bounds)


# The one that runs.
REDIS: list[RedisServer] = []


def in_redis(settings: Settings, folder: Path, clock: LogClock, **bounds: int) -> Log:
    return RedisLog(settings, _url(folder), clock, **bounds)


def in_redis_small_tail(settings: Settings, folder: Path, clock: LogClock, **bounds: int) -> Log:
    return in_redis(settings, folder, clock, tail_count=3, tail_bytes=2000, **bounds)


def _url(folder: Path) -> str:
    """Where each folder has a log of its own."""
    prefix = hashlib.sha1(str(folder).encode(), usedforsecurity=False).hexdigest()
    return REDIS[0].url(prefix)


KINDS: dict[str, Make] = {
    "memory": memory,
    "sqlite": sqlite,
    "sqlite-small-tail": small_tail,
    "redis": in_redis,
    "redis-small-tail": in_redis_small_tail,
}
KEPT = {name: make for name, make in KINDS.items() if name != "memory"}


def each(kinds: Iterable[str]) -> list[Any]:
    """Parameters; those that this machine cannot have are skipped."""
    return [
        pytest.param(name, marks=needs("redis")) if name.startswith("redis") else name
        for name in kinds
    ]


class Desk:
    """A log under test: its clock, and a way to close and open it again."""

    def __init__(
        self, make: Make, folder: Path, bounds: dict[str, int] | None = None, **changes: Any
    ) -> None:
        self.clock = Clock()
        self._make = make
        self._bounds = bounds or {}
        self._folder = folder
        self._settings = Settings(**changes)

    async def open(self) -> Log:
        self.log = self._make(self._settings, self._folder, self.clock.of_log(), **self._bounds)
        await self.log.open()
        return self.log

    async def reopen(self) -> Log:
        await self.log.close()
        return await self.open()

    async def append(self, *drafts: Draft) -> list[Outcome]:
        async with asyncio.timeout(PATIENCE):
            return await self.log.append(drafts)

    async def trimmed(self, first: int) -> None:
        """Until retention has let go of everything before an entry."""
        async with asyncio.timeout(PATIENCE):
            while self.log.first < first:
                self.log.tick()
                await asyncio.sleep(0)


class LogMachine(RuleBasedStateMachine):
    """A log under test for any sequence of what subclasses do; `options` are its settings."""

    make: Make
    folders: Callable[[], Path]
    options: ClassVar[dict[str, Any]] = {}

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.desk = Desk(type(self).make, type(self).folders(), **self.options)
        self.run(self.desk.open())
        self.prepare()

    def prepare(self) -> None:
        """What else a machine begins with."""

    def run(self, work: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, PATIENCE))

    def teardown(self) -> None:
        if hasattr(self, "desk"):
            self.run(self.desk.log.close())
            self.loop.close()


def try_sequences(machine: type[LogMachine], kind: str, folder: Path, steps: int = 20) -> None:
    """Run a machine over a kind of log, each example in a folder of its own."""
    numbers = itertools.count()

    def new_folder() -> Path:
        path = folder / str(next(numbers))
        path.mkdir()
        return path

    fields = {"make": staticmethod(KINDS[kind]), "folders": staticmethod(new_folder)}
    case = type(f"{machine.__name__}_{kind}", (machine,), fields).TestCase  # type: ignore[attr-defined]
    case.settings = settings(stateful_step_count=steps, suppress_health_check=list(HealthCheck))
    case().runTest()
