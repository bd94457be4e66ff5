"""`rtpush listen` and `rtpush tasks`: in pipes, and in terminals."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import forkserver
import pytest
from processes import PATIENCE, running
from terminals import RTPUSH, Terminal, environment, run

from rtpush import Server

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with Server(port=0, log="memory:") as server:
        yield server.url.rstrip("/")


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def publish(http: aiohttp.ClientSession, url: str, event: str, **fields: Any) -> str:
    async with http.post(f"{url}/api/publish", json={"event": event, **fields}) as answer:
        found = await answer.json()
        assert answer.status == 200, found
        position: str = found["id"]
        return position


async def connected(http: aiohttp.ClientSession, url: str, count: int = 1) -> None:
    """Wait until somebody is."""
    async with asyncio.timeout(PATIENCE):
        while True:
            async with http.get(f"{url}/api/connections") as answer:
                if len((await answer.json())["connections"]) == count:
                    return


class Listening:
    """`rtpush listen` in pipes."""

    def __init__(self, process: forkserver.Program) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE)
        return line.decode().rstrip("\n")

    async def complaint(self) -> str:
        assert self.process.stderr is not None
        line = await asyncio.wait_for(self.process.stderr.readline(), PATIENCE)
        return line.decode().rstrip("\n")

    async def ended(self) -> int:
        return await asyncio.wait_for(self.process.wait(), PATIENCE)


@asynccontextmanager
async def listening(url: str, *args: str) -> AsyncIterator[Listening]:
    process = await forkserver.start(
        "listen",
        *args,
        env=environment(url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Listening(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def test_events_are_printed_at_once(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    async with running(tmp_path) as server, listening(server.url, "--room", "r") as listener:
        await connected(http, server.url)
        first = await publish(http, server.url, "hello", data={"a": "\033[2J\u009b"})
        assert await listener.line() == f'{first}  hello  {{"a":"\\u001b[2J\\x9b"}}'
        await publish(http, server.url, "hello", room="elsewhere")
        second = await publish(http, server.url, "bye", room="r", key="k")
        assert await listener.line() == f"{second}  bye  r"

        # From there on, and only some.
        seen = await run(
            *("listen", "--json", "--since", first, "--room=r", "--event=b*", "--count=1"),
            url=server.url,
        )
        assert (seen.code, seen.err) == (0, "")
        assert json.loads(seen.out) == {"id": second, "event": "bye", "room": "r", "key": "k"}

        # The server goes and comes back: nothing is missing.
        await server.stop()
        assert (await listener.complaint()).startswith("rtpush: the connection is lost (")
        await server.start()
        third = await publish(http, server.url, "again")
        assert await listener.line() == f"{third}  again"
        assert await listener.complaint() == "rtpush: the connection is back"


async def test_a_resync_is_reported(url: str, http: aiohttp.ClientSession) -> None:
    async with listening(url, "--since", "otherlog-5", "--event=e") as listener:
        assert await listener.complaint() == (
            "rtpush: what happened meanwhile is gone; going on from now"
        )
        await publish(http, url, "e")
        assert (await listener.line()).endswith("  e")
        bad = await run("listen", "--since", "nonsense", url=url)
        assert (bad.code, bad.out) == (1, "")
        assert bad.err.startswith(f"rtpush: {url}: A position looks like")


async def test_a_server_that_disconnects_the_client(http: aiohttp.ClientSession) -> None:
    async with Server(port=0, log="memory:") as server:
        url = server.url.rstrip("/")
        async with listening(url) as listener:
            await connected(http, url)
            (sid,) = server._hub.sessions
            await server.disconnect(sid)
            told = f"rtpush: {url}: The application ended the connection."
            assert await listener.complaint() == told
            assert await listener.ended() == 1


async def test_a_server_that_cannot_be_reached() -> None:
    for command in (["listen"], ["tasks"]):
        code, out, err = await run(*command, url=NOBODY)
        assert (code, out) == (69, "")
        assert err.startswith(f"rtpush: {NOBODY}: ")
        assert len(err.splitlines()) == 1
    assert (await run("listen", url="nowhere")).code == 2
    assert (await run("listen", "--count=0", url=NOBODY)).code == 2


async def test_a_closed_pipe_ends_it_quietly(url: str, http: aiohttp.ClientSession) -> None:
    async with listening(url) as listener:
        await connected(http, url)
        await publish(http, url, "one")
        await listener.line()
        # What `head -1` does.
        listener.process.pipes["stdout"].close()
        while listener.process.returncode is None:
            await publish(http, url, "more")
        assert listener.process.returncode == 141
        assert await listener.complaint() == ""


async def test_colours_are_for_terminals(url: str, http: aiohttp.ClientSession) -> None:
    position = await publish(http, url, "hello", data=1)
    before = f"{position.partition('-')[0]}-0"
    command = (*RTPUSH, "listen", "--since", before)
    async with Terminal().running(*command, url=url) as terminal:
        await terminal.shows(f"\033\\[2m{position}\033\\[0m  \033\\[1mhello\033\\[0m  1\r\n")
        terminal.type("\x03")
        assert await terminal.ended() == 130
        assert "Traceback" not in terminal.shown
    async with Terminal().running("env", "NO_COLOR=1", *command, url=url) as terminal:
        await terminal.shows(f"{position}  hello  1\r\n")
        assert "\033" not in terminal.shown


# ---- tasks -------------------------------------------------------------------


async def make(http: aiohttp.ClientSession, url: str, id: str, **fields: Any) -> None:
    task = {"id": id, "formData": {"prompt": f"picture {id}"}, "worker": "nobody"}
    await publish(http, url, "task_created", data=task, **fields)


async def test_tasks_in_a_pipe(url: str, http: aiohttp.ClientSession) -> None:
    await make(http, url, "a")
    await make(http, url, "b", room="r")
    news = {"id": "a", "progress": 40, "message": "hills"}
    await publish(http, url, "task_progress", data=news)
    plain, rooms = await asyncio.gather(
        run("tasks", url=url), run("tasks", "--json", "--room=r", url=url)
    )
    assert (plain.code, plain.err) == (0, "")
    assert plain.out == (
        "STATUS   DONE  TIME  TITLE      MESSAGE\nrunning  40%         picture a  hills\n"
    )
    tasks = [json.loads(line) for line in rooms.out.splitlines()]
    assert [(task["id"], task["status"]) for task in tasks] == [
        ("a", "running"),
        ("b", "queued"),
    ]
    assert tasks[0]["progress"] == 40


ENDS = [
    *((signal.SIGINT, 130), (signal.SIGTERM, 143)),
    *((signal.SIGHUP, 129), (signal.SIGQUIT, 131)),
]


@pytest.mark.parametrize(("end", "code"), ENDS)
async def test_tasks_in_a_terminal(
    url: str, http: aiohttp.ClientSession, end: signal.Signals, code: int
) -> None:
    await make(http, url, "a")
    async with Terminal(70).running(*RTPUSH, "tasks", url=url) as terminal:
        await terminal.shows("1 active, 0 finished.*picture a")
        news = {"id": "a", "progress": 50, "message": "hills"}
        await publish(http, url, "task_progress", data=news)
        await terminal.shows("━━━━━━.* 50%.*picture a .*hills")
        await publish(http, url, "task_failed", data={"id": "a", "error": "no paint"})
        await terminal.shows("0 active, 1 finished.*failed.*no paint")
        terminal.resize(40)
        await make(http, url, "b")
        await terminal.shows("1 active, 1 finished\033\\[0m {20}(?! )")
        terminal.signal(end)
        assert await terminal.ended() == code
    # The terminal is left as it was found.
    assert terminal.shown.count("\033[?1049h") == terminal.shown.count("\033[?1049l") == 1
    assert terminal.shown.rindex("\033[?25h") > terminal.shown.rindex("picture b")
    assert "Traceback" not in terminal.shown


async def test_tasks_tell_that_the_server_is_away(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with running(tmp_path) as server:
        await make(http, server.url, "a")
        async with Terminal(70).running(*RTPUSH, "tasks", url=server.url) as terminal:
            await terminal.shows("1 active, 0 finished.*picture a")
            await server.stop()
            await terminal.shows("the server is away; trying again. Last seen: 1 active")
            await server.start()
            await terminal.shows("the server is away.*\033\\[1m1 active, 0 finished")
            terminal.signal(signal.SIGTERM)
            await terminal.ended()
        assert "rtpush:" not in terminal.shown


async def test_tasks_are_suspended_and_resumed(url: str, http: aiohttp.ClientSession) -> None:
    await make(http, url, "a")
    async with Terminal().running("bash", "--norc", "-i", url=url) as terminal:
        terminal.type(f"PS1='ready> '; {shlex.join(RTPUSH)} tasks\n")
        await terminal.shows("1 active, 0 finished.*picture a")
        terminal.type("\x1a")
        await terminal.shows("Stopped.*ready> ")
        assert re.search("\033\\[\\?1049l.*Stopped", terminal.shown, re.DOTALL)
        await make(http, url, "b")
        terminal.type("fg\n")
        await terminal.shows("ready> fg.*\033\\[\\?1049h.*2 active.*picture b")
        terminal.type("\x03")
        await terminal.shows("picture b.*\033\\[\\?1049l.*ready> ")
