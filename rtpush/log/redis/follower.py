"""How a node follows a log in Redis, and notices that it is another one.

Rules that hold here:

- Entries come in by one way only: the follower, which reads the stream with
  one blocking read.
- Once a second the keeper looks whether what was read is still there. A log
  that lost some of it has a new epoch, and everybody is told (`on_lost`).
- What is read from a process of Redis counts only when the keeper has looked
  at that one: another may hold another history.
- While a part is in trouble, nothing is accepted. Links are opened again after a
  wait that grows, by chance; each change is one line in the log.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from time import time
from typing import Any, Final, NamedTuple

import orjson

from ...config.settings import Settings
from ...errors import RtpushError
from ..base import LogError, new_board
from ..board import TASK_EVENTS, TaskBoard
from ..entry import Entry
from ..group_commit import GroupCommitLog, unavailable
from ..tail import Tail
from .codec import entry_of
from .connection import TIMEOUT, Address, Away, Errands, Link, backoff

__all__ = ["LEASE", "FollowedLog"]

logger = logging.getLogger("rtpush.log")

# Seconds without a sign of life after which a node is taken for dead.
LEASE: Final = 5.0

# One blocking read: entries, and seconds.
FOLLOW_ENTRIES: Final = 100
FOLLOW_BLOCK: Final = 1.0
OLDEST: Final = (6, 2)

TAIL_COUNT: Final = 20_000
TAIL_BYTES: Final = 8 << 20
# Entries of one reading back, which may be 1 MiB each.
NEWEST_AT_ONCE: Final = 64


class State(NamedTuple):
    """Where a node begins to follow."""

    epoch: str
    first: int
    task: int
    board: TaskBoard
    tail: Tail
    mark: str


class FollowedLog(GroupCommitLog):
    """The half of `RedisLog` that reads. `url` as in `Address.parse`.

    Without `clock` the time is that of Redis, the same for all nodes.
    `tail_count` and `tail_bytes` bound what is kept in memory.
    """

    def __init__(
        self,
        settings: Settings,
        url: str,
        clock: Callable[[], float] | None = None,
        *,
        tail_count: int = TAIL_COUNT,
        tail_bytes: int = TAIL_BYTES,
    ) -> None:
        super().__init__(settings, clock or self._redis_time)
        self.address = Address.parse(url)
        self.node = secrets.token_hex(4)
        self._tail_bounds = tail_count, tail_bytes
        self._tail = Tail(0, *self._tail_bounds)
        self.epoch = ""
        self.first = 1
        self._run = ""
        self._mark = ""
        self._last_task = 0
        # How far Redis's clock is ahead of ours.
        self._skew = 0.0
        self._troubles: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._asked = asyncio.Event()
        self._writer, self._reader, self._follower = (Link(self.address) for _ in range(3))
        self._errands = Errands()
        self._following: asyncio.Task[None] | None = None

    def _redis_time(self) -> float:
        return time() + self._skew

    # ---------------------------------------------------------- open and close

    async def open(self) -> None:
        """See `Log.open`. Waits, for as long as a lease, for what others have read."""
        async with self._usable():
            await self._check_version()
            await self._enter()
        self._errands.start(self._keep())
        self._follow_on()

    async def reach(self) -> None:
        """Could it be opened? Without being one of its nodes. Raises LogError."""
        async with self._usable():
            await self._check_version()
        await self._close_links()

    @asynccontextmanager
    async def _usable(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(2 * LEASE + TIMEOUT):
                yield
        except (Away, TimeoutError) as exc:
            await self._close_links()
            why = str(exc) or "it does not answer"
            raise LogError(
                f"{self.address} cannot be used ({why}); start it, or keep the log in a file with "
                "--log sqlite:PATH"
            ) from exc
        except LogError:
            await self._close_links()
            raise

    async def _check_version(self) -> None:
        await self._writer.open()
        version = self._writer.version
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
            raise LogError(f"{self.address} is version {version}; rtpush needs 6.2 or newer")

    async def _enter(self) -> None:
        while True:
            answer = await self._ask_to_look()
            if answer[0] == b"ok":
                state = await self._load()
                if state is not None:
                    self._become(state)
                    return
            await asyncio.sleep(backoff(2))

    async def close(self) -> None:
        """See `Log.close`."""
        await self.wait_idle()
        await self._errands.end()
        with suppress(Away):
            await self._call(self._writer, "leave")
        await self._close_links()

    async def _close_links(self) -> None:
        for link in (self._writer, self._reader, self._follower):
            await link.close()

    # ---------------------------------------------------------------- commands

    def key(self, name: str) -> str:
        """A key of this log. All have one hash tag: a Redis Cluster keeps them together."""
        return f"{{{self.address.prefix}}}:{name}"

    async def _call(
        self,
        link: Link,
        command: str,
        args: Sequence[Any] = (),
        once: Sequence[str] = (),
        /,
        **fields: Any,
    ) -> Any:
        """Run one command of the script. Raises Away."""
        names = ("log", "meta", "tasks", "ended", "newest", "nodes", "roll", "lock", "leader")
        keys = [self.key(name) for name in (*names, f"batch:{self.node}")]
        keys += [self.key(f"once:{name}") for name in once]
        await link.open()
        settings = self._settings
        ask = {
            "node": self.node,
            "run": link.run,
            "epoch": self.epoch,
            "now": repr(self._clock()),
            "count": settings.retention_count,
            "bytes": settings.retention_bytes,
            "age": settings.retention_age,
            "finished_for": settings.finished_for,
        }
        return await link.call(keys, [command, orjson.dumps(ask | fields), *args])

    # ----------------------------------------------------------------- looking

    def tick(self, now: float) -> None:
        """See `Log.tick`."""
        self._tail.drop_older_than(now - self._settings.retention_age)
        self._asked.set()

    async def _keep(self) -> None:
        """Look each time that it is asked for, and while Redis is away as often as is fit."""
        attempt = 0
        while True:
            try:
                await self._look()
            except Away as exc:
                self._note("writer", str(exc))
                attempt += 1
                await asyncio.sleep(backoff(attempt))
                continue
            self._note("writer", None)
            attempt = 0
            await self._asked.wait()
            self._asked.clear()

    async def _look(self) -> None:
        """Is what was read still there? Raises Away."""
        answer = await self._ask_to_look()
        if answer[0] == b"ok":
            self.first = max(self.first, answer[1])
        elif answer[0] == b"held":
            raise Away("Redis was started anew, and not all nodes have confirmed what they read")
        else:
            await self._begin_again()

    async def _ask_to_look(self) -> Any:
        answer = await self._call(
            self._writer,
            "look",
            last=self.last,
            mark=self._mark,
            lease=LEASE,
            new_epoch=secrets.token_hex(6),
        )
        if answer[0] == b"ok":
            self._run = self._writer.run
            seconds, micros = answer[2]
            self._skew = int(seconds) + int(micros) / 1e6 - time()
        return answer

    async def _begin_again(self) -> None:
        """Go on with a log of which we know nothing. Raises Away."""
        state = await self._load()
        if state is None:
            raise Away("the log is being begun anew")
        logger.warning(
            "the log has lost entries that were handed out, or went on without this node; "
            "all sessions are told to begin again"
        )
        self._become(state)
        self._follow_on()
        self.on_lost()

    async def _load(self) -> State | None:
        """What the log is now; None when it changed meanwhile. Raises Away."""
        answer = await self._call(self._writer, "load")
        if answer[0] != b"ok":
            return None
        _, epoch, last, first, last_task, number, rows = answer
        board = new_board(self._settings)
        board.restore(rows, number)
        newest = [e async for e in self._newest(epoch.decode(), last)][::-1]
        if last and (not newest or newest[-1][0].seq != last):
            return None
        tail = Tail(last - len(newest), *self._tail_bounds)
        for entry, _ in newest:
            tail.append(entry)
        mark = newest[-1][1] if newest else ""
        return State(epoch.decode(), first, last_task, board, tail, mark)

    async def _newest(self, epoch: str, upto: int) -> AsyncIterator[tuple[Entry, str]]:
        """As much as the tail holds, newest first; each with its mark. Raises Away."""
        left, size = self._tail_bounds
        while upto and left > 0:
            limit = min(left, NEWEST_AT_ONCE)
            answer = await self._call(self._writer, "newest", epoch=epoch, upto=upto, limit=limit)
            if answer[0] != b"ok" or not answer[1]:
                return
            for raw in answer[1]:
                entry, mark, _ = entry_of(epoch, raw)
                size -= entry.size
                if size < 0 and left < self._tail_bounds[0]:
                    return
                left, upto = left - 1, entry.seq - 1
                yield entry, mark

    def _become(self, state: State) -> None:
        self.epoch, self.first, self._last_task, self.board, self._tail, self._mark = state
        self._tell_change()

    def _tell_change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait for something that follows from what comes in, but not for long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._changed.wait()

    # --------------------------------------------------------------- following

    def _follow_on(self) -> None:
        if self._following is not None:
            self._following.cancel()
        self._following = self._errands.start(self._follow())

    async def _follow(self) -> None:
        attempt = 0
        while True:
            try:
                found = await self._read_on()
            except Away as exc:
                self._note("follower", str(exc))
                attempt += 1
                self._asked.set()
                await asyncio.sleep(backoff(attempt))
                continue
            self._note("follower", None)
            attempt = 0
            if found and not self._feed(found):
                # The keeper finds out what has happened, and begins us anew.
                self._asked.set()
                await asyncio.sleep(backoff(0))

    async def _read_on(self) -> Sequence[Any]:
        """Entries behind the newest that is here. Raises Away."""
        await self._follower.open(self._run)
        block = round(FOLLOW_BLOCK * 1000)
        answer = await self._follower.request(
            FOLLOW_BLOCK + TIMEOUT,
            *("XREAD", "COUNT", FOLLOW_ENTRIES, "BLOCK", block),
            *("STREAMS", self.key("log"), f"{self.last}-0"),
        )
        return answer[0][1] if answer else ()

    def _feed(self, found: Sequence[Any]) -> bool:
        """Take entries in; False for what does not follow on what is here."""
        before = self.last
        for raw in found:
            entry, mark, data = entry_of(self.epoch, raw)
            if entry.seq != self.last + 1 or not mark.startswith(f"{self.epoch}."):
                break
            self._tail.append(entry)
            self._mark = mark
            if entry.event in TASK_EVENTS:
                self.board.apply(entry.event, orjson.loads(data), entry.room, entry.time)
                self._last_task = entry.seq
        if self.last > before:
            self.on_grow()
            self._tell_change()
        return self.last - before == len(found)

    # ------------------------------------------------------------------- health

    def _refusal(self) -> RtpushError:
        return unavailable("; ".join(dict.fromkeys(self._troubles.values())) or "Redis is away")

    def _note(self, part: str, trouble: str | None) -> None:
        """Remember how a part is; what waits behind a failing one is refused."""
        if trouble is None:
            self._troubles.pop(part, None)
        else:
            self._troubles[part] = trouble
        failed_before = self._failing
        self._note_health(next(iter(self._troubles.values()), None))
        if self._failing and not failed_before:
            self._refuse_waiting()
        if failed_before and not self._failing:
            self._tell_change()

    def _refuse_waiting(self) -> None:
        while self._waiting:
            for call in self._gather():
                if not call.future.done():
                    call.future.set_result([self._refusal()] * len(call.drafts))
