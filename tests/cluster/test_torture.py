"""A short run of bench/torture.py: nodes and Redis killed, paused and cut off, and nothing lost."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from needs import needs
from processes import ROOT
from redisserver import RedisServer

sys.path.insert(0, str(ROOT / "bench"))

from torture import Reader, Run, check, report, torture

SECONDS = 6.0


@needs("redis")
async def test_a_short_run(tmp_path: Path) -> None:
    run = await torture(SECONDS, seed=7, lose=False, folder=tmp_path)
    report(run, SECONDS)
    assert run.wrong == []
    # It did something; how much is the machine's affair.
    assert run.acked
    assert run.faults


@pytest.mark.parametrize(
    ("acked", "log"),
    [
        ({"e-1": "a"}, {}),
        ({"e-1": "a"}, {1: "b"}),
        ({"e-1": "a", "d-2": "b"}, {1: "a"}),
        ({"e-1": "a"}, {1: "a", 2: "a"}),
    ],
    ids=["lost", "elsewhere", "lost with its epoch", "twice"],
)
def test_the_checker_finds_events(
    tmp_path: Path, acked: dict[str, str], log: dict[int, str]
) -> None:
    run = Run(random.Random(0), RedisServer(tmp_path), acked=acked, log=log)
    check(run, "e", lose=False)
    assert len(run.wrong) == 1


SNAPSHOT = {"event": "active_tasks", "id": "e-9", "data": {}}
RESYNC = {"event": "resync", "data": {"reason": "expired"}}


def tick(seq: int, data: str = "a") -> dict[str, Any]:
    return {"event": "tick", "id": f"e-{seq}", "data": data}


MEMBER: Any = {"id": "m", "info": {}}
JOINED = {"event": "presence", "id": "e-1", "room": "r", "data": {"joined": [MEMBER]}}


@pytest.mark.parametrize(
    ("name", "value", "envelope"),
    [
        ((None, "tick", "k"), "a", tick(1) | {"key": "k", "retain": True}),
        (("r", "presence", "m"), MEMBER, JOINED),
    ],
    ids=["retained", "present"],
)
async def test_the_checker_finds_a_reader_that_knows_something_else(
    tmp_path: Path, name: Any, value: Any, envelope: dict[str, Any]
) -> None:
    log = {1: envelope["data"]}
    run = Run(random.Random(0), RedisServer(tmp_path), state={name: value}, log=log)
    async with aiohttp.ClientSession() as http:
        run.readers = [Reader(run, http, number, "e-0") for number in range(2)]
        run.readers[0]._take(envelope)
    check(run, "e", lose=False)
    assert [wrong[:8] for wrong in run.wrong] == ["reader 1"]


@pytest.mark.parametrize(
    ("envelopes", "wrong"),
    [
        ([tick(1), tick(2, "b"), RESYNC, SNAPSHOT, tick(10, "c")], 0),
        ([tick(1), tick(3)], 1),
        ([tick(1), tick(1)], 1),
        ([tick(1, "other")], 1),
        ([SNAPSHOT], 1),
    ],
    ids=["good", "gap", "twice", "not what another saw", "put elsewhere in silence"],
)
async def test_the_checker_finds_readers(
    tmp_path: Path, envelopes: list[dict[str, Any]], wrong: int
) -> None:
    run = Run(random.Random(0), RedisServer(tmp_path), seen={"e-1": "a"})
    async with aiohttp.ClientSession() as http:
        reader = Reader(run, http, 0, "e-0")
        for envelope in envelopes:
            reader._take(envelope)
    assert len(run.wrong) == wrong
