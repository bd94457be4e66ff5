"""Test clients of one shape over WebSocket, Server-Sent Events and long-poll.

- They keep the protocol's rules and hold the server to them: a logged event that comes
  twice or out of order fails the test where it is received.
- `received` is everything that came, in order, repeats included.
- Whatever waits, waits for the thing itself, and at most `PATIENCE` seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

import aiohttp
from processes import pause
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed

PATIENCE = 10.0
# Refusals that are about the node and not about the client: HTTP 503 on the other wires.
AWAY = ("unavailable", "going_away")
# And of a balancer's whose node has gone in the middle of a request.
AWAY_STATUSES = (502, 503)

Envelope = dict[str, Any]


class Ended(Exception):
    """The server has ended the connection; `code` is the close code of a WebSocket."""

    def __init__(self, code: int | None = None) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that has no event of its own."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if condition():
                return
            await pause()


def split(position: str) -> tuple[str, int]:
    """EPOCH and SEQ of a position; fails for anything else."""
    match = re.fullmatch(r"([A-Za-z0-9]{1,32})-(0|[1-9][0-9]*)", position)
    assert match is not None, f"not a position: {position!r}"
    return match[1], int(match[2])


def is_logged(envelope: Envelope) -> bool:
    """Is it an event of the log? (A snapshot has an `id` too, and is none.)"""
    return "id" in envelope and envelope.get("event") not in ("active_tasks", "state")


class Client(ABC):
    """One connection. Open it with `await Kind.open(url, http, …)`.

    `hello` is the data of `connect`, `greeting` all envelopes up to and with
    the snapshot or, when recovered, `connect` alone. A long-poll that comes back
    to a session that still lives gets no `connect`: `hello` then has what it
    would have said. `position` is what the client would come back with.
    """

    name: str

    def __init__(self, url: str | Iterator[str], http: aiohttp.ClientSession) -> None:
        self._urls = itertools.repeat(url) if isinstance(url, str) else url
        self.http = http
        self.rooms: list[str] = []
        self.headers: dict[str, str] = {}
        self.received: list[Envelope] = []
        self.greeting: list[Envelope] = []
        self.hello: dict[str, Any] = {}
        self.sid = ""
        self.position: str | None = None
        self._room_since: dict[str, str] = {}
        self._inbox: deque[Envelope] = deque()
        self._acks = itertools.count(1)

    @property
    def url(self) -> str:
        """Where the next request goes: with several nodes, each time to another."""
        return next(self._urls)

    @classmethod
    async def open(
        cls,
        url: str | Iterator[str],
        http: aiohttp.ClientSession,
        rooms: Sequence[str] = (),
        last: str | None = None,
        *,
        conflate: bool = True,
        sid: str | None = None,
        token: str | None = None,
        rewind: str | None = None,
    ) -> Client:
        """Connect and read the greeting."""
        client = cls(url, http)
        client.rooms = list(rooms)
        client.position = last
        client.sid = sid or ""
        query = [("room", room) for room in rooms]
        query += [("last", last)] if last is not None else []
        query += [] if conflate else [("conflate", "0")]
        query += [("sid", sid)] if sid is not None else []
        query += [("rewind", rewind)] if rewind is not None else []
        client.headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with asyncio.timeout(PATIENCE):
            await client._connect(urlencode(query))
        await client._greet()
        return client

    async def _greet(self) -> None:
        self.greeting.append(await self.next())
        if self.greeting[0]["event"] == "error" and self.greeting[0]["data"]["code"] in AWAY:
            raise Ended
        assert self.greeting[0]["event"] == "connect", self.greeting
        self.hello = self.greeting[0]["data"]
        self.sid = self.hello["sid"]
        if not self.hello["recovered"]:
            self.greeting += await self.until("active_tasks")

    @abstractmethod
    async def _connect(self, query: str) -> None: ...

    @abstractmethod
    async def _receive(self) -> None:
        """Wait for something and give it to `_take`. Raises Ended."""

    def _take(self, envelope: Envelope) -> None:
        self._check(envelope)
        self.received.append(envelope)
        self._inbox.append(envelope)

    def _check(self, envelope: Envelope) -> None:
        if is_logged(envelope):
            self._check_newer(envelope, self.position)
            self._check_newer(envelope, self._room_since.get(envelope.get("room", "")))
            self.position = envelope["id"]
        elif envelope.get("event") == "active_tasks":
            split(envelope["id"])
            if "room" in envelope:
                self._room_since[envelope["room"]] = envelope["id"]
            else:
                self.position = envelope["id"]

    def _check_newer(self, envelope: Envelope, than: str | None) -> None:
        epoch, seq = split(envelope["id"])
        if than is None:
            return
        known_epoch, known_seq = split(than)
        assert epoch == known_epoch, f"another epoch without resync: {envelope} after {than}"
        assert seq > known_seq, f"repeated or out of order: {envelope} after {than}"

    async def next(self) -> Envelope:
        """The next envelope."""
        async with asyncio.timeout(PATIENCE):
            while not self._inbox:
                await self._receive()
        return self._inbox.popleft()

    async def until(self, event: str) -> list[Envelope]:
        """Everything up to the next envelope with this event, and that one too."""
        found = [await self.next()]
        while found[-1].get("event") != event:
            found.append(await self.next())
        return found

    async def take(self, count: int) -> list[Envelope]:
        """So many envelopes."""
        return [await self.next() for _ in range(count)]

    async def ended(self) -> int | None:
        """Read on to the end of the connection; the close code of a WebSocket."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    await self._receive()
        except Ended as end:
            return end.code

    @abstractmethod
    async def send(self, envelope: Any) -> None:
        """Say something without waiting for what it leads to, as far as the wire allows."""

    async def request(self, envelope: Envelope) -> Envelope:
        """Send with an `ack` of its own; the reply."""
        ack = next(self._acks)
        await self.send(envelope | {"ack": ack})
        return await self.reply(ack)

    async def reply(self, ack: Any) -> Envelope:
        """The reply to an `ack`. What else comes meanwhile stays to be read."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for envelope in self._inbox:
                    if "event" not in envelope and envelope.get("ack") == ack:
                        self._inbox.remove(envelope)
                        return envelope
                await self._receive()

    async def accepted(self, envelope: Envelope) -> Any:
        """Send with an `ack`; the data of the reply, which must not be an error."""
        reply = await self.request(envelope)
        assert set(reply) == {"ack", "data"}, reply
        return reply["data"]

    async def refused(self, envelope: Envelope) -> str:
        """Send with an `ack`; the code of the error in the reply."""
        reply = await self.request(envelope)
        assert set(reply) == {"ack", "error"}, reply
        code: str = reply["error"]["code"]
        return code

    @abstractmethod
    async def close(self) -> None:
        """Go without a word to the application."""


class WebSocket(Client):
    """`GET /ws`."""

    name = "websocket"
    _ws: ClientConnection

    async def _connect(self, query: str) -> None:
        self._ws = await connect_websocket(
            f"ws{self.url.removeprefix('http')}/ws?{query}",
            proxy=None,
            max_size=None,
            ping_interval=None,
            additional_headers=self.headers,
        )

    async def _receive(self) -> None:
        try:
            message = await self._ws.recv()
        except ConnectionClosed as exc:
            raise Ended(exc.rcvd.code if exc.rcvd else 1006) from exc
        assert isinstance(message, str), "envelopes travel in text frames"
        self._take(json.loads(message))

    async def send(self, envelope: Any) -> None:
        await self._ws.send(json.dumps(envelope))

    async def send_text(self, text: str) -> None:
        """A message as it is typed."""
        await self._ws.send(text)

    async def close(self) -> None:
        await self._ws.close()


class _Posting(Client):
    """What SSE and long-poll share: a client speaks by `POST /poll`."""

    async def send(self, envelope: Any) -> None:
        for answer in await self.post(json.dumps(envelope)):
            self._take(answer)

    async def post(self, body: str | bytes) -> list[Envelope]:
        """One `POST /poll` with this session's sid; the answers."""
        async with (
            asyncio.timeout(PATIENCE),
            self.http.post(
                f"{self.url}/poll", params={"sid": self.sid}, data=body, headers=self.headers
            ) as response,
        ):
            answers: list[Envelope] = await response.json()
            assert response.status == 200, answers
            return answers


class Sse(_Posting):
    """`GET /sse`."""

    name = "sse"
    _response: aiohttp.ClientResponse

    async def _connect(self, query: str) -> None:
        self._buffer = b""
        self._response = await self.http.get(
            f"{self.url}/sse?{query}",
            timeout=aiohttp.ClientTimeout(total=None),
            headers=self.headers,
        )
        if self._response.status in AWAY_STATUSES:
            self._response.close()
            raise Ended
        assert self._response.status == 200, await self._response.text()
        assert self._response.content_type == "text/event-stream"

    async def _receive(self) -> None:
        try:
            chunk = await self._response.content.readany()
        except aiohttp.ClientConnectionError as exc:
            raise Ended from exc
        if not chunk:
            raise Ended
        *blocks, self._buffer = (self._buffer + chunk).split(b"\n\n")
        for block in blocks:
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n"))
            if set(fields) == {"retry"}:
                continue
            envelope = json.loads(fields["data"])
            moves = is_logged(envelope) or ("room" not in envelope and envelope["event"] != "state")
            assert fields.get("id") == (envelope.get("id") if moves else None)
            self._take(envelope)

    async def close(self) -> None:
        self._response.close()


class LongPoll(_Posting):
    """`GET /poll`, asked again when everything that came has been read."""

    name = "poll"
    # What confirms the last answer.
    _receipt: tuple[tuple[str, Any], ...] = ()

    async def _connect(self, query: str) -> None:
        await self._poll(f"{query}&timeout=0")

    async def _greet(self) -> None:
        """A session that still lives is gone on with, and not greeted again."""
        first = self._inbox[0]["event"] if self._inbox else None
        if first == "connect":
            await super()._greet()
            return
        assert self.sid, self.received
        self.hello = {"sid": self.sid, "recovered": first != "resync"}
        if first == "resync":
            self.greeting = await self.until("active_tasks")

    async def _receive(self) -> None:
        query = [("sid", self.sid), ("last", self.position), ("timeout", "9"), *self._receipt]
        await self._poll(urlencode(query + [("room", room) for room in self.rooms]))

    async def _poll(self, query: str) -> None:
        async with self.http.get(f"{self.url}/poll?{query}", headers=self.headers) as response:
            if response.status in AWAY_STATUSES:
                raise Ended
            answer = await response.json()
            assert response.status == 200, answer
        self._receipt = (("receipt", answer.pop("receipt")),) if "receipt" in answer else ()
        assert set(answer) == {"events", "last"}
        for envelope in answer["events"]:
            self._take(envelope)
            if envelope["event"] == "connect":
                self.sid = envelope["data"]["sid"]
            if envelope["event"] == "disconnect":
                raise Ended
        self.position = answer["last"]

    async def close(self) -> None:
        """There is nothing to close: the session ends for want of requests."""


KINDS: tuple[type[Client], ...] = (WebSocket, Sse, LongPoll)
