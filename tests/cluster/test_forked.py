"""A server that is made in one process and started in others, which were forked from it."""

from __future__ import annotations

import asyncio
import secrets

import aiohttp
import forkserver
from needs import needs
from redisserver import RedisServer

from rtpush.server import Server

pytestmark = needs("redis")

FORKED = """
import asyncio, os, sys
from aiohttp import web
import rtpush

server = rtpush.Server(log=sys.argv[1])
app = web.Application()
server.attach(app)


async def work(name):
    runner = web.AppRunner(app)
    await runner.setup()
    for number in range(20):
        position = await server.emit("n", f"{name}{number}")
        os.write(1, f"{position} ".encode())
    await runner.cleanup()


if os.fork():
    asyncio.run(work("a"))
    os.wait()
else:
    asyncio.run(work("b"))
    os._exit(0)
"""


async def test_processes_that_were_forked_from_one_are_two_nodes(
    redis_server: RedisServer,
) -> None:
    """As with gunicorn --preload: the application is made once, and started in each worker."""
    url = redis_server.url(secrets.token_hex(8))
    process = await forkserver.start(url, code=FORKED, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    ids = out.decode().split()
    assert len(ids) == len(set(ids)) == 40
    async with (
        Server(port=0, log=url) as server,
        aiohttp.ClientSession(trust_env=False) as http,
        http.get(f"{server.url}api/history") as answer,
    ):
        events = (await answer.json())["events"]
    assert {event["id"] for event in events} == set(ids)
    assert {event["data"] for event in events} == {f"{n}{i}" for n in "ab" for i in range(20)}
