"""Encode publish requests and decode their responses; pure.

The clients of `http_client` and `async_http_client` do the I/O.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from ..access.addresses import is_loopback
from ..access.key_file import KeyFileError, local_key_file, read_key_file
from ..errors import RtpushError
from ..payloads import JsonDefault, encode_payload, is_args
from .backoff import Backoff

__all__ = [
    "DEFAULT_URL",
    "PUBLISH_BACKOFF",
    "InvalidResponse",
    "Outcome",
    "batches",
    "clean_key",
    "decode_response",
    "encode_body",
    "encode_envelope",
    "has_retryable",
    "is_retryable",
    "positions_of",
    "request_headers",
    "resolve_server",
    "unreachable",
    "with_idempotency_key",
]

DEFAULT_URL: Final = "http://127.0.0.1:5000"

# The result of one envelope: its position, None for a volatile one, or the refusal.
Outcome = str | None | RtpushError

# Between the attempts of one publish, in seconds.
PUBLISH_BACKOFF: Final = Backoff(first=0.1, longest=2.0)

# Refusals that the same envelope may not meet again later.
_RETRYABLE: Final = frozenset({"unavailable", "going_away", "rate_limited", "request_timeout"})
# Envelopes in one request. A server's `max_batch` is 1,000 by default.
_BATCH: Final = 500
# Bytes in one request. nginx's `client_max_body_size` is 1 MiB by default.
_BATCH_BYTES: Final = 1 << 19


class InvalidResponse(Exception):
    """The response is not one of rtpush: a proxy or another program has answered."""


def resolve_server(url: str | None, key: str | None) -> tuple[str, str | None]:
    """The address of a server, and the API key or token for it.

    Args:
        url: `http://` or `https://`; None takes RTPUSH_URL, else port 5000 of this machine.
        key: An API key or a token; None takes RTPUSH_KEY, else for a server on this
            machine the key file beside its log.

    Raises:
        ValueError: `url` is not an address, or `key` cannot be sent in a header. White
            space around the key, as at the end of a file, is left out.
    """
    url = url or os.environ.get("RTPUSH_URL") or DEFAULT_URL
    if not _is_address(url):
        raise ValueError(f"{url!r} is not an address like {DEFAULT_URL}")
    key = key or os.environ.get("RTPUSH_KEY") or _key_beside_the_log(url)
    return url.rstrip("/"), None if key is None else clean_key(key)


def clean_key(key: str) -> str:
    """A key or token as it is sent in a header. Raises ValueError."""
    key = key.strip()
    if not (key and key.isascii() and key.isprintable()):
        # The message must not show a secret.
        raise ValueError("the key or token is no single line of ASCII; is there a newline in it?")
    return key


def _key_beside_the_log(url: str) -> str | None:
    # To this machine only: a key must not go to whatever server a URL names.
    if not is_loopback(urlsplit(url).hostname or ""):
        return None
    try:
        return read_key_file(local_key_file(os.environ, Path.cwd()))
    except KeyFileError as exc:
        raise ValueError(str(exc)) from exc


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a bad port, or a bad address in brackets
        return False


def request_headers(key: str | None) -> dict[str, str]:
    """The headers of a publish request."""
    headers = {"Content-Type": "application/json"}
    return headers if key is None else {**headers, "Authorization": f"Bearer {key}"}


def encode_envelope(envelope: Mapping[str, Any], default: JsonDefault | None = None) -> bytes:
    """JSON without the fields that are None, as `encode_payload`.

    A tuple as `data` is several arguments. Raises RtpushError (`bad_envelope`).
    """
    fields = {name: value for name, value in envelope.items() if value is not None}
    if is_args(fields.get("data")):
        fields["args"] = True
    return encode_payload(fields, default)


def with_idempotency_key(envelope: dict[str, Any]) -> dict[str, Any]:
    """The envelope with a new idempotency key, unless it has one."""
    if envelope.get("idempotency_key") is None:
        return envelope | {"idempotency_key": uuid.uuid4().hex}
    return envelope


def encode_body(envelopes: Sequence[bytes]) -> bytes:
    """The body of a request: one envelope to a line.

    The server limits the size of an array as that of one envelope.
    """
    return b"\n".join(envelopes)


def batches(envelopes: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Split envelopes into one list for each request, in order."""
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


def decode_response(status: int, text: bytes, count: int) -> list[Outcome]:
    """The outcome of each of `count` envelopes.

    Raises:
        RtpushError: The server refused the request as a whole.
        InvalidResponse: Another program has answered.
    """
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if isinstance(found, dict) and isinstance(found.get("error"), dict):
        raise RtpushError.of(found["error"])
    if status == 413:
        raise RtpushError(
            "too_large",
            "A proxy before the server refused the size of the request (HTTP 413); "
            "raise its limit, which is client_max_body_size in nginx.",
        )
    if count == 1 and isinstance(found, dict):
        # A request with one envelope is answered with one object.
        found = [found]
    if not isinstance(found, list) or len(found) != count:
        raise InvalidResponse(f"HTTP {status} without an answer of rtpush")
    return [_outcome(one) for one in found]


def _outcome(answer: Any) -> Outcome:
    match answer:
        case {"error": error}:
            return RtpushError.of(error)
        case {"id": str() | None as position}:
            return position
    raise InvalidResponse("an answer that is none of rtpush's")


def unreachable(exc: BaseException) -> RtpushError:
    """The refusal that a failed request stands for."""
    why = str(exc) or type(exc).__name__
    return RtpushError("unavailable", f"The server cannot be reached ({why}).")


def is_retryable(outcome: Outcome) -> bool:
    """May the same envelope be accepted later?"""
    return isinstance(outcome, RtpushError) and outcome.code in _RETRYABLE


def has_retryable(outcomes: Sequence[Outcome]) -> bool:
    """May one of the refused envelopes be accepted later?"""
    return any(map(is_retryable, outcomes))


def positions_of(outcomes: Sequence[Outcome]) -> list[str | None]:
    """The positions. Raises the first refusal."""
    positions: list[str | None] = []
    for outcome in outcomes:
        if isinstance(outcome, RtpushError):
            raise outcome
        positions.append(outcome)
    return positions
