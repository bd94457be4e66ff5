"""What a backend's answers mean."""

from __future__ import annotations

import pytest

from rtpush.errors import RtpushError
from rtpush.hooks.answers import BadAnswer, ConnectAnswer, answer_of, connect_answer


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [(200, b'{"data": 1}', {"data": 1}), (200, b" ", {}), (204, b"", {})],
)
def test_a_yes(status: int, body: bytes, answer: object) -> None:
    assert answer_of(status, body) == answer


@pytest.mark.parametrize(
    ("status", "body", "refusal"),
    [
        (401, b"", "not_authenticated: The application refused this."),
        (403, b"<html>", "forbidden: The application refused this."),
        (403, b'{"message": "No seat."}', "forbidden: No seat."),
        (403, b'{"code": "rate_limited", "message": "Slow."}', "rate_limited: Slow."),
        # Clients look codes up in PROTOCOL.md.
        (401, b'{"code": "xyzzy", "message": 5}', "not_authenticated: The application refused"),
        (403, b"[]", "forbidden: The application refused this."),
    ],
)
def test_a_no_has_the_code_and_the_message_of_the_body(
    status: int, body: bytes, refusal: str
) -> None:
    with pytest.raises(RtpushError) as caught:
        answer_of(status, body)
    assert str(caught.value).startswith(refusal)


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"<html>"), (200, b"[]"), (302, b""), (404, b"{}"), (429, b""), (500, b""), (502, b"")],
)
def test_anything_else_is_none(status: int, body: bytes) -> None:
    with pytest.raises(BadAnswer):
        answer_of(status, body)


def test_what_is_said_of_a_client() -> None:
    answer = {"subject": "ada", "rooms": ["a", "b", "a"], "data": {"plan": "free"}, "more": 1}
    assert connect_answer(answer) == ConnectAnswer("ada", ("a", "b"), {"plan": "free"})
    assert connect_answer({"rooms": None}) == ConnectAnswer()


@pytest.mark.parametrize("answer", [{"subject": 5}, {"rooms": "a"}, {"rooms": [1]}])
def test_what_is_said_of_a_client_has_types(answer: dict[str, object]) -> None:
    with pytest.raises(BadAnswer):
        connect_answer(answer)
