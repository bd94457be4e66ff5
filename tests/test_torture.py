"""A short run of bench/torture.py: nodes and Redis killed, paused and cut off, and nothing lost."""

from __future__ import annotations

import sys
from pathlib import Path

from needs import needs
from processes import ROOT

sys.path.insert(0, str(ROOT / "bench"))

from torture import report, torture

SECONDS = 8.0


@needs("redis")
async def test_a_short_run(tmp_path: Path) -> None:
    run = await torture(SECONDS, seed=7, lose=False, folder=tmp_path)
    report(run, SECONDS)
    assert run.wrong == []
    assert len(run.acked) > 100
    assert sum(run.faults.values()) >= 3
