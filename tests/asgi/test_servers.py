"""Each ASGI server, started as its users start it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from clients import LongPoll, Sse, WebSocket
from processes import PATIENCE, ROOT, free_port, pause

COMMANDS = {
    "uvicorn": "uvicorn asgi_app:app --port {}",
    "hypercorn": "hypercorn asgi_app:app --graceful-timeout 0 --bind 127.0.0.1:{}",
    "granian": "granian asgi_app:app --interface asgi --port {}",
    "daphne": "daphne asgi_app:app --port {}",
}


@asynccontextmanager
async def served(command: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    port = free_port()
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests/support")])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command.format(port).split()),
        env=os.environ | {"PYTHONPATH": path},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await answers(port)
        yield f"http://127.0.0.1:{port}", process
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        async with asyncio.timeout(PATIENCE):
            _, errors = await process.communicate()
    # hypercorn logs how it cancels its own tasks.
    assert b"rtpush/asgi" not in errors, errors.decode()


async def answers(port: int) -> None:
    async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as http:
        while True:
            with suppress(aiohttp.ClientConnectionError):
                async with http.get(f"http://127.0.0.1:{port}/rtpush/readyz") as answer:
                    assert answer.status == 200
                    return
            await pause()


@pytest.mark.parametrize("name", COMMANDS)
async def test_every_transport_behind_an_asgi_server(name: str) -> None:
    async with served(COMMANDS[name]) as (url, process), aiohttp.ClientSession() as http:
        async with http.get(f"{url}/elsewhere") as answer:
            assert await answer.text() == "/elsewhere"
        clients = [await kind.open(f"{url}/rtpush", http) for kind in (WebSocket, Sse, LongPoll)]
        event = {"event": "news", "data": "x" * 200_000}
        async with http.post(f"{url}/rtpush/api/publish", json=event) as answer:
            assert answer.status == 200
        for client in clients:
            assert (await client.until("news"))[-1]["data"] == event["data"]
            assert await client.accepted({"event": "ping"}) is None
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await http.ws_connect(f"{url}/rtpush/ws", origin="http://elsewhere.example")
        websocket, stream, _ = clients
        if name == "uvicorn":
            # The others give the application no time between the signal and the end, or not always.
            process.send_signal(signal.SIGTERM)
            for client in (websocket, stream):
                assert (await client.until("disconnect"))[-1]["data"]["code"] == 1001
        for client in clients:
            await client.close()


async def test_workers_with_a_log_in_memory_say_so() -> None:
    command = "uvicorn asgi_app:app --port {} --workers 2"
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests/support")])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command.format(free_port()).split()),
        env=os.environ | {"PYTHONPATH": path},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE):
        while b"another worker of this ASGI server" not in await process.stderr.readline():
            assert process.returncode is None
        process.terminate()
        await process.communicate()
