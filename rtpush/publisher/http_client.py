"""Envelopes to a server over HTTP, on connections that are kept alive.

Rules that hold here:

- Connections belong to nobody: a thread takes one for the time of a request.
- A kept connection that the server has closed meanwhile is no failure; only a
  new one that fails is.
- Sending again is safe when every envelope carries an idempotency key.
"""

from __future__ import annotations

import http.client
import os
import random
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from ..errors import RtpushError

__all__ = [
    "DEFAULT_URL",
    "Backoff",
    "Outcome",
    "Wire",
    "batches",
    "encode_envelope",
    "is_late",
    "server_of",
]

DEFAULT_URL: Final = "http://127.0.0.1:5000"

# What became of an envelope: its position (None: volatile, sent), or why not.
Outcome = str | None | RtpushError

# The server cannot now, and will later.
LATER: Final = frozenset({"unavailable", "going_away", "rate_limited", "request_timeout"})
# What goes out in one request; a server's `max_batch` is 1000 unless it says otherwise.
_BATCH: Final = 500
_BATCH_BYTES: Final = 1 << 20
# Seconds before the second try, doubled each time, and the longest.
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0


class Backoff:
    """How long to wait before each further try."""

    def __init__(self) -> None:
        self._pause = _FIRST_PAUSE

    def next(self) -> float:
        """Seconds, partly by chance: a crowd must not come back as one."""
        pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
        return pause * random.uniform(0.5, 1.0)


class Wire:
    """Posts envelopes to one server, from any thread and over forks."""

    def __init__(self, url: str | None = None, key: str | None = None) -> None:
        """As `server_of`. Raises ValueError for what is no address."""
        self.url, key = server_of(url, key)
        parts = urlsplit(self.url)
        secure = parts.scheme == "https"
        self._kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._host, self._port = parts.hostname or "", parts.port
        self._path = f"{parts.path.rstrip('/')}/api/publish"
        self._headers = {"Content-Type": "application/json"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"
        self._idle: deque[http.client.HTTPConnection] = deque()
        self._pid = os.getpid()

    def post_until(self, envelopes: Sequence[bytes], seconds: float) -> Sequence[Outcome]:
        """Try for so many seconds, while the server cannot take them all."""
        deadline = time.monotonic() + seconds
        backoff = Backoff()
        while True:
            # The last try, too, gets the time that a handshake takes.
            answer = self.post(envelopes, max(1.0, deadline - time.monotonic()))
            outcomes: Sequence[Outcome]
            outcomes = [answer] * len(envelopes) if isinstance(answer, RtpushError) else answer
            pause = backoff.next()
            late = any(is_late(outcome) for outcome in outcomes)
            if not late or time.monotonic() + pause > deadline:
                return outcomes
            time.sleep(pause)

    def post(self, envelopes: Sequence[bytes], timeout: float) -> list[Outcome] | RtpushError:
        """One try: what became of each, or why the request as a whole came to nothing."""
        try:
            return self._post(envelopes, timeout)
        except RtpushError as refusal:
            return refusal
        except (OSError, http.client.HTTPException) as exc:
            why = str(exc) or type(exc).__name__
            return RtpushError("unavailable", f"The server cannot be reached ({why}).")

    def _post(self, envelopes: Sequence[bytes], timeout: float) -> list[Outcome]:
        body = b"[%b]" % b",".join(envelopes)
        while True:
            connection = self._take()
            kept = connection.sock is not None
            try:
                status, text = self._exchange(connection, body, timeout)
            except TimeoutError:
                connection.close()
                raise
            except (OSError, http.client.HTTPException):
                connection.close()
                if not kept:
                    raise
            else:
                self._idle.append(connection)
                return _outcomes(status, text, len(envelopes))

    def _exchange(
        self, connection: http.client.HTTPConnection, body: bytes, timeout: float
    ) -> tuple[int, bytes]:
        connection.timeout = timeout
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        connection.request("POST", self._path, body, self._headers)
        response = connection.getresponse()
        return response.status, response.read()

    def _take(self) -> http.client.HTTPConnection:
        if self._pid != os.getpid():
            # The child of a fork must not talk on its parent's connections.
            self._pid = os.getpid()
            self.close()
        try:
            return self._idle.pop()
        except IndexError:
            return self._kind(self._host, self._port)

    def close(self) -> None:
        """Close the connections that nobody is using."""
        while self._idle:
            self._idle.pop().close()


def server_of(url: str | None, key: str | None) -> tuple[str, str | None]:
    """A server's address and the API key or token for it, by default from the environment.

    That is RTPUSH_URL and RTPUSH_KEY. Raises ValueError for what is no address, or no key.
    """
    url = url or os.environ.get("RTPUSH_URL") or DEFAULT_URL
    if not _is_address(url):
        raise ValueError(f"{url!r} is not an address like {DEFAULT_URL}")
    key = key or os.environ.get("RTPUSH_KEY") or None
    if key is not None and not (key.isascii() and key.isprintable()):
        # It is not shown, but for what it is not.
        raise ValueError("the key or token is no single line of ASCII; is there a newline in it?")
    return url.rstrip("/"), key


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port, or an address in brackets, that is none
        return False


def encode_envelope(envelope: Mapping[str, Any]) -> bytes:
    """JSON without the fields that are None. Raises RtpushError (`bad_envelope`)."""
    try:
        return orjson.dumps({name: value for name, value in envelope.items() if value is not None})
    except orjson.JSONEncodeError as exc:
        raise RtpushError("bad_envelope", f"The data cannot be encoded as JSON: {exc}.") from exc


def batches(envelopes: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Envelopes in portions for one request each, in order."""
    batch: list[bytes] = []
    size = 0
    for envelope in envelopes:
        size += len(envelope)
        if batch and (len(batch) == _BATCH or size > _BATCH_BYTES):
            yield batch
            batch, size = [], len(envelope)
        batch.append(envelope)
    if batch:
        yield batch


def is_late(outcome: Outcome) -> bool:
    """Was it not taken, and may be later?"""
    return isinstance(outcome, RtpushError) and outcome.code in LATER


def _outcomes(status: int, text: bytes, count: int) -> list[Outcome]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if isinstance(found, dict) and isinstance(found.get("error"), dict):
        raise RtpushError.of(found["error"])
    if not isinstance(found, list) or len(found) != count:
        # Not rtpush: a proxy whose server is away, or another address.
        raise http.client.HTTPException(f"HTTP {status} without an answer of rtpush")
    return [_outcome(one) for one in found]


def _outcome(answer: Any) -> Outcome:
    match answer:
        case {"error": error}:
            return RtpushError.of(error)
        case {"id": str() | None as position}:
            return position
    raise http.client.HTTPException("an answer that is none of rtpush's")
