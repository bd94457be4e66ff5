"""The limit of open files: raised at the start, and less than all of it for connections."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest
from clients import PATIENCE, Ended, WebSocket
from processes import ROOT, free_port, pause

SOFT, HARD, ALLOWED = 40, 150, 75


async def answer(http: aiohttp.ClientSession, url: str) -> int:
    while True:
        try:
            async with http.get(url) as response:
                return response.status
        except aiohttp.ClientConnectionError:
            await pause()


async def test_a_server_without_files_for_more_refuses_and_still_answers(tmp_path: Path) -> None:
    port = free_port()
    limits = f"ulimit -Sn {SOFT}; ulimit -Hn {HARD}; exec"
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        f"{limits} {sys.executable} -m rtpush --log=memory: --port={port} --rate-messages=1000",
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    clients: list[WebSocket] = []
    try:
        async with aiohttp.ClientSession(trust_env=False) as http:
            async with asyncio.timeout(PATIENCE):
                assert await answer(http, f"{url}/healthz") == 200
            # More than the soft limit; what is left of the hard one is kept.
            clients += [await WebSocket.open(url, http) for _ in range(ALLOWED)]
            for _ in range(2):
                with pytest.raises(Ended):
                    await WebSocket.open(url, http)
            assert await answer(http, f"{url}/healthz") == 200
            for client in clients:
                await client.close()
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert errors.decode().count(f"clients are refused: there are {ALLOWED} connections") == 1
