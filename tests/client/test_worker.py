"""Workers on other machines: over any transport, told at once, and never two at one task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import jwt
import pytest
from clients import PATIENCE, until

from rtpush import AsyncReport, RtpushError, Server, TaskCancelled, Worker, WorkTask
from rtpush.work.task import Report, Work

SECRET = "s" * 32


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server(port=0, log="memory:", auth_secret=SECRET) as server:
        yield server


def token(**claims: Any) -> str:
    return jwt.encode({"sub": "worker", "exp": 4e9, **claims}, SECRET)


@asynccontextmanager
async def working(server: Server, work: Work, **options: Any) -> AsyncIterator[None]:
    worker = Worker(server.url, token=token(publish=True), **options)
    serving = asyncio.create_task(worker.serve(work))
    yield
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving


def shown(server: Server, key: str) -> dict[str, Any]:
    task = server._log.board.get(key)
    return {} if task is None else task.data


@pytest.mark.parametrize("transport", ["websocket", "sse", "poll"])
async def test_a_worker_anywhere_does_tasks_and_hears_of_their_cancel(
    server: Server, transport: str
) -> None:
    stopped = asyncio.Event()

    async def work(task: WorkTask, report: AsyncReport) -> str:
        await report(50, "half", append={"text": "Once"})
        if task["id"] == "quick":
            return "done"
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return "never"

    queue = {"queue": transport}
    async with working(server, work, queues=[transport], concurrency=2, transports=transport):
        # It waits for a task already, in a room that it does not hear of.
        await until(lambda: bool(server._claims._waiting))
        await server.emit("task_created", {"id": "slow", **queue}, room="attic")
        await server.emit("task_created", {"id": "quick", **queue})
        await until(lambda: shown(server, "quick").get("status") == "completed")
        await until(lambda: shown(server, "slow").get("text") == "Once")
        await server.emit("task_cancel", {"id": "slow"}, room="attic")
        async with asyncio.timeout(PATIENCE):
            await stopped.wait()
        await until(lambda: shown(server, "slow")["status"] == "cancelled")
        stopped.clear()
        await server.emit("task_created", {"id": "left", **queue}, room="attic")
        await until(lambda: shown(server, "left").get("progress") == 50)
    left = shown(server, "left")
    assert (left["status"], left["worker"], left.get("lost")) == ("queued", None, None)
    assert stopped.is_set()
    await server.emit("task_cancel", {"id": "left"}, room="attic")


async def test_a_thread_learns_of_a_cancel_without_reporting(server: Server) -> None:
    def work(task: WorkTask, report: Report) -> None:
        report(1, "begun")
        assert task.wait_cancelled(PATIENCE)
        raise TaskCancelled

    async with working(server, work):
        await server.emit("task_created", {"id": "thread"})
        await until(lambda: shown(server, "thread").get("progress") == 1)
        await server.emit("task_cancel", {"id": "thread"})
        await until(lambda: shown(server, "thread")["status"] == "cancelled")


async def test_a_claim_outlives_the_session_of_its_worker(server: Server) -> None:
    """A worker that comes back as another session says which tasks it has."""

    async def work(task: WorkTask, report: AsyncReport) -> None:
        await report(1, "begun")
        await asyncio.Event().wait()

    async with working(server, work):
        await server.emit("task_created", {"id": "kept"})
        await until(lambda: shown(server, "kept").get("progress") == 1)
        (session,) = server._hub.sessions.values()
        assert session.claims == {"kept": 1}
        server._hub.release(session)
        await until(lambda: any(one.claims for one in server._hub.sessions.values()))
        assert session not in server._hub.sessions.values()
        await server.emit("task_cancel", {"id": "kept"})
        await until(lambda: shown(server, "kept")["status"] == "cancelled")


async def test_a_worker_without_the_right_is_told_so(server: Server) -> None:
    async def work(task: WorkTask, report: AsyncReport) -> None: ...

    for claims, code in (({}, "forbidden"), ({"exp": 1}, "not_authenticated")):
        worker = Worker(server.url, token=token(**claims))
        with pytest.raises(RtpushError, match=code):
            await worker.serve(work)
