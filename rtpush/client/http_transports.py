"""The HTTP transports: Server-Sent Events (`GET /sse`) and long-poll (`GET /poll`).

The client sends by `POST /poll` on both.

Rules that hold here:

- A proxy may hold a stream back, after it has passed its beginning. SSE is open when the
  answer to a ping has come on the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import aiohttp
from yarl import URL

from .http_requests import RATE_LIMITED, open_address, read_address, refusal_of, request_json
from .sse_parser import MessageTooLarge, SseParser
from .transports import (
    Received,
    Transport,
    TransportClosed,
    TransportContext,
    not_rtpush,
    parse_objects,
    to_envelopes,
    unreachable,
)

__all__ = ["LongPollTransport", "SseTransport"]

# Seconds that the server may wait for an event before it answers a read.
_POLL_TIMEOUT: Final = 25.0
# Seconds between two heartbeats of a stream: no server sends more.
_MIN_HEARTBEAT: Final = 1.0
# Seconds beyond that for the answer to arrive.
_READ_MARGIN: Final = 10.0
# Seconds for the answer to a POST: the server waits for the application's handlers.
_POST_TIMEOUT: Final = 120.0
# Seconds for the answer to a goodbye.
_LEAVE_TIMEOUT: Final = 2.0
# Seconds between two reads when the first was answered at once with no event.
_EMPTY_POLL_DELAY: Final = 0.2
# Seconds to wait after too many messages if the server names none.
_RATE_LIMITED_DELAY: Final = 1.0
_PROBE: Final = b'{"event":"ping","data":{"probe":true}}'


class _HttpTransport(Transport):
    """What both have in common: sending."""

    # Where the read was answered; None before. A redirected POST would become a GET.
    _answered_at: URL | None = None

    async def send(self, envelopes: Sequence[bytes]) -> list[dict[str, Any]]:
        """See Transport. Waits, and sends again, while the server limits the rate."""
        url, body = self._post_address(), b"\n".join(envelopes)
        while True:
            try:
                return to_envelopes(await self._json("POST", url, _POST_TIMEOUT, body))
            except TransportClosed as closed:
                if closed.code != RATE_LIMITED:
                    raise
                await asyncio.sleep(closed.retry_after or _RATE_LIMITED_DELAY)

    def _post_address(self, **more: str) -> URL:
        assert self._answered_at is not None
        url = self._answered_at.parent.joinpath("poll")
        return url.with_query({"sid": self.sid or "", **more})

    async def leave(self) -> None:
        """See Transport. The server cannot tell a lost connection from one that ends for good."""
        with suppress(TransportClosed):
            if self.sid is not None:
                await self._json("POST", self._post_address(close="1"), _LEAVE_TIMEOUT, b"[]")
        await self.close()

    def _check_redirect(self, url: URL) -> None:
        if url.host != self._context.base.host:
            # A redirect to another host could send the token anywhere.
            raise TransportClosed(1006, f"it redirects to {url.origin()}: connect there instead")
        self._answered_at = url

    async def _json(self, method: str, url: URL, timeout: float, body: bytes | None = None) -> Any:
        answer, answered_at = await request_json(self._context, method, url, timeout, body)
        self._check_redirect(answered_at)
        return answer


class SseTransport(_HttpTransport):
    """Receives a stream of Server-Sent Events."""

    # None until it is open.
    _response: aiohttp.ClientResponse | None = None

    def __init__(self, context: TransportContext) -> None:
        super().__init__(context)
        self._parser = SseParser()
        # What has come before the answer to the first ping; None since then.
        self._held: list[dict[str, Any]] | None = []

    async def receive(self) -> Received:
        """See Transport."""
        try:
            response = self._response or await self._open()
            chunk = await response.content.readany()
        except (aiohttp.ClientError, OSError) as exc:
            raise unreachable(exc) from exc
        if not chunk:
            raise TransportClosed(1006, "the stream ended")
        try:
            envelopes = parse_objects(self._parser.feed(chunk))
        except MessageTooLarge:
            raise TransportClosed(1009, "a message is too large") from None
        return Received(envelopes if self._held is None else await self._probe(envelopes))

    async def _probe(self, envelopes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What has come, as soon as the stream is known to let events through; before, nothing."""
        assert self._held is not None
        held = self._held
        held += envelopes
        own = {one.get("event"): one for one in held if one.get("id") is None}
        if "pong" in own or "disconnect" in own:
            self._held = None
            return held
        if self.sid is None and "connect" in own:
            data = own["connect"].get("data")
            self.sid = str(data.get("sid")) if isinstance(data, dict) else ""
            await self.send([_PROBE])
        return []

    async def _open(self) -> aiohttp.ClientResponse:
        context = self._context
        response = self._response = await context.http.get(
            await open_address(context, "sse", self._heartbeat()),
            headers={**context.headers, "Accept": "text/event-stream"},
            timeout=aiohttp.ClientTimeout(total=None),
        )
        if response.status != 200:
            raise await refusal_of(response)
        if response.content_type != "text/event-stream":
            raise not_rtpush()
        self._check_redirect(response.url)
        return response

    def _heartbeat(self) -> dict[str, str]:
        idle = self._context.max_idle()
        return {} if idle is None else {"heartbeat": f"{max(_MIN_HEARTBEAT, idle):g}"}

    async def close(self) -> None:
        """See Transport."""
        if self._response is not None:
            self._response.close()


class LongPollTransport(_HttpTransport):
    """Receives by one read after the other."""

    # Confirms the last answer, if it asked for that.
    _receipt: int | None = None

    async def receive(self) -> Received:
        """See Transport."""
        began = asyncio.get_running_loop().time()
        # The first answer shows whether the transport works: the server must not wait.
        most = min(_POLL_TIMEOUT, self._context.max_idle() or _POLL_TIMEOUT)
        timeout = 0 if self.sid is None else most
        sid = self._context.resume().get("sid")
        url = await self._address(timeout)
        answer = await self._json("GET", url, timeout + _READ_MARGIN)
        if not isinstance(answer, dict):
            raise not_rtpush()
        envelopes = to_envelopes(answer.get("events"))
        self._receipt = answer.get("receipt")
        if self.sid is None:
            _ensure_connect(envelopes, sid)
        elif not envelopes and asyncio.get_running_loop().time() - began < _EMPTY_POLL_DELAY:
            # The server does not wait: the client must not read in a tight loop.
            await asyncio.sleep(_EMPTY_POLL_DELAY)
        position = answer.get("last")
        return Received(envelopes, position if isinstance(position, str) else None)

    async def _address(self, timeout: float) -> URL:
        query = {"timeout": f"{timeout:g}"}
        if self.sid is None:
            return await open_address(self._context, "poll", query)
        if self._receipt is not None:
            query["receipt"] = str(self._receipt)
        return read_address(self._context, {**query, "sid": self.sid})

    async def close(self) -> None:
        """See Transport. There is no connection: a session ends for want of requests."""


def _ensure_connect(envelopes: list[dict[str, Any]], sid: str | None) -> None:
    """Make the first answer begin with `connect`. Raises TransportClosed when it cannot."""
    if envelopes and envelopes[0].get("event") == "connect":
        return
    if sid is None:
        raise not_rtpush()
    # The session still exists and goes on (PROTOCOL.md, section 4, "Long-poll").
    envelopes.insert(0, {"event": "connect", "data": {"sid": sid}})
