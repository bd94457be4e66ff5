"""What a Redis may be like that others run: users with few rights, idle connections, a cluster."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from clients import PATIENCE, until
from needs import needs
from processes import free_port
from redis.asyncio import Redis
from redisserver import RedisServer

from rtpush.config.settings import Settings
from rtpush.log.base import LogError
from rtpush.log.entry import Draft
from rtpush.log.factory import make_log
from rtpush.log.redis.log import RedisLog
from rtpush.protocol import Position
from rtpush.server import Server, StartError

pytestmark = needs("redis")

# As docs/scaling.md has it.
RIGHTS = "+@read +@write +@pubsub +@scripting +@connection +info +time"


@pytest.fixture
async def admin(redis_server: RedisServer) -> AsyncIterator[Redis]:
    """A connection that may do everything."""
    client = Redis(port=redis_server.port)
    yield client
    await client.aclose()


async def user(admin: Redis, port: int, rights: str) -> str:
    """The address of a log for a new user with these rights; `PREFIX` stands for its prefix."""
    name = secrets.token_hex(8)
    rules = rights.replace("PREFIX", name).split()
    await admin.execute_command("ACL", "SETUSER", name, "on", ">pw", *rules)
    return f"redis://{name}:pw@127.0.0.1:{port}/0?prefix={name}"


async def test_a_user_with_the_documented_rights(admin: Redis, redis_server: RedisServer) -> None:
    documented = (Path(__file__).parents[2] / "docs/scaling.md").read_text()
    assert RIGHTS in " ".join(documented.split())
    url = await user(admin, redis_server.port, f"~{{PREFIX}}:* &{{PREFIX}}:* {RIGHTS}")
    async with (
        Server(port=0, log=url) as server,
        Server(port=0, log=url) as other,
        aiohttp.ClientSession(trust_env=False) as http,
    ):
        task = {"event": "task_created", "data": {"id": 1}, "key": "k", "idempotency_key": "once"}
        async with http.post(f"{server.url}api/publish", json=task) as answer:
            assert answer.status == 200
        for path in ("api/rooms", "api/history", "api/tasks"):
            async with http.get(f"{other.url}{path}") as answer:
                assert answer.status == 200, path


async def test_a_user_without_channels_is_told(admin: Redis, redis_server: RedisServer) -> None:
    """Redis 7 gives new users no channels: the nodes would not hear each other."""
    url = await user(admin, redis_server.port, "~{PREFIX}:* resetchannels +@all")
    with pytest.raises(StartError, match="channels"):
        await Server(port=0, log=url).start()
    log = make_log(Settings(log=url))
    assert isinstance(log, RedisLog)
    # As `rtpush check` asks.
    with pytest.raises(LogError, match=r"docs/scaling\.md"):
        await log.reach()


async def test_redis_closes_idle_connections(admin: Redis, redis_server: RedisServer) -> None:
    """Its setting `timeout`, on by default where others manage it."""
    url = await user(admin, redis_server.port, "~{PREFIX}:* &{PREFIX}:* +@all")
    name = url.partition("prefix=")[2]
    async with Server(port=0, log=url) as server, aiohttp.ClientSession(trust_env=False) as http:
        for path in ("api/rooms", "api/history"):
            async with http.get(f"{server.url}{path}") as answer:
                assert answer.status == 200
        idle = [server._bus._publisher, server._log._reader]
        for client in await admin.client_list():
            # Redis spares those that wait in a blocking read, or listen to a channel.
            if client["user"] == name and not {"b", "P"} & {*client["flags"]}:
                await admin.client_kill_filter(_id=client["id"])
        await until(lambda: all(one._connection._reader.at_eof() for one in idle))
        for path in ("api/rooms", "api/history"):
            async with http.get(f"{server.url}{path}") as answer:
                assert answer.status == 200, await answer.text()


async def test_a_node_of_a_cluster_that_does_not_hold_the_log(tmp_path: Path) -> None:
    # By default the nodes talk to each other on their port plus 10,000, which may be none.
    buses = [free_port(), free_port()]
    servers = [
        RedisServer(
            tmp_path / str(bus), flags=("--cluster-enabled", "yes", "--cluster-port", str(bus))
        ).start()
        for bus in buses
    ]
    ports = [server.port for server in servers]
    clients = [Redis(port=port) for port in ports]
    first, second = clients
    try:
        await first.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        await second.execute_command("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        await first.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[1], buses[1])
        for client in clients:
            while b"cluster_state:ok" not in await client.execute_command("CLUSTER", "INFO"):
                pass
        # The slot of `{rtpush}:log`.
        slot = await first.execute_command("CLUSTER", "KEYSLOT", "{rtpush}:log")
        wrong, right = ports if slot > 8191 else ports[::-1]
        with pytest.raises(StartError, match=f"name 127.0.0.1:{right}"):
            await Server(port=0, log=f"redis://127.0.0.1:{wrong}/0").start()
        async with Server(port=0, log=f"redis://127.0.0.1:{right}/0") as node:
            assert await node.emit("hello", room="r")
            page = await node._log.read(0, 10, rooms=["r"])
            assert [entry.event for entry in page.entries] == ["hello"]
    finally:
        for client in clients:
            await client.aclose()
        for server in servers:
            server.stop()


async def read_all(log: RedisLog, after: int) -> list[int]:
    """The numbers of all entries after a position, read as a reader that lags does."""
    found: list[int] = []
    while after < log.last:
        page = await log.read(after, 10)
        found += [entry.seq for entry in page.entries]
        after = page.upto
    return found


@pytest.fixture
async def shared_log(redis_server: RedisServer) -> AsyncIterator[RedisLog]:
    """A log with 100 entries, of which a node has five in memory."""
    url = redis_server.url(secrets.token_hex(8))
    log = RedisLog(Settings(log=url), url, tail_count=5)
    await log.open()
    await log.append([Draft("e", encoded=b"1") for _ in range(100)])
    yield log
    await log.close()


@pytest.mark.parametrize(
    ("command", "first"),
    [
        (("XTRIM", "MAXLEN", "20"), 81),
        (("XDEL", "30-0"), 31),
        (("XDEL", "1-0"), 2),
    ],
)
async def test_entries_that_others_have_removed_are_not_passed_over(
    shared_log: RedisLog, admin: Redis, command: tuple[str, ...], first: int
) -> None:
    name, *rest = command
    await admin.execute_command(name, shared_log.key("log"), *rest)
    assert await read_all(shared_log, first - 1) == list(range(first, 101))
    await read_all(shared_log, 0)
    # A reader from before it is told: `expired`, and a snapshot.
    assert shared_log.covers(Position(shared_log.epoch, first - 2)) == "expired"
    assert shared_log.covers(Position(shared_log.epoch, first - 1)) is None


async def test_a_stream_that_is_gone_begins_a_new_epoch(shared_log: RedisLog, admin: Redis) -> None:
    epoch, lost = shared_log.epoch, asyncio.Event()
    shared_log.on_lost = lost.set
    await admin.delete(shared_log.key("log"))
    shared_log.tick()
    async with asyncio.timeout(PATIENCE):
        await lost.wait()
        (seq,) = await shared_log.append([Draft("e", encoded=b"1")])
    assert seq == 101
    assert shared_log.epoch != epoch
    assert await read_all(shared_log, 100) == [101]
