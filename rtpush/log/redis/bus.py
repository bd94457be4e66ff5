"""The bus of nodes that share a log in Redis: its publish and subscribe.

Rules that hold here:

- One channel that every node hears, and one for each node alone.
- What is told in one pass of the event loop travels as one message. What
  waits is bounded: beyond that, it is not told.
- Redis closes a subscriber that lets too much pile up; so a large message is
  kept under a key, and only the key's name is published.
- The number of hearers that Redis gives for a question is the number of
  answers to wait for. To have heard it oneself is one of them, and shows that
  answers can be heard.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Any, Final

import orjson

from ...errors import CODES, RtpushError
from ...protocol import dumps
from ..bus import ANSWER_TIMEOUT, Bus
from .connection import TIMEOUT, BackgroundTasks, RedisConnection, RedisUnavailable, backoff
from .log import RedisLog

__all__ = ["RedisBus"]

logger = logging.getLogger("rtpush.bus")

MAX_WAITING: Final = 10_000
# From this size on a message is kept under a key, for so many seconds.
LARGE: Final = 64 << 10
LARGE_TTL: Final = 60


class _PendingQuestion:
    """A question under way: the answers so far, and how many are to come.

    None is the answer of the node that asks.
    """

    def __init__(self, enough: Callable[[Any], bool]) -> None:
        self.answers: list[Any] = []
        self.done = asyncio.Event()
        self._expected: int | None = None
        self._enough = enough

    def take(self, answer: Any) -> None:
        self.answers.append(answer)
        if (answer is not None and self._enough(answer)) or len(self.answers) == self._expected:
            self.done.set()

    def expect(self, count: int) -> None:
        self._expected = count
        if len(self.answers) >= count:
            self.done.set()


class RedisBus(Bus):
    """See the module's rules."""

    shared = True

    def __init__(self, log: RedisLog) -> None:
        super().__init__()
        self._log = log
        self._numbers = count(1)
        self._pending: dict[int, _PendingQuestion] = {}
        self._waiting: deque[orjson.Fragment] = deque(maxlen=MAX_WAITING)
        self._broadcasting = False
        self._publisher, self._subscriber = (
            RedisConnection(log.address),
            RedisConnection(log.address),
        )
        self._background = BackgroundTasks()
        self._all = log.key("nodes:all")

    def _own(self, node: str) -> str:
        return self._log.key(f"nodes:{node}")

    # ----------------------------------------------------------- open and close

    async def open(self) -> None:
        """Begin to hear. A Redis that is away is waited for in the background."""
        self.node = self._log.node
        with suppress(RedisUnavailable):
            await self._subscribe()
        self._background.start(self._listen())

    async def close(self) -> None:
        """Hear nothing more."""
        await self._background.end()
        await self._publisher.close()
        await self._subscriber.close()

    def tick(self) -> None:
        """Show whether the connection still lives: something must be heard."""
        self._background.start(self._ping())

    async def _ping(self) -> None:
        with suppress(RedisUnavailable):
            await self._subscriber.send("PING")

    # ------------------------------------------------------------------ hearing

    async def _subscribe(self) -> None:
        await self._subscriber.request(TIMEOUT, "SUBSCRIBE", self._all, self._own(self.node))

    async def _listen(self) -> None:
        attempt = 0
        while True:
            try:
                if not self._subscriber.is_open:
                    await self._subscribe()
                kind, *rest = await self._subscriber.receive(1.0 + TIMEOUT)
            except RedisUnavailable as exc:
                # Redis may close an idle connection; that it cannot be replaced is news.
                if attempt == 1:
                    logger.error("the other nodes cannot be heard: %s", exc)
                attempt += 1
                await asyncio.sleep(backoff(attempt))
                continue
            if attempt > 1:
                logger.warning("the other nodes can be heard again")
            attempt = 0
            if kind == b"message":
                self._background.start(self._heard(rest[1]))

    async def _heard(self, payload: bytes) -> None:
        try:
            if payload.startswith(b"@"):
                payload = await self._publisher.request(TIMEOUT, "GET", payload[1:]) or b"[]"
            for message in orjson.loads(payload):
                await self._receive(message)
        except RedisUnavailable as exc:
            logger.debug("a message of another node cannot be fetched: %s", exc)

    async def _receive(self, message: dict[str, Any]) -> None:
        own = message["from"] == self.node
        question = self._pending.get(message.get("ask" if own else "answer", 0))
        if question is not None:
            question.take(None if own else message)
        if own or "answer" in message:
            return
        if "ask" in message:
            # A handler may take its time; those behind it do not wait.
            self._background.start(self._answer(message))
        else:
            await self._handle(message)

    async def _answer(self, message: dict[str, Any]) -> None:
        answer = await self._handle(message) | {"from": self.node, "answer": message["ask"]}
        with suppress(RedisUnavailable):
            await self._publish(self._own(message["from"]), [answer])

    async def _handle(self, message: dict[str, Any]) -> dict[str, Any]:
        handler = self._handlers.get(message["op"])
        if handler is None:
            # A newer node may ask for what this one does not know.
            return {"value": None}
        try:
            return {"value": await handler(message["fields"])}
        except RtpushError as error:
            return {"error": error.as_data()}
        except Exception:
            logger.exception("%r of another node failed", message["op"])
            return {"error": RtpushError("internal", "The other node failed.").as_data()}

    # ----------------------------------------------------------------- speaking

    async def _publish(self, channel: str, messages: Sequence[Any]) -> int:
        """To how many it went. Raises RedisUnavailable."""
        payload = orjson.dumps(messages)
        if len(payload) > LARGE:
            key = self._log.key(f"message:{self.node}-{next(self._numbers)}")
            await self._publisher.request(TIMEOUT, "SET", key, payload, "EX", LARGE_TTL)
            payload = f"@{key}".encode()
        receivers: int = await self._publisher.request(TIMEOUT, "PUBLISH", channel, payload)
        return receivers

    def broadcast(self, op: str, /, **fields: Any) -> None:
        """See `Bus.tell`."""
        message = {"from": self.node, "op": op, "fields": fields}
        # Encoded now: until it leaves, the application may change what it passed.
        self._waiting.append(orjson.Fragment(dumps(message)))
        if not self._broadcasting:
            self._broadcasting = True
            self._background.start(self._broadcast_waiting())

    async def _broadcast_waiting(self) -> None:
        try:
            while self._waiting:
                messages = list(self._waiting)
                self._waiting.clear()
                await self._publish(self._all, messages)
        except RedisUnavailable:
            self._waiting.clear()
        finally:
            self._broadcasting = False

    async def ask_all(self, op: str, /, **fields: Any) -> list[Any]:
        """See `Bus.ask_all`."""
        answers = await self._ask(self._all, op, fields, ANSWER_TIMEOUT, lambda _: False)
        return [answer["value"] for answer in answers if "value" in answer]

    async def ask_any(self, op: str, /, **fields: Any) -> Any:
        """See `Bus.ask_any`."""
        for answer in await self._ask(self._all, op, fields, ANSWER_TIMEOUT, _is_answer):
            if _is_answer(answer):
                return _value(answer)
        return None

    async def ask_node(self, node: str, op: str, /, timeout: float, **fields: Any) -> Any:
        """See `Bus.ask_node`."""
        answers = await self._ask(self._own(node), op, fields, timeout, lambda _: True)
        if not answers:
            raise RtpushError("unavailable", "The node of this session does not answer; try again.")
        return _value(answers[0])

    async def _ask(
        self,
        channel: str,
        op: str,
        fields: dict[str, Any],
        timeout: float,
        enough: Callable[[Any], bool],
    ) -> list[Any]:
        if not self._subscriber.is_open:
            raise _cannot_hear()
        number = next(self._numbers)
        question = self._pending[number] = _PendingQuestion(enough)
        message = {"from": self.node, "ask": number, "op": op, "fields": fields}
        try:
            question.expect(await self._publish(channel, [message]))
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await question.done.wait()
        except RedisUnavailable as exc:
            raise RtpushError(
                "unavailable", f"The other nodes cannot be asked ({exc}); try again."
            ) from exc
        finally:
            del self._pending[number]
        if channel == self._all and not question.answers:
            raise _cannot_hear()
        return [answer for answer in question.answers if answer is not None]


def _cannot_hear() -> RtpushError:
    return RtpushError("unavailable", "The other nodes cannot be heard now; try again.")


def _is_answer(answer: Any) -> bool:
    return "error" in answer or answer["value"] is not None


def _value(answer: Any) -> Any:
    if "error" not in answer:
        return answer["value"]
    code = answer["error"]["code"]
    raise RtpushError(code if code in CODES else "internal", answer["error"]["message"])
