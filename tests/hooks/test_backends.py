"""The backends of docs/how-to/hooks.md run, and decide about a server's clients."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import forkserver
import pytest
from needs import needs, program
from processes import PATIENCE, free_port, pause
from servers import serving

from rtpush import Client, ConnectError
from rtpush.errors import RtpushError

PAGE = Path(__file__).parents[2] / "docs/how-to/hooks.md"
SECRET = "0123456789abcdef" * 2


def example(kind: str, port: int, folder: Path) -> Path:
    """A file with the page's example in this language, on a port of its own."""
    (text,) = re.findall(rf"^```{kind}\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    script = folder / {"python": "backend.py", "js": "backend.mjs"}[kind]
    script.write_text(text.replace("8000", str(port)))
    return script


@asynccontextmanager
async def running(kind: str, folder: Path) -> AsyncIterator[str]:
    port = free_port()
    script, environment = example(kind, port, folder), os.environ | {"HOOKS_SECRET": SECRET}
    process: asyncio.subprocess.Process | forkserver.Program
    if kind == "js":
        process = await asyncio.create_subprocess_exec(
            program("node"), str(script), env=environment, stderr=subprocess.DEVNULL
        )
    else:
        code = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"
        process = await forkserver.start(
            str(script), code=code, env=environment, stderr=subprocess.DEVNULL
        )
    try:
        await accepts(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def accepts(port: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await pause()
            else:
                writer.close()
                return


async def log_in(url: str) -> str:
    """The cookie of a user of the backend."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{url}/login", params={"user": "ada"}) as answer,
    ):
        return answer.headers["Set-Cookie"].partition(";")[0]


@needs("node")
@pytest.mark.parametrize("kind", ["python", "js"])
async def test_a_backend_decides(kind: str, tmp_path: Path) -> None:
    async with running(kind, tmp_path) as url:
        ask = ("connect", "join", "disconnect", "chat")
        hooks = {"url": f"{url}/hooks", "ask": ask, "secret": SECRET}
        async with serving(hooks=hooks) as server:
            client, stranger = Client(), Client()
            with pytest.raises(ConnectError, match=r"not_authenticated: Log in first\."):
                await stranger.connect(server.url)
            await client.connect(server.url, headers={"Cookie": await log_in(url)})
            with pytest.raises(RtpushError, match="This room is not public"):
                await client.join("private")
            await client.join("public:all")
            said = client.events("chat")
            await client.emit("chat", "hi")
            assert (await anext(said)).data == {"from": "ada", "text": "hi"}
            await client.disconnect()
        async with aiohttp.ClientSession() as http:
            forged = {"hook": "connect", "session": {"subject": "ada"}}
            async with http.post(f"{url}/hooks", json=forged) as answer:
                assert answer.status == 400


def test_the_digest_of_the_page_is_right() -> None:
    from rtpush.hooks.signature import sign

    digest = sign(SECRET, b'{"hook":"connect"}', 1700000000).partition("v1=")[2]
    assert digest in PAGE.read_text()
