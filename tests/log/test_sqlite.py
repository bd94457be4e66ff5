"""The log in a file: what a commit costs, and that reads and commits do not wait for each other."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rtpush.config.settings import Settings
from rtpush.errors import RtpushError
from rtpush.log import group_commit, sqlite_file
from rtpush.log.base import LogError
from rtpush.log.entry import Draft
from rtpush.log.sqlite import SqliteLog
from rtpush.protocol import Envelope
from rtpush.server import Server

PATIENCE = 10.0


class Steps:
    """Counts the steps of SQLite's machine, and can hold a thread at the next one."""

    def __init__(self) -> None:
        self.taken = 0
        self.held: dict[str, threading.Event] = {}

    def connect(self, *args: Any, **options: Any) -> sqlite3.Connection:
        connection = sqlite3.Connection(*args, **options)
        connection.set_progress_handler(self._step, 10)
        return connection

    def _step(self) -> int:
        self.taken += 1
        for thread, go_on in list(self.held.items()):
            if threading.current_thread().name.startswith(thread):
                go_on.wait(PATIENCE)
        return 0

    def hold(self, thread: str) -> threading.Event:
        """Threads whose name begins so wait at their next step until the event is set."""
        self.held[thread] = threading.Event()
        return self.held[thread]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    steps = Steps()
    monkeypatch.setattr(sqlite3, "connect", steps.connect)
    yield steps
    for go_on in steps.held.values():
        go_on.set()


def small_tail(path: Path, **changes: Any) -> SqliteLog:
    return SqliteLog(Settings(**changes), path, tail_count=1, tail_bytes=1)


@pytest.fixture
async def log(steps: Steps, tmp_path: Path) -> AsyncIterator[SqliteLog]:
    log = small_tail(tmp_path / "rtpush.db", max_tasks=10_000)
    await log.open()
    yield log
    await log.close()


def x(size: int = 100) -> Draft:
    return Draft.of(Envelope("x", "y" * size))


def created(number: int) -> Draft:
    return Draft.of(Envelope("task_created", {"id": number}))


def size_of(path: str) -> int:
    return os.path.getsize(path)


async def cost_of_a_commit(log: SqliteLog, steps: Steps) -> int:
    before = steps.taken
    for _ in range(20):
        await log.append([x()])
    return steps.taken - before


async def test_a_commit_costs_the_same_however_full_log_and_board_are(
    log: SqliteLog, steps: Steps
) -> None:
    await log.append([x()])
    empty = await cost_of_a_commit(log, steps)
    await log.append([x() for _ in range(5000)])
    await log.append([created(number) for number in range(2000)])
    assert await cost_of_a_commit(log, steps) < 2 * empty + 20


async def test_a_read_does_not_wait_for_a_commit(log: SqliteLog, steps: Steps) -> None:
    await log.append([x(), x(), x()])
    go_on = steps.hold("rtpush-sqlite_")
    committing = log.append([x()])
    async with asyncio.timeout(PATIENCE / 2):
        page = await log.read(0, 10)
    # What is not published is not read either.
    assert [entry.seq for entry in page.entries] == [1, 2, 3]
    assert not committing.done()
    go_on.set()
    assert await committing == [4]


async def test_a_commit_does_not_wait_for_reads(log: SqliteLog, steps: Steps) -> None:
    await log.append([x() for _ in range(200)])
    go_on = steps.hold("rtpush-sqlite-reader")
    reading = [asyncio.ensure_future(log.read(0, 200)) for _ in range(5)]
    async with asyncio.timeout(PATIENCE / 2):
        assert await log.append([x()]) == [201]
    assert not any(read.done() for read in reading)
    go_on.set()
    for page in await asyncio.gather(*reading):
        assert page.upto == 200


async def test_the_write_ahead_log_does_not_stay_large(
    steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "MAX_WAL_BYTES", 1 << 20)
    path = tmp_path / "rtpush.db"
    log = small_tail(path)
    await log.open()
    await log.append([x()])
    go_on = steps.hold("rtpush-sqlite-reader")
    reading = asyncio.ensure_future(log.read(0, 10))
    await log.append([x(8 << 20)])
    go_on.set()
    await reading
    for _ in range(3):
        await log.append([x()])
    assert size_of(f"{path}-wal") < 1 << 20
    await log.close()
    assert os.listdir(tmp_path) == ["rtpush.db"]


async def test_of_servers_that_begin_together_one_has_the_file(tmp_path: Path) -> None:
    logs = [small_tail(tmp_path / "rtpush.db") for _ in range(4)]
    opened = await asyncio.gather(*(log.open() for log in logs), return_exceptions=True)
    assert sum(result is None for result in opened) <= 1
    assert all(result is None or isinstance(result, LogError) for result in opened)
    for log, result in zip(logs, opened, strict=True):
        if result is None:
            await log.close()


async def test_a_file_from_before_the_first_release_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "rtpush.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(
            "PRAGMA application_id = 0x52545055; PRAGMA user_version = 1;"
            "CREATE TABLE entries (seq INTEGER PRIMARY KEY, data BLOB NOT NULL);"
        )
    before = path.read_bytes()
    with pytest.raises(LogError, match="before its first release; it was left as it is"):
        await SqliteLog(Settings(), path).open()
    assert path.read_bytes() == before


async def test_another_program_may_look_into_the_file(log: SqliteLog, tmp_path: Path) -> None:
    await log.append([x(), x()])
    with closing(sqlite3.connect(f"file:{tmp_path}/rtpush.db?mode=ro", uri=True)) as other:
        assert other.execute("SELECT count(*) FROM entries").fetchone() == (2,)
    assert await log.append([x()]) == [3]


async def test_long_names_count_for_retention(tmp_path: Path) -> None:
    log = small_tail(tmp_path / "rtpush.db", retention_bytes=100_000)
    await log.open()
    name = "\N{GRINNING FACE}" * 128
    for number in range(300):
        await log.append([Draft.of(Envelope(name, None, name, f"{number}"))])
    assert log.last - log.first < 100
    await log.close()


async def test_a_store_that_does_not_answer_is_failing(
    log: SqliteLog, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.append([x()])
    go_on = steps.hold("rtpush-sqlite_")
    held = log.append([x()])
    await asyncio.sleep(0)
    behind = log.append([x()])
    log.tick()
    assert not log.failing

    monkeypatch.setattr(group_commit, "STUCK_AFTER", -1.0)
    log.tick()
    assert log.failing
    for refused in (behind, log.append([x()])):
        (refusal,) = await refused
        assert isinstance(refusal, RtpushError)
        assert refusal.code == "unavailable"
    # What is under way may be stored: nobody is told that it is not.
    assert not held.done()

    go_on.set()
    assert await held == [2]
    await log.wait_idle()
    log.tick()
    assert not log.failing
    assert await log.append([x()]) == [3]


async def test_a_stop_does_not_wait_for_a_store_that_does_not_answer(
    steps: Steps, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(port=0, log=f"sqlite:{tmp_path}/rtpush.db", grace=0.5)
    await server.start()
    go_on = steps.hold("rtpush-sqlite_")
    emitting = asyncio.ensure_future(server.emit("never stored"))
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE):
        await server.stop()
    assert "the log has not answered" in caplog.text
    assert "the log cannot be closed in time" in caplog.text
    go_on.set()
    # The disk is well again, and what was under way ends.
    await emitting
    await server._log.close()


async def test_a_file_that_is_taken_away_is_noticed_and_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "rtpush.db"
    log = small_tail(path)
    await log.open()
    assert await log.append([x()]) == [1]
    for name in ("rtpush.db", "rtpush.db-wal"):
        (tmp_path / name).rename(tmp_path / "elsewhere")
        (refusal,) = await log.append([x()])
        assert isinstance(refusal, RtpushError)
        assert refusal.code == "unavailable"
        assert f"{tmp_path / name} is gone" in refusal.message
        assert log.failing

        (tmp_path / "elsewhere").rename(tmp_path / name)
        # Also while nobody writes.
        while log.failing:
            log.tick()
            await asyncio.sleep(0.001)
    assert await log.append([x()]) == [2]
    await log.close()


async def test_a_file_that_is_replaced_makes_the_server_unready(tmp_path: Path) -> None:
    path = tmp_path / "rtpush.db"
    server = Server(port=0, log=f"sqlite:{path}")
    async with server, aiohttp.ClientSession(trust_env=False) as http:
        await server.emit("before")
        path.unlink()
        path.write_bytes(b"a restored backup")
        async with asyncio.timeout(PATIENCE):
            while True:
                async with http.get(f"{server.url}readyz") as response:
                    if response.status == 503:
                        break
        with pytest.raises(RtpushError, match="was replaced by another file"):
            await server.emit("into nothing")
        path.unlink()


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system does not count writes")
async def test_a_long_text_is_not_written_again_for_each_word(tmp_path: Path) -> None:
    log = SqliteLog(Settings(), tmp_path / "rtpush.db")
    await log.open()
    await log.append([_progress({"text": "x" * 900_000})])
    before = _bytes_written()
    for _ in range(100):
        await log.append([_progress({"text": "word "})])
    # Whole, it would be 90 MB; these are pages for entries, indexes and rows.
    assert _bytes_written() - before < 10_000_000
    await log.close()


def _progress(append: dict[str, Any]) -> Draft:
    return Draft.of(Envelope("task_progress", {"id": 1, "append": append}))


def _bytes_written() -> int:
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["wchar"])
