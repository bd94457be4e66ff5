"""How a node follows a log in Redis, and notices that it is another one.

Rules that hold here:

- Entries come in by one way only: the follower, which reads the stream with
  one blocking read.
- Once a second the monitor checks that what was read is still there. A log
  that lost some of it has a new epoch, and everybody is told (`on_lost`).
- What is read from a process of Redis counts only when the monitor has
  checked that one: another may hold another history.
- While a part is in trouble, nothing is accepted. Connections are opened again
  after a random wait that grows; each change is one line in the log.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from time import time
from typing import Any, Final

import orjson

from ...config.settings import Settings
from ...errors import RtpushError
from ...protocol import Position
from ..accounts import Shares
from ..base import LogError, new_board, new_retained
from ..clock import LogClock
from ..group_commit import GroupCommitLog, unavailable
from ..idempotency import MAX_KEYS
from ..tail import Tail
from ..task import TASK_EVENTS
from .codec import StreamEntry, entry_of
from .connection import (
    TIMEOUT,
    Address,
    BackgroundTasks,
    RedisConnection,
    RedisUnavailable,
    backoff,
)
from .health import Changes, Problems
from .loading import State, load

__all__ = ["LEASE", "FollowedLog"]

logger = logging.getLogger("rtpush.log")

# Seconds without a sign of life after which a node is taken for dead.
LEASE: Final = 5.0

# One blocking read: entries, and seconds.
FOLLOW_ENTRIES: Final = 100
FOLLOW_BLOCK: Final = 1.0
OLDEST: Final = (6, 2)

# What the script works with, in its order; the node's own key comes in between.
KEYS_OF_BOARD: Final = ("tasks", "changes", "ended")
KEYS: Final = ("log", "meta", *KEYS_OF_BOARD, "newest", "nodes", "roll", "lock", "leader")
KEYS_OF_KEYS: Final = ("keys", "keys_order", "keys_clients", "keys_publishers", "keys_due")

TAIL_COUNT: Final = 20_000
TAIL_BYTES: Final = 8 << 20


class FollowedLog(GroupCommitLog):
    """The half of `RedisLog` that reads. `url` as in `Address.parse`.

    Without `clock` the wall clock is that of Redis, the same for all nodes.
    `tail_count` and `tail_bytes` bound what is kept in memory, `max_keys` the idempotency keys.
    """

    def __init__(
        self,
        settings: Settings,
        url: str,
        clock: LogClock | None = None,
        *,
        tail_count: int = TAIL_COUNT,
        tail_bytes: int = TAIL_BYTES,
        max_keys: int = MAX_KEYS,
    ) -> None:
        # How far Redis's clock is ahead of ours.
        self._skew = 0.0
        super().__init__(settings, clock or LogClock(self._redis_time))
        self.address = Address.parse(url)
        # Names this node in the log: batches are numbered for each. Made by `open`, since
        # two processes that were forked from one would write under the same numbers.
        self.node = ""
        self._key_shares = Shares.of(max_keys)
        self._tail_bounds = tail_count, tail_bytes
        self._tail = Tail(0, *self._tail_bounds)
        self.epoch = ""
        self.first = 1
        self._run_id = ""
        self._batch_id = ""
        self._last_task = 0
        self._problems = Problems()
        self._changes = Changes()
        self._check_requested = asyncio.Event()
        self._writer, self._reader, self._follower = (
            RedisConnection(self.address) for _ in range(3)
        )
        self._background = BackgroundTasks()
        self._following: asyncio.Task[None] | None = None

    def _redis_time(self) -> float:
        return time() + self._skew

    def _note_skew(self, seconds: bytes, micros: bytes) -> None:
        self._skew = int(seconds) + int(micros) / 1e6 - time()

    # ---------------------------------------------------------- open and close

    async def open(self) -> None:
        """See `Log.open`. Waits, for as long as a lease, for what others have read."""
        self.node = secrets.token_hex(4)
        async with self._usable():
            await _check_server(self._writer, self._follower, self.key("nodes:all"))
            await self._enter()
        self._background.start(self._monitor())
        self._restart_following()

    async def reach(self) -> None:
        """Could it be opened? Without being one of its nodes. Raises LogError."""
        async with self._usable():
            await _check_server(self._writer, self._follower, self.key("nodes:all"))
        await self._close_connections()

    @asynccontextmanager
    async def _usable(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(2 * LEASE + TIMEOUT):
                yield
        except (RedisUnavailable, TimeoutError) as exc:
            await self._close_connections()
            why = str(exc) or "it does not answer"
            raise LogError(
                f"{self.address} cannot be used ({why}); start it, or keep the log in a file with "
                "--log sqlite:PATH"
            ) from exc
        except LogError:
            await self._close_connections()
            raise

    async def _enter(self) -> None:
        while True:
            answer = await self._request_check()
            if answer[0] == b"ok":
                state = await self._load()
                if state is not None:
                    self._adopt(state)
                    return
            await asyncio.sleep(backoff(2))

    async def close(self) -> None:
        """See `Log.close`."""
        await self.wait_idle()
        await self._background.end()
        with suppress(RedisUnavailable):
            await self._call(self._writer, "leave")
        await self._close_connections()

    async def _close_connections(self) -> None:
        for connection in (self._writer, self._reader, self._follower):
            await connection.close()

    # ---------------------------------------------------------------- commands

    def key(self, name: str) -> str:
        """A key of this log. All have one hash tag: a Redis Cluster keeps them together."""
        return f"{{{self.address.prefix}}}:{name}"

    async def _call(
        self,
        connection: RedisConnection,
        command: str,
        args: Sequence[Any] = (),
        /,
        **fields: Any,
    ) -> Any:
        """Run one command of the script. Raises RedisUnavailable."""
        names = (*KEYS, f"batch:{self.node}", *KEYS_OF_KEYS, "rooms", "retained")
        keys = [self.key(name) for name in names]
        await connection.open()
        settings = self._settings
        ask = {
            "node": self.node,
            "run": connection.run_id,
            "epoch": self.epoch,
            "now": repr(self.now()),
            "wall": repr(self._clock.wall()),
            "count": settings.retention_count,
            "bytes": settings.retention_bytes,
            "age": settings.retention_age,
            "finished_for": settings.finished_for,
            "max_keys": self._key_shares.total,
            "clients_keys": self._key_shares.clients,
            "client_keys": self._key_shares.client,
        }
        return await connection.call(keys, [command, orjson.dumps(ask | fields), *args])

    # ----------------------------------------------------------------- looking

    def tick(self) -> None:
        """See `Log.tick`."""
        super().tick()
        self._tail.drop_older_than(self.now() - self._settings.retention_age)
        self._check_requested.set()

    async def _monitor(self) -> None:
        """Look each time that it is asked for, and while Redis is away as often as is fit."""
        attempt = 0
        while True:
            try:
                await self._check_continuity()
            except RedisUnavailable as exc:
                self._set_problem("writer", str(exc))
                attempt += 1
                await asyncio.sleep(backoff(attempt))
                continue
            self._set_problem("writer", None)
            attempt = 0
            await self._check_requested.wait()
            self._check_requested.clear()

    async def _check_continuity(self) -> None:
        """Is what was read still there? Raises RedisUnavailable."""
        answer = await self._request_check()
        if answer[0] == b"ok":
            self.first = max(self.first, answer[1])
        elif answer[0] == b"held":
            raise RedisUnavailable(
                "Redis was started anew, and not all nodes have confirmed what they read"
            )
        else:
            await self._begin_again()

    async def _request_check(self) -> Any:
        answer = await self._call(
            self._writer,
            "look",
            last=self.last,
            batch_id=self._batch_id,
            lease=LEASE,
            new_epoch=secrets.token_hex(6),
        )
        if answer[0] == b"ok":
            self._run_id = self._writer.run_id
            self._note_skew(*answer[2])
            if not self.epoch:
                self._clock.begin(float(answer[3]))
        return answer

    async def _begin_again(self) -> None:
        """Go on with a log of which we know nothing. Raises RedisUnavailable."""
        state = await self._load()
        if state is None:
            raise RedisUnavailable("the log is being begun anew")
        logger.warning(
            "the log has lost entries that were handed out, or went on without this node; "
            "all sessions are told to begin again"
        )
        self._adopt(state)
        self._restart_following()
        self.on_lost()

    async def _load(self) -> State | None:
        """The log as it is now; None when it changed meanwhile. Raises RedisUnavailable."""
        folds = new_board(self._settings), new_retained(self._settings)
        return await load(partial(self._call, self._writer), *folds, *self._tail_bounds)

    def _adopt(self, state: State) -> None:
        self.epoch, self.first, self._last_task = state.epoch, state.first, state.task
        self.board, self.retained = state.board, state.retained
        self._tail, self._batch_id = state.tail, state.batch_id
        self._changes.notify()

    # --------------------------------------------------------------- following

    def _restart_following(self) -> None:
        if self._following is not None:
            self._following.cancel()
        self._following = self._background.start(self._follow())

    async def _follow(self) -> None:
        attempt = 0
        while True:
            try:
                found = await self._read_on()
            except RedisUnavailable as exc:
                self._set_problem("follower", str(exc))
                attempt += 1
                self._check_requested.set()
                await asyncio.sleep(backoff(attempt))
                continue
            self._set_problem("follower", None)
            attempt = 0
            if found and not self._apply(found):
                # The monitor finds out what has happened, and begins us anew.
                self._check_requested.set()
                await asyncio.sleep(backoff(0))

    async def _read_on(self) -> Sequence[Any]:
        """Entries behind the newest that is here. Raises RedisUnavailable."""
        await self._follower.open(self._run_id)
        block = round(FOLLOW_BLOCK * 1000)
        answer = await self._follower.request(
            FOLLOW_BLOCK + TIMEOUT,
            *("XREAD", "COUNT", FOLLOW_ENTRIES, "BLOCK", block),
            *("STREAMS", self.key("log"), f"{self.last}-0"),
        )
        return answer[0][1] if answer else ()

    def _apply(self, found: Sequence[Any]) -> bool:
        """Take entries in; False for what does not follow on what is here."""
        before = self.last
        for raw in found:
            found_entry = entry_of(self.epoch, raw)
            entry, batch_id = found_entry.entry, found_entry.batch_id
            if entry.seq != self.last + 1 or not batch_id.startswith(f"{self.epoch}."):
                break
            self._tail.append(entry)
            self._batch_id = batch_id
            self._fold(found_entry)
        if self.last > before:
            self._clock.reach(self._newest_time())
            self.on_grow()
            self._changes.notify()
        return self.last - before == len(found)

    def _fold(self, found: StreamEntry) -> None:
        entry = found.entry
        if entry.event in TASK_EVENTS:
            fields = orjson.loads(found.data)
            self.board.apply(entry.event, fields, entry.room, entry.time, found.account, found.wall)
            self._last_task = entry.seq
        if changes := found.changes:
            self.retained.apply(changes, found.account, Position(self.epoch, entry.seq))

    # ------------------------------------------------------------------- health

    def _refusal(self) -> RtpushError:
        return unavailable(str(self._problems))

    def _set_problem(self, part: str, problem: str | None) -> None:
        """Remember how a part is; what waits behind a failing one is refused."""
        self._problems.note(part, problem)
        failed_before = self._failing
        self._note_health(self._problems.first)
        if self._failing and not failed_before:
            self._refuse_waiting(self._refusal())
        if failed_before and not self._failing:
            self._changes.notify()


async def _check_server(writer: RedisConnection, follower: RedisConnection, channel: str) -> None:
    """Can this Redis and this user of it carry the log and the bus? Raises LogError."""
    await writer.open()
    if tuple(int(part) for part in writer.version.split(".")[:2]) < OLDEST:
        raise LogError(f"{writer.address} is version {writer.version}; rtpush needs 6.2 or newer")
    # The bus listens on it: no message at all is nothing to hear.
    await writer.request(TIMEOUT, "PUBLISH", channel, "[]")
    # A connection that subscribes can do nothing else afterwards.
    await follower.request(TIMEOUT, "SUBSCRIBE", channel)
    await follower.close()
