"""A short run of bench/workers.py: workers are killed, and each task is done once."""

from __future__ import annotations

import sys
from pathlib import Path
from secrets import token_hex

from needs import needs
from processes import ROOT
from redisserver import RedisServer

sys.path.insert(0, str(ROOT / "bench"))

import workers


@needs("redis")
async def test_each_task_is_completed_by_one_attempt_that_had_it(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    outcome = await workers.run(
        redis_server.url(token_hex(8)),
        tmp_path,
        tasks=40,
        workers=2,
        every=0.6,
        lease=1.0,
        most=2,
    )
    assert outcome.wrong == []
    assert outcome.kills == 2
    assert outcome.claims >= 40
