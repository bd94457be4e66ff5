"""`rtpush publish`: what is published, what is printed, and the exit codes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

import aiohttp
import forkserver
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from clients import WebSocket
from processes import PATIENCE
from terminals import environment, run

from rtpush import RtpushError, Server
from rtpush.cli.main import main
from rtpush.publisher.http_client import HttpClient

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with Server(port=0, log="memory:") as server:
        yield server.url.rstrip("/")


async def history(url: str, **query: str) -> list[dict[str, Any]]:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{url}/api/history", params={"limit": "1000", **query}) as answer,
    ):
        events: list[dict[str, Any]] = (await answer.json())["events"]
        return events


async def test_one_event(url: str) -> None:
    code, out, err = await run("publish", "deployed", '{"version": "1.4"}', "--key", "k", url=url)
    (event,) = await history(url)
    assert event == {
        "id": out.strip(),
        "event": "deployed",
        "data": {"version": "1.4"},
        "key": "k",
    }
    assert (code, err) == (0, "")


async def test_data_is_json_or_text(url: str) -> None:
    given = [
        (["21.5"], 21.5),
        ([], None),
        (["hello world"], "hello world"),
        (["true", "--text"], "true"),
        (['{"a":', "--text"], '{"a":'),
    ]
    ran = await asyncio.gather(*(run("publish", "e", *args, url=url) for args, _ in given))
    assert [outcome.code for outcome in ran] == [0] * len(given)
    found = {event["id"]: event.get("data") for event in await history(url)}
    assert [found[outcome.out.strip()] for outcome in ran] == [data for _, data in given]


async def test_a_volatile_event_reaches_connected_clients(url: str) -> None:
    async with aiohttp.ClientSession() as http:
        client = await WebSocket.open(url, http, rooms=["r"])
        assert await run("publish", "tick", "1", "--volatile", "--room=r", url=url) == (0, "", "")
        assert await client.next() == {"event": "tick", "data": 1, "room": "r"}
        await client.close()


async def test_refusals(url: str) -> None:
    refused, away, slip, address, missing = await asyncio.gather(
        run("publish", "connect", url=url),
        run("publish", "e", "--timeout=1ms", url=NOBODY),
        run("publish", "e", '["a', url=url),
        run("publish", "e", url="nowhere"),
        run("publish", "--rom=r", "e", url=url),
    )
    assert refused.code == 1
    assert refused.err == 'rtpush: Only the server sends "connect"; choose another name.\n'
    assert away.code == 69
    assert away.err.startswith(f"rtpush: {NOBODY}: The server cannot be reached (")
    assert slip.code == 2
    assert "--text sends it as it is" in slip.err
    assert (address.code, missing.code) == (2, 2)
    assert "is not an address" in address.err
    assert missing.err == (
        "rtpush: unknown option --rom; did you mean --room?; see rtpush publish --help\n"
    )
    assert await history(url) == []


NO_ADDRESSES = ("nowhere", "http://127.0.0.1:99999", "http://127.0.0.1:x", "http://[::1")


@pytest.mark.parametrize(
    "command", [["publish", "e"], ["listen"], ["tasks"], ["exec", "--", "true"]]
)
def test_invalid_addresses_and_tokens(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for url in NO_ADDRESSES:
        assert main([command[0], f"--url={url}", *command[1:]]) == 2
        told = f"rtpush: {url!r} is not an address like http://127.0.0.1:5000\n"
        assert capsys.readouterr() == ("", told)
    for token in ("s3cret\nother", "clé-s3cret"):
        assert main([command[0], f"--token={token}", *command[1:]]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("rtpush: the key or token is no single line of ASCII")
        assert "s3cret" not in err


def test_a_timeout_out_of_range(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["publish", "e", "--url", NOBODY, "--timeout", f"{'9' * 17}d"])
    assert caught.value.code == 2
    assert "is not a duration from 0s to 3650d" in capsys.readouterr().err


@asynccontextmanager
async def stranger(status: int, says: object) -> AsyncIterator[str]:
    """Something that is no rtpush, or pretends to be one."""

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(says, status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


async def test_a_server_that_is_not_rtpush() -> None:
    for says in ([5], [None], [{}], [{"id": 5}], [["id"]], {"ok": True}):
        async with stranger(200, says) as url:
            with closing(HttpClient(url)) as http:
                (outcome,) = await asyncio.to_thread(http.post_until, [b"{}"], 0.0)
        assert isinstance(outcome, RtpushError)
        assert outcome.code == "unavailable"
    async with stranger(200, [5]) as url:
        code, out, err = await run("publish", "e", "--timeout=1ms", url=url)
    assert (code, out) == (69, "")
    assert err.startswith(f"rtpush: {url}: The server cannot be reached (")


async def test_a_refusal_is_printed_without_control_characters() -> None:
    error = {"code": "forbidden", "message": "no\033[2J way\u202e"}
    async with stranger(403, {"error": error}) as url:
        published = await run("publish", "e", url=url)
        ran = await run("exec", "--", "true", url=url)
    assert published == (1, "", "rtpush: no\\x1b[2J way\\u202e\n")
    told = "rtpush: true is not reported: forbidden: no\\x1b[2J way\\u202e\n"
    assert ran == (0, "", told)
    async with stranger(200, [{"id": "\033[2J"}]) as url:
        assert await run("publish", "e", url=url) == (0, "\\x1b[2J\n", "")


# ---- streams -----------------------------------------------------------------


async def test_a_stream(url: str) -> None:
    lines = [json.dumps({"n": n}) for n in range(1200)]
    code, out, err = await run("publish", "tick", "-", url=url, given="\n".join(lines))
    assert (code, err) == (0, "")
    positions = out.splitlines()
    assert len(positions) == 1200
    last = await history(url, after=positions[199])
    assert [event["id"] for event in last] == positions[200:]
    assert [event["data"]["n"] for event in last] == list(range(200, 1200))


async def test_lines_that_are_refused(url: str) -> None:
    task, bad, other = '{"id": 1}', '{"id": ', '{"id": 2}\r'
    given = "\n".join([task, "", bad, task, other, ""])
    code, out, err = await run("publish", "task_created", "-", url=url, given=given)
    assert code == 1
    assert len(out.splitlines()) == 2
    told = err.splitlines()
    assert [line.partition(":")[2].partition(":")[0] for line in told] == [" line 3", " line 4"]
    assert told[1] == "rtpush: line 4: A task with this id is active already."


async def test_a_refusal_of_all_lines_ends_the_stream(url: str) -> None:
    refused = await run("publish", "connect", "-", url=url, given="1\n2\n3\n")
    assert (refused.code, refused.out) == (1, "")
    assert len(refused.err.splitlines()) == 1
    away = await run("publish", "e", "-", "--timeout=1ms", url=NOBODY, given="1\n2\n3\n")
    assert (away.code, away.out) == (69, "")
    assert away.err.startswith("rtpush: line 1: http://127.0.0.1:9: The server cannot be reached")


async def test_a_line_is_published_as_soon_as_it_is_read(url: str) -> None:
    process = await forkserver.start(
        *("publish", "log", "-", "--text"),
        env=environment(url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for line in ("[12:00] deployed", "42"):
        process.stdin.write(f"{line}\n".encode())
        position = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
        assert position.decode().strip() == (await history(url))[-1]["id"]
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
    assert [event["data"] for event in await history(url)] == ["[12:00] deployed", "42"]
