"""Several nodes on one log: one picture, and sessions that any node can serve."""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, cast

import aiohttp
import jwt
import pytest
from clients import KINDS, PATIENCE, Client, LongPoll, Sse, WebSocket, until
from needs import needs
from processes import ServerProcess, pause
from redisserver import RedisServer

from rtpush.config.settings import Settings
from rtpush.errors import RtpushError
from rtpush.log.entry import Draft, claimed
from rtpush.log.redis.log import RedisLog
from rtpush.protocol import Envelope
from rtpush.server import Server
from rtpush.sessions.session import Session
from rtpush.work.task import AsyncReport, Work

pytestmark = needs("redis")

EACH = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(trust_env=False) as session:
        yield session


@pytest.fixture
async def nodes(redis_server: RedisServer) -> AsyncIterator[list[Server]]:
    """Three nodes."""
    url = redis_server.url(secrets.token_hex(8))
    async with AsyncExitStack() as stack:
        servers = [Server(Settings(port=0, log=url)) for _ in range(3)]
        for server in servers:
            await stack.enter_async_context(server)
        yield servers


def address(node: Server) -> str:
    return node.url.rstrip("/")


async def get(http: aiohttp.ClientSession, url: str) -> Any:
    async with http.get(url) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def until_true(condition: Callable[[], Any]) -> None:
    """Wait for something that has to be asked for."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if await condition():
                return
            await pause()


# ---- one picture -------------------------------------------------------------


async def test_connections_and_rooms(nodes: list[Server], http: aiohttp.ClientSession) -> None:
    clients = [
        await kind.open(address(node), http, ["all", f"of-{i}"])
        for i, (node, kind) in enumerate(zip(nodes, KINDS, strict=True))
    ]
    sids = {client.sid for client in clients}
    for node in nodes:
        url = address(node)
        found = (await get(http, f"{url}/api/connections"))["connections"]
        assert {one["sid"] for one in found} == sids
        assert {one["transport"] for one in found} == {"websocket", "sse", "poll"}
        assert (await get(http, f"{url}/api/rooms"))["rooms"] == [
            {"room": "all", "members": 3},
            *({"room": f"of-{i}", "members": 1} for i in range(3)),
        ]
        members = (await get(http, f"{url}/api/rooms/all"))["members"]
        assert {one["sid"] for one in members} == sids


async def test_many_connections_fit_into_the_picture(
    nodes: list[Server], http: aiohttp.ClientSession
) -> None:
    """Larger than what is published in one message."""
    rooms = [f"{i:060}" for i in range(50)]
    clients = [await WebSocket.open(address(nodes[0]), http, rooms) for _ in range(30)]
    found = (await get(http, f"{address(nodes[1])}/api/connections"))["connections"]
    assert {one["sid"] for one in found} == {client.sid for client in clients}


@EACH
async def test_an_operator_ends_a_connection_of_another_node(
    nodes: list[Server], http: aiohttp.ClientSession, kind: type[Client]
) -> None:
    client = await kind.open(address(nodes[0]), http)
    ended = asyncio.create_task(client.ended())
    await until(lambda: _waits(nodes[0], client.sid))
    url = f"{address(nodes[1])}/api/connections/{client.sid}"
    async with http.delete(url) as answer:
        assert answer.status == 200
    await ended
    goodbye = client.received[-1]
    assert (goodbye["event"], goodbye["data"]["retry_after"]) == ("disconnect", None)
    async with http.delete(url) as answer:
        assert answer.status == 404


async def test_a_dead_nodes_sessions_vanish(
    redis_server: RedisServer, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Killed, or held: who does not answer is not in the picture."""
    log = f"--log={redis_server.url(secrets.token_hex(8))}"
    async with Server(Settings(port=0, log=log.removeprefix("--log="))) as node:
        doomed, held = ServerProcess(tmp_path, log), ServerProcess(tmp_path, log)
        for process in (doomed, held):
            await process.start()
            await WebSocket.open(process.url, http, ["r"])
        ours = await WebSocket.open(address(node), http, ["r"])

        async def members() -> int:
            return len((await get(http, f"{address(node)}/api/rooms/r"))["members"])

        assert await members() == 3
        await doomed.kill()
        await until_true(lambda: _equals(members, 2))
        held.signal(signal.SIGSTOP)
        await until_true(lambda: _equals(members, 1))
        held.signal(signal.SIGCONT)
        await until_true(lambda: _equals(members, 2))
        await ours.close()
        await held.stop()


async def _equals(ask: Callable[[], Any], wanted: int) -> bool:
    found: int = await ask()
    return found == wanted


# ---- what an application does ------------------------------------------------


@EACH
async def test_messages_to_a_session_of_another_node(
    nodes: list[Server], http: aiohttp.ClientSession, kind: type[Client]
) -> None:
    client = await kind.open(address(nodes[0]), http)
    other = await WebSocket.open(address(nodes[0]), http)
    await nodes[1].emit("private", 1, to=client.sid)
    await nodes[2].emit("public", 2, skip_sid=other.sid)
    await nodes[2].emit("end")
    assert [e["event"] for e in await client.take(3)] == ["private", "public", "end"]
    assert [e["event"] for e in await other.take(1)] == ["end"]


async def test_who_is_in_two_rooms_gets_an_event_once(
    nodes: list[Server], http: aiohttp.ClientSession
) -> None:
    client = await WebSocket.open(address(nodes[0]), http, ["a", "b"])
    await nodes[1].emit("both", to=["a", "b"])
    await nodes[1].emit("end")
    assert [e["event"] for e in await client.take(2)] == ["both", "end"]


@EACH
async def test_a_client_of_another_node_is_asked(
    nodes: list[Server], http: aiohttp.ClientSession, kind: type[Client]
) -> None:
    client = await kind.open(address(nodes[0]), http)
    asking = asyncio.create_task(nodes[1].call("how", "are you", to=client.sid, timeout=PATIENCE))
    question = (await client.until("how"))[-1]
    await client.send({"ack": question["ack"], "data": "well"})
    assert await asking == "well"
    with pytest.raises(ValueError):
        await nodes[1].call("how", to="nobody")


@EACH
async def test_who_has_moved_meanwhile_answers_from_there(
    nodes: list[Server], http: aiohttp.ClientSession, kind: type[Client]
) -> None:
    client = await WebSocket.open(address(nodes[0]), http)
    asking = asyncio.create_task(nodes[0].call("how", to=client.sid, timeout=PATIENCE))
    question = (await client.until("how"))[-1]
    moved = await kind.open(address(nodes[1]), http, last=client.position, sid=client.sid)
    assert moved.sid == client.sid
    await moved.send({"ack": question["ack"], "data": "well"})
    assert await asking == "well"


async def test_a_message_to_a_user_reaches_all_her_devices(
    redis_server: RedisServer, http: aiohttp.ClientSession
) -> None:
    secret = "a secret of more than thirty-two bytes"
    settings = Settings(
        port=0, log=redis_server.url(secrets.token_hex(8)), auth_secret=secret, relay=()
    )
    ends = time.time() + 60
    ada, eve = (jwt.encode({"sub": s, "exp": ends}, secret, "HS256") for s in ("ada", "eve"))
    async with Server(settings) as one, Server(settings) as two:
        for server in (one, two):
            server.on("connect", partial(_into_own_room, server))
        hers = [await kind.open(address(one), http, token=ada) for kind in KINDS]
        hers.append(await WebSocket.open(address(two), http, token=ada))
        others = [await WebSocket.open(address(node), http, token=eve) for node in (one, two)]
        await two.emit("hello", to="user:ada")
        await one.emit("end")
        for client, expected in [(c, ["hello", "end"]) for c in hers] + [
            (c, ["end"]) for c in others
        ]:
            found = await client.until("end")
            assert [e["event"] for e in found if e["event"] != "active_tasks"] == expected


async def _into_own_room(server: Server, sid: str, environ: dict[str, Any]) -> None:
    await server.enter_room(sid, f"user:{environ['rtpush.subject']}")


async def test_only_who_was_asked_can_answer(
    nodes: list[Server], http: aiohttp.ClientSession
) -> None:
    asked = await WebSocket.open(address(nodes[0]), http)
    other = await WebSocket.open(address(nodes[2]), http)
    asking = asyncio.create_task(nodes[1].call("how", to=asked.sid, timeout=PATIENCE))
    question = (await asked.until("how"))[-1]
    await other.send({"ack": question["ack"], "data": "forged"})
    await other.accepted({"event": "ping"})
    await asked.send({"ack": question["ack"], "data": "genuine"})
    assert await asking == "genuine"


async def test_rooms_of_sessions_of_another_node(
    nodes: list[Server], http: aiohttp.ClientSession
) -> None:
    client = await WebSocket.open(address(nodes[0]), http)
    await nodes[1].enter_room(client.sid, "r")
    assert (await client.next())["room"] == "r"
    await nodes[2].emit("in", to="r")
    assert (await client.next())["event"] == "in"
    await nodes[1].leave_room(client.sid, "r")
    assert nodes[0].rooms(client.sid) == [client.sid]
    await nodes[1].enter_room(client.sid, "s")
    await nodes[2].close_room("s")
    assert nodes[0].rooms(client.sid) == [client.sid]
    await nodes[1].disconnect(client.sid)
    assert await client.ended() == 4403
    with pytest.raises(RtpushError, match="not_found"):
        await nodes[1].enter_room(client.sid, "r")


async def test_refusals_of_another_node_are_told(
    nodes: list[Server], http: aiohttp.ClientSession
) -> None:
    rooms = [f"room-{i}" for i in range(100)]
    client = await WebSocket.open(address(nodes[0]), http, rooms)
    with pytest.raises(RtpushError, match="too_many_rooms"):
        await nodes[1].enter_room(client.sid, "one more")


@pytest.mark.parametrize("kind", [WebSocket, Sse])
async def test_volatile_events_reach_all_nodes(
    nodes: list[Server], http: aiohttp.ClientSession, kind: type[Client]
) -> None:
    clients = [await kind.open(address(node), http, ["r"]) for node in nodes]
    stranger = await kind.open(address(nodes[1]), http)
    await nodes[0].emit("pointer", [1, 2], room="r", skip_sid=clients[2].sid, volatile=True)
    for client in clients[:2]:
        assert await client.next() == {"event": "pointer", "data": [1, 2], "room": "r"}
    await nodes[0].emit("private", to=clients[2].sid, volatile=True)
    assert (await clients[2].next())["event"] == "private"
    await nodes[0].emit("end")
    assert (await stranger.next())["event"] == "end"


async def test_each_task_is_done_by_one_node(redis_server: RedisServer) -> None:
    """And by another one when that has stopped amid it."""
    done: list[tuple[int, Any]] = []
    begun = asyncio.Event()

    def work_of(number: int) -> Work:
        async def work(task: dict[str, Any], _report: AsyncReport) -> None:
            if task["id"] == "c" and not begun.is_set():
                begun.set()
                await asyncio.Event().wait()
            done.append((number, task["id"]))

        return work

    settings = Settings(port=0, log=redis_server.url(secrets.token_hex(8)))
    one = Server(settings, work=work_of(1))
    await one.start()
    await one.emit("task_created", {"id": "c"})
    await begun.wait()
    async with Server(settings, work=work_of(2)) as two:
        await two.emit("task_created", {"id": "a"})
        await one.emit("task_created", {"id": "b"})
        await until(lambda: len(done) == 2)
        await one.stop()
        await until(lambda: len(done) == 3)
    assert sorted(task for _, task in done) == ["a", "b", "c"]
    assert done[2] == (2, "c")


async def test_what_comes_in_amid_a_decision_is_heeded(nodes: list[Server]) -> None:
    """Between the decision about a batch and its way to Redis, a node reads on."""
    one, other = (cast(RedisLog, node._log) for node in nodes[:2])
    await one.append([Draft.of(Envelope("task_created", {"id": "a"}))])
    (task,) = one.board.all_active()
    await until(lambda: other.board.is_active("a"))
    assert one._following is not None
    one._following.cancel()
    await asyncio.wait([one._following])
    assert await other.append([claimed(task, "other")]) == [2]
    news = await one._read_on()
    loop = asyncio.get_running_loop()
    claiming = one.append([claimed(task, "one")])
    # Behind the decision, which waits for the loop, and before what it leads to.
    loop.call_soon(one._apply, news)
    one._restart_following()
    (refused,) = await claiming
    assert isinstance(refused, RtpushError)
    assert refused.code == "claim_lost"


# ---- moving ------------------------------------------------------------------


@EACH
async def test_a_session_moves_to_another_node(
    nodes: list[Server], http: aiohttp.ClientSession, kind: type[Client]
) -> None:
    """With its sid, its rooms, what is saved with it, and what was sent to it meanwhile."""
    client = await WebSocket.open(address(nodes[0]), http, ["a"])
    await nodes[0].enter_room(client.sid, "b")
    await nodes[0].save_session(client.sid, {"name": "Ada"})
    await client.next()
    await client.close()
    await nodes[2].emit("missed", to=client.sid)
    await nodes[2].emit("missed too", to="b")
    back = await kind.open(address(nodes[1]), http, last=client.position, sid=client.sid)
    assert back.sid == client.sid
    assert back.hello["recovered"] is True
    assert set(back.hello["rooms"]) == {"a", "b"}
    assert [e["event"] for e in await back.take(2)] == ["missed", "missed too"]
    assert await nodes[1].get_session(back.sid) == {"name": "Ada"}
    assert back.sid not in nodes[0]._hub.sessions


async def test_a_live_connection_ends_when_its_session_moves(
    nodes: list[Server], http: aiohttp.ClientSession
) -> None:
    client = await WebSocket.open(address(nodes[0]), http, ["a"])
    last = client.greeting[-1]["id"]
    back = await Sse.open(address(nodes[1]), http, ["a"], last, sid=client.sid)
    assert (back.sid, await client.ended()) == (client.sid, 1000)
    found = (await get(http, f"{address(nodes[2])}/api/connections"))["connections"]
    assert [one["sid"] for one in found] == [client.sid]


async def test_a_long_poll_goes_round(nodes: list[Server], http: aiohttp.ClientSession) -> None:
    """Each request to another node, and none is answered before there is something."""
    client = await LongPoll.open(address(nodes[0]), http, ["r"])
    for i in range(6):
        node = nodes[i % 3]
        query = {"sid": client.sid, "last": client.position, "timeout": "9", "room": "r"}
        waiting = asyncio.create_task(get_poll(http, node, query))
        await until(lambda node=node: _waits(node, client.sid))
        (position,) = [await nodes[(i + 1) % 3].emit("tick", i, room="r")]
        answer = await waiting
        assert [e["data"] for e in answer["events"]] == [i]
        client.position = answer["last"]
        assert client.position == position


def _waits(node: Server, sid: str) -> bool:
    session = node._hub.sessions.get(sid)
    return session is not None and session.connection is not None


async def get_poll(http: aiohttp.ClientSession, node: Server, query: dict[str, Any]) -> Any:
    async with http.get(f"{address(node)}/poll", params=query) as answer:
        return await answer.json()


async def test_a_session_that_ends_while_it_moves_begins_anew(
    nodes: list[Server], http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the node that it moves to stops at that moment."""
    client = await LongPoll.open(address(nodes[0]), http, ["r"])
    hub = nodes[1]._hub
    adopt = hub.adopt

    def adopt_and_end(*args: Any) -> Session:
        session = adopt(*args)
        hub.disconnect(session, RtpushError("going_away", "The server is stopping."))
        return session

    monkeypatch.setattr(hub, "adopt", adopt_and_end)
    position = await nodes[2].emit("missed", room="r")
    query = {"sid": client.sid, "last": client.position, "room": "r"}
    answer = await get_poll(http, nodes[1], query)
    assert "error" not in answer, answer
    hello = answer["events"][0]["data"]
    assert (hello["recovered"], answer["last"]) == (True, position)
    assert hello["sid"] != client.sid


async def test_what_a_client_sends_to_another_node(
    nodes: list[Server], http: aiohttp.ClientSession
) -> None:
    client = await Sse.open(address(nodes[0]), http)
    url = f"{address(nodes[1])}/poll"
    body = [{"event": "join", "data": {"room": "r"}, "ack": 1}, {"event": "x", "ack": 2}]
    async with http.post(url, params={"sid": client.sid}, json=body) as answer:
        snapshot, joined, sent = await answer.json()
    assert (snapshot["event"], joined) == ("active_tasks", {"ack": 1, "data": {"room": "r"}})
    assert (await client.until("x"))[-1]["id"] == sent["data"]["id"]
    assert nodes[0].rooms(client.sid) == [client.sid, "r"]
    async with http.post(url, params={"sid": "nobody"}, json=body) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (404, "not_found")


async def test_a_stranger_does_not_get_a_session(
    redis_server: RedisServer, http: aiohttp.ClientSession
) -> None:
    """Who has found a sid out is not its owner by it, on no node."""
    secret = "a secret of more than thirty-two bytes"
    url = redis_server.url(secrets.token_hex(8))
    settings = Settings(port=0, log=url, auth_secret=secret)
    ends = time.time() + 60
    ada, eve = (jwt.encode({"sub": s, "exp": ends}, secret, "HS256") for s in ("ada", "eve"))
    async with Server(settings) as one, Server(settings) as two:
        client = await Sse.open(address(one), http, token=ada)
        query = {"sid": client.sid}
        headers = {"Authorization": f"Bearer {eve}"}
        async with http.post(
            f"{address(two)}/poll", params=query, headers=headers, json={"event": "x"}
        ) as answer:
            assert answer.status == 403
        last = client.greeting[-1]["id"]
        thief = await Sse.open(address(two), http, last=last, sid=client.sid, token=eve)
        assert thief.sid != client.sid
        owner = await Sse.open(address(two), http, last=last, sid=client.sid, token=ada)
        assert owner.sid == client.sid
