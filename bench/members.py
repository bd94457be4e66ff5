"""Who is present while `torture.py` breaks things, and who is when a node has died."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aiohttp
from clients import Ended, WebSocket
from websockets.exceptions import WebSocketException

if TYPE_CHECKING:
    from torture import Run

LOST = (aiohttp.ClientError, Ended, OSError, WebSocketException)
ROOM = "present"
MEMBERS = 4
# Seconds for which a session is kept whose connection was lost.
LEASE = 3
# Seconds in which members of a dead node leave: about ten, and some for a busy machine.
DEAD_NODE = 25.0


async def open_member(url: str, http: aiohttp.ClientSession, name: str, **resume: Any) -> WebSocket:
    """A client that is a member of the room, or will be."""
    client = await WebSocket.open(url, http, **resume)
    info = {"room": ROOM, "presence": {"name": name}}
    await client.send({"event": "join", "data": info})
    return client


async def come_and_go(run: Run, http: aiohttp.ClientSession, name: int) -> None:
    """A member that hops between nodes, with a goodbye or without, until it is over."""
    resume: dict[str, Any] = {}
    while not run.ending:
        with suppress(*LOST):
            client = await open_member(run.url(), http, f"{name}", **resume)
            resume = {"last": client.position, "sid": client.sid}
            run.counts["members that came"] += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(client.ended(), run.random.uniform(0.1, 2.0))
            if run.random.random() < 0.5:
                await client.close()
            else:
                client._ws.transport.abort()
        await asyncio.sleep(0.05)


async def lose_a_node(run: Run, http: aiohttp.ClientSession) -> list[WebSocket]:
    """One member on each node, and one node is killed: the members of the others, which stay."""
    members = [await open_member(node.url, http, node.url) for node in run.nodes]
    lost, *others = run.nodes
    await _until_present(run, http, {node.url for node in run.nodes})
    await lost.kill()
    await _until_present(run, http, {node.url for node in others})
    await lost.start()
    return members[1:]


async def _until_present(run: Run, http: aiohttp.ClientSession, names: set[str]) -> None:
    present: set[str] = set()
    try:
        async with asyncio.timeout(DEAD_NODE):
            while True:
                present = await _present(run, http)
                if present == names:
                    return
                await asyncio.sleep(0.2)
    except TimeoutError:
        run.violation(f"{sorted(present)} are present, and only {sorted(names)} should be")


async def _present(run: Run, http: aiohttp.ClientSession) -> set[str]:
    """As the last node has it."""
    query = {"room": ROOM}
    async with http.get(f"{run.nodes[-1].url}/api/presence", params=query) as answer:
        members = (await answer.json()).get("members", ())
    return {member["info"]["name"] for member in members}
