"""What a backend's answer means. Pure.

| status | meaning |
|---|---|
| 200 to 204 | yes; the body is a JSON object, or empty |
| 401, 403 | no, with the `code` and the `message` of the body |
| any other | the backend is away |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from ..errors import CODES, RtpushError
from ..protocol import load_json

__all__ = ["BadAnswer", "ConnectAnswer", "answer_of", "connect_answer"]

_YES: Final = range(200, 205)
_NO: Final = {401: "not_authenticated", 403: "forbidden"}
_WITHOUT_REASON: Final = "The application refused this."


class BadAnswer(Exception):
    """The backend's answer is none. The message goes to the server's log."""


@dataclass(frozen=True, slots=True)
class ConnectAnswer:
    """What a backend says of a client that it admits.

    `data` is anything that is to be told with each later request of the session.
    """

    subject: str | None = None
    rooms: tuple[str, ...] = field(default=())
    data: Any = None


def answer_of(status: int, body: bytes) -> dict[str, Any]:
    """The object of an answer that says yes.

    Raises:
        RtpushError: The backend says no.
        BadAnswer: It says neither.
    """
    if status in _NO:
        raise _refusal(status, body)
    if status not in _YES:
        raise BadAnswer(f"it answers with status {status}")
    if not body.strip():
        return {}
    try:
        answer = load_json(body)
    except RtpushError:
        answer = None
    if not isinstance(answer, dict):
        raise BadAnswer("its answer is no JSON object")
    return answer


def _refusal(status: int, body: bytes) -> RtpushError:
    try:
        given = load_json(body)
    except RtpushError:
        # The page of a login form, or of a framework's own 403.
        given = None
    said = given if isinstance(given, dict) else {}
    code, message = said.get("code"), said.get("message")
    return RtpushError(
        code if isinstance(code, str) and code in CODES else _NO[status],
        message if isinstance(message, str) and message else _WITHOUT_REASON,
    )


def connect_answer(answer: dict[str, Any]) -> ConnectAnswer:
    """What the answer to `connect` says. Raises BadAnswer."""
    subject, rooms = answer.get("subject"), answer.get("rooms")
    if subject is not None and not isinstance(subject, str):
        raise BadAnswer("`subject` of its answer is no text")
    rooms = [] if rooms is None else rooms
    if not isinstance(rooms, list) or not all(isinstance(room, str) for room in rooms):
        raise BadAnswer("`rooms` of its answer is no list of names")
    return ConnectAnswer(subject, tuple(dict.fromkeys(rooms)), answer.get("data"))
