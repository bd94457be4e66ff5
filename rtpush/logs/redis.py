"""The log that many nodes share: a stream in Redis.

Rules that hold here:

- Entries come in by one way only: the follower, which reads the stream with
  one blocking read. What a node appends it sees, like every other, when it has
  been stored, and only then answers for it.
- A batch is decided here, on the board as far as it was followed, and stored by
  a script (`redis.lua`) that refuses it when the decision no longer holds. Then
  the node follows on and decides anew.
- Once a second the keeper looks whether what was read is still there. A log
  that lost some of it has a new epoch, and everybody is told (`on_lost`).
- Redis away: appends are refused; one that got no answer is repeated, under its
  number, until it is known what became of it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from time import time
from typing import Any, Final, NamedTuple

import orjson

from ..config import Settings
from ..errors import RtpushError
from ..log import PAGE_BYTES, Draft, Entry, LogError, Outcome, Page, Position, new_board, new_entry
from ..tasks import TASK_EVENTS, TaskBoard
from .batches import Batch, BatchingLog, unavailable
from .redis_link import TIMEOUT, Address, Away, Link, backoff
from .tail import Tail

__all__ = ["LEASE", "RedisLog"]

logger = logging.getLogger("rtpush.log")

# Seconds without a sign of life after which a node is taken for dead.
LEASE: Final = 5.0
# Seconds for which a publish without an answer is tried again.
UNSURE_FOR: Final = 10.0
# Seconds for which reading waits for Redis.
READ_PATIENCE: Final = 10.0
# Seconds for which the answer to what is stored waits until it is read, too.
SEEN_WITHIN: Final = 1.0

# One blocking read: entries, and seconds.
FOLLOW_ENTRIES: Final = 100
FOLLOW_BLOCK: Final = 1.0
OLDEST: Final = (6, 2)

# Behind this a batch counts until the script has given it its numbers: more
# than any position has.
PROVISIONAL: Final = 1 << 60

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


class RedisLog(BatchingLog):
    """See `Log`. `url` as in `Address.parse`.

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
        self._batches = count(1)
        self._known: dict[str, int] = {}
        self._troubles: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._asked = asyncio.Event()
        self._writer, self._reader, self._follower = (Link(self.address) for _ in range(3))
        self._syncing = False
        self._synced: asyncio.Future[None] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._following: asyncio.Task[None] | None = None

    def _redis_time(self) -> float:
        return time() + self._skew

    # ---------------------------------------------------------- open and close

    async def open(self) -> None:
        """See `Log.open`. Waits, for as long as a lease, for what others have read."""
        try:
            async with asyncio.timeout(2 * LEASE + TIMEOUT):
                await self._check_version()
                await self._enter()
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
        self._spawn(self._keep())
        self._follow_on()

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
        tasks = [*self._running]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        with suppress(Away):
            await self._call(self._writer, "leave")
        await self._close_links()

    async def _close_links(self) -> None:
        for link in (self._writer, self._reader, self._follower):
            await link.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a part of the log has failed", exc_info=error)

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
        names = ("log", "meta", "tasks", "ended", "newest", "nodes", "roll", "lock")
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
                entry, mark, _ = _entry(epoch, raw)
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
        self._following = self._spawn(self._follow())

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
        await self._follower.open()
        if self._follower.run != self._run:
            # Another process: what it holds need not be what we have read. Or the
            # one before, which is dead, and we have not heard of it yet.
            await self._follower.close()
            raise Away("Redis was started anew")
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
            entry, mark, data = _entry(self.epoch, raw)
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

    # --------------------------------------------------------------- appending

    def append(self, drafts: Sequence[Draft]) -> asyncio.Future[list[Outcome]]:
        """See `Log.append`."""
        if self._failing:
            refused: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
            refused.set_result([self._refusal()] * len(drafts))
            return refused
        return super().append(drafts)

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

    def _store(self, batch: Batch) -> None:
        if any(call.drafts for call in batch.calls):
            self._spawn(self._commit(batch))
        else:
            self._finish(batch)

    def _finish(self, batch: Batch) -> None:
        self._known = {}
        super()._finish(batch)

    async def _commit(self, batch: Batch) -> None:
        """Store a batch, deciding anew as often as it takes."""
        losses = 0
        deadline: float | None = None
        number = next(self._batches)
        loop = asyncio.get_running_loop()
        while True:
            once, epoch = self._unknown_keys(batch), self.epoch
            again = deadline is not None
            try:
                answer = await self._send(batch, once, batch=number, losses=losses, again=again)
            except Away as exc:
                self._note("writer", str(exc))
                self._asked.set()
                if not exc.unsure and deadline is None:
                    self._fail(batch, unavailable(str(exc)))
                    return
                deadline = deadline or loop.time() + UNSURE_FOR
                if loop.time() > deadline:
                    self._fail(batch, _unsure(str(exc)))
                    return
                await self._until(lambda: not self._failing, deadline - loop.time() + 0.1)
                continue
            if answer[0] == b"ok":
                await self._stored(batch, epoch, *answer[1:])
                return
            losses += 1
            await self._heed(answer, once, losses)
            batch = self._decide(batch.calls)
            number, deadline = next(self._batches), None

    def _unknown_keys(self, batch: Batch) -> list[str]:
        """Idempotency keys of which only Redis knows whether they were used."""
        drafts = [draft for call in batch.calls for draft in call.drafts]
        keys = dict.fromkeys(d.idempotency_key for d in drafts if d.idempotency_key is not None)
        return [key for key in keys if key not in self._known]

    async def _send(self, made: Batch, once: Sequence[str], **fields: Any) -> Any:
        about_tasks = [i for i, d in enumerate(made.drafts, 1) if d.event in TASK_EVENTS]
        return await self._call(
            self._writer,
            "append",
            [*_arguments(made, once)],
            once,
            entries=len(made.drafts),
            # Also what was refused rests on the board.
            tasks=any(d.event in TASK_EVENTS for call in made.calls for d in call.drafts),
            task=self._last_task,
            last_task=about_tasks[-1] if about_tasks else 0,
            number=made.board.number,
            now=repr(made.time),
            **fields,
        )

    async def _heed(self, answer: Any, once: Sequence[str], losses: int) -> None:
        """Do what makes the next decision a better one."""
        if answer[0] == b"seen":
            found = iter(answer[1])
            self._known |= {once[place]: seq for place, seq in zip(found, found, strict=True)}
        elif answer[0] == b"stale":
            await self._until(lambda: self.last >= answer[1], SEEN_WITHIN)
            if losses > 1:
                await asyncio.sleep(random.uniform(0, 0.005))
        elif answer[0] == b"lost":
            epoch = self.epoch
            self._asked.set()
            await self._until(lambda: self.epoch != epoch, backoff(losses))

    async def _stored(self, batch: Batch, epoch: str, base: int, first: int) -> None:
        upto = base + len(batch.drafts)
        await self._until(lambda: self.epoch != epoch or self.last >= upto, SEEN_WITHIN)
        if self.epoch != epoch:
            self._fail(batch, _unsure("it has lost entries meanwhile"))
            return
        self.first = max(self.first, first)
        for outcomes in batch.outcomes:
            outcomes[:] = [
                outcome - batch.base + base
                if isinstance(outcome, int) and outcome > batch.base
                else outcome
                for outcome in outcomes
            ]
        self._finish(batch)

    def _base(self) -> int:
        return PROVISIONAL

    def _seen_lately(self, batch: Batch, key: str) -> int | None:
        return self._known.get(key)

    # ----------------------------------------------------------------- reading

    async def sync(self) -> None:
        """See `Log.sync`. Who comes while one is asked for shares the next."""
        if self._failing:
            return
        if self._synced is None:
            self._synced = asyncio.get_running_loop().create_future()
            if not self._syncing:
                self._syncing = True
                self._spawn(self._sync())
        await asyncio.shield(self._synced)

    def _has(self, seq: int) -> bool:
        return self.last >= seq

    async def _sync(self) -> None:
        while self._synced is not None:
            synced, self._synced = self._synced, None
            try:
                answer = await self._call(self._reader, "last")
                if answer[0] == b"ok":
                    await self._until(partial(self._has, answer[1]), SEEN_WITHIN)
            except Away as exc:
                logger.debug("the newest of the log is not known: %s", exc)
            finally:
                synced.set_result(None)
        self._syncing = False

    async def read(self, after: int, limit: int, whole_until: int | None = None) -> Page:
        """See `Log.read`. Waits a while for a Redis that is away."""
        epoch, attempt = self.epoch, 0
        until = asyncio.get_running_loop().time() + READ_PATIENCE
        ask = {} if whole_until is None else {"whole_until": whole_until}
        upto = min(after + limit, self.last)
        while epoch == self.epoch:
            try:
                answer = await self._call(
                    self._reader, "read", after=after, upto=upto, page=PAGE_BYTES, **ask
                )
            except Away as exc:
                if asyncio.get_running_loop().time() > until:
                    message = f"The log cannot be read now ({exc})."
                    raise RtpushError("unavailable", message) from exc
                await asyncio.sleep(backoff(attempt))
            else:
                if answer[0] == b"ok" and epoch == self.epoch:
                    self.first = max(self.first, answer[1])
                    return _page(epoch, answer[2], answer[3])
                self._asked.set()
                await self._until(lambda: self.epoch != epoch, backoff(attempt))
            attempt += 1
        # Whoever asked is told that all is different: see `on_lost`.
        return Page([], self.last)


def _page(epoch: str, upto: int, found: Sequence[Any]) -> Page:
    entries: list[Entry] = []
    size = 0
    for raw in found:
        entry, _, _ = _entry(epoch, raw)
        size += len(entry.json)
        if size > PAGE_BYTES and entries:
            return Page(entries, entry.seq - 1)
        entries.append(entry)
    return Page(entries, upto)


def _arguments(batch: Batch, once: Sequence[str]) -> Iterator[str | bytes]:
    """A batch as the script takes it: seven values for each entry, three for each task."""
    places = {key: str(place) for place, key in enumerate(once)}
    for draft in batch.drafts:
        yield draft.event
        yield draft.room or ""
        yield draft.key or ""
        yield draft.encoded
        yield " ".join(draft.skip)
        yield draft.ack or ""
        yield places.get(draft.idempotency_key or "", "")
    for key, row, active in batch.rows():
        yield key
        yield row or b""
        yield "0" if active else "1"


def _entry(epoch: str, raw: Any) -> tuple[Entry, str, bytes]:
    """An entry of the stream, the mark of its batch, and its data."""
    id_, pairs = raw
    fields = dict(zip(pairs[::2], pairs[1::2], strict=True))

    def text(name: bytes) -> str | None:
        value = fields.get(name)
        return None if value is None else value.decode()

    skip = text(b"s")
    entry = new_entry(
        Position(epoch, int(id_.partition(b"-")[0])),
        float(fields[b"t"]),
        fields[b"e"].decode(),
        text(b"r"),
        text(b"k"),
        fields[b"d"],
        tuple(skip.split()) if skip else (),
        text(b"a"),
    )
    return entry, fields[b"n"].decode(), fields[b"d"]


def _unsure(why: str) -> RtpushError:
    return RtpushError(
        "unavailable",
        f"The log has not answered ({why}). It is not known whether the event was stored: send it "
        "again with the same idempotency_key.",
    )
