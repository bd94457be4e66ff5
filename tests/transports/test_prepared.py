"""What is prepared by POST /session: bounded, for a while, and once."""

from __future__ import annotations

import json

import pytest

from rtpush import RtpushError
from rtpush.transports import prepared
from rtpush.transports.prepared import PreparedRequests, is_prepared, parse_prepared


def test_each_is_kept_once_and_not_for_long() -> None:
    now = 0.0
    requests = PreparedRequests(lambda: now)
    names = [requests.add(b"%d" % number, ("1.2.3.4",)) for number in range(3)]
    assert all(is_prepared(name) for name in names)
    assert (requests.take(names[0]), requests.take(names[0])) == (b"0", None)
    now = prepared.LEASE - 1
    assert requests.take(names[1]) == b"1"
    now = prepared.LEASE
    assert requests.take(names[2]) is None
    assert requests._budget.held == 0


def test_an_address_has_a_share_of_what_all_may_prepare() -> None:
    now = 0.0
    requests = PreparedRequests(lambda: now)
    body = b"x" * (prepared.MAX_PREPARED - prepared.OVERHEAD)
    most = prepared.SHARE // prepared.MAX_PREPARED
    hers = [requests.add(body, ("1.2.3.4",)) for _ in range(most)]
    with pytest.raises(RtpushError) as refused:
        requests.add(b"", ("1.2.3.4",))
    assert (refused.value.code, refused.value.retry_after) == ("rate_limited", prepared.LEASE)
    assert requests.add(b"", ("1.2.3.5",))
    assert requests.take(hers[0])
    assert requests.add(b"", ("1.2.3.4",))
    # This machine's own addresses have what all have, and no more.
    for _ in range(prepared.TOTAL // prepared.MAX_PREPARED - most):
        requests.add(body, ())
    with pytest.raises(RtpushError):
        requests.add(body, ())
    now = prepared.LEASE
    assert requests.add(body, ("1.2.3.4",))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"nonsense",
        *(
            json.dumps(asked).encode()
            for asked in (
                {"rooms": "a"},
                {"rooms": [1]},
                {"last": 7},
                {"sid": []},
                {"conflate": 0},
                {"rewind": {}},
                {"rewind": True},
            )
        ),
    ],
)
def test_a_malformed_one_is_refused(body: bytes) -> None:
    with pytest.raises(RtpushError) as refused:
        parse_prepared(body)
    assert refused.value.code == "bad_request"
