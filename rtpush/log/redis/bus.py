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
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any, Final

import orjson

from ...errors import CODES, RtpushError
from ..bus import PATIENCE, Bus
from .connection import TIMEOUT, Away, Errands, Link, backoff
from .log import RedisLog

__all__ = ["RedisBus"]

logger = logging.getLogger("rtpush.bus")

MAX_WAITING: Final = 10_000
# From this size on a message is kept under a key, for so many seconds.
LARGE: Final = 64 << 10
KEPT_FOR: Final = 60


class _Asking:
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
        super().__init__(log.node)
        self._log = log
        self._asked = count(1)
        self._asking: dict[int, _Asking] = {}
        self._waiting: deque[dict[str, Any]] = deque(maxlen=MAX_WAITING)
        self._telling = False
        self._speaker, self._listener = Link(log.address), Link(log.address)
        self._errands = Errands()
        self._all = log.key("nodes:all")

    def _own(self, node: str) -> str:
        return self._log.key(f"nodes:{node}")

    # ----------------------------------------------------------- open and close

    async def open(self) -> None:
        """Begin to hear. A Redis that is away is waited for in the background."""
        with suppress(Away):
            await self._subscribe()
        self._errands.start(self._listen())

    async def close(self) -> None:
        """Hear nothing more."""
        await self._errands.end()
        await self._speaker.close()
        await self._listener.close()

    def tick(self) -> None:
        """Show whether the connection still lives: something must be heard."""
        self._errands.start(self._ping())

    async def _ping(self) -> None:
        with suppress(Away):
            await self._listener.send("PING")

    # ------------------------------------------------------------------ hearing

    async def _subscribe(self) -> None:
        await self._listener.request(TIMEOUT, "SUBSCRIBE", self._all, self._own(self.node))

    async def _listen(self) -> None:
        attempt = 0
        while True:
            try:
                if not self._listener.is_open:
                    await self._subscribe()
                kind, *rest = await self._listener.hear(1.0 + TIMEOUT)
            except Away:
                attempt += 1
                await asyncio.sleep(backoff(attempt))
                continue
            attempt = 0
            if kind == b"message":
                self._errands.start(self._heard(rest[1]))

    async def _heard(self, payload: bytes) -> None:
        try:
            if payload.startswith(b"@"):
                payload = await self._speaker.request(TIMEOUT, "GET", payload[1:]) or b"[]"
            for message in orjson.loads(payload):
                await self._act(message)
        except Away as exc:
            logger.debug("a message of another node cannot be fetched: %s", exc)

    async def _act(self, message: dict[str, Any]) -> None:
        own = message["from"] == self.node
        asking = self._asking.get(message.get("ask" if own else "answer", 0))
        if asking is not None:
            asking.take(None if own else message)
        if own or "answer" in message:
            return
        if "ask" in message:
            # A handler may take its time; those behind it do not wait.
            self._errands.start(self._answer(message))
        else:
            await self._handle(message)

    async def _answer(self, message: dict[str, Any]) -> None:
        answer = await self._handle(message) | {"from": self.node, "answer": message["ask"]}
        with suppress(Away):
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

    async def _publish(self, channel: str, messages: list[dict[str, Any]]) -> int:
        """To how many it went. Raises Away."""
        payload = orjson.dumps(messages)
        if len(payload) > LARGE:
            key = self._log.key(f"message:{self.node}-{next(self._asked)}")
            await self._speaker.request(TIMEOUT, "SET", key, payload, "EX", KEPT_FOR)
            payload = f"@{key}".encode()
        hearers: int = await self._speaker.request(TIMEOUT, "PUBLISH", channel, payload)
        return hearers

    def tell(self, op: str, /, **fields: Any) -> None:
        """See `Bus.tell`."""
        self._waiting.append({"from": self.node, "op": op, "fields": fields})
        if not self._telling:
            self._telling = True
            self._errands.start(self._tell())

    async def _tell(self) -> None:
        try:
            while self._waiting:
                messages = list(self._waiting)
                self._waiting.clear()
                await self._publish(self._all, messages)
        except Away:
            self._waiting.clear()
        finally:
            self._telling = False

    async def ask_all(self, op: str, /, **fields: Any) -> list[Any]:
        """See `Bus.ask_all`."""
        answers = await self._ask(self._all, op, fields, PATIENCE, lambda _: False)
        return [answer["value"] for answer in answers if "value" in answer]

    async def ask_any(self, op: str, /, **fields: Any) -> Any:
        """See `Bus.ask_any`."""
        for answer in await self._ask(self._all, op, fields, PATIENCE, _is_answer):
            if _is_answer(answer):
                return _value(answer)
        return None

    async def ask_node(self, node: str, op: str, /, patience: float, **fields: Any) -> Any:
        """See `Bus.ask_node`."""
        answers = await self._ask(self._own(node), op, fields, patience, lambda _: True)
        if not answers:
            raise RtpushError("unavailable", "The node of this session does not answer; try again.")
        return _value(answers[0])

    async def _ask(
        self,
        channel: str,
        op: str,
        fields: dict[str, Any],
        patience: float,
        enough: Callable[[Any], bool],
    ) -> list[Any]:
        if not self._listener.is_open:
            raise _deaf()
        number = next(self._asked)
        asking = self._asking[number] = _Asking(enough)
        message = {"from": self.node, "ask": number, "op": op, "fields": fields}
        try:
            asking.expect(await self._publish(channel, [message]))
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await asking.done.wait()
        except Away as exc:
            raise RtpushError(
                "unavailable", f"The other nodes cannot be asked ({exc}); try again."
            ) from exc
        finally:
            del self._asking[number]
        if channel == self._all and not asking.answers:
            raise _deaf()
        return [answer for answer in asking.answers if answer is not None]


def _deaf() -> RtpushError:
    return RtpushError("unavailable", "The other nodes cannot be heard now; try again.")


def _is_answer(answer: Any) -> bool:
    return "error" in answer or answer["value"] is not None


def _value(answer: Any) -> Any:
    if "error" not in answer:
        return answer["value"]
    code = answer["error"]["code"]
    raise RtpushError(code if code in CODES else "internal", answer["error"]["message"])
