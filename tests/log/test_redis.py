"""Bad days of Redis: what publishers are told, what readers see, and that it ends by itself.

Each test has a Redis of its own, and nodes behind a proxy that can hold them off.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from clients import (
    KINDS,
    PATIENCE,
    Client,
    Ended,
    Envelope,
    LongPoll,
    Sse,
    WebSocket,
    is_logged,
    split,
    until,
)
from faults import FaultProxy, fault_proxy
from needs import needs
from processes import free_port, pause
from redis.exceptions import ResponseError
from redisserver import RedisServer

from rtpush.config.settings import Settings
from rtpush.log.base import LogError
from rtpush.log.factory import make_log
from rtpush.log.redis import connection as redis_link
from rtpush.log.redis import follower as redis_follow
from rtpush.log.redis import log as redis_log
from rtpush.log.redis.log import RedisLog
from rtpush.server import Server, StartError

pytestmark = needs("redis")

# Seconds that Redis has for an answer, here.
SOON = 0.4


class Node:
    """A server, its way to Redis, and the clients that it has."""

    def __init__(self, server: Server, proxy: FaultProxy, http: aiohttp.ClientSession) -> None:
        self.server = server
        self.proxy = proxy
        self.http = http

    @property
    def url(self) -> str:
        return self.server.url.rstrip("/")

    async def open(self, kind: type[Client] = WebSocket, last: str | None = None) -> Client:
        return await kind.open(self.url, self.http, ["r"], last)

    async def publish(self, data: Any, **fields: Any) -> tuple[int, Any, Any]:
        """Status, answer, and Retry-After."""
        event = {"event": "tick", "data": data, **fields}
        async with self.http.post(f"{self.url}/api/publish", json=event) as answer:
            return answer.status, await answer.json(), answer.headers.get("Retry-After")

    async def published(self, data: Any, **fields: Any) -> str:
        """Publish until it is taken, as a publisher would; the position."""
        async with asyncio.timeout(PATIENCE):
            while True:
                status, answer, _ = await self.publish(data, **fields)
                if status == 200:
                    position: str = answer["id"]
                    return position
                assert answer["error"]["code"] == "unavailable", answer
                await pause()

    async def refused(self) -> str:
        """Publish when the node has noticed; the message of the refusal."""
        await self.unready()
        status, answer, retry_after = await self.publish(None)
        assert (status, answer["error"]["code"], retry_after) == (503, "unavailable", "1")
        message: str = answer["error"]["message"]
        return message

    async def unready(self) -> None:
        """Wait until the node says that it should get no traffic."""
        async with asyncio.timeout(PATIENCE):
            while True:
                if await self.ready() != 200:
                    return
                await pause()

    async def ready(self) -> int:
        async with self.http.get(f"{self.url}/readyz") as answer:
            return answer.status


class Site:
    """Redis and what is started around it."""

    def __init__(
        self, redis: RedisServer, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.redis = redis
        self.http = http
        self.stack = AsyncExitStack()
        self._monkeypatch = monkeypatch

    async def node(self, **settings: Any) -> Node:
        proxy = await self.stack.enter_async_context(fault_proxy(self.redis.port))
        log = self.redis.url(port=proxy.port)
        # A node that gets no answer while it starts does not try again, as others do.
        self.timeout(PATIENCE)
        server = await self.stack.enter_async_context(Server(Settings(port=0, log=log, **settings)))
        self.timeout(SOON)
        return Node(server, proxy, self.http)

    def timeout(self, seconds: float) -> None:
        """How long nodes wait for an answer of Redis."""
        for module in (redis_follow, redis_link):
            self._monkeypatch.setattr(module, "TIMEOUT", seconds)


@pytest.fixture
async def site(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Site]:
    """With a Redis that keeps what it is told, unless `kept` is off."""
    monkeypatch.setattr(redis_link, "BACKOFF", (0.01, 0.05))
    kept = request.node.get_closest_marker("forgetful") is None
    server = RedisServer(tmp_path / "redis", kept=kept).start()
    async with aiohttp.ClientSession(trust_env=False) as http:
        site = Site(server, http, monkeypatch)
        async with site.stack:
            yield site
    server.stop()


async def alive(client: Client) -> None:
    """Does the connection still work?"""
    await client.send({"event": "ping", "data": "still here"})
    assert (await client.until("pong"))[-1]["data"] == "still here"


async def next_tick(client: Client) -> Envelope:
    return (await client.until("tick"))[-1]


async def told(client: Client) -> str:
    """Wait until the client is told to begin anew; the epoch that it is given."""
    before = split(client.greeting[-1]["id"])[0]
    resync, snapshot = (await client.until("active_tasks"))[-2:]
    assert (resync["event"], resync["data"]) == ("resync", {"reason": "epoch"})
    epoch, _ = split(snapshot["id"])
    assert epoch != before
    return epoch


def changes(caplog: pytest.LogCaptureFixture) -> list[int]:
    """The levels of what the log has said, in order."""
    return [record.levelno for record in caplog.records if record.name == "rtpush.log"]


# ---- away --------------------------------------------------------------------


async def test_stopped_and_started(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    node = await site.node()
    clients = [await node.open(kind) for kind in (WebSocket, Sse)]
    first = await node.published(1)
    site.redis.stop()
    await node.refused()
    assert await node.ready() == 503
    for client in clients:
        assert (await next_tick(client))["id"] == first
        await alive(client)
    site.redis.start()
    second = await node.published(2)
    assert split(second) == (split(first)[0], split(first)[1] + 1)
    for client in clients:
        assert (await next_tick(client))["id"] == second
    assert await node.ready() == 200
    assert changes(caplog) == [logging.ERROR, logging.WARNING], "one line for each change"


async def test_killed(site: Site) -> None:
    """What was answered is there again, and nobody need begin anew."""
    node, other = await site.node(), await site.node()
    client = await node.open()
    ids = [await node.published(i) for i in range(20)]
    site.redis.kill()
    await node.refused()
    site.redis.start()
    ids.append(await other.published(20))
    assert [(await next_tick(client))["id"] for _ in ids] == ids
    for kind in KINDS:
        back = await other.open(kind, ids[4])
        assert back.hello["recovered"] is True
        assert [e["id"] for e in await back.take(len(ids) - 5)] == ids[5:]


async def test_too_slow(site: Site) -> None:
    """Five seconds for an answer are as good as none."""
    node = await site.node()
    client = await node.open()
    node.proxy.delay = 5.0
    publishing = asyncio.create_task(node.published("slow", idempotency_key="once"))
    await alive(client)
    await node.unready()
    assert not publishing.done(), "nobody knows yet what became of it"
    node.proxy.heal()
    position = await publishing
    assert (await next_tick(client))["id"] == position
    assert await node.published("slow", idempotency_key="once") == position


async def test_an_answer_that_is_lost(site: Site) -> None:
    """What was stored is answered for when Redis can be asked again, and stored once."""
    node, other = await site.node(), await site.node()
    client, reader = await node.open(), await other.open()
    node.proxy.hold_answers()
    publishing = asyncio.create_task(node.publish("x"))
    position = (await next_tick(reader))["id"]
    assert not publishing.done()
    node.proxy.cut()
    node.proxy.heal()
    assert await publishing == (200, {"id": position}, None)
    last = await other.published("y")
    assert [(await next_tick(c))["id"] for c in (client, client, reader)] == [position, last, last]


async def test_a_publish_that_always_comes_too_late(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for ever."""
    monkeypatch.setattr(redis_log, "UNSURE_FOR", SOON)
    node = await site.node()
    event = {"event": "task_created", "data": {"id": 1}}
    site.redis.client.set("{rtpush}:lock", "a node that has lost more often")
    async with site.http.post(f"{node.url}/api/publish", json=event) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (503, "unavailable")
    site.redis.client.delete("{rtpush}:lock")
    async with site.http.post(f"{node.url}/api/publish", json=event) as answer:
        assert answer.status == 200


async def test_cut_off(site: Site) -> None:
    """A node without Redis keeps its clients, and gives them all that they missed."""
    node, other = await site.node(), await site.node()
    clients = [await node.open(kind) for kind in KINDS]
    node.proxy.hold()
    await node.refused()
    ids = [await other.published(i) for i in range(5)]
    for client in clients[:2]:
        await alive(client)
    node.proxy.cut()
    node.proxy.heal()
    for client in clients:
        found = [e for e in await client.until("tick") if is_logged(e)]
        while len(found) < len(ids):
            found += await client.until("tick")
        assert [e["id"] for e in found if e["data"] is not None] == ids


async def test_a_node_that_lags_sends_on_who_is_ahead_of_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not know what it has not read yet, so it must not say that it is not there."""
    node, other = await site.node(), await site.node()
    log = node.server._log
    assert isinstance(log, RedisLog)
    read_on, goes_on = log._read_on, asyncio.Event()

    async def held() -> Any:
        await goes_on.wait()
        return await read_on()

    monkeypatch.setattr(log, "_read_on", held)
    monkeypatch.setattr(redis_log, "SEEN_WITHIN", 0.05)
    # This one ends the read that is under way.
    seen = await other.published(1)
    await until(lambda: str(log.position) == seen)
    position = await other.published(2)
    for kind in KINDS:
        with pytest.raises(Ended):
            await node.open(kind, position)
    assert await node.ready() == 200
    goes_on.set()
    await until(lambda: str(log.position) == position)
    for kind in KINDS:
        assert (await node.open(kind, position)).hello["recovered"] is True


async def test_nobody_speaks_before_a_connection_is_greeted(site: Site) -> None:
    """Else its answer would be taken for one of the greeting's."""
    async with fault_proxy(site.redis.port) as proxy:
        link = redis_link.RedisConnection(redis_link.Address.parse(site.redis.url(port=proxy.port)))
        proxy.hold_answers()
        opening = asyncio.create_task(link.open())
        for _ in range(100):
            await asyncio.sleep(0)
            with pytest.raises(redis_link.RedisUnavailable):
                await link.send("PING")
        proxy.heal()
        await opening
        assert link.is_open
        await link.send("PING")
        assert await link.receive(PATIENCE) == b"PONG"
        await link.close()


# ---- full, or not to be written ----------------------------------------------


async def test_out_of_memory(site: Site) -> None:
    node = await site.node()
    client = await node.open()
    first = await node.published(1)
    site.redis.configure(maxmemory=1)
    assert "memory" in await node.refused()
    await alive(client)
    site.redis.configure(maxmemory=0)
    second = await node.published(2)
    assert split(second)[1] == split(first)[1] + 1, "what was refused was not stored"
    assert client.position in (first, second)


async def test_read_only(site: Site) -> None:
    """Redis has become a replica of another one, as after a failover."""
    node = await site.node()
    client = await node.open()
    first = await node.published(1)
    site.redis.client.replicaof("127.0.0.1", "1")
    assert "it has become a replica" in await node.refused()
    await alive(client)
    site.redis.client.replicaof("NO", "ONE")
    second = await node.published(2)
    assert split(second) == (split(first)[0], split(first)[1] + 1)


# ---- entries that are gone ---------------------------------------------------


async def test_emptied(site: Site) -> None:
    nodes = [await site.node(), await site.node()]
    clients = [await node.open(kind) for node in nodes for kind in (WebSocket, Sse)]
    await nodes[0].published(1)
    old = clients[0].position
    site.redis.client.flushall()
    epochs = {await told(client) for client in clients}
    assert len(epochs) == 1, "all nodes go on with the same log"
    position = await nodes[1].published(2)
    assert split(position) == (epochs.pop(), 1)
    for client in clients:
        assert (await next_tick(client))["id"] == position
    for kind in KINDS:
        back = await nodes[0].open(kind, old)
        assert [e["event"] for e in back.greeting] == ["connect", "resync", "active_tasks"]


async def test_emptied_while_history_is_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of it would be of one log and half of another."""
    node = await site.node()
    await node.published(1)
    log = node.server._log
    assert isinstance(log, RedisLog)
    ask, epoch = log._ask_reader, log.epoch

    async def ask_late(command: str, **fields: Any) -> Any:
        if command == "read" and log.epoch == epoch:
            site.redis.client.flushall()
            await until(lambda: log.epoch != epoch)
        return await ask(command, **fields)

    monkeypatch.setattr(log, "_ask_reader", ask_late)
    async with site.http.get(f"{node.url}/api/history") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (503, "unavailable")
    position = await node.published(2)
    async with site.http.get(f"{node.url}/api/history") as answer:
        found = await answer.json()
    assert ([event["id"] for event in found["events"]], found["last"]) == ([position], position)


async def test_emptied_while_a_long_poll_waits(site: Site) -> None:
    node = await site.node()
    client = await node.open(LongPoll)
    waiting = asyncio.create_task(told(client))
    site.redis.client.flushall()
    epoch = await waiting
    assert split(await node.published(1))[0] == epoch
    assert split((await next_tick(client))["id"]) == (epoch, 1)


@pytest.mark.forgetful
async def test_a_lost_tail(site: Site) -> None:
    """Redis comes back as it was a while ago, as after a failover to a replica that lagged."""
    node = await site.node()
    client = await node.open()
    await node.published("kept")
    site.redis.client.save()
    await node.published("lost")
    site.redis.kill()
    site.redis.start()
    epoch = await told(client)
    position = await node.published("new")
    assert split(position) == (epoch, 2)
    assert (await next_tick(client))["data"] == "new"


async def replica_of(site: Site, folder: Path, port: int | None = None) -> RedisServer:
    """Another Redis that has caught up; by way of a port, if one is given."""
    replica = RedisServer(folder, kept=True).start()
    site.stack.callback(replica.stop)
    replica.client.replicaof("127.0.0.1", str(port or site.redis.port))
    await until(lambda: replica.client.info("replication")["master_link_status"] == "up")
    return replica


async def test_a_failover_that_loses_the_tail(site: Site, tmp_path: Path) -> None:
    """The replica that takes over had not been told of everything that was acknowledged."""
    node = await site.node()
    clients = [await node.open(kind) for kind in (WebSocket, Sse)]
    async with fault_proxy(site.redis.port) as wire:
        replica = await replica_of(site, tmp_path / "replica", wire.port)
        kept = await node.published("kept")
        await until(lambda: replica.client.xlen("{rtpush}:log") == 1)
        wire.hold()
        await node.published("lost")
        for client in clients:
            assert [(await next_tick(client))["data"] for _ in range(2)] == ["kept", "lost"]
        site.redis.kill()
        replica.client.replicaof("NO", "ONE")
        node.proxy.target = replica.port
        epochs = {await told(client) for client in clients}
    assert len(epochs) == 1
    position = await node.published("new")
    assert split(position) == (epochs.pop(), split(kept)[1] + 1)
    for client in clients:
        assert (await next_tick(client))["id"] == position


async def test_a_master_becomes_the_replica_of_the_next(site: Site, tmp_path: Path) -> None:
    """What still hangs on it lets go; nothing was lost, and nobody begins anew."""
    node = await site.node()
    client = await node.open()
    ids = [await node.published(1)]
    history = f"{node.url}/api/history"
    async with site.http.get(history) as answer:
        assert len((await answer.json())["events"]) == 1
    replica = await replica_of(site, tmp_path / "replica")
    await until(lambda: replica.client.xlen("{rtpush}:log") == 1)
    node.proxy.target = replica.port
    replica.client.replicaof("NO", "ONE")
    site.redis.client.replicaof("127.0.0.1", str(replica.port))
    ids.append(await node.published(2))
    assert [(await next_tick(client))["id"] for _ in ids] == ids
    async with asyncio.timeout(PATIENCE), site.http.get(history) as answer:
        assert [e["id"] for e in (await answer.json())["events"]] == ids


@pytest.mark.forgetful
async def test_a_lost_tail_that_one_node_alone_has_seen(site: Site) -> None:
    """The other node cannot know, and must not go on as if nothing had happened."""
    node, blind = await site.node(), await site.node()
    client, reader = await node.open(), await blind.open()
    await node.published("kept")
    await next_tick(client)
    await next_tick(reader)
    site.redis.client.save()
    blind.proxy.hold()
    await node.published("lost")
    await next_tick(client)
    node.proxy.hold()
    site.redis.kill()
    site.redis.start()
    blind.proxy.cut()
    blind.proxy.heal()
    async with asyncio.timeout(PATIENCE):
        while "confirmed" not in await blind.refused():
            await pause()
    node.proxy.cut()
    node.proxy.heal()
    epochs = {await told(client), await told(reader)}
    assert len(epochs) == 1
    position = await blind.published("new")
    assert (await next_tick(client))["id"] == (await next_tick(reader))["id"] == position


@pytest.mark.forgetful
async def test_a_node_that_does_not_come_back_to_confirm(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its lease the others go on, and take it that something was lost."""
    monkeypatch.setattr(redis_follow, "LEASE", SOON)
    node, dead = await site.node(), await site.node()
    client = await node.open()
    await node.published(1)
    site.redis.client.save()
    dead.proxy.hold()
    site.redis.kill()
    site.redis.start()
    assert split(await node.published(2))[0] == await told(client)
    dead.proxy.heal()


# ---- starting ----------------------------------------------------------------


async def one_event(url: str) -> None:
    """A server with this log takes an event."""
    async with Server(Settings(port=0, log=url)) as server:
        assert split(await server.emit("x") or "")[1] > 0


async def test_a_user_with_a_password(tmp_path: Path) -> None:
    acl = "app on >pass%word ~{shop}:* &{shop}:* +@all -@admin -@dangerous +info"
    server = RedisServer(tmp_path, flags=("--user", *acl.split())).start()
    try:
        await one_event(f"redis://app:pass%25word@127.0.0.1:{server.port}/0?prefix=shop")
        with pytest.raises(StartError, match="cannot be used") as refusal:
            await one_event(f"redis://app:wrong@127.0.0.1:{server.port}/0?prefix=shop")
        assert "wrong" not in str(refusal.value)
        with pytest.raises(StartError, match="cannot be used"):
            await one_event(f"redis://app:pass%25word@127.0.0.1:{server.port}/0?prefix=other")
    finally:
        server.stop()


async def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    files = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(files["ca"])
    made.cert_chain_pems[0].write_to_path(files["cert"])
    made.private_key_pem.write_to_path(files["key"])
    port = free_port()
    tls = ["--tls-port", str(port), "--tls-auth-clients", "no"]
    tls += ["--tls-cert-file", str(files["cert"]), "--tls-key-file", str(files["key"])]
    server = RedisServer(tmp_path, flags=(*tls, "--tls-ca-cert-file", str(files["ca"]))).start()
    try:
        await one_event(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={files['ca']}")
        with pytest.raises(StartError, match="cannot be used"):
            await one_event(f"rediss://127.0.0.1:{port}/0")
    finally:
        server.stop()


def fails_over(sentinel: RedisServer) -> bool:
    try:
        sentinel.client.execute_command("SENTINEL", "FAILOVER", "main")
    except ResponseError:
        # It has not found the replica yet.
        return False
    return True


async def test_a_failover_by_sentinel(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes follow the master that the sentinels name, also when some of these are dead."""
    monkeypatch.setattr(redis_link, "TIMEOUT", 2.0)
    replica = await replica_of(site, tmp_path / "replica")
    conf = tmp_path / "sentinel.conf"
    conf.write_text(
        f"sentinel monitor main 127.0.0.1 {site.redis.port} 1\nuser node on >pass%word +@all\n"
    )
    sentinel = RedisServer(tmp_path / "sentinel", sentinel=conf).start()
    site.stack.callback(sentinel.stop)
    async with fault_proxy(1) as silent:
        silent.hold()
        hosts = ",".join(f"127.0.0.1:{port}" for port in (1, silent.port, sentinel.port))
        own = "sentinel_username=node&sentinel_password=pass%25word"
        log = f"redis+sentinel://{hosts}/main/0?{own}"
        async with Server(Settings(port=0, log=log)) as server:
            node = Node(server, FaultProxy(0), site.http)
            client = await node.open()
            first = await node.published(1)
            await until(lambda: fails_over(sentinel))
            await until(lambda: replica.client.info("replication")["role"] == "master")
            second = await node.published(2)
            assert split(second)[1] > split(first)[1]
            assert (await client.until("tick"))[-1]["id"] == first
            assert (await client.until("tick"))[-1]["id"] == second
    with pytest.raises(StartError, match="cannot be used"):
        await one_event(log.replace("pass%25word", "wrong"))


@pytest.mark.parametrize(
    "address", ["h:port/0", "h:99999/0", "h/0?socket_timout=3", "h/0?db=x", "h:6379,i:6379/0"]
)
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(LogError, match="its address is wrong"):
        make_log(Settings(log=f"redis://{address}"))


async def test_a_redis_that_is_too_old(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_follow, "OLDEST", (99, 0))
    with pytest.raises(StartError, match=r"needs 6\.2 or newer"):
        await one_event(site.redis.url())


async def test_no_redis(tmp_path: Path) -> None:
    log = make_log(Settings(log="redis://user:secret@127.0.0.1:1/0"))
    with pytest.raises(LogError) as refusal:
        await log.open()
    assert "Redis at 127.0.0.1:1 cannot be used" in str(refusal.value)
    assert "secret" not in str(refusal.value)
