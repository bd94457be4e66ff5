"""What the log counts of its memory is what it takes."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Sequence

import pytest

from rtpush.config.settings import Settings
from rtpush.framing import FRAMINGS, WEBSOCKET, Framing
from rtpush.log.entry import Draft
from rtpush.log.memory import MemoryLog
from rtpush.protocol import dumps, parse
from rtpush.sessions.session import Session

COUNT = 500
TEXTS = [
    '{"event":"x","data":%d}',
    '{"event":"x","data":%d,"room":"q","key":"k"}',
    '{"event":"x","data":%d,"room":"q","key":"k%d"}',
    '{"event":"x","data":%d,"room":"q%d"}',
    '{"event":"x","data":"' + "y" * 1000 + '%d"}',
]


async def taken_and_counted(text: str, framings: Sequence[Framing]) -> tuple[int, int]:
    """Bytes that many events of clients take in memory, and bytes that are counted."""
    log = MemoryLog(Settings(log="memory:"))
    gc.collect()
    tracemalloc.start()
    for begin in range(0, COUNT, 100):
        numbers = range(begin, begin + 100)
        texts = [text % ((n,) * text.count("%d")) for n in numbers]
        await log.append([Draft.of(parse(one)) for one in texts])  # type: ignore[arg-type]
    page = log.recent(0, 1 << 30)
    assert page is not None
    entries = page.entries
    del page
    for entry in entries:
        for framing in framings:
            entry.framed(framing)
    counted = sum(entry.size for entry in entries)
    del entries
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return taken, counted


@pytest.mark.parametrize("text", TEXTS, ids=["tiny", "same key", "own key", "own room", "large"])
async def test_an_entry_counts_what_it_takes(text: str) -> None:
    with_all, counted = await taken_and_counted(text, FRAMINGS)
    with_one, _ = await taken_and_counted(text, [WEBSOCKET])
    assert with_all < 1.5 * counted
    assert counted < 1.5 * with_one


def test_results_that_a_session_keeps_take_what_they_count() -> None:
    session = Session("s", True, "", 0.0)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for n in range(64):
            session.remember(f"k{n}", dumps({"n": n}))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(session.results) == 64
    assert taken < 32 << 10
