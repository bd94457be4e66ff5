"""Publishers: real servers that go away, answers that are lost, threads and forks."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import forkserver
import pytest
from clients import PATIENCE
from processes import ServerProcess, free_port, nginx, pause, running
from relay import relay

from rtpush import AsyncPublisher, Publisher, RtpushError
from rtpush.access.auth import hash_api_key, new_api_key
from rtpush.publisher import spool

# Seconds that 10,000 events and two restarts may take on a busy machine.
LONG = 60.0


async def get(url: str) -> Any:
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return await answer.json()


async def history(url: str) -> list[dict[str, Any]]:
    """Everything that is logged, the oldest first."""
    events: list[dict[str, Any]] = []
    after, more = "", True
    while more:
        page = await get(f"{url}/api/history?limit=1000{after}")
        events += page["events"]
        after, more = f"&after={page['last']}", page["more"]
    return events


async def logged(url: str) -> list[tuple[str, Any]]:
    return [(event["event"], event.get("data")) for event in await history(url)]


async def reach(url: str, count: int) -> None:
    """Wait until so many events are logged."""
    async with asyncio.timeout(LONG):
        while len(await history(url)) < count:
            await pause()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    async with running(tmp_path) as process:
        yield process


# ---- one event, and many -----------------------------------------------------


async def test_an_event_and_its_fields(server: ServerProcess) -> None:
    with Publisher(server.url) as publisher:
        position = await asyncio.to_thread(
            publisher.publish, "e", {"n": 1}, room="lobby", key="k", idempotency_key="once"
        )
        again = await asyncio.to_thread(publisher.publish, "e", {"n": 2}, idempotency_key="once")
        assert await asyncio.to_thread(publisher.publish, "now", volatile=True) is None
    (event,) = await history(server.url)
    assert again == position == event.pop("id")
    assert event == {"event": "e", "data": {"n": 1}, "room": "lobby", "key": "k"}


async def test_many_events_stay_in_order(server: ServerProcess) -> None:
    with Publisher(server.url) as publisher:
        events = [{"event": "e", "data": n} for n in range(1200)]
        positions = await asyncio.to_thread(publisher.publish_many, events)
    found = await history(server.url)
    assert [event["id"] for event in found] == positions
    assert [event["data"] for event in found] == list(range(1200))


async def test_a_batch_may_be_larger_than_a_message(tmp_path: Path) -> None:
    async with running(tmp_path, "--max-message=4KiB") as server:
        with Publisher(server.url) as publisher:
            events = [{"event": "e", "data": "x" * 3000}] * 100
            positions = await asyncio.to_thread(publisher.publish_many, events)
        assert [event["id"] for event in await history(server.url)] == positions


async def test_a_refusal_is_raised(server: ServerProcess) -> None:
    for publisher in (Publisher(server.url), Publisher(server.url, when_away="drop")):
        with publisher:
            with pytest.raises(RtpushError, match="reserved_event"):
                await asyncio.to_thread(publisher.publish, "connect")
            with pytest.raises(RtpushError, match="reserved_event"):
                await asyncio.to_thread(
                    publisher.publish_many, [{"event": "e"}, {"event": "connect"}]
                )
            with pytest.raises(RtpushError, match="bad_envelope"):
                publisher.publish("e", object())
        assert publisher.dropped == 0


async def test_connections_are_kept_alive(server: ServerProcess) -> None:
    async with relay(server.port) as between:
        with Publisher(between.url) as publisher:
            for n in range(5):
                await asyncio.to_thread(publisher.publish, "e", n)
            assert between.accepted == 1
            # The server let go of it meanwhile; that is no failure.
            between.cut()
            await asyncio.to_thread(publisher.publish, "e", 5)
            assert between.accepted == 2
    assert len(await history(server.url)) == 6


async def test_an_event_whose_answer_was_lost_is_logged_once(server: ServerProcess) -> None:
    async with relay(server.port) as between:
        with Publisher(between.url, timeout=PATIENCE) as publisher:
            between.deaf = True
            publishing = asyncio.create_task(asyncio.to_thread(publisher.publish, "paid", 17))
            await reach(server.url, 1)
            between.deaf = False
            between.cut()
            position = await publishing
    (event,) = await history(server.url)
    assert event["id"] == position


async def test_the_environment_says_where(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTPUSH_URL", server.url)
    with Publisher() as publisher:
        assert await asyncio.to_thread(publisher.publish, "e")


@pytest.mark.parametrize("url", ["127.0.0.1:5000", "ftp://x", "http://"])
def test_an_invalid_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        Publisher(url)


def test_options_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="spool"):
        Publisher(when_away="spool")
    with pytest.raises(ValueError, match="spool"):
        Publisher(spool="x")


# ---- the server is away ------------------------------------------------------


def test_raise() -> None:
    with (
        Publisher(f"http://127.0.0.1:{free_port()}", timeout=0.2) as publisher,
        pytest.raises(RtpushError, match="unavailable: The server cannot be reached"),
    ):
        publisher.publish("e")


async def test_retries_until_the_server_starts(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    server.port = free_port()
    with Publisher(server.url, timeout=PATIENCE) as publisher:
        publishing = asyncio.create_task(asyncio.to_thread(publisher.publish, "e"))
        await server.start()
        position = await publishing
    (event,) = await history(server.url)
    assert event["id"] == position
    await server.stop()


async def test_drop(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    server.port = free_port()
    with Publisher(server.url, when_away="drop") as publisher:
        assert publisher.publish("lost") is None
        assert publisher.publish_many([{"event": "lost"}] * 3) == [None] * 3
        assert publisher.dropped == 4
        await server.start()
        async with asyncio.timeout(PATIENCE):
            while await asyncio.to_thread(publisher.publish, "found") is None:
                pass
    assert [event for event, _ in await logged(server.url)] == ["found"]
    await server.stop()


async def test_another_program_on_the_port() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{")
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        with (
            Publisher(f"http://127.0.0.1:{port}", timeout=0.1) as publisher,
            pytest.raises(RtpushError, match="HTTP 502 without an answer of rtpush"),
        ):
            await asyncio.to_thread(publisher.publish, "e")


@pytest.mark.parametrize("kind", [Publisher, AsyncPublisher])
async def test_a_kept_connection_that_the_server_closes_is_replaced(kind: Any) -> None:
    served: list[int] = []

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{")
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"id": "a-1"}')
        served.append(1)
        # The server has decided to close when the next request arrives.
        with suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n{")
        writer.close()

    async with await asyncio.start_server(answer_once, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        # One that drops makes only one attempt.
        publisher = kind(f"http://127.0.0.1:{port}", when_away="drop")
        for _ in range(3):
            position = await called(publisher.publish, "e")
            assert position == "a-1"
        assert publisher.dropped == 0
        await called(publisher.close)
    assert len(served) == 3


async def called(function: Any, *args: Any) -> Any:
    """The result of a function that waits, or of a coroutine function."""
    if asyncio.iscoroutinefunction(function):
        return await function(*args)
    return await asyncio.to_thread(function, *args)


# ---- spool -------------------------------------------------------------------


def spooling(server: ServerProcess, folder: Path, **options: Any) -> Publisher:
    return Publisher(server.url, when_away="spool", spool=folder / "spool.db", **options)


async def test_every_event_once_and_in_order_while_the_server_is_killed(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    await server.start()
    threads, each = 8, 400
    with spooling(server, tmp_path) as publisher:

        def publish(thread: int) -> None:
            for n in range(each):
                publisher.publish("e", [thread, n])

        work = [asyncio.create_task(asyncio.to_thread(publish, i)) for i in range(threads)]
        for count in (500, 1500):
            await reach(server.url, count)
            await server.kill()
            await server.start()
        await asyncio.gather(*work)
        assert await asyncio.to_thread(publisher.flush, LONG)
        assert publisher.rejected == 0
    found = [event["data"] for event in await history(server.url)]
    assert len(found) == threads * each
    for thread in range(threads):
        assert [n for i, n in found if i == thread] == list(range(each))
    await server.stop()


async def test_the_next_process_sends_what_is_left(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    server.port = free_port()
    publisher = spooling(server, tmp_path)
    for n in range(3):
        assert publisher.publish("e", n) is None
    assert publisher.publish("now", volatile=True) is None
    assert not publisher.flush(0)
    publisher.close(0)
    assert publisher.dropped == 1
    await server.start()
    with spooling(server, tmp_path) as publisher:
        assert await asyncio.to_thread(publisher.flush, PATIENCE)
    assert await logged(server.url) == [("e", n) for n in range(3)]
    await server.stop()


async def test_a_refused_event_does_not_hold_up_the_others(tmp_path: Path) -> None:
    async with running(tmp_path, "--max-body=64KiB") as server:
        with spooling(server, tmp_path) as publisher:
            bad = [{"event": "connect"}, {"event": "big", "data": "x" * 70_000}]
            publisher.publish_many([{"event": "a"}, *bad, {"event": "b"}])
            assert await asyncio.to_thread(publisher.flush, PATIENCE)
            assert publisher.rejected == 2
        assert await logged(server.url) == [("a", None), ("b", None)]


async def test_a_wrong_key_loses_nothing(tmp_path: Path) -> None:
    key = new_api_key()
    async with running(tmp_path, f"--api-keys={hash_api_key(key)}") as server:
        with spooling(server, tmp_path, key="wrong") as publisher:
            publisher.publish("e")
            assert not await asyncio.to_thread(publisher.flush, 0.2)
            publisher.close(0)
        with spooling(server, tmp_path, key=key) as publisher:
            assert await asyncio.to_thread(publisher.flush, PATIENCE)
            assert publisher.rejected == 0


async def test_a_proxy_with_a_body_limit(server: ServerProcess, tmp_path: Path) -> None:
    location = f"location / {{ proxy_pass {server.url}; proxy_http_version 1.1; }}"
    limited = f"client_max_body_size 64k; {location}"
    async with nginx(tmp_path, limited) as url:
        with Publisher(url, when_away="spool", spool=tmp_path / "spool.db") as publisher:
            small = [{"event": "e", "data": [n, "x" * 3000]} for n in range(100)]
            publisher.publish_many([*small, {"event": "big", "data": "x" * 70_000}, *small])
            assert await asyncio.to_thread(publisher.flush, LONG)
            assert publisher.rejected == 1
        with Publisher(url) as publisher, pytest.raises(RtpushError, match="client_max_body_size"):
            await asyncio.to_thread(publisher.publish, "big", "x" * 70_000)
    assert [data[0] for _, data in await logged(server.url)] == [*range(100)] * 2


def test_a_full_spool_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_MAX_PAGES", 20)
    nowhere = ServerProcess(tmp_path)
    nowhere.port = free_port()
    publisher = spooling(nowhere, tmp_path)
    publisher.publish("fits")
    with pytest.raises(RtpushError, match="unavailable: The spool cannot be written"):
        publisher.publish_many([{"event": "e", "data": "x" * 10_000}] * 20)
    publisher.close(0)
    with sqlite3.connect(tmp_path / "spool.db") as db:
        assert db.execute("SELECT count(*) FROM envelopes").fetchone() == (1,)
    db.close()


def test_another_file_is_no_spool(tmp_path: Path) -> None:
    (tmp_path / "spool.db").write_text("nonsense " * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        Publisher(when_away="spool", spool=tmp_path / "spool.db")


# ---- forks -------------------------------------------------------------------

FORKING = """
import os, sys, threading
from rtpush import Publisher

options = {"when_away": "spool", "spool": sys.argv[2]} if len(sys.argv) > 2 else {}
publisher = Publisher(sys.argv[1], timeout=20, **options)
publisher.publish("begin")

def publish(who):
    for n in range(100):
        publisher.publish("e", [who, n])

# Forks while threads are at it, and children that fork again.
busy = threading.Thread(target=publish, args=("parent",))
busy.start()
children = [0] * 4
for i in range(4):
    children[i] = os.fork()
    if children[i] == 0:
        if i == 3 and os.fork() == 0:
            publish("grandchild")
        else:
            publish(i)
        publisher.close(20)
        os._exit(0)
busy.join()
codes = [os.waitpid(child, 0)[1] for child in children]
assert publisher.flush(20), "something is left"
publisher.close()
assert codes == [0] * 4, codes
"""


@pytest.mark.parametrize("spooled", [False, True], ids=["raise", "spool"])
async def test_threads_and_forks(server: ServerProcess, tmp_path: Path, spooled: bool) -> None:
    arguments = [server.url, *([str(tmp_path / "spool.db")] if spooled else [])]
    process = await forkserver.start(*arguments, code=FORKING)
    assert await asyncio.wait_for(process.wait(), LONG) == 0
    await reach(server.url, 601)
    found = await logged(server.url)
    assert found[0] == ("begin", None)
    assert len(found) == 601
    for who in ("parent", 0, 1, 2, 3, "grandchild"):
        assert [data[1] for _, data in found[1:] if data[0] == who] == list(range(100))


# uWSGI forks in C, and holds the GIL meanwhile: no hook of `os.register_at_fork` runs.
FORKING_IN_C = """
import ctypes, os, sys
from rtpush import Publisher, RtpushError

fork = ctypes.PyDLL(None).fork
url, spool, patience, *first = sys.argv[1:]
options = {"when_away": "spool", "spool": spool} if spool else {}
publisher = Publisher(url, timeout=20, **options)
for event in first:
    publisher.publish(event)

def publish(who):
    try:
        for n in range(50):
            publisher.publish("e", [who, n])
    except RtpushError as error:
        print(error, flush=True)
        return 3
    return 0 if publisher.flush(float(patience)) else 4

children = []
for who in range(2):
    child = fork()
    if child == 0:
        os._exit(publish(who))
    children.append(child)
code = publish("parent")
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
publisher.close(0)
print(code, *codes)
"""


async def forked_in_c(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FORKING_IN_C, *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), LONG)
    finally:
        if process.returncode is None:
            process.kill()
    return out.decode()


@pytest.mark.parametrize("spooled", [False, True], ids=["raise", "spool"])
async def test_a_fork_in_c(server: ServerProcess, tmp_path: Path, spooled: bool) -> None:
    # Without a spool, the parent has a kept connection when it forks.
    arguments = [str(tmp_path / "spool.db"), "20"] if spooled else ["", "20", "begin"]
    assert await forked_in_c(server.url, *arguments) == "0 0 0\n"
    found = [data for name, data in await logged(server.url) if name == "e"]
    for who in ("parent", 0, 1):
        assert [n for by, n in found if by == who] == list(range(50))


async def test_a_fork_in_c_while_the_spool_is_open_is_refused(tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    out = await forked_in_c(nowhere, str(tmp_path / "spool.db"), "0", "begin")
    # Both children are told; what the parent has stored waits.
    assert out.count("the process was forked in C") == 2
    assert out.endswith("4 3 3\n")


# ---- tasks -------------------------------------------------------------------


async def test_a_task_completes_with_its_result(server: ServerProcess) -> None:
    async with AsyncPublisher(server.url) as publisher:
        async with publisher.task("t", formData={"prompt": "a lake"}, room="ada") as task:
            await task.progress(40, "hills", layer=2)
            (active,) = (await get(f"{server.url}/api/tasks"))["tasks"]
            task.result = {"hills": 3}
        async with publisher.task() as early:
            await early.complete("done", by="hand")
        async with publisher.task() as bad:
            await bad.fail("no ink")
    assert active.pop("startTime") > 0
    assert active.pop("status") == "running"
    assert active.pop("startedAt") >= active.pop("createdAt")
    assert active == {
        "id": "t",
        "worker": "publisher",
        "room": "ada",
        "formData": {"prompt": "a lake"},
        "progress": 40,
        "message": "hills",
        "layer": 2,
    }
    ended = {t["id"]: t for t in (await get(f"{server.url}/api/tasks"))["finished"]}
    assert ended["t"]["result"] == {"hills": 3}
    assert (ended[early.id]["result"], ended[early.id]["by"]) == ("done", "hand")
    assert (ended[bad.id]["status"], ended[bad.id]["error"]) == ("failed", "no ink")


async def test_a_task_writes_a_text_in_pieces(server: ServerProcess) -> None:
    def work() -> None:
        with Publisher(server.url) as publisher, publisher.task("sync") as task:
            for word in ("Once ", "upon"):
                task.append(text=word, words=[word])

    await asyncio.to_thread(work)
    async with AsyncPublisher(server.url) as publisher, publisher.task("async") as task:
        for word in ("Once ", "upon"):
            await task.append(text=word, words=[word])
    for ended in (await get(f"{server.url}/api/tasks"))["finished"]:
        assert (ended["text"], ended["words"]) == ("Once upon", ["Once ", "upon"])


async def test_a_task_fails_with_its_exception(server: ServerProcess) -> None:
    publisher = Publisher(server.url)

    def work() -> None:
        with publisher.task("t"):
            raise KeyError("ink")

    with publisher, pytest.raises(KeyError):
        await asyncio.to_thread(work)
    (ended,) = (await get(f"{server.url}/api/tasks"))["finished"]
    assert (ended["status"], ended["error"]) == ("failed", "'ink'")


@pytest.mark.parametrize(
    ("event", "code"), [("task_cancel", "task_cancelling"), ("task_cancelled", "task_finished")]
)
async def test_a_cancelled_task_stops_the_work(
    server: ServerProcess, caplog: pytest.LogCaptureFixture, event: str, code: str
) -> None:
    async with AsyncPublisher(server.url) as publisher, AsyncPublisher(server.url) as other:

        async def work() -> None:
            async with publisher.task("t") as task:
                await task.progress(10)
                await other.publish(event, {"id": "t", "reason": "enough"})
                await task.progress(50)

        with pytest.raises(RtpushError, match=code):
            await work()
    (ended,) = (await get(f"{server.url}/api/tasks"))["finished"]
    assert (ended["status"], ended["reason"]) == ("cancelled", "enough")
    assert ("could not be published" in caplog.text) is (code == "task_finished")


# ---- coroutines --------------------------------------------------------------


async def test_any_number_of_coroutines_wait_at_once() -> None:
    waiting, release = [0], asyncio.Event()

    async def answer_all_at_once(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n{")
        waiting[0] += 1
        if waiting[0] == 80:
            release.set()
        await release.wait()
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"id": "a-1"}')
        writer.close()

    async with await asyncio.start_server(answer_all_at_once, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with AsyncPublisher(f"http://127.0.0.1:{port}", timeout=PATIENCE) as publisher:
            positions = await asyncio.gather(*(publisher.publish("e") for _ in range(80)))
    assert positions == ["a-1"] * 80


async def test_the_default_executor_is_the_applications(
    server: ServerProcess, tmp_path: Path
) -> None:
    loop, over = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    busy = loop.run_in_executor(None, over.wait)
    try:
        async with asyncio.timeout(LONG):
            async with AsyncPublisher(server.url) as publisher, publisher.task() as task:
                await task.progress(50)
            spool_to = tmp_path / "spool.db"
            async with AsyncPublisher(server.url, when_away="spool", spool=spool_to) as publisher:
                assert await publisher.publish("spooled") is None
                assert await publisher.flush(PATIENCE)
    finally:
        over.set()
        await busy


# Python closes the connections of a loop that has ended, and says so where it is asked to.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_several_event_loops_in_turn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with running(tmp_path) as server:
            publisher = AsyncPublisher(server.url)

            def publish(n: int) -> None:
                asyncio.run(asyncio.wait_for(use(publisher, n), PATIENCE))

            for n in range(3):
                await asyncio.to_thread(publish, n)
            assert await logged(server.url) == [("e", 0), ("e", 1), ("e", 2)]
            await publisher.close()

    async def use(publisher: AsyncPublisher, n: int) -> None:
        await publisher.publish("e", n)

    asyncio.run(main())
    gc.collect()
    assert "Unclosed" not in caplog.text


async def test_coroutines(server: ServerProcess, tmp_path: Path) -> None:
    async with AsyncPublisher(server.url) as publisher:
        positions = await asyncio.gather(*(publisher.publish("e", n) for n in range(20)))
        positions += await publisher.publish_many([{"event": "f"}])
    assert {event["id"] for event in await history(server.url)} == set(positions)
    spool_to = tmp_path / "spool.db"
    async with AsyncPublisher(server.url, when_away="spool", spool=spool_to) as publisher:
        await publisher.publish("late")
        assert await publisher.flush(PATIENCE)
        assert (publisher.rejected, publisher.dropped) == (0, 0)
