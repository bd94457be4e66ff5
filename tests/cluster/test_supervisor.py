"""Several processes on one port: real ones, killed, held and rolled under load."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from clients import KINDS, PATIENCE, Client, Ended, is_logged
from needs import needs
from processes import ROOT, ServerProcess, pause, refusal
from redisserver import RedisServer
from websockets.exceptions import WebSocketException

from rtpush.config.settings import Settings
from rtpush.server import Server, StartError

LOST = (aiohttp.ClientError, Ended, OSError, WebSocketException)


async def test_a_log_that_processes_can_share_is_asked_for(tmp_path: Path) -> None:
    for log in ("memory:", "sqlite:x.db"):
        line = await refusal(tmp_path, "--workers=2", f"--log={log}", "--port=0")
        assert "--log redis://HOST" in line


async def test_what_keeps_all_from_starting_is_told_once(tmp_path: Path) -> None:
    line = await refusal(tmp_path, "--workers=3", "--log=redis://127.0.0.1:1", "--port=0")
    assert "Redis at 127.0.0.1:1 cannot be used" in line


async def test_only_run_starts_workers() -> None:
    server = Server(Settings(port=0, workers=2, log="redis://localhost"))
    with pytest.raises(StartError, match=r"server\.run"):
        await server.start()


async def test_a_program_that_cannot_run_again_is_told_so(tmp_path: Path) -> None:
    program = "import rtpush; rtpush.Server(port=0, workers=2, log='redis://localhost').run()"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-"),
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await asyncio.wait_for(process.communicate(program.encode()), PATIENCE)
    assert process.returncode == 1
    assert b"a worker runs the program again" in errors


def workers_of(server: ServerProcess) -> set[int]:
    """The processes of its workers."""
    path = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    return {int(pid) for pid in path.read_text().split()}


async def until_true(condition: Any) -> None:
    async with asyncio.timeout(2 * PATIENCE):
        while True:
            if condition():
                return
            await pause()


@asynccontextmanager
async def running(
    folder: Path, redis: RedisServer, count: int, *more: str
) -> AsyncIterator[ServerProcess]:
    log = redis.url(secrets.token_hex(8))
    server = ServerProcess(folder, f"--workers={count}", f"--log={log}", "--grace=2s", *more)
    await server.start()
    try:
        yield server
    finally:
        code, errors = await server.stop()
    assert code == 0, errors


class Load:
    """A publisher and a reader for each transport, which go on whatever happens."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self.http = http
        self.published: list[str] = []
        self.refused = 0
        self._done = False

    async def publish(self) -> None:
        while not self._done:
            number = len(self.published)
            event = {"event": "tick", "data": number, "idempotency_key": f"k{number}"}
            try:
                async with self.http.post(f"{self.url}/api/publish", json=event) as answer:
                    body = await answer.json()
            except LOST:
                self.refused += 1
                continue
            if answer.status == 200:
                self.published.append(body["id"])
            else:
                assert body["error"]["code"] in ("going_away", "unavailable")
                self.refused += 1

    async def read(self, kind: type[Client], last: str) -> list[str]:
        """The positions of all events up to the one called `end`."""
        found: list[str] = []
        sid: str | None = None
        event = ""
        while event != "end":
            client = None
            with suppress(*LOST):
                client = await kind.open(self.url, self.http, last=last, sid=sid)
                assert client.hello["recovered"], client.greeting
                sid = client.sid
                while event != "end":
                    envelope = await client.next()
                    if is_logged(envelope):
                        event, last = envelope["event"], envelope["id"]
                        found.append(last)
            if client is not None:
                await client.close()
        return found

    def end(self) -> None:
        self._done = True


@asynccontextmanager
async def load(server: ServerProcess) -> AsyncIterator[Load]:
    """Afterwards all is there, once and in order, for everybody."""
    async with aiohttp.ClientSession(trust_env=False) as http:
        work = Load(server.url, http)
        async with http.get(f"{server.url}/api/tasks") as answer:
            start = (await answer.json())["position"]
        publishing = asyncio.create_task(work.publish())
        reading = [asyncio.create_task(work.read(kind, start)) for kind in KINDS]
        await until_true(lambda: len(work.published) > 20)
        yield work
        goal = len(work.published) + 20
        await until_true(lambda: len(work.published) > goal)
        work.end()
        await publishing
        async with http.post(f"{server.url}/api/publish", json={"event": "end"}) as answer:
            work.published.append((await answer.json())["id"])
        async with asyncio.timeout(2 * PATIENCE):
            for found in await asyncio.gather(*reading):
                assert found == work.published


@needs("redis")
async def test_one_that_dies_is_replaced(tmp_path: Path, redis_server: RedisServer) -> None:
    async with running(tmp_path, redis_server, 2) as server, load(server):
        before = workers_of(server)
        assert len(before) == 2
        for victim in before:
            os.kill(victim, signal.SIGKILL)
            await until_true(lambda victim=victim: victim not in workers_of(server))
            await until_true(lambda: len(workers_of(server)) == 2)
        assert not before & workers_of(server)


@needs("redis")
async def test_a_rolling_restart_loses_nothing(tmp_path: Path, redis_server: RedisServer) -> None:
    async with running(tmp_path, redis_server, 2) as server, load(server) as work:
        before = workers_of(server)
        os.kill(server.pid, signal.SIGHUP)
        await until_true(lambda: len(workers_of(server)) == 2 and not before & workers_of(server))
        assert work.refused <= len(before) * 2, "only what was under way on the one that stopped"


@needs("redis")
async def test_one_that_hangs_is_replaced(tmp_path: Path, redis_server: RedisServer) -> None:
    async with running(tmp_path, redis_server, 2, "--heartbeat=1s") as server:
        before = workers_of(server)
        victim = min(before)
        os.kill(victim, signal.SIGSTOP)
        await until_true(lambda: len(workers_of(server)) == 2 and victim not in workers_of(server))
        assert before - workers_of(server) == {victim}


APP = """import rtpush
server = rtpush.Server()

@server.on("version")
async def version(sid, data):
    return {version}
"""


async def versions(server: ServerProcess, count: int) -> set[int]:
    """What so many new connections are answered."""
    async with aiohttp.ClientSession(trust_env=False) as http:
        clients = [await KINDS[0].open(server.url, http) for _ in range(count)]
        found: set[int] = set()
        for client in clients:
            found.add(await client.accepted({"event": "version"}))
            await client.close()
        return found


@needs("redis")
async def test_new_code_is_loaded_unless_it_cannot_start(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    app = tmp_path / "app.py"
    app.write_text(APP.format(version=1))
    async with running(tmp_path, redis_server, 2, "app:server") as server:
        before = workers_of(server)
        assert await versions(server, 8) == {1}
        app.write_text("1 / 0")
        os.kill(server.pid, signal.SIGHUP)
        await until_true(lambda: workers_of(server) - before)
        await until_true(lambda: workers_of(server) == before)
        assert await versions(server, 8) == {1}
        app.write_text(APP.format(version=22))
        await until_true(lambda: len(workers_of(server)) == 2 and not before & workers_of(server))
        assert await versions(server, 8) == {22}


@needs("redis")
async def test_workers_end_with_their_supervisor(tmp_path: Path, redis_server: RedisServer) -> None:
    log = redis_server.url(secrets.token_hex(8))
    server = ServerProcess(tmp_path, "--workers=2", f"--log={log}")
    await server.start()
    pids = workers_of(server)
    os.kill(server.pid, signal.SIGKILL)
    await until_true(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    await server.wait()
