"""An HTTP client that posts envelopes over kept-alive connections, from any thread.

Rules that hold here:

- A thread takes a connection for the time of one request; no lock is held, so
  a fork at any time leaves none locked.
- When a kept connection turns out to be closed by the server, the request is
  sent again on another one. Only the failure of a new connection counts.
- Sending again is safe because every envelope carries an idempotency key. A
  volatile envelope has none, and two of it do no harm.
"""

from __future__ import annotations

import codecs
import http.client
import time
from collections import deque
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from ..errors import RtpushError
from .per_process import PerProcess
from .proxy import find_proxy
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

__all__ = ["HttpClient"]

# Connecting asks for this codec, which Python imports at the first use. A process forked while
# another thread imports it could never import it: the lock of that import stays held.
codecs.lookup("idna")

# The shortest timeout of one attempt, in seconds: enough for a TLS handshake.
_MIN_TIMEOUT: Final = 1.0


class HttpClient:
    """Posts envelopes to one server. Threads share it, also after a fork."""

    def __init__(self, url: str | None = None, key: str | None = None) -> None:
        """See `resolve_server`. Raises ValueError."""
        # The server's address, without a slash at its end.
        self.url, key = resolve_server(url, key)
        parts = urlsplit(self.url)
        secure = parts.scheme == "https"
        self._connection = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._host, self._port = parts.hostname or "", parts.port
        self._path = f"{parts.path.rstrip('/')}/api/publish"
        self._headers = request_headers(key)
        self._proxy = find_proxy(self.url)
        if self._proxy is not None and not secure:
            # Without TLS the proxy reads the request, and passes it on.
            self._path = f"{self.url}/api/publish"
            self._headers |= self._proxy.headers
        # Kept-alive connections. A child process must not use those of its parent.
        self._idle = PerProcess[deque[http.client.HTTPConnection]](deque)

    def post_until(self, envelopes: Sequence[bytes], seconds: float) -> list[Outcome]:
        """Post until the server has decided on every envelope, or `seconds` have passed."""
        deadline = time.monotonic() + seconds
        attempt = 0
        while True:
            answer = self.post(envelopes, max(_MIN_TIMEOUT, deadline - time.monotonic()))
            outcomes: list[Outcome]
            outcomes = [answer] * len(envelopes) if isinstance(answer, RtpushError) else answer
            delay = PUBLISH_BACKOFF.delay(attempt)
            if not has_retryable(outcomes) or time.monotonic() + delay > deadline:
                return outcomes
            time.sleep(delay)
            attempt += 1

    def post(self, envelopes: Sequence[bytes], timeout: float) -> list[Outcome] | RtpushError:
        """Post once; the outcome of each envelope, or the refusal of the request as a whole.

        `timeout` is in seconds, for connecting and for each read.
        """
        try:
            status, text = self._request(encode_body(envelopes), timeout)
            return decode_response(status, text, len(envelopes))
        except RtpushError as refusal:
            return refusal
        except (OSError, http.client.HTTPException, InvalidResponse) as exc:
            return unreachable(exc)

    def _request(self, body: bytes, timeout: float) -> tuple[int, bytes]:
        while True:
            connection = self._take()
            kept = connection.sock is not None
            try:
                response = self._exchange(connection, body, timeout)
            except TimeoutError:
                connection.close()
                raise
            except (OSError, http.client.HTTPException):
                connection.close()
                if not kept:
                    raise
            else:
                self._idle.value.append(connection)
                return response

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
        try:
            return self._idle.value.pop()
        except IndexError:
            # Only the child's copies of the sockets: the parent goes on with its own.
            for inherited in self._idle.inherited:
                _close_all(inherited)
            return self._new_connection()

    def _new_connection(self) -> http.client.HTTPConnection:
        if self._proxy is None:
            return self._connection(self._host, self._port)
        connection = self._connection(self._proxy.host, self._proxy.port)
        if self._connection is http.client.HTTPSConnection:
            connection.set_tunnel(self._host, self._port, self._proxy.headers)
        return connection

    def close(self) -> None:
        """Close the connections that no thread is using."""
        _close_all(self._idle.value)


def _close_all(connections: deque[http.client.HTTPConnection]) -> None:
    while connections:
        connections.pop().close()
