"""The signature of a request to a backend: HMAC-SHA256 over its time and its body. Pure.

It travels in one header, `Rtpush-Signature: t=1700000000,v1=HEX`. The time is signed, so that
a request that was overheard cannot be sent again later.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from typing import Final

__all__ = ["HEADER", "is_genuine", "sign"]

HEADER: Final = "Rtpush-Signature"
# Seconds that a request may be old, or ahead: clocks differ, and networks are slow.
TOLERANCE: Final = 300

_FORM: Final = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")


def sign(secret: str, body: bytes, now: float) -> str:
    """The header's value for a request that is sent at `now`, in seconds since 1970."""
    sent = int(now)
    return f"t={sent},v1={_digest(secret, sent, body)}"


def is_genuine(
    secret: str,
    header: str | None,
    body: bytes,
    now: float | None = None,
    tolerance: int = TOLERANCE,
) -> bool:
    """Did an rtpush server with this secret send this request just now? For backends in Python.

    Args:
        secret: The setting `secret` of the server's hooks.
        header: The header `Rtpush-Signature`; None when there is none.
        body: The request's body, byte by byte as it came.
        now: Seconds since 1970; None for the clock of this machine.
        tolerance: Seconds that the request may be old, or ahead.
    """
    match = _FORM.fullmatch(header or "")
    if match is None:
        return False
    sent = int(match[1])
    if abs((time.time() if now is None else now) - sent) > tolerance:
        return False
    # In constant time: how far a guess is right must not show in how long this takes.
    return hmac.compare_digest(match[2], _digest(secret, sent, body))


def _digest(secret: str, sent: int, body: bytes) -> str:
    signed = b"%d." % sent + body
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
