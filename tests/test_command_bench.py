"""`rtpush bench`: it measures something, and says what."""

from __future__ import annotations

import re

from terminals import RTPUSH, Terminal, run


async def test_a_short_measurement() -> None:
    # The environment has no say: with this the server would not start.
    code, out, err = await run("bench", "--connections=20", "--time=100ms", url="RTPUSH_PORT=x")
    assert (code, err) == (0, "")
    assert re.fullmatch(
        r"rtpush on .+\n"
        r"( +memory +-?[\d.]+ KiB per connection, 20 of them\n)?"
        r" +latency +median [\d.]+ ms, p99 [\d.]+ ms, .+\n"
        r" +speed +[\d,]+ deliveries/s, [\d,]+ events to all in [\d.]+ s\n",
        out,
    )


async def test_it_says_what_it_is_at() -> None:
    command = (*RTPUSH, "bench", "--connections=2", "--time=100ms")
    async with Terminal().running(*command) as terminal:
        await terminal.shows("connecting 2 clients.*one event at a time.*many events at once")
        assert await terminal.ended() == 0


async def test_limits() -> None:
    few = await run("bench", "--connections=0")
    assert (few.code, few.out) == (2, "")
    assert "--connections is from 1 to" in few.err
