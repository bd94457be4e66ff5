"""One lasting conversation with a server, over whatever transport works.

Rules that hold here:

- A transport works when its `connect` envelope arrives in time; nothing else
  counts, because proxies accept and then swallow.
- There is one live wire. From SSE or long-poll it climbs back to WebSocket in
  the background: the wire that works is given up only for one that has greeted,
  and the cursor removes what both delivered.
- Close codes 4000 to 4499 end the conversation, but for a token that has
  expired where a fresh one can be had; everything else is tried again.
- Silence is judged by an application's ping: what lies between may keep a dead
  connection open for hours.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from asyncio import create_task
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from ..errors import ConnectError, Reason
from .cursor import Cursor
from .endpoint import Target
from .fallback import TRANSPORTS, Ladder
from .send_queue import Lane
from .transports import WIRES, Batch, Ended, Link, Wire

__all__ = ["Connection", "Listener"]

logger = logging.getLogger("rtpush.client")

# Seconds that a transport has to greet, when there is another one to try.
_FALLBACK_AFTER: Final = 4.0
# Seconds between two pings, and for the answer: anything that is heard.
_PING_EVERY: Final = 15.0
_PONG_PATIENCE: Final = 8.0
# Seconds before WebSocket is tried again from another wire: doubled each time.
_CLIMB_FIRST: Final = 5.0
_CLIMB_SLOWEST: Final = 600.0
# Seconds between two signs of life of a server that does not say.
_HEARTBEAT: Final = 25.0
# Seconds that a wire on which nothing can be said has for its last words.
_LAST_WORDS: Final = 0.2
# Answers to the server that wait for a connection.
_MOST_REPLIES: Final = 1000
# Tokens in a row that the server may call invalid before we believe it.
_MOST_REFUSED_TOKENS: Final = 2
# No log has a position like this: a WebSocket that asks for it is refused in an
# envelope, which shows that envelopes get through.
_NO_POSITION: Final = {"last": "-"}


@dataclass(frozen=True, slots=True)
class Listener:
    """What a conversation tells its owner.

    `up` (the sid): it is connected, for the first time, again, or over another
    transport. `down`: that is lost, and why, in Socket.IO's words. `failed`: an
    attempt to connect came to nothing. `too_large`: the connection was closed for
    a message's size. `envelope`: something has come, of logged events each once
    and in order. `ready` waits until more may come.
    """

    up: Callable[[str], None]
    down: Callable[[Reason], None]
    failed: Callable[[ConnectError], None]
    too_large: Callable[[], None]
    envelope: Callable[[dict[str, Any]], None]
    ready: Callable[[], Awaitable[None]]


class Connection:
    """See the module's rules. `run` it in a task; `say` what is to be sent meanwhile."""

    def __init__(self, target: Target, listener: Listener, cursor: Cursor, sid: str | None) -> None:
        self.cursor = cursor
        self.transport: str | None = None
        self._target = target
        self._ladder = Ladder(target.transports)
        self._listener = listener
        self._sid: str | None = sid
        self._headers: Mapping[str, str] = {}
        # What is to be said on the wire there is; with the wire it is forgotten.
        self._lane = Lane()
        self._replies = Lane(_MOST_REPLIES)
        self._heartbeat = _HEARTBEAT
        self._heard = 0.0
        self._listening = True
        self._refused_tokens = 0
        # Cleared while a wire is about to be replaced.
        self._calm = asyncio.Event()
        self._calm.set()
        self._ping = orjson.dumps({"event": "ping", "data": secrets.token_hex(4)})

    def say(self, envelope: bytes) -> None:
        """Send an envelope on the connection there is."""
        self._lane.put(envelope)

    def reply(self, envelope: bytes) -> None:
        """Answer what the server has asked, on this connection or the next."""
        self._replies.put(envelope)

    @property
    def unsaid(self) -> int:
        """Envelopes that have not left yet."""
        return len(self._lane)

    async def all_said(self) -> None:
        """Until all of it has left."""
        await self._lane.empty()
        await self._replies.empty()

    async def run(self) -> ConnectError:
        """Connect, and connect again, until there is no point in it; returns why."""
        attempt = 0
        while True:
            # What comes with a greeting cannot be left lying.
            await self._listener.ready()
            try:
                wire: Wire | None = await self._connect()
                attempt = 0
                while wire is not None:
                    wire = await self._converse(wire)
            except Ended as end:
                error = self._note(end)
                if self._is_over(end, attempt):
                    return error
                await asyncio.sleep(
                    self._target.pauses.before(attempt) + random.random() * (end.retry_after or 0)
                )
            attempt += 1

    def _note(self, end: Ended) -> ConnectError:
        """Tell of an end: of an attempt, or of a connection."""
        error = ConnectError(_error_code_of(end), end.message, end.retry_after)
        if self.transport is None:
            self._refused_tokens += end.code == 4401
            self._listener.failed(error)
        else:
            self.transport = None
            if end.code == 1009:
                self._blame()
            self._listener.down(_reason_of(end))
        return error

    def _blame(self) -> None:
        """A message was too large for the server."""
        if len(self._replies):
            # They leave at once; one that did not would break the next connection, too.
            logger.warning("an answer to the server was too large; it is given up")
            self._replies.drop(len(self._replies))
        else:
            self._listener.too_large()

    def _is_over(self, end: Ended, attempt: int) -> bool:
        target = self._target
        if target.attempts is not None and attempt >= target.attempts:
            return True
        if end.code == 4401 and target.renewable:
            return self._refused_tokens >= _MOST_REFUSED_TOKENS
        return end.final

    # ----------------------------------------------------------- connecting

    async def _connect(self) -> Wire:
        """Try the transports in turn. Raises Ended, as the last of them did."""
        await self._take_token()
        kinds = self._ladder.next()
        for kind in kinds[:-1]:
            try:
                return await self._try(kind, min(_FALLBACK_AFTER, self._target.timeout))
            except Ended as end:
                if end.final or self._ladder.waits_for(kind, silent=end.silent):
                    raise
                logger.debug("%s does not work: %s", kind, end)
        return await self._try(kinds[-1], self._target.timeout)

    async def _take_token(self) -> None:
        try:
            async with asyncio.timeout(self._target.timeout):
                token = await self._target.token()
        except Exception as exc:
            logger.exception("the function that gives the token failed")
            raise Ended(1006, f"there is no token: {str(exc) or type(exc).__name__}") from exc
        bearer = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._headers = {**self._target.headers, **bearer}

    async def _try(self, kind: str, patience: float) -> Wire:
        """A wire that has greeted. Raises Ended."""
        wire = self._wire(kind, self._place)
        try:
            async with asyncio.timeout(patience):
                first = await _greeting(wire)
            self._ladder.succeeded(kind)
            self._lane = Lane()
            self.transport = kind
            self._take(wire, first)
        except BaseException as exc:
            await wire.close()
            if isinstance(exc, TimeoutError):
                raise Ended(1006, f"{kind}: no greeting in time", silent=True) from None
            raise
        return wire

    def _wire(self, kind: str, place: Callable[[], dict[str, str]]) -> Wire:
        target = self._target
        link = Link(target.http, target.base, target.query, target.rooms, self._headers, place)
        return WIRES[kind](link)

    def _place(self) -> dict[str, str]:
        if self.cursor.last is None:
            return {}
        return {"last": self.cursor.last} | ({} if self._sid is None else {"sid": self._sid})

    # ------------------------------------------------------------ connected

    async def _converse(self, wire: Wire) -> Wire:
        """Hear and say until there is a better wire: that one. Raises Ended."""
        read, climb = create_task(self._read(wire)), create_task(self._climb())
        others = [create_task(one(wire)) for one in (self._send, self._reply, self._beat)]
        tasks: list[asyncio.Task[Any]] = [read, *others, climb]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            # The server lets go of a wire when its successor comes; that one decides.
            tasks.append(create_task(self._calm.wait()))
            await asyncio.wait([climb, tasks[-1]], return_when=asyncio.FIRST_COMPLETED)
            if climb.done():
                return climb.result()
            # It knows best why it ended.
            await asyncio.wait([read], timeout=_LAST_WORDS)
            for task in (read, *others):
                if task.done():
                    task.result()
            raise AssertionError("a wire was left without a reason")
        finally:
            for task in tasks:
                if task is not read:
                    task.cancel()
            # Ahead of the reader's end: a cancelled read would leave no time for a goodbye.
            await wire.close()
            read.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._calm.set()

    async def _read(self, wire: Wire) -> None:
        while True:
            self._listening = False
            await self._listener.ready()
            self._listening, self._heard = True, asyncio.get_running_loop().time()
            # A read that begins now would take the session back from the successor.
            await self._calm.wait()
            self._take(wire, await wire.receive())

    def _take(self, wire: Wire, batch: Batch) -> None:
        self._heard = asyncio.get_running_loop().time()
        for envelope in batch.envelopes:
            self._hear(wire, envelope)
        if batch.upto is not None:
            self.cursor.advance(batch.upto)

    def _hear(self, wire: Wire, envelope: dict[str, Any]) -> None:
        event, data = envelope.get("event"), envelope.get("data")
        if event == "connect":
            self._greeted(wire, data if isinstance(data, dict) else {})
        elif event == "disconnect":
            raise _goodbye(data)
        elif event not in ("pong", "heartbeat") and self.cursor.take(envelope):
            self._listener.envelope(envelope)

    def _greeted(self, wire: Wire, data: dict[str, Any]) -> None:
        self._refused_tokens = 0
        self._sid = wire.sid = str(data.get("sid"))
        beat = data.get("heartbeat")
        self._heartbeat = beat if isinstance(beat, int | float) and beat > 0 else _HEARTBEAT
        self._listener.up(self._sid)

    async def _send(self, wire: Wire) -> None:
        lane = self._lane
        while True:
            batch = await lane.waiting()
            if answers := await wire.send(batch):
                self._take(wire, Batch(answers))
            lane.drop(len(batch))

    async def _reply(self, wire: Wire) -> None:
        # On a way of its own: over HTTP what was said before may be waiting for
        # a handler of the server's, and that one for this reply.
        while True:
            batch = await self._replies.waiting()
            await wire.send(batch)
            self._replies.drop(len(batch))

    async def _beat(self, wire: Wire) -> None:
        """Raises Ended when the other side has been silent for too long."""
        clock = asyncio.get_running_loop().time
        while True:
            await self._silence(_PING_EVERY if wire.pings else 2 * self._heartbeat + 1)
            asked = clock()
            if wire.pings:
                # Silent is only who has been asked: a program that was busy has heard nothing.
                self.say(self._ping)
                await asyncio.sleep(_PONG_PATIENCE)
            if self._listening and self._heard <= asked:
                raise Ended(1006, Reason.PING_TIMEOUT)

    async def _silence(self, seconds: float) -> None:
        """Until nothing has been heard for so long."""
        clock = asyncio.get_running_loop().time
        while True:
            if not self._listening:
                # Who does not listen cannot call the other one silent.
                self._heard = clock()
            left = self._heard + seconds - clock()
            if left <= 0:
                return
            await asyncio.sleep(left)

    async def _climb(self) -> Wire:
        """A WebSocket, as soon as that works."""
        if self.transport == TRANSPORTS[0] or TRANSPORTS[0] not in self._target.transports:
            await asyncio.get_running_loop().create_future()
        pause = _CLIMB_FIRST
        while True:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _CLIMB_SLOWEST)
            try:
                # Without a session first: were the real one tried on a path that
                # swallows answers, the server would have ended the wire that works.
                await self._probe()
                self._calm.clear()
                return await self._try(TRANSPORTS[0], _FALLBACK_AFTER)
            except Ended as end:
                logger.debug("WebSocket does not work yet: %s", end)
                self._calm.set()

    async def _probe(self) -> None:
        """Do envelopes get through a WebSocket? Raises Ended if not."""
        wire = self._wire(TRANSPORTS[0], lambda: _NO_POSITION)
        try:
            async with asyncio.timeout(_FALLBACK_AFTER):
                await _greeting(wire)
        except TimeoutError:
            raise Ended(1006, "no envelope in time") from None
        except Ended as end:
            if end.code < 4000:
                raise
        finally:
            await wire.close()


async def _greeting(wire: Wire) -> Batch:
    """The batch that begins with `connect`. Raises Ended with what the server says instead."""
    why: Any = None
    try:
        while True:
            batch = await wire.receive()
            for envelope in batch.envelopes:
                if envelope.get("event") == "connect":
                    return batch
                if envelope.get("event") == "error":
                    # What a close has no room for.
                    why = envelope.get("data")
    except Ended as end:
        if not isinstance(why, dict):
            raise
        raise Ended(end.code, str(why.get("message")), why.get("retry_after")) from end


def _goodbye(data: Any) -> Ended:
    found = data if isinstance(data, dict) else {}
    code, reason = found.get("code"), str(found.get("reason", "the server ended it"))
    return Ended(code if isinstance(code, int) else 1006, reason, found.get("retry_after"))


def _reason_of(end: Ended) -> Reason:
    """In Socket.IO's words."""
    if end.final:
        return Reason.SERVER_DISCONNECT
    if end.message == Reason.PING_TIMEOUT:
        return Reason.PING_TIMEOUT
    return Reason.TRANSPORT_ERROR if end.code == 1006 else Reason.TRANSPORT_CLOSE


def _error_code_of(end: Ended) -> str:
    codes = {4401: "not_authenticated", 4403: "forbidden", 4404: "not_found", 1009: "too_large"}
    return codes.get(end.code, "bad_request" if end.final else "unavailable")
