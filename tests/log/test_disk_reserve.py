"""A disk that the log itself has filled, and the room that it keeps for this.

The disk is a real one, in memory: which of SQLite's writes fail for want of room, and what
folding gives back, a fake would have to know before it could show it.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from logs import PATIENCE

from rtpush.cli.preflight import exposure_problems
from rtpush.config.settings import Settings
from rtpush.errors import RtpushError
from rtpush.log.base import LogError
from rtpush.log.disk_reserve import DiskReserve
from rtpush.log.entry import Draft
from rtpush.log.sqlite import SqliteLog
from rtpush.protocol import Envelope
from rtpush.server import Server

MIB = 1 << 20
RESERVE = 8 * MIB


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 32 MiB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "none", str(tmp_path)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


async def append(log: SqliteLog, size: int) -> bool:
    (outcome,) = await log.append([Draft.of(Envelope("x", "y" * size))])
    assert isinstance(outcome, int) or outcome.code == "unavailable"
    return not isinstance(outcome, RtpushError)


async def fill(log: SqliteLog) -> None:
    """Append until the disk takes nothing more."""
    for size in (200_000, 100):
        while await append(log, size):
            log.tick()


async def opened(disk: Path, **changes: int) -> SqliteLog:
    log = SqliteLog(Settings(**changes), disk / "rtpush.db", reserve_bytes=RESERVE)
    await log.open()
    return log


async def test_a_log_that_has_filled_its_disk_is_trimmed_by_a_lower_retention(disk: Path) -> None:
    reserve = disk / "rtpush.db-reserve"
    log = await opened(disk, retention_bytes=1 << 40)
    await append(log, 100)
    log.tick()
    await append(log, 100)
    assert not reserve.exists(), "a small log needs none"
    await fill(log)
    assert reserve.stat().st_size == RESERVE, "events do not use it up"
    await log.close()
    for _ in range(2):
        # Nor do restarts that change nothing.
        log = await opened(disk, retention_bytes=1 << 40)
        await fill(log)
        await log.close()
    assert reserve.stat().st_size > RESERVE - MIB // 2

    log = await opened(disk, retention_bytes=4 * MIB)
    async with asyncio.timeout(PATIENCE):
        while not await append(log, 200_000):
            log.tick()
    assert log.first > 1
    for _ in range(100):
        assert await append(log, 200_000), "it goes on"
    await log.close()


async def test_a_disk_that_others_have_filled_is_told(disk: Path) -> None:
    (disk / "other").write_bytes(bytes(31 * MIB))
    with pytest.raises(OSError, match="No space"):
        (disk / "more").write_bytes(bytes(2 * MIB))
    with pytest.raises(LogError, match=r"the disk of the log .* is full: make room on it"):
        await opened(disk)
    server = Server(log=f"sqlite:{disk}/rtpush.db")
    assert any("rtpush.db-reserve" in problem for problem in exposure_problems(server))


def test_it_is_made_again_when_there_is_room(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(bytes(RESERVE))
    reserve = DiskReserve(log, RESERVE)
    reserve.keep()
    assert reserve.held == RESERVE
    assert reserve.lend()
    assert 0 < reserve.held < RESERVE
    reserve.keep()
    assert reserve.held == RESERVE
    assert reserve.release()
    assert not reserve.release()
    huge = DiskReserve(log, 1 << 60)
    huge.keep()
    assert not huge.lend()
