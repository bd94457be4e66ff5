"""The index by room: in memory against a list, in a file of the first version, in Redis."""

from __future__ import annotations

import asyncio
import secrets
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import forkserver
import pytest
from clients import PATIENCE, until
from hypothesis import given
from hypothesis import strategies as st
from needs import needs
from redis.asyncio import Redis
from redisserver import RedisServer

from rtpush.config.settings import Settings
from rtpush.log import room_index
from rtpush.log.entry import Draft
from rtpush.log.redis.log import RedisLog
from rtpush.log.room_index import RoomIndex
from rtpush.log.sqlite import SqliteLog
from rtpush.protocol import Position

ROOMS = [None, "a", "b", "c"]


def draft(room: str | None) -> Draft:
    return Draft("e", room=room, encoded=b"1")


# ---- in memory ---------------------------------------------------------------


@given(
    steps=st.lists(st.sampled_from(ROOMS) | st.integers(0, 20), max_size=60),
    rooms=st.lists(st.sampled_from([*ROOMS, "never"]), unique=True),
    number=st.integers(0, 70),
)
def test_it_is_the_numbers_of_each_room(
    steps: list[str | int | None], rooms: list[str | None], number: int
) -> None:
    index, model = RoomIndex(0), list[str | None]()
    for step in steps:
        if isinstance(step, int):
            index.forget_before(min(index.first + step, index.last))
        else:
            index.append(step)
            model.append(step)
    held = [(seq, room) for seq, room in enumerate(model, 1) if seq >= index.first]
    wanted = [seq for seq, room in held if room in rooms]
    assert index.last == len(model)
    assert [*index.after(rooms, number)] == [seq for seq in wanted if seq > number]
    assert [*index.before(rooms, number)] == [seq for seq in reversed(wanted) if seq < number]
    newer = {room for seq, room in enumerate(model, 1) if seq > number}
    assert set(index.active(rooms, number)) == newer & set(rooms)


def test_few_quiet_rooms_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the others it is not said that nothing is new in them."""
    monkeypatch.setattr(room_index, "_MAX_QUIET", 3)
    index = RoomIndex(0)
    for number in range(1, 11):
        index.append(f"room-{number}")
    index.forget_before(9)
    rooms = [f"room-{number}" for number in range(1, 11)]
    assert index.active(rooms, 5) == rooms[5:]
    assert index.active(rooms, 8) == rooms[8:]
    assert index.active(rooms, 2) == rooms


# ---- in a file ---------------------------------------------------------------

COUNT = 2000
SEGMENT = 16
# Opens a log and kills itself after so many steps of SQLite's machine.
KILLED = """
import asyncio, os, signal, sqlite3, sys
path, steps = sys.argv[1], int(sys.argv[2])
connect = sqlite3.connect
def step():
    global steps
    steps -= 1
    if steps <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return 0
def watched(*args, **options):
    connection = connect(*args, **options)
    connection.set_progress_handler(step, 100)
    return connection
sqlite3.connect = watched
from rtpush.config.settings import Settings
from rtpush.log.sqlite import SqliteLog
from rtpush.protocol import Position
asyncio.run(SqliteLog(Settings(), path, segment=16).open())
"""


def room_of(seq: int) -> str | None:
    return ROOMS[seq % 7 % 4]


async def make_version_1(path: Path) -> None:
    """A log as it was before there was an index by room."""
    log = SqliteLog(Settings(), path)
    await log.open()
    await log.append([draft(room_of(seq)) for seq in range(1, COUNT + 1)])
    await log.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TABLE segments")
        db.execute("DROP TABLE segment_rooms")
        db.execute("PRAGMA user_version = 1")


async def check(path: Path) -> None:
    """Every room is read from its file as it was written, in both directions."""
    log = SqliteLog(Settings(), path, tail_count=1, tail_bytes=1, segment=SEGMENT)
    await log.open()
    for rooms in (["a"], [None], ["b", "c"], ["never"]):
        wanted = [seq for seq in range(1, COUNT + 1) if room_of(seq) in rooms]
        page = await log.read(0, COUNT, rooms=rooms)
        assert [entry.seq for entry in page.entries] == wanted
        page = await log.read_before(COUNT + 1, COUNT, rooms)
        assert [entry.seq for entry in page.entries] == wanted[::-1]
    await log.append([draft("new")])
    page = await log.read(0, 10, rooms=["new"])
    assert [entry.seq for entry in page.entries] == [COUNT + 1]
    await log.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        assert db.execute("SELECT count(*), max(last) FROM segments").fetchone() == (125, COUNT)
        assert db.execute("SELECT count(DISTINCT seq) FROM segment_rooms").fetchone() == (COUNT,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("killed_after", [(), (250,), (400, 400, 400), (600,), (900, 300)])
async def test_a_file_of_version_1_gets_the_index(
    tmp_path: Path, killed_after: tuple[int, ...]
) -> None:
    """Whoever kills the server meanwhile, and however often."""
    path = tmp_path / "rtpush.db"
    await make_version_1(path)
    for steps in killed_after:
        process = await forkserver.start(str(path), str(steps), code=KILLED)
        assert await process.wait() == -signal.SIGKILL
    await check(path)


async def test_segments_go_with_their_entries(tmp_path: Path) -> None:
    path = tmp_path / "rtpush.db"
    log = SqliteLog(Settings(retention_count=50), path, segment=SEGMENT)
    await log.open()
    for seq in range(1, 501, 4):
        await log.append([draft(room_of(n)) for n in range(seq, seq + 4)])
    first = log.first
    await log.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT min(last) >= ? FROM segments", (first,)).fetchone() == (1,)
        query = (
            "SELECT count(*) FROM segment_rooms WHERE segment NOT IN (SELECT first FROM segments)"
        )
        assert db.execute(query).fetchone() == (0,)


# ---- in Redis ----------------------------------------------------------------


@pytest.fixture
async def admin(redis_server: RedisServer) -> AsyncIterator[Redis]:
    client = Redis(port=redis_server.port)
    yield client
    await client.aclose()


@pytest.fixture
async def shared_log(redis_server: RedisServer) -> AsyncIterator[RedisLog]:
    url = redis_server.url(secrets.token_hex(8))
    log = RedisLog(Settings(retention_count=300), url, tail_count=5)
    await log.open()
    yield log
    await log.close()


async def numbers(log: RedisLog, *rooms: str | None) -> list[int]:
    """The numbers of all entries of rooms that are still there."""
    found: list[int] = []
    after = log.first - 1
    while after < log.last:
        page = await log.read(after, 50, rooms=rooms)
        found += [entry.seq for entry in page.entries]
        after = page.upto
    return found


async def fill(log: RedisLog, count: int) -> None:
    begin = log.last + 1
    for seq in range(begin, begin + count, 100):
        await log.append([draft(room_of(n)) for n in range(seq, seq + 100)])


@needs("redis")
async def test_the_index_is_trimmed_with_the_stream(shared_log: RedisLog, admin: Redis) -> None:
    await shared_log.append([draft(f"own-{n}") for n in range(100)])
    await fill(shared_log, 1000)
    key = shared_log.key("rooms")
    # A chunk for each room and 63 of its entries.
    assert await admin.hlen(key) < 20
    assert not await admin.hexists(key, "=own-1")
    assert await numbers(shared_log, "a") == [
        seq for seq in range(801, 1101) if room_of(seq - 100 + 100) == "a"
    ]
    await admin.execute_command("XTRIM", shared_log.key("log"), "MAXLEN", "1")
    shared_log.tick()
    await until(lambda: shared_log.first == 1100)
    assert await admin.hlen(key) <= 3
    assert await numbers(shared_log, *ROOMS) == [1100]


@needs("redis")
@pytest.mark.parametrize("command", [("DEL", "rooms"), ("HDEL", "rooms", "#"), ("FLUSHALL",)])
async def test_an_index_that_others_have_removed_begins_a_new_epoch(
    shared_log: RedisLog, admin: Redis, command: tuple[str, ...]
) -> None:
    """What is left could not be read by room, and nobody must take it for all."""
    await fill(shared_log, 200)
    epoch, lost = shared_log.epoch, asyncio.Event()
    shared_log.on_lost = lost.set
    name, *rest = command
    key = [shared_log.key(rest[0]), *rest[1:]] if rest else []
    await admin.execute_command(name, *key)
    async with asyncio.timeout(PATIENCE):
        await shared_log.append([draft("a")])
        await lost.wait()
        await shared_log.append([draft("a"), draft("b"), draft("a")])
    assert shared_log.epoch != epoch
    last = shared_log.last
    assert await numbers(shared_log, "b") == [last - 1]
    assert (await numbers(shared_log, "a"))[-2:] == [last - 2, last]


@needs("redis")
async def test_entries_of_a_room_that_others_have_removed(
    shared_log: RedisLog, admin: Redis
) -> None:
    await fill(shared_log, 200)
    await admin.execute_command("XDEL", shared_log.key("log"), "50-0")
    mine = [seq for seq in range(1, 201) if room_of(seq) == room_of(50)]
    assert await numbers(shared_log, room_of(50)) == [seq for seq in mine if seq != 50]
    # A reader from before it is told: `expired`, and a snapshot.
    assert shared_log.covers(Position(shared_log.epoch, 49)) == "expired"
    page = await shared_log.read_before(201, 300, [room_of(50)])
    assert [entry.seq for entry in page.entries] == [seq for seq in reversed(mine) if seq > 50]
