"""The signature of a request to a backend, and how a backend checks it."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from rtpush.hooks.signature import is_genuine, sign

SECRET = "s" * 32
BODY = b'{"hook":"connect"}'


def test_it_is_an_hmac_over_the_time_and_the_body() -> None:
    digest = hmac.new(SECRET.encode(), b"1700000000." + BODY, hashlib.sha256).hexdigest()
    assert sign(SECRET, BODY, 1700000000.9) == f"t=1700000000,v1={digest}"


@pytest.mark.parametrize("age", [-300, 0, 300])
def test_a_request_of_now_is_genuine(age: int) -> None:
    assert is_genuine(SECRET, sign(SECRET, BODY, 1700000000), BODY, 1700000000 + age)


@pytest.mark.parametrize(
    ("header", "body", "now"),
    [
        (sign(SECRET, BODY, 1700000000), BODY, 1700000301),
        (sign(SECRET, BODY, 1700000000), BODY, 1699999699),
        (sign(SECRET, BODY, 1700000000), BODY + b" ", 1700000000),
        (sign("x" * 32, BODY, 1700000000), BODY, 1700000000),
        # A newer time beside the digest of an older one.
        (sign(SECRET, BODY, 1700000000).replace("t=17", "t=18"), BODY, 1800000000),
        ("t=1700000000,v1=", BODY, 1700000000),
        ("", BODY, 1700000000),
        (None, BODY, 1700000000),
    ],
    ids=["old", "ahead", "another body", "another secret", "moved", "none", "empty", "missing"],
)
def test_any_other_is_not(header: str | None, body: bytes, now: float) -> None:
    assert not is_genuine(SECRET, header, body, now)
