"""The backend behind an address: posts signed requests, within limits, and reads its answers.

Rules that hold here:

- What is asked (`ask`) is answered within `timeout`, the wait for a turn included. A backend
  that is away or slow refuses its clients with `unavailable`, which they try again.
- What is told (`tell`) is tried again a bounded number of times, then logged. It has turns of
  its own: sessions that end do not keep new ones from being asked about.
- A request keeps its `id` when it is sent again, so that a backend can tell.
- The log has one line when the backend goes away and one when it is back, and not one for each
  client that is refused meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Final, TypeVar

import aiohttp

from ..config.hook_settings import HookSettings
from ..errors import RtpushError
from ..protocol import encode_data
from ..version import __version__
from .answers import BadAnswer, answer_of
from .signature import HEADER, sign

__all__ = ["RETRY_AFTER", "Backend"]

logger = logging.getLogger("rtpush.hooks")

# Bytes of an answer's body.
MAX_ANSWER: Final = 64 << 10
# Seconds to wait before what is told is sent again; five tries in all.
RETRY_AFTER: Final = (1.0, 5.0, 25.0, 60.0)
# What is told at once, and what may wait for that: about 1 KiB each.
MAX_TELLING: Final = 10
MAX_WAITING: Final = 10_000

T = TypeVar("T")

_AWAY: Final = "The application cannot be asked now; try again in a moment."


class Backend:
    """One HTTP backend. Used on one event loop; `close` ends it."""

    def __init__(self, settings: HookSettings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._asking = asyncio.Semaphore(settings.max_requests)
        self._telling = asyncio.Semaphore(MAX_TELLING)
        # What is to be told, and what was not when the server stopped.
        self._waiting = self._untold = 0
        self._away = False
        self._http: aiohttp.ClientSession | None = None

    async def ask(
        self,
        hook: str,
        fields: dict[str, Any],
        read: Callable[[dict[str, Any]], T],
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """Ask, and return what `read` finds in the answer's object.

        Raises:
            RtpushError: The backend refuses, cannot be asked (`unavailable`), or what a client
                has sent cannot be passed on (`bad_envelope`).
        """
        body = _body(hook, fields)
        try:
            async with asyncio.timeout(self._settings.timeout), self._asking:
                return await self._post(body, read, headers or {})
        except (aiohttp.ClientError, OSError, BadAnswer) as exc:
            self._fault(hook, exc)
            raise RtpushError("unavailable", _AWAY) from None

    async def tell(self, hook: str, fields: dict[str, Any]) -> None:
        """Tell, and try again if need be. A refusal is an answer, too."""
        if self._waiting >= MAX_WAITING:
            logger.error("the backend is not told of a %s: too many wait for it", hook)
            return
        self._waiting += 1
        try:
            await self._tell(hook, _body(hook, fields))
        except asyncio.CancelledError:
            self._untold += 1
            raise
        finally:
            self._waiting -= 1

    async def _tell(self, hook: str, body: bytes) -> None:
        for delay in (*RETRY_AFTER, None):
            try:
                async with self._telling, asyncio.timeout(self._settings.timeout):
                    await self._post(body, _ignore, {})
                return
            except RtpushError:
                return
            except (aiohttp.ClientError, OSError, BadAnswer) as exc:
                self._fault(hook, exc)
            if delay is not None:
                await asyncio.sleep(delay)
        logger.error("the backend was not told of a %s: given up", hook)

    def _fault(self, hook: str, exc: Exception) -> None:
        """Log that the backend has gone away, unless the log has it already."""
        if not self._away:
            said = str(exc) or type(exc).__name__
            logger.error("the backend at %s fails for %s: %s", self._settings.url, hook, said)
        self._away = True

    async def _post(
        self, body: bytes, read: Callable[[dict[str, Any]], T], headers: Mapping[str, str]
    ) -> T:
        """Post once; again at once when the backend had closed a connection that was kept."""
        while True:
            trace = SimpleNamespace(reused=False)
            try:
                status, answer = await self._exchange(body, headers, trace)
                break
            except aiohttp.ClientConnectionError:
                if not trace.reused:
                    raise
        try:
            found = read(answer_of(status, answer))
        except RtpushError:
            self._back()
            raise
        self._back()
        return found

    def _back(self) -> None:
        if self._away:
            logger.info("the backend at %s answers again", self._settings.url)
        self._away = False

    async def _exchange(
        self, body: bytes, headers: Mapping[str, str], trace: SimpleNamespace
    ) -> tuple[int, bytes]:
        signature = sign(self._settings.secret, body, self._clock())
        async with self._session().post(
            self._settings.url,
            data=body,
            headers={**headers, HEADER: signature},
            # Where a redirect leads is not what the operator has named.
            allow_redirects=False,
            trace_request_ctx=trace,
        ) as response:
            return response.status, await _read(response)

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            reuse = aiohttp.TraceConfig()
            reuse.on_connection_reuseconn.append(_mark_reused)
            self._http = aiohttp.ClientSession(
                # One client's cookies must not be sent with the next one's request.
                cookie_jar=aiohttp.DummyCookieJar(),
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None),
                headers={
                    "Content-Type": "application/json",
                    "User-Agent": f"rtpush/{__version__}",
                },
                trace_configs=[reuse],
            )
        return self._http

    async def close(self) -> None:
        """Close the connections."""
        if self._untold:
            logger.error(
                "the backend was not told of %d sessions that ended: the server stopped first",
                self._untold,
            )
        if self._http is not None:
            await self._http.close()
            self._http = None


def _ignore(_answer: dict[str, Any]) -> None:
    """Nothing in the answer matters."""


def _body(hook: str, fields: dict[str, Any]) -> bytes:
    """Raises RtpushError (`bad_envelope`) for data of a client that is too deep."""
    return encode_data({"id": secrets.token_urlsafe(16), "hook": hook, **fields})


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body. Raises BadAnswer."""
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > MAX_ANSWER:
            raise BadAnswer(f"its answer has more than {MAX_ANSWER} bytes")
    return bytes(body)


async def _mark_reused(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceConnectionReuseconnParams,
) -> None:
    context.trace_request_ctx.reused = True
