"""The log that many nodes share: a stream in Redis.

Rules that hold here:

- A batch is decided here, on the board as far as it was followed, and stored by
  a script (`script/`) that refuses it when the decision no longer holds. Then
  the node follows on and decides anew.
- What a node appends it sees, like every other, when it has been stored, and
  only then answers for it.
- Redis away: appends are refused; one that got no answer is repeated, under its
  number, until it is known what became of it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from itertools import count
from typing import Any, Final

from ...config.settings import Settings
from ...errors import RtpushError
from .. import room_index
from ..base import PAGE_BYTES, Outcome, Page
from ..clock import LogClock
from ..entry import Draft
from ..group_commit import Batch, Call, unavailable
from ..idempotency import MAX_KEYS
from ..room_index import Rooms
from ..task import TASK_EVENTS
from .codec import arguments_of, page_of
from .connection import RedisUnavailable, backoff
from .follower import LEASE, TAIL_BYTES, TAIL_COUNT, FollowedLog

__all__ = ["RedisLog"]

logger = logging.getLogger("rtpush.log")

# Seconds for which a publish is tried again that got no answer, or came too late.
UNSURE_FOR: Final = 10.0
# Seconds for which reading waits for Redis.
READ_PATIENCE: Final = 10.0
# Seconds for which the answer to what is stored waits until it is read, too.
SEEN_WITHIN: Final = 1.0
# Behind this a batch counts until the script has given it its numbers: more
# than any position has.
PROVISIONAL: Final = 1 << 60


class RedisLog(FollowedLog):
    """See `Log`. `url` as in `Address.parse`.

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
        bounds = {"tail_count": tail_count, "tail_bytes": tail_bytes, "max_keys": max_keys}
        super().__init__(settings, url, clock, **bounds)
        self._batches = count(1)
        # Idempotency keys of the batch under way that were used before.
        self._known: dict[bytes, int] = {}
        # What the batch under way was decided on: the epoch, and the newest entry about a task.
        self._decided_on = "", 0
        self._syncing = False
        self._synced: asyncio.Future[bool] | None = None

    # --------------------------------------------------------------- appending

    def append(self, drafts: Sequence[Draft]) -> asyncio.Future[list[Outcome]]:
        """See `Log.append`."""
        if self._failing:
            refused: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
            refused.set_result([self._refusal()] * len(drafts))
            return refused
        return super().append(drafts)

    def _store(self, batch: Batch) -> None:
        if any(call.drafts for call in batch.calls):
            self._background.start(self._commit(batch))
        else:
            self._finish(batch)

    def _finish(self, batch: Batch) -> None:
        self._known = {}
        super()._finish(batch)

    def _decide(self, calls: Sequence[Call]) -> Batch:
        self._decided_on = self.epoch, self._last_task
        return super()._decide(calls)

    async def _commit(self, batch: Batch) -> None:
        """Store a batch, deciding anew as often as it takes."""
        losses = 0
        deadline: float | None = None
        number = next(self._batches)
        loop = asyncio.get_running_loop()
        until = loop.time() + UNSURE_FOR
        while True:
            keys, (epoch, _) = self._unknown_keys(batch), self._decided_on
            again = deadline is not None
            try:
                answer = await self._send(batch, keys, batch=number, losses=losses, again=again)
            except RedisUnavailable as exc:
                self._set_problem("writer", str(exc))
                self._check_requested.set()
                if not exc.unsure and deadline is None:
                    self._fail(batch, unavailable(str(exc)))
                    return
                deadline = deadline or loop.time() + UNSURE_FOR
                if loop.time() > deadline:
                    self._fail(batch, _unsure(str(exc)))
                    return
                await self._changes.wait_until(
                    lambda: not self._failing, deadline - loop.time() + 0.1
                )
                continue
            if answer[0] == b"ok":
                await self._stored(batch, epoch, *answer[1:])
                return
            losses += 1
            if loop.time() > until:
                self._fail(batch, unavailable("it changes faster than this node can follow"))
                return
            await self._heed(answer, keys, losses)
            batch = self._decide(batch.calls)
            number, deadline = next(self._batches), None

    def _unknown_keys(self, batch: Batch) -> list[bytes]:
        """Idempotency keys of which only Redis knows whether they were used."""
        drafts = [draft for call in batch.calls for draft in call.drafts]
        keys = dict.fromkeys(d.idempotency_key for d in drafts if d.idempotency_key is not None)
        return [key for key in keys if key not in self._known]

    async def _send(self, made: Batch, keys: Sequence[bytes], **fields: Any) -> Any:
        epoch, last_task = self._decided_on
        about_tasks = [i for i, d in enumerate(made.drafts, 1) if d.event in TASK_EVENTS]
        return await self._call(
            self._writer,
            "append",
            [*arguments_of(made, keys)],
            keys=len(keys),
            entries=len(made.drafts),
            retained=len(made.retained_rows()),
            # Also what was refused rests on the board.
            tasks=any(d.event in TASK_EVENTS for call in made.calls for d in call.drafts),
            # Not what is here now: the follower may have had its turn since.
            epoch=epoch,
            task=last_task,
            last_task=about_tasks[-1] if about_tasks else 0,
            number=made.board.number,
            now=repr(made.time),
            wall=repr(made.wall),
            **fields,
        )

    async def _heed(self, answer: Any, keys: Sequence[bytes], losses: int) -> None:
        """Do what makes the next decision a better one."""
        if answer[0] == b"seen":
            found = iter(answer[1])
            self._known |= {keys[place]: seq for place, seq in zip(found, found, strict=True)}
        elif answer[0] == b"stale":
            await self._changes.wait_until(lambda: self.last >= answer[1], SEEN_WITHIN)
            if losses > 1:
                await asyncio.sleep(random.uniform(0, 0.005))
        elif answer[0] == b"lost":
            epoch, _ = self._decided_on
            self._check_requested.set()
            await self._changes.wait_until(lambda: self.epoch != epoch, backoff(losses))

    async def _stored(self, batch: Batch, epoch: str, base: int, first: int) -> None:
        upto = base + len(batch.drafts)
        await self._changes.wait_until(
            lambda: self.epoch != epoch or self.last >= upto, SEEN_WITHIN
        )
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

    def _remembered_number(self, key: bytes) -> int | None:
        return self._known.get(key)

    async def lead(self) -> bool:
        """See `Log.lead`. A node without Redis does not: another one may."""
        try:
            answer = await self._call(self._writer, "lead", lease=round(LEASE))
        except RedisUnavailable as exc:
            logger.debug("it is not known which node leads: %s", exc)
            return False
        leads: bool = answer[0] == b"ok"
        return leads

    # ----------------------------------------------------------------- reading

    async def sync(self) -> bool:
        """See `Log.sync`. Callers that come while one is asked for share the next."""
        if self._failing:
            return False
        if self._synced is None:
            self._synced = asyncio.get_running_loop().create_future()
            if not self._syncing:
                self._syncing = True
                self._background.start(self._sync())
        return await asyncio.shield(self._synced)

    async def _sync(self) -> None:
        try:
            while self._synced is not None:
                synced, self._synced = self._synced, None
                here = False
                try:
                    here = await self._catch_up()
                finally:
                    synced.set_result(here)
        finally:
            # Whatever has gone wrong: nobody waits for a run that does not come.
            self._syncing = False
            if self._synced is not None:
                self._synced.set_result(False)
                self._synced = None

    async def _catch_up(self) -> bool:
        try:
            (newest,) = await self._ask_reader("last")
        except RedisUnavailable as exc:
            logger.debug("the newest of the log is not known: %s", exc)
            return False
        await self._changes.wait_until(lambda: self.last >= newest, SEEN_WITHIN)
        return self.last >= int(newest)

    async def _ask_reader(self, command: str, **fields: Any) -> list[Any]:
        """The answer of a read, from the log that this node follows. Raises RedisUnavailable."""
        await self._reader.open(self._run_id)
        answer = await self._call(self._reader, command, **fields)
        if answer[0] != b"ok":
            raise RedisUnavailable("the log is another one by now")
        found: list[Any] = answer[1:]
        return found

    async def read(
        self,
        after: int,
        limit: int,
        conflate_after: int | None = None,
        rooms: Rooms | None = None,
    ) -> Page:
        """See `Log.read`. Waits a while for a Redis that is away."""
        ask: dict[str, Any] = {"after": after}
        if conflate_after is not None:
            ask["conflate_after"] = conflate_after
        if rooms is None:
            return await self._read("read", 1, upto=min(after + limit, self.last), **ask)
        rooms = self.active(rooms, after)
        if len(rooms) > room_index.MANY_ROOMS:
            return (await self.read(after, limit, conflate_after)).of_rooms(rooms)
        rooms = [room or "" for room in rooms]
        return await self._read("read_rooms", 1, upto=self.last, limit=limit, rooms=rooms, **ask)

    async def read_before(self, before: int, limit: int, rooms: Rooms | None = None) -> Page:
        """See `Log.read_before`; waits likewise."""
        ask: dict[str, Any] = {"before": min(before, self.last + 1), "limit": limit}
        if rooms is not None and len(rooms) > room_index.MANY_ROOMS:
            return (await self.read_before(before, limit)).of_rooms(rooms)
        if rooms is not None:
            ask["rooms"] = [room or "" for room in rooms]
        return await self._read("read_newest", -1, **ask)

    async def _read(self, command: str, step: int, **ask: Any) -> Page:
        epoch, attempt = self.epoch, 0
        until = asyncio.get_running_loop().time() + READ_PATIENCE
        while epoch == self.epoch:
            try:
                first, upto, found = await self._ask_reader(command, page=PAGE_BYTES, **ask)
            except RedisUnavailable as exc:
                if asyncio.get_running_loop().time() > until:
                    message = f"The log cannot be read now ({exc})."
                    raise RtpushError("unavailable", message) from exc
                self._check_requested.set()
                await self._changes.wait_until(lambda: self.epoch != epoch, backoff(attempt))
                attempt += 1
                continue
            if epoch == self.epoch:
                self.first = max(self.first, first)
                return page_of(epoch, upto, found, step)
        # The reader is told that all is different: see `on_lost`.
        return Page([], self.last)


def _unsure(why: str) -> RtpushError:
    return RtpushError(
        "unavailable",
        f"The log has not answered ({why}). It is not known whether the event was stored: send it "
        "again with the same idempotency_key.",
    )
