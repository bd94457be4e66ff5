"""The worker: every task is done once somebody can, and nobody is told what is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any

import aiohttp
import pytest

from rtpush.config.settings import Settings
from rtpush.errors import RtpushError
from rtpush.server import Server
from rtpush.work.task import AsyncReport, Report, TaskCancelled, TaskEnded, Work, WorkTask

PATIENCE = 10.0


class Watcher:
    """A client on a WebSocket."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse, url: str) -> None:
        self._ws = ws
        self.url = url

    async def ask(self, id_: str, **fields: Any) -> None:
        room = fields.pop("room", None)
        data = {"id": id_, "formData": {"prompt": id_}, "mode": "any", **fields}
        await self._ws.send_json({"event": "task_created", "data": data, "room": room})

    async def cancel(self, id_: str, room: str | None = None) -> None:
        await self.say("task_cancel", {"id": id_, "reason": "enough"}, room)

    async def say(self, event: str, data: dict[str, Any], room: str | None = None) -> None:
        await self._ws.send_json({"event": event, "data": data, "room": room})

    async def wait(self, event: str) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            while True:
                envelope = await self._ws.receive_json()
                if envelope["event"] == event:
                    data: dict[str, Any] = envelope["data"]
                    return data


@asynccontextmanager
async def serving(work: Work, log: str = "memory:", **options: Any) -> AsyncIterator[Watcher]:
    server = Server(Settings(port=0, log=log), work=work, **options)
    await server.start()
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{server.url}ws") as ws,
    ):
        yield Watcher(ws, server.url)
    await server.stop()


async def wait_for(event: Event) -> None:
    assert await asyncio.to_thread(event.wait, PATIENCE)


async def test_progress_and_result_reach_everybody() -> None:
    def work(task: dict[str, Any], report: Report) -> str:
        report(50, "half", detail=task["mode"])
        return "done"

    async with serving(work) as watcher:
        await watcher.ask("a")
        progress = await watcher.wait("task_progress")
        said = {"progress": 50, "message": "half", "detail": "any"}
        assert progress == {"id": "a", "attempt": 1} | said
        ended = {"id": "a", "attempt": 1, "result": "done"}
        assert await watcher.wait("task_completed") == ended


async def test_the_reason_of_a_refusal_is_shown() -> None:
    def work(task: dict[str, Any], report: Report) -> None:
        raise ValueError("A prompt has words.")

    async with serving(work) as watcher:
        await watcher.ask("a")
        assert (await watcher.wait("task_failed"))["error"] == "A prompt has words."


async def test_the_details_of_a_failure_are_for_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def work(task: dict[str, Any], report: Report) -> None:
        raise KeyError("/etc/secret")

    async with serving(work) as watcher:
        await watcher.ask("a")
        assert (await watcher.wait("task_failed"))["error"] == "The work failed (KeyError)."
        await watcher.ask("b")
        await watcher.wait("task_failed")
    assert "/etc/secret" in caplog.text


async def test_a_task_that_somebody_else_does_is_left_alone() -> None:
    async with serving(lambda task, report: "done") as watcher:
        await watcher.ask("theirs", worker="publisher")
        await watcher.ask("ours")
        assert (await watcher.wait("task_completed"))["id"] == "ours"


async def test_a_cancelled_task_is_dropped_at_its_next_report() -> None:
    begun, cancelled, cleaned_up = Event(), Event(), Event()

    def work(task: dict[str, Any], report: Report) -> str:
        if task["id"] == "next":
            return "the worker lives"
        report(10, "begun")
        begun.set()
        cancelled.wait(PATIENCE)
        try:
            report(50, "half")
        except TaskCancelled:
            cleaned_up.set()
            raise
        return "too late"

    async with serving(work) as watcher:
        await watcher.ask("a")
        await wait_for(begun)
        await watcher.cancel("a")
        assert (await watcher.wait("task_cancel"))["reason"] == "enough"
        cancelled.set()
        await wait_for(cleaned_up)
        assert await watcher.wait("task_cancelled") == {"id": "a", "attempt": 1}
        await watcher.ask("next")
        assert (await watcher.wait("task_completed"))["id"] == "next"


async def test_a_coroutine_function_works_too_as_many_at_once_as_wanted() -> None:
    meet = asyncio.Barrier(5)

    async def work(task: dict[str, Any], report: AsyncReport) -> str:
        await meet.wait()
        await report(50, "half", append={"text": "Once"})
        return "done"

    async with serving(work, concurrency=5) as watcher:
        for number in range(5):
            await watcher.ask(str(number))
        ended = [await watcher.wait("task_completed") for _ in range(5)]
        assert {task["id"] for task in ended} == {"0", "1", "2", "3", "4"}


async def test_a_coroutine_is_cancelled_at_once_with_its_task_and_with_the_server() -> None:
    stopped: list[str] = []

    async def work(task: dict[str, Any], report: AsyncReport) -> None:
        try:
            await report(10, "begun")
            await asyncio.Event().wait()
        finally:
            stopped.append(task["id"])

    async with serving(work) as watcher:
        await watcher.ask("a")
        await watcher.wait("task_progress")
        await watcher.cancel("a")
        assert await watcher.wait("task_cancelled") == {"id": "a", "attempt": 1}
        assert stopped == ["a"]
        await watcher.ask("b")
        await watcher.wait("task_progress")
    assert stopped == ["a", "b"]


async def test_a_coroutine_that_fails_fails_its_task() -> None:
    # A sentence, or an object for a page that speaks several languages.
    errors: list[Any] = ["A prompt has words.", {"code": "no_words", "message": "…", "most": 5}]

    async def work(task: dict[str, Any], report: AsyncReport) -> None:
        raise ValueError(errors[int(task["id"])])

    async with serving(work) as watcher:
        for number, error in enumerate(errors):
            await watcher.ask(str(number))
            assert (await watcher.wait("task_failed"))["error"] == error


async def test_work_on_a_cancelled_task_does_not_report_on_another_of_its_id() -> None:
    begun, begun_again, finish = Event(), Event(), Event()

    def work(task: dict[str, Any], report: Report) -> str:
        if task["formData"]["prompt"] == "second":
            begun_again.set()
            finish.wait(PATIENCE)
            return "of the second"
        begun.set()
        begun_again.wait(PATIENCE)
        try:
            report(50, "of the first")
        except TaskEnded:
            finish.set()
            raise
        return "of the first"

    async with serving(work) as watcher:
        await watcher.ask("a")
        await wait_for(begun)
        await watcher.say("task_failed", {"id": "a", "error": "as an operator says"})
        await watcher.ask("a", formData={"prompt": "second"})
        assert (await watcher.wait("task_completed"))["result"] == "of the second"


async def test_what_a_server_left_undone_is_done_by_the_next(tmp_path: Path) -> None:
    log = f"sqlite:{tmp_path / 'rtpush.db'}"
    begun, never = Event(), Event()

    def stuck(task: dict[str, Any], report: Report) -> None:
        report(10, "begun")
        begun.set()
        never.wait(PATIENCE)

    async with serving(stuck, log) as watcher:
        await watcher.ask("a")
        await wait_for(begun)

    release = Event()

    def work(task: dict[str, Any], report: Report) -> str:
        release.wait(PATIENCE)
        return f"attempt {task['attempt']}, {task.get('lost', 0)} lost"

    async with serving(work, log) as watcher:
        board = await watcher.wait("active_tasks")
        assert [task["id"] for task in board["tasks"]] == ["a"]
        release.set()
        assert (await watcher.wait("task_completed"))["result"] == "attempt 2, 0 lost"
    never.set()


async def test_tasks_of_rooms_are_done_and_those_of_other_queues_are_not() -> None:
    seen: list[str] = []

    def work(task: dict[str, Any], report: Report) -> None:
        report(50, "half")
        seen.append(task["id"])

    async with serving(work, queues=("default", "big")) as watcher:
        await watcher.ask("private", room="attic")
        await watcher.ask("big", queue="big")
        await watcher.ask("other", queue="other")
        await watcher.ask("public")
        while (await watcher.wait("task_completed"))["id"] != "public":
            pass
    assert sorted(seen) == ["big", "private", "public"]


async def test_a_thread_learns_of_a_cancel_at_once_and_of_a_stop() -> None:
    begun, told = Event(), SimpleQueue[tuple[str, bool]]()

    def work(task: WorkTask, report: Report) -> None:
        begun.set()
        told.put((task["id"], task.wait_cancelled(PATIENCE)))
        raise TaskCancelled

    async with serving(work) as watcher:
        await watcher.ask("a", room="attic")
        await wait_for(begun)
        begun.clear()
        await watcher.cancel("a", room="attic")
        assert await asyncio.to_thread(told.get, timeout=PATIENCE) == ("a", True)
        await watcher.ask("b")
        await wait_for(begun)
    assert await asyncio.to_thread(told.get, timeout=PATIENCE) == ("b", True)


async def test_a_stop_does_not_wait_for_a_log_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its threads end with it: the module's own check finds one that stays."""
    refused = Event()

    async def emit(*_: Any) -> str:
        refused.set()
        raise RtpushError("unavailable", "The log is away.", retry_after=3600)

    monkeypatch.setattr("rtpush.application.dispatcher.Dispatcher.emit", emit)
    async with serving(lambda task, report: "done") as watcher:
        await watcher.ask("a")
        await wait_for(refused)


async def test_the_board_is_not_changed_by_what_the_work_does_with_its_task() -> None:
    shown: list[int] = []

    def work(task: dict[str, Any], report: Report) -> list[int]:
        task["formData"]["prompt"] = object()
        report(50, "half", shown=shown)
        shown.append(1)
        return shown

    async with serving(work) as watcher:
        await watcher.ask("a")
        assert (await watcher.wait("task_completed"))["result"] == [1]
        shown.append(2)
        await watcher.ask("b", worker="of another")
        async with (
            aiohttp.ClientSession(trust_env=False) as http,
            http.get(f"{watcher.url}api/tasks/a") as response,
        ):
            task = await response.json()
    assert (task["formData"], task["shown"], task["result"]) == ({"prompt": "a"}, [], [1])
