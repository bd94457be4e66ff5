"""The HTTP transports: Server-Sent Events (`GET /sse`) and long-poll (`GET /poll`).

The client sends by `POST /poll` on both.

Rules that hold here:

- An HTTP answer is the server's own only with an error code of the protocol. A
  maintenance page or a firewall may answer with any status, and passes: it ends no
  connection for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from io import BytesIO
from typing import Any, Final

import aiohttp
import orjson
from yarl import URL

from ..errors import CODES
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
# Seconds between two reads when the first was answered at once with no event.
_EMPTY_POLL_DELAY: Final = 0.2
# The close code for too many messages, and the seconds to wait if the server names none.
_RATE_LIMITED: Final = 4529
_RATE_LIMITED_DELAY: Final = 1.0
# A sid that no server knows asks for a session; without any, the server does a single read.
_NEW_SESSION: Final = "new"
_JSON: Final = {"Content-Type": "application/json"}


class _HttpTransport(Transport):
    """What both have in common: sending."""

    # Where the read was answered; None before. A redirected POST would become a GET.
    _answered_at: URL | None = None

    async def send(self, envelopes: Sequence[bytes]) -> list[dict[str, Any]]:
        """See Transport. Waits, and sends again, while the server limits the rate."""
        assert self._answered_at is not None
        url = self._answered_at.parent.joinpath("poll").with_query({"sid": self.sid or ""})
        body = b"\n".join(envelopes)
        while True:
            try:
                return to_envelopes(await self._json("POST", url, _POST_TIMEOUT, body))
            except TransportClosed as closed:
                if closed.code != _RATE_LIMITED:
                    raise
                await asyncio.sleep(closed.retry_after or _RATE_LIMITED_DELAY)

    def _check_redirect(self, response: aiohttp.ClientResponse) -> None:
        if response.url.host != self._context.base.host:
            # A redirect to another host could send the token anywhere.
            raise TransportClosed(
                1006, f"it redirects to {response.url.origin()}: connect there instead"
            )
        self._answered_at = response.url

    async def _json(self, method: str, url: URL, timeout: float, body: bytes | None = None) -> Any:
        context = self._context
        # A firewall may refuse a body of any other type.
        headers = context.headers if body is None else {**context.headers, **_JSON}
        try:
            async with (
                asyncio.timeout(timeout),
                context.http.request(
                    method, url, data=body and BytesIO(body), headers=headers
                ) as response,
            ):
                if response.status != 200:
                    raise await _refusal(response)
                self._check_redirect(response)
                return orjson.loads(await response.read())
        except TimeoutError:
            raise TransportClosed(1006, "no answer in time") from None
        except orjson.JSONDecodeError:
            raise not_rtpush() from None
        except (aiohttp.ClientError, OSError) as exc:
            raise unreachable(exc) from exc


class SseTransport(_HttpTransport):
    """Receives a stream of Server-Sent Events."""

    # None until it is open.
    _response: aiohttp.ClientResponse | None = None

    def __init__(self, context: TransportContext) -> None:
        super().__init__(context)
        self._parser = SseParser()

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
            return Received(parse_objects(self._parser.feed(chunk)))
        except MessageTooLarge:
            raise TransportClosed(1009, "a message is too large") from None

    async def _open(self) -> aiohttp.ClientResponse:
        context = self._context
        response = self._response = await context.http.get(
            context.address("sse", {**context.resume(), **self._heartbeat()}),
            headers={**context.headers, "Accept": "text/event-stream"},
            timeout=aiohttp.ClientTimeout(total=None),
        )
        if response.status != 200:
            raise await _refusal(response)
        if response.content_type != "text/event-stream":
            raise not_rtpush()
        self._check_redirect(response)
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
        resume = self._context.resume()
        began = asyncio.get_running_loop().time()
        # The first answer shows whether the transport works: the server must not wait.
        most = min(_POLL_TIMEOUT, self._context.max_idle() or _POLL_TIMEOUT)
        timeout = 0 if self.sid is None else most
        sid = self.sid or resume.get("sid", _NEW_SESSION)
        query = {**resume, "sid": sid, "timeout": f"{timeout:g}"}
        if self._receipt is not None:
            query["receipt"] = str(self._receipt)
        url = self._context.address("poll", query)
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

    async def close(self) -> None:
        """See Transport. The session ends for want of requests."""


def _ensure_connect(envelopes: list[dict[str, Any]], sid: str) -> None:
    """Make the first answer begin with `connect`. Raises TransportClosed when it cannot."""
    if envelopes and envelopes[0].get("event") == "connect":
        return
    if sid == _NEW_SESSION:
        raise not_rtpush()
    # The session still exists and goes on (PROTOCOL.md, section 4, "Long-poll").
    envelopes.insert(0, {"event": "connect", "data": {"sid": sid}})


async def _refusal(response: aiohttp.ClientResponse) -> TransportClosed:
    status = response.status
    try:
        error = orjson.loads(await response.read())["error"]
        code, message, retry_after = error["code"], str(error["message"]), error.get("retry_after")
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        return TransportClosed(_close_code_of(status, None), f"HTTP {status}, not of rtpush")
    return TransportClosed(_close_code_of(status, code), message, retry_after)


def _close_code_of(status: int, code: Any) -> int:
    """The close code that means the same as an HTTP status and the error code beside it.

    Without an error code of the protocol another program has answered: never a final one.
    """
    if status == 413:
        return 1009
    if status == 429:
        return _RATE_LIMITED
    ours = isinstance(code, str) and code in CODES and CODES[code].status == status
    return 4000 + status if ours and status in (400, 401, 403) else 1006
