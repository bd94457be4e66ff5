"""The server as a process: what it says and does when it starts, runs and is stopped."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from clients import (
    KINDS,
    PATIENCE,
    Envelope,
    LongPoll,
    Sse,
    WebSocket,
    is_logged,
    until,
)
from frames import CLOSE, TEXT, Raw, frame, handshake
from processes import refusal, running

from rtpush.server import Server, StartError

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(trust_env=False) as session:
        yield session


async def publish(http: aiohttp.ClientSession, url: str, event: str) -> str:
    """Publish an event; its position."""
    async with http.post(f"{url}/api/publish", json={"event": event}) as response:
        answer = await response.json()
        assert response.status == 200, answer
        position: str = answer["id"]
        return position


# ---- stopping ----------------------------------------------------------------


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
async def test_a_stop_says_goodbye(
    tmp_path: Path, http: aiohttp.ClientSession, number: signal.Signals
) -> None:
    async with running(tmp_path) as server:
        kinds = [WebSocket] * 10 + [Sse] * 10 + [LongPoll]
        clients = [await kind.open(server.url, http) for kind in kinds]
        endings = [asyncio.create_task(client.ended()) for client in clients]
        # The long-poll's request is on its way by now; after these it has arrived.
        for _ in range(3):
            async with http.get(f"{server.url}/healthz") as response:
                assert response.status == 200

        server.signal(number)
        assert await server.wait() == (0, "")

        waits = []
        for client, ending in zip(clients, endings, strict=True):
            assert await ending == (1001 if client.name == "websocket" else None)
            goodbye = client.received[-1]
            assert goodbye["event"] == "disconnect"
            assert goodbye["data"]["code"] == 1001
            assert goodbye["data"]["reason"].endswith(".")
            waits.append(goodbye["data"]["retry_after"])
        assert all(0 <= wait <= 2 for wait in waits)
        # They are not to come back as one crowd.
        assert len(set(waits)) > 1


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
async def test_a_stop_delivers_what_was_accepted(
    tmp_path: Path, http: aiohttp.ClientSession, number: signal.Signals
) -> None:
    async with running(tmp_path) as server:
        sender, *readers = [
            await kind.open(server.url, http) for kind in (WebSocket, WebSocket, Sse)
        ]
        for i in range(500):
            await sender.send({"event": "tick", "data": i, "ack": i})
        await sender.reply(0)
        server.signal(number)
        *_, ended = await asyncio.gather(
            *(client.ended() for client in (sender, *readers)), server.wait()
        )
        assert ended == (0, "")
        await server.start()
        async with http.get(f"{server.url}/api/history", params={"limit": 1000}) as response:
            stored = [e["id"] for e in (await response.json())["events"]]

    replies = [e for e in sender.received if "event" not in e]
    assert [e["data"]["id"] for e in replies if "data" in e] == stored
    assert all(e["error"]["code"] == "going_away" for e in replies if "error" in e)
    for reader in readers:
        assert [e["id"] for e in reader.received if is_logged(e)] == stored
        assert reader.received[-1]["event"] == "disconnect"


async def test_clients_come_back_after_a_stop(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """What is accepted while nobody listens is there after the next start, with its epoch."""
    async with running(tmp_path) as server:
        clients = [await kind.open(server.url, http) for kind in KINDS]
        for client in clients:
            await client.close()
        position = await publish(http, server.url, "missed")
        assert await server.stop() == (0, "")
        await server.start()
        for client in clients:
            back = await type(client).open(server.url, http, last=client.position, sid=client.sid)
            assert back.hello["recovered"] is True
            assert (await back.next())["id"] == position
            await back.close()


async def test_a_client_that_does_not_go_is_cut(tmp_path: Path) -> None:
    async with running(tmp_path, "--grace=1s") as server:
        stubborn = await Raw.upgraded(server.port)
        assert await server.stop() == (0, "")
        stubborn.abort()


STUCK_APP = """
import asyncio, threading, rtpush
server = rtpush.Server(log="memory:")

@server.event
def work(sid):
    threading.Event().wait()

@server.event
async def to_thread(sid):
    await asyncio.to_thread(threading.Event().wait)
"""


@pytest.mark.parametrize("event", ["work", "to_thread"])
async def test_threads_that_never_end_do_not_keep_the_process(
    tmp_path: Path, http: aiohttp.ClientSession, event: str
) -> None:
    (tmp_path / "app.py").write_text(STUCK_APP)
    async with running(tmp_path, "app:server", "--grace=1s") as server:
        client = await WebSocket.open(server.url, http)
        await client.send({"event": event})
        await client.send({"event": "ping"})
        await client.until("pong")
        code, _ = await server.stop()
        assert code == 0
        await client.close()


async def test_a_client_whose_connect_handler_outlasts_the_stop_is_told_to_come_back(
    http: aiohttp.ClientSession,
) -> None:
    server = Server(port=0, log="memory:", grace=0.5)
    begun, ended = asyncio.Event(), asyncio.Event()

    @server.event
    async def connect(sid: str) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    await server.start()
    opening = asyncio.create_task(http.get(f"{server.url}sse").__aenter__())
    await begun.wait()
    await server.stop()
    response = await opening
    assert response.status == 503
    assert (await response.json())["error"]["code"] == "going_away"
    assert ended.is_set()


async def test_a_stop_does_not_wait_for_idle_connections(http: aiohttp.ClientSession) -> None:
    # As long as that, it waits for requests.
    server = Server(port=0, log="memory:", grace=3600)
    await server.start()
    async with http.get(f"{server.url}healthz") as answer:
        assert answer.status == 200
    await asyncio.wait_for(server.stop(), PATIENCE)


IN_A_THREAD = """
import asyncio, threading, rtpush
server = rtpush.Server(port=0, log="memory:")
ready = threading.Event()
thread = threading.Thread(target=server.run, args=[ready.set])
thread.start()
ready.wait()
print(asyncio.run(server.emit("hello")) is not None)
asyncio.run(server.stop())
thread.join()
print("end")
"""


def test_a_server_may_run_in_a_thread() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", IN_A_THREAD], capture_output=True, text=True, timeout=60
    )
    assert ended.stdout.endswith("True\nend\n"), ended.stderr
    assert (ended.returncode, ended.stderr) == (0, "")


def test_several_workers_do_not_run_in_a_thread() -> None:
    server = Server(port=0, log="redis://127.0.0.1:1", workers=2)
    with ThreadPoolExecutor(1) as threads, pytest.raises(StartError, match="main thread"):
        threads.submit(server.run).result(PATIENCE)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
async def test_a_second_signal_ends_at_once(tmp_path: Path, number: signal.Signals) -> None:
    # Without it, the grace would be longer than the test waits.
    async with running(tmp_path, "--grace=1h") as server:
        stubborn = await Raw.upgraded(server.port)
        server.signal(number)
        while (await stubborn.frame()).opcode != CLOSE:
            pass
        server.signal(number)
        code, errors = await server.wait()
        assert code == 1
        assert "stopped at once" in errors
        assert "Traceback" not in errors
        stubborn.abort()


# ---- starting ----------------------------------------------------------------


async def test_a_busy_port_is_one_line_with_the_way_out(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    (tmp_path / "other").mkdir()
    async with running(tmp_path) as server:
        line = await refusal(tmp_path / "other", f"--port={server.port}")
        assert line == (
            f"port {server.port} on 127.0.0.1 is taken by another program; stop it or choose "
            f"another: --port {server.port + 1}"
        )
        await publish(http, server.url, "undisturbed")


async def test_one_log_has_one_server(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    async with running(tmp_path) as server:
        line = await refusal(tmp_path, "--port=0")
        assert "rtpush.db is in use by another rtpush server" in line
        assert "--log sqlite:PATH" in line
        await publish(http, server.url, "undisturbed")


def damaged(log: Path) -> None:
    """The middle is overwritten."""
    with log.open("r+b") as file:
        file.seek(log.stat().st_size // 2)
        file.write(b"\xa5" * 10_000)


def truncated(log: Path) -> None:
    os.truncate(log, log.stat().st_size // 2 + 100)


def foreign(log: Path) -> None:
    log.unlink()
    with closing(sqlite3.connect(log)) as other:
        other.executescript("CREATE TABLE recipes (name TEXT); INSERT INTO recipes VALUES ('pie');")


def newer(log: Path) -> None:
    """Written by a version that does not exist yet."""
    with closing(sqlite3.connect(log)) as ours:
        ours.execute("PRAGMA user_version = 99")


def newer_and_killed(log: Path) -> None:
    """Likewise, and its version stands in the write-ahead log only."""
    aside = log.with_name("aside.db")
    with closing(sqlite3.connect(log)) as ours:
        ours.execute("PRAGMA journal_mode = WAL")
        ours.execute("PRAGMA user_version = 99")
        shutil.copy(log, aside)
        shutil.copy(f"{log}-wal", f"{aside}-wal")
    aside.rename(log)
    Path(f"{aside}-wal").rename(f"{log}-wal")


def text(log: Path) -> None:
    log.write_text("Dear diary,\n" * 1_000)


def short(log: Path) -> None:
    log.write_bytes(b"SQLite format 3\0")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a server that was stopped, and of one that was killed."""
    folder = tmp_path_factory.mktemp("written")
    asyncio.run(_write(folder))
    return folder


async def _write(folder: Path) -> None:
    for name in ("stopped", "killed"):
        (folder / name).mkdir()
        async with running(folder / name) as server, aiohttp.ClientSession() as http:
            events = [{"event": "tick", "data": "x" * 500} for _ in range(200)]
            for _ in range(3):
                async with http.post(f"{server.url}/api/publish", json=events) as response:
                    assert response.status == 200
            await (server.kill() if name == "killed" else server.stop())


@pytest.mark.parametrize("end", ["stopped", "killed"])
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (damaged, "is damaged"),
        (truncated, "is damaged"),
        (foreign, "is a database of another program"),
        (newer, "was written by a newer rtpush"),
        (newer_and_killed, "was written by a newer rtpush"),
        (text, "is not an rtpush log"),
        (short, "is not an rtpush log"),
    ],
)
async def test_a_file_that_cannot_be_used_is_left_as_it_is(
    tmp_path: Path, written: Path, spoil: Callable[[Path], None], says: str, end: str
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(written / end, folder)
    assert ("rtpush.db-wal" in files(folder)) == (end == "killed")
    spoil(folder / "rtpush.db")
    before = files(folder)
    with pytest.raises(StartError, match="rtpush") as refused:
        await Server(port=0, log=f"sqlite:{folder}/rtpush.db").start()
    assert says in str(refused.value)
    assert "rtpush.db" in str(refused.value)
    assert files(folder) == before


# ---- what the banner says, done by hand --------------------------------------


async def test_the_line_in_the_banner_publishes(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with running(tmp_path) as server:
        client = await WebSocket.open(server.url, http)
        found = re.search(r"^ *Publish +(.*)$", server.banner, re.MULTILINE)
        assert found is not None, server.banner
        curl = await asyncio.create_subprocess_shell(
            found[1], stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, errors = await asyncio.wait_for(curl.communicate(), PATIENCE)
        assert curl.returncode == 0, errors.decode()
        seen = await client.next()
        assert seen == {"id": json.loads(out)["id"], "event": "hello", "data": "world"}
        await client.close()


class Terminal:
    """A program in a terminal: lines are typed, and what it shows is read.

    `shown` has the envelopes that `python -m websockets` has printed.
    """

    def __init__(self) -> None:
        self._read = bytearray()
        self._master, self._slave = pty.openpty()

    @asynccontextmanager
    async def running(self, *command: str) -> AsyncIterator[None]:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=self._slave, stdout=self._slave, stderr=self._slave
        )
        os.close(self._slave)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._master, self._readable)
        try:
            yield
            self.type("\x04")  # Ctrl+D
            assert await asyncio.wait_for(process.wait(), PATIENCE) == 0, self._text
        finally:
            loop.remove_reader(self._master)
            os.close(self._master)
            if process.returncode is None:
                process.kill()
                await process.wait()

    def _readable(self) -> None:
        try:
            self._read += os.read(self._master, 1 << 16)
        except OSError:  # Linux: the program has ended
            asyncio.get_running_loop().remove_reader(self._master)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    @property
    def _text(self) -> str:
        return self._read.decode(errors="replace")

    @property
    def shown(self) -> list[Envelope]:
        return [json.loads(line) for line in re.findall(r"< (\{.*\})\r\n", self._text)]

    async def shows(self, count: int) -> list[Envelope]:
        """Wait until so many envelopes are shown; all of them."""
        await until(lambda: len(self.shown) >= count)
        return self.shown

    async def say(self, event: str, data: Any) -> Envelope:
        """Type an event; what the server sends next."""
        count = len(self.shown)
        self.type(json.dumps({"event": event, "data": data}) + "\n")
        return (await self.shows(count + 1))[count]


async def test_the_five_events_typed_by_hand(tmp_path: Path) -> None:
    """`python -m websockets`, and the payloads of the page that the task events come from."""
    lake = {
        "id": 1,
        "formData": {"prompt": "山间的湖"},
        "mode": "txt2img",
        "startTime": 1759500000000,
    }
    sea = {
        "id": 2,
        "formData": {"prompt": "the sea"},
        "mode": "img2img",
        "startTime": 1759600000000,
    }
    hill = {
        "id": 3,
        "formData": {"prompt": "a hill"},
        "mode": "txt2img",
        "startTime": 1759700000000,
    }
    half = {"id": 3, "progress": 50, "message": "halfway"}
    typed = [
        ("task_created", lake),
        ("task_progress", {"id": 1, "progress": 40, "message": "water"}),
        ("task_completed", {"id": 1, "result": {"url": "/lake.png"}}),
        ("task_created", sea),
        ("task_failed", {"id": 2, "error": "out of paint"}),
        ("task_created", hill),
        ("task_progress", half),
    ]
    async with running(tmp_path) as server:
        client = (sys.executable, "-m", "websockets", f"ws://127.0.0.1:{server.port}/ws")
        one, two = Terminal(), Terminal()
        async with one.running(*client):
            connect, board = await one.shows(2)
            assert connect["event"] == "connect"
            assert board["event"] == "active_tasks"
            assert board["data"] == {"tasks": [], "finished": []}
            for event, data in typed:
                seen = await one.say(event, data)
                assert (seen["event"], seen["data"]) == (event, data)
            refused = await one.say("task_progress", {"id": 1, "progress": 50})
            assert (refused["event"], refused["data"]["code"]) == ("error", "task_finished")

            async with two.running(*client):
                _, board = await two.shows(2)
                (task,) = board["data"]["tasks"]
                assert {name: task[name] for name in hill | half} == hill | half
                ended = [(t["id"], t["status"]) for t in board["data"]["finished"]]
                assert ended == [(2, "failed"), (1, "completed")]
                seen = await two.say("task_completed", {"id": 3, "result": None})
                assert (await one.shows(len(typed) + 4))[-1] == seen


# ---- an upgrade is a request like any other ----------------------------------

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def healthy(raw: Raw) -> None:
    assert (await raw.head()).startswith(b"HTTP/1.1 200 ")
    assert await raw.reader.readexactly(16) == b'{"status":"ok"}\n'


def ping(data: str) -> bytes:
    return frame(TEXT, json.dumps({"event": "ping", "data": data}).encode())


async def pongs(raw: Raw, count: int) -> list[str]:
    """The data of so many `pong` events."""
    found: list[str] = []
    while len(found) < count:
        envelope = json.loads((await raw.frame()).payload)
        if envelope["event"] == "pong":
            found.append(envelope["data"])
    return found


@pytest.mark.parametrize("packets", [1, 2, 3])
async def test_an_upgrade_on_a_kept_alive_connection(tmp_path: Path, packets: int) -> None:
    """Its first frames come at once, behind its head, or with all requests before it."""
    early = ping("early") + ping("too")
    sent = [HEALTH + HEALTH, handshake(), early]
    joined = [[b"".join(sent)], [sent[0], sent[1] + sent[2]], sent][packets - 1]
    async with running(tmp_path) as server:
        raw = await Raw.connect(server.port)
        raw.send(joined[0])
        await healthy(raw)
        await healthy(raw)
        if packets > 1:
            raw.send(joined[1])
        assert (await raw.head()).startswith(b"HTTP/1.1 101 ")
        if packets > 2:
            raw.send(joined[2])
        assert await pongs(raw, 2) == ["early", "too"]
        # And cut at every byte, as a slow network may.
        for byte in ping("later"):
            raw.send(bytes([byte]))
            await raw.writer.drain()
        assert await pongs(raw, 1) == ["later"]
        raw.abort()


async def test_an_event_stream_on_a_kept_alive_connection(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with running(tmp_path) as server:
        raw = await Raw.connect(server.port)
        raw.send(HEALTH + b"GET /sse HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await healthy(raw)
        assert b"text/event-stream" in await raw.head()
        await raw.reader.readuntil(b'"active_tasks"')
        position = await publish(http, server.url, "hello")
        await raw.reader.readuntil(f"id: {position}\n".encode())
        raw.abort()
