"""`rtpush worker`: a function of the user's own does a server's tasks."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from boards import active, board
from clients import PATIENCE
from terminals import RTPUSH, environment, run

from rtpush import Server

APP = """
async def work(task, report):
    if task["id"] == "slow":
        await report(50, "half")
        await __import__("asyncio").Event().wait()
    return "done"
"""


async def test_it_logs_each_task_and_gives_back_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    command = (*RTPUSH, "worker", "app:work", "--queue", "q", "--concurrency", "2", "--name", "gpu")
    async with Server(port=0, log="memory:") as server:
        for task in ("quick", "slow"):
            await server.emit("task_created", {"id": task, "queue": "q"})
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=tmp_path,
            env=environment(server.url.rstrip("/")),
            stderr=asyncio.subprocess.PIPE,
        )
        task = await active(server.url.rstrip("/"), lambda one: one.get("progress") == 50)
        assert (task["id"], task["worker"]) == ("slow", "gpu")
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE):
            _, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        (left,) = (await board(server.url.rstrip("/")))["tasks"]
    assert (left["id"], left["status"], left["worker"]) == ("slow", "queued", None)
    lines = [line.partition("rtpush.worker: ")[2] for line in err.decode().splitlines()]
    assert lines[0] == "gpu takes tasks of q"
    assert [line for line in lines if line.startswith("task ")] == [
        line for line in lines if line.startswith("task quick: completed after ")
    ]


async def test_what_cannot_be_run_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    for target, said, code in (("app", "app:work", 2), ("app:wrok", "did you mean work", 1)):
        outcome = await run("worker", target, cwd=tmp_path)
        assert said in outcome.err
        assert outcome.code == code
