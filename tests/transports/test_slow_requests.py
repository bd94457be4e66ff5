"""Connections that send no request have a share for each address."""

from __future__ import annotations

from typing import Any

import pytest

from rtpush.access.callers import Callers
from rtpush.config.settings import Settings
from rtpush.transports.slow_requests import SlowRequests


class Waiting:
    """What aiohttp keeps of a connection that has sent nothing, at an address that no test has."""

    _request_in_progress = False
    _request_count = 0

    def __init__(self, address: str) -> None:
        self.address = address
        self.aborted = False
        self.transport = self

    def get_extra_info(self, _name: str) -> tuple[str, int]:
        return self.address, 4711

    def abort(self) -> None:
        self.aborted = True


@pytest.mark.parametrize(
    ("addresses", "left"),
    [
        (["203.0.113.7"] * 5 + ["203.0.113.8"], 4),
        ([f"2001:db8::{n}" for n in range(5)] + ["2001:db8:0:1::1"], 4),
        (["127.0.0.1"] * 5, 5),
        (["10.0.0.1"] * 5, 5),
        (["203.0.113.7"] * 3, 3),
    ],
    ids=["one address", "one IPv6 network", "this machine", "a proxy", "within the share"],
)
def test_an_address_has_its_share_of_waiting_connections(addresses: list[str], left: int) -> None:
    slow = SlowRequests(20, 3, Callers(Settings(trusted_proxies=("10.0.0.0/8",))).is_shared)
    waiting: list[Any] = []
    for now, address in enumerate(addresses):
        waiting.append(Waiting(address))
        slow.tick([one for one in waiting if not one.aborted], float(now))
    assert sum(not one.aborted for one in waiting) == left
    # Those that have waited longest go first.
    assert not waiting[-1].aborted
    assert [one.aborted for one in waiting] == sorted(
        (one.aborted for one in waiting), reverse=True
    )
