"""Every way rtpush says no.

Rules that hold here:

- A refusal is an `RtpushError`: a stable code that programs match on, and a
  sentence that tells a person what to do. Codes are part of the wire
  (PROTOCOL.md, "Errors"); sentences may change in any release.
- The table below is the only place where a code meets its HTTP status, its
  WebSocket close code and the advice to retry.
- Close codes 4000 to 4499 mean "do not come back by yourself", 4500 to 4999 and
  1001 mean "do".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

__all__ = ["CODES", "Code", "ConnectError", "Reason", "RtpushError"]


@dataclass(frozen=True, slots=True)
class Code:
    """What follows from an error code.

    `status` answers HTTP requests; `close` is the WebSocket close code when
    the error ends a connection; `retry_after` is the number of seconds after
    which the same request may succeed, or None when repeating it is pointless.
    """

    status: int
    close: int = 4400
    retry_after: float | None = None


CODES: Final[dict[str, Code]] = {
    # The request is malformed: repeating it gives the same answer.
    "bad_envelope": Code(400),
    "bad_event": Code(400),
    "bad_room": Code(400),
    "bad_task": Code(400),
    "bad_position": Code(400),
    "bad_request": Code(400),
    "too_large": Code(413, 1009),
    "unsupported_encoding": Code(415),
    "request_timeout": Code(408, retry_after=1.0),
    # The request is understood, and not allowed.
    "not_authenticated": Code(401, 4401),
    "forbidden": Code(403, 4403),
    "reserved_event": Code(403, 4403),
    "not_found": Code(404, 4404),
    "method_not_allowed": Code(405),
    "upgrade_required": Code(426),
    # The task board says no.
    "task_exists": Code(409),
    "task_finished": Code(409),
    "task_cancelling": Code(409),
    "claim_lost": Code(409),
    "board_full": Code(503, 4503, 30.0),
    "task_too_large": Code(413),
    # Retained events say no.
    "retained_full": Code(503, 4503, 30.0),
    # A limit was met, or the server cannot at this moment.
    "too_many_rooms": Code(400),
    "too_slow": Code(503, 4508, 1.0),
    "rate_limited": Code(429, 4529, 1.0),
    "unavailable": Code(503, 4503, 1.0),
    "going_away": Code(503, 1001, 1.0),
    "internal": Code(500, 1011, 1.0),
}


class RtpushError(Exception):
    """A refusal: `code` for programs, `message` for people.

    Raises KeyError when `code` is not in `CODES`: a code that clients cannot
    look up in PROTOCOL.md is a bug of the server.
    """

    def __init__(self, code: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.meaning = CODES[code]
        self.retry_after = self.meaning.retry_after if retry_after is None else retry_after
        # Set when the refused envelope asked for a reply: see protocol.to_envelope.
        self.ack: int | float | str | None = None

    @classmethod
    def of(cls, data: Any) -> RtpushError:
        """The refusal that an `error` object from the other side tells of."""
        found = data if isinstance(data, dict) else {}
        code = found.get("code")
        # A newer version may have codes that this one does not know.
        known = code if isinstance(code, str) and code in CODES else "internal"
        message = str(found.get("message", "The other side refused, and did not say why."))
        retry_after = found.get("retry_after")
        return cls(known, message, retry_after if isinstance(retry_after, int | float) else None)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def as_data(self) -> dict[str, Any]:
        """The `error` object of replies and of the `error` event."""
        data: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.retry_after is not None:
            data["retry_after"] = self.retry_after
        return data


class ConnectError(RtpushError, ConnectionError):
    """A client did not get a connection, or has lost it for good."""


class Reason(StrEnum):
    """Why a connection has ended, in Socket.IO's words."""

    CLIENT_DISCONNECT = "client disconnect"
    SERVER_DISCONNECT = "server disconnect"
    PING_TIMEOUT = "ping timeout"
    TRANSPORT_CLOSE = "transport close"
    TRANSPORT_ERROR = "transport error"
