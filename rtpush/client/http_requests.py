"""Requests over HTTP whose answers are JSON, and what a refusal means for the client.

Rules that hold here:

- An HTTP answer is the server's own only with an error code of the protocol. A
  maintenance page or a firewall may answer with any status, and passes: it ends no
  connection for good.
- No address is long: what does not fit goes ahead of it, in a POST.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final

import aiohttp
import orjson
from yarl import URL

from ..errors import CODES
from .transports import TransportClosed, TransportContext, not_rtpush, unreachable

__all__ = ["RATE_LIMITED", "open_address", "read_address", "refusal_of", "request_json"]

# The close code for too many messages.
RATE_LIMITED: Final = 4529
_JSON: Final = {"Content-Type": "application/json"}
# Characters of an address. Many proxies take 4 KiB or 8 KiB with all headers.
_MAX_ADDRESS: Final = 2000
# Seconds for the answer when a session is prepared.
_PREPARE_TIMEOUT: Final = 10.0


async def open_address(
    context: TransportContext, path: str, more: Mapping[str, str] | None = None
) -> URL:
    """The address that opens a transport. Raises TransportClosed.

    What is too long for it goes ahead, and the address names what the server keeps it under.
    """
    resume, more = context.resume(), more or {}
    url = context.address(path, context.open_rooms, {**resume, **more})
    if _fits(url):
        return url
    body = orjson.dumps({"rooms": context.open_rooms, **resume})
    prepared, _ = await request_json(
        context, "POST", context.base.joinpath("session"), _PREPARE_TIMEOUT, body
    )
    if not isinstance(prepared, dict) or not isinstance(prepared.get("sid"), str):
        raise not_rtpush()
    return context.address(path, (), {**more, "sid": prepared["sid"]})


def read_address(context: TransportContext, query: Mapping[str, str]) -> URL:
    """The address of a later read of a long-poll, whose session the server knows.

    It names the rooms in case that the server has lost the session, if there is room for them.
    """
    query = {**context.resume(), **query}
    url = context.address("poll", context.open_rooms, query)
    return url if _fits(url) else context.address("poll", (), {**query, "known": "1"})


def _fits(url: URL) -> bool:
    return len(str(url)) <= _MAX_ADDRESS


async def request_json(
    context: TransportContext, method: str, url: URL, timeout: float, body: bytes | None = None
) -> tuple[Any, URL]:
    """The answer to a request, and the address that answered. Raises TransportClosed."""
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
                raise await refusal_of(response)
            return orjson.loads(await response.read()), response.url
    except TimeoutError:
        raise TransportClosed(1006, "no answer in time") from None
    except orjson.JSONDecodeError:
        raise not_rtpush() from None
    except (aiohttp.ClientError, OSError) as exc:
        raise unreachable(exc) from exc


async def refusal_of(response: aiohttp.ClientResponse) -> TransportClosed:
    """What an answer other than 200 means."""
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
        return RATE_LIMITED
    ours = isinstance(code, str) and code in CODES and CODES[code].status == status
    return 4000 + status if ours and status in (400, 401, 403) else 1006
