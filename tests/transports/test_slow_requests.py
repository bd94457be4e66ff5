"""Connections that send no request have a share for each address."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from processes import ServerProcess, pause

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

    def is_closing(self) -> bool:
        return self.aborted

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


def test_when_files_run_short_the_address_with_the_most_gives_way() -> None:
    slow = SlowRequests(20, 1000, Callers(Settings()).is_shared)
    old, probe = Waiting("203.0.113.8"), Waiting("10.0.0.7")
    crowd = [Waiting(f"2001:db8::{n}") for n in range(60)]
    waiting: list[Any] = [old, *crowd]
    for now, one in enumerate(waiting):
        slow.accepted(one, 7, float(now))
    assert not any(one.aborted for one in waiting)
    for _ in range(3):
        slow.accepted(probe, 1 << 30, 99.0)  # type: ignore[arg-type]
    assert [old.aborted, probe.aborted] == [False, False]
    # Those that have waited longest go first, and no more than make some room.
    assert [one.aborted for one in crowd] == [True] * 48 + [False] * 12


async def answers(http: aiohttp.ClientSession, url: str) -> bool:
    # A probe that comes amid the crowd may be cut with it; the next is not.
    with suppress(aiohttp.ClientConnectionError):
        async with http.get(url) as answer:
            return answer.status == 200
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process")
async def test_bare_connections_do_not_keep_a_probe_out(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, "--log=memory:")
    await server.start()
    opened = len(os.listdir(f"/proc/{server.pid}/fd"))
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (opened + 80, opened + 80))
    try:
        async with AsyncExitStack() as stack:
            for _ in range(300):
                _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                stack.callback(writer.close)
            http = await stack.enter_async_context(aiohttp.ClientSession())
            # Long before the connections would be cut for sending nothing.
            async with asyncio.timeout(10):
                while not await answers(http, f"{server.url}/healthz"):
                    await pause()
    finally:
        _, errors = await server.stop()
    assert errors.count("files run short") == 1
