"""An HTTP client that posts envelopes from coroutines, over aiohttp.

It does what `http_client` does, with the same rules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace

import aiohttp

from ..errors import RtpushError
from .proxy import Proxy, find_proxy
from .request import (
    PUBLISH_BACKOFF,
    InvalidResponse,
    Outcome,
    decode_response,
    encode_body,
    has_retryable,
    request_headers,
    resolve_server,
    unreachable,
)

__all__ = ["AsyncHttpClient"]

# The shortest timeout of one attempt, in seconds: enough for a TLS handshake.
_MIN_TIMEOUT = 1.0


class AsyncHttpClient:
    """Posts envelopes to one server. Several event loops may use it, in turn or at once."""

    def __init__(self, url: str | None = None, key: str | None = None) -> None:
        """See `resolve_server`. Raises ValueError."""
        url, key = resolve_server(url, key)
        self._url = f"{url}/api/publish"
        self._headers = request_headers(key)
        self._proxy = find_proxy(url)
        # Connections belong to a loop: one session for each.
        self._sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}

    async def post_until(self, envelopes: Sequence[bytes], seconds: float) -> list[Outcome]:
        """Post until the server has decided on every envelope, or `seconds` have passed."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        attempt = 0
        while True:
            outcomes = await self._post(envelopes, max(_MIN_TIMEOUT, deadline - clock()))
            delay = PUBLISH_BACKOFF.delay(attempt)
            if not has_retryable(outcomes) or clock() + delay > deadline:
                return outcomes
            await asyncio.sleep(delay)
            attempt += 1

    async def _post(self, envelopes: Sequence[bytes], timeout: float) -> list[Outcome]:
        try:
            status, text = await self._request(encode_body(envelopes), timeout)
            return decode_response(status, text, len(envelopes))
        except RtpushError as refusal:
            return [refusal] * len(envelopes)
        except (aiohttp.ClientError, OSError, InvalidResponse) as exc:
            return [unreachable(exc)] * len(envelopes)

    async def _request(self, body: bytes, timeout: float) -> tuple[int, bytes]:
        session = await self._session()
        async with asyncio.timeout(timeout):
            while True:
                trace = SimpleNamespace(reused=False)
                try:
                    async with session.post(
                        self._url, data=body, headers=self._headers, trace_request_ctx=trace
                    ) as response:
                        return response.status, await response.read()
                except (aiohttp.ClientError, OSError):
                    if not trace.reused:
                        raise

    async def _session(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if loop not in self._sessions:
            await self._close_orphans()
            self._sessions[loop] = _new_session(self._proxy)
        return self._sessions[loop]

    async def _close_orphans(self) -> None:
        """Close the sessions of loops that have ended, as each `asyncio.run` leaves one."""
        for loop in [loop for loop in self._sessions if loop.is_closed()]:
            await self._sessions.pop(loop).close()

    async def close(self) -> None:
        """Close the connections of the running loop."""
        await self._close_orphans()
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await session.close()


def _new_session(proxy: Proxy | None) -> aiohttp.ClientSession:
    reuse = aiohttp.TraceConfig()
    reuse.on_connection_reuseconn.append(_mark_reused)
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        proxy=None if proxy is None else proxy.url,
        # `_request` sets the deadline.
        timeout=aiohttp.ClientTimeout(total=None),
        trace_configs=[reuse],
    )


async def _mark_reused(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceConnectionReuseconnParams,
) -> None:
    context.trace_request_ctx.reused = True
