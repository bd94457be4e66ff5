"""examples/cluster, started as its first lines say, behind each balancer."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from clients import KINDS, PATIENCE, Client, Ended, is_logged
from needs import needs
from processes import ROOT
from websockets.exceptions import WebSocketException

from rtpush.config.sources import load

pytestmark = needs("redis")

LOST = (aiohttp.ClientError, Ended, OSError, WebSocketException)
FOLDER = ROOT / "examples/cluster"
BALANCERS = [pytest.param(name, marks=needs(name)) for name in ("nginx", "haproxy")]


@asynccontextmanager
async def cluster(balancer: str, folder: Path) -> AsyncIterator[tuple[str, list[int], str]]:
    """Its address, the processes of its nodes, and the key for publishers."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(FOLDER / "run.py"),
        balancer,
        cwd=folder,
        env=os.environ | {"PORT": "0"},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(2 * PATIENCE):
            opens, nodes, key = [(await process.stdout.readline()).decode() for _ in range(3)]
        found = re.search(r"http://\S+(?=/)", opens)
        assert found is not None, opens
        yield found[0], [int(pid) for pid in re.findall(r"\d+", nodes)], key.split()[1]
    finally:
        process.send_signal(signal.SIGINT)
        await process.communicate()
        assert process.returncode == 0


async def read(kind: type[Client], url: str, http: aiohttp.ClientSession, last: str) -> list[str]:
    """The positions of all events up to the one called `end`, however often it connects."""
    found: list[str] = []
    event, sid = "", None
    while event != "end":
        client: Client | None = None
        with suppress(*LOST):
            client = await kind.open(url, http, last=last, sid=sid)
            assert client.hello["recovered"], client.greeting
            sid = client.sid
            while event != "end":
                envelope = await client.next()
                if is_logged(envelope):
                    event, last = envelope["event"], envelope["id"]
                    found.append(last)
        if client is not None:
            with suppress(*LOST):
                await client.close()
    return found


async def publish(url: str, http: aiohttp.ClientSession, event: str, key: str) -> str:
    """Until it is taken; its position."""
    async with asyncio.timeout(2 * PATIENCE):
        while True:
            body = {"event": event, "idempotency_key": key}
            with suppress(*LOST):
                async with http.post(f"{url}/api/publish", json=body) as answer:
                    if answer.status == 200:
                        position: str = (await answer.json())["id"]
                        return position


@pytest.mark.parametrize("balancer", BALANCERS)
async def test_a_cluster_loses_a_node_and_nothing_else(balancer: str, tmp_path: Path) -> None:
    async with (
        cluster(balancer, tmp_path) as (url, nodes, api_key),
        aiohttp.ClientSession(
            trust_env=False, headers={"Authorization": f"Bearer {api_key}"}
        ) as http,
    ):
        async with http.get(f"{url}/api/tasks") as answer:
            start = (await answer.json())["position"]
        reading = [asyncio.create_task(read(kind, url, http, start)) for kind in KINDS]
        ids = [await publish(url, http, "tick", f"a{i}") for i in range(20)]
        # Who the balancer put where does not matter: each is on one node in turn.
        for number, pid in enumerate(nodes[:2]):
            os.kill(pid, signal.SIGKILL)
            ids += [await publish(url, http, "tick", f"b{number}-{i}") for i in range(10)]
        ids.append(await publish(url, http, "end", "end"))
        async with asyncio.timeout(2 * PATIENCE):
            for found in await asyncio.gather(*reading):
                assert found == ids


def test_the_compose_file_says_what_the_others_say(tmp_path: Path) -> None:
    """Containers cannot be had everywhere: what is in them is checked instead."""
    text = (FOLDER / "compose.yaml").read_text()
    commands = re.findall(r"command: python -m rtpush (.+)", text)
    nodes = [load(shlex.split(command), {}, tmp_path) for command in commands]
    ports = {str(node.port) for node in nodes}
    for name in ("nginx.conf", "haproxy.cfg"):
        found = re.findall(r"server (?:\w+ )?127\.0\.0\.1:(\d+)", (FOLDER / name).read_text())
        assert (len(found), set(found)) == (3, ports)
    redis = re.search(r"command: redis-server .*--port (\d+)", text)
    assert redis is not None
    assert {node.log for node in nodes} == {f"redis://127.0.0.1:{redis[1]}/0"}
    extras = re.search(r"/src\[([\w,]+)\]", text)
    assert extras is not None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
