"""What becomes of tasks whose workers are killed, and how soon a worker hears of a cancel.

`python bench/workers.py [--tasks 1000] [--workers 8] [--every 1]`. Needs Redis.

Three nodes share a log in Redis. Workers in processes of their own claim tasks from them, and
are killed with `kill -9` at random, one every so many seconds, and started again. A worker
holds a lock on the file of its task: the system lets go of it with the process. Then the log is
read: each task is completed once, by the attempt that had claimed it last, and no two workers
were at one task at the same time.

The cancels are timed on one node, from the client's `emit` to the function's knowledge.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from own_redis import own_redis

from rtpush import AsyncReport, Client, Report, Server, TaskCancelled, Worker, WorkTask

ROOT = str(Path(__file__).resolve().parent.parent)
NODES = 3
# Seconds that a task takes.
STEP = 0.02
STEPS = 3
CANCELS = 40
PATIENCE = 120.0


@dataclass
class Outcome:
    """What was seen. `wrong` has a line for each promise that was broken."""

    tasks: int
    seconds: float = 0.0
    kills: int = 0
    claims: int = 0
    lost: int = 0
    wrong: list[str] = field(default_factory=list)


# ---- a worker, in a process of its own -------------------------------------------


def work_for(url: str, folder: Path) -> None:
    """Be a worker until the process is killed."""

    async def work(task: WorkTask, report: AsyncReport) -> int:
        with (folder / str(task["id"])).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                (folder / f"two at {task['id']}").touch()
            for step in range(STEPS):
                await report(100 * step / STEPS, "at it", append={"text": f"{step} "})
                await asyncio.sleep(STEP)
        return task.attempt

    Worker(url, concurrency=2).run(work)


async def start(url: str, folder: Path) -> asyncio.subprocess.Process:
    arguments = [sys.executable, __file__, "--work", url, str(folder)]
    return await asyncio.create_subprocess_exec(*arguments, env=os.environ | {"PYTHONPATH": ROOT})


# ---- killing workers ---------------------------------------------------------------


async def kill_at_random(
    urls: list[str],
    folder: Path,
    workers: list[asyncio.subprocess.Process],
    outcome: Outcome,
    rng: random.Random,
    every: float,
    most: int | None,
) -> None:
    while most is None or outcome.kills < most:
        await asyncio.sleep(rng.uniform(0.5, 1.5) * every)
        place = rng.randrange(len(workers))
        workers[place].kill()
        await workers[place].wait()
        outcome.kills += 1
        workers[place] = await start(rng.choice(urls), folder)


@asynccontextmanager
async def working(urls: list[str], folder: Path, count: int) -> AsyncIterator[list[Any]]:
    workers = [await start(urls[n % len(urls)], folder) for n in range(count)]
    try:
        yield workers
    finally:
        for one in workers:
            with suppress(ProcessLookupError):
                one.send_signal(signal.SIGTERM)
        await asyncio.gather(*(one.wait() for one in workers))


async def run(
    redis: str,
    folder: Path,
    *,
    tasks: int,
    workers: int,
    every: float,
    lease: float = 2.0,
    most: int | None = None,
    seed: int = 0,
) -> Outcome:
    """Have workers do tasks while they are killed, and check what came of it."""
    outcome, began = Outcome(tasks), time.monotonic()
    settings = {"log": redis, "port": 0, "claim_lease": lease, "max_attempts": 1000}
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(Server(**settings)) for _ in range(NODES)]
        urls = [node.url.rstrip("/") for node in nodes]
        created = (nodes[n % NODES].emit("task_created", {"id": n}) for n in range(tasks))
        await asyncio.gather(*created)
        async with working(urls, folder, workers) as processes:
            rng = random.Random(seed)
            killing = asyncio.create_task(
                kill_at_random(urls, folder, processes, outcome, rng, every, most)
            )
            async with asyncio.timeout(PATIENCE + tasks * STEP):
                await until_done(nodes[0], killing if most is not None else None)
            killing.cancel()
            with suppress(asyncio.CancelledError):
                await killing
        outcome.seconds = time.monotonic() - began
        await check(nodes[0], folder, outcome)
    return outcome


async def until_done(node: Server, killing: asyncio.Task[None] | None) -> None:
    while True:
        if not len(node._log.board) and (killing is None or killing.done()):
            return
        await asyncio.sleep(0.05)


async def check(node: Server, folder: Path, outcome: Outcome) -> None:
    """Read the whole log: what became of each task."""
    claims: dict[int, list[int]] = defaultdict(list)
    ends: dict[int, list[tuple[str, Any]]] = defaultdict(list)
    after = 0
    while after < node._log.last:
        page = await node._log.read(after, 1000)
        after = page.upto
        for entry in page.entries:
            note(entry.event, entry.json, claims, ends, outcome)
    for number in range(outcome.tasks):
        if ends[number] != [("task_completed", claims[number][-1:])]:
            outcome.wrong.append(f"task {number}: claimed as {claims[number]}, {ends[number]}")
        if claims[number] != list(range(1, len(claims[number]) + 1)):
            outcome.wrong.append(f"task {number}: the attempts are {claims[number]}")
    outcome.wrong += [name for name in os.listdir(folder) if name.startswith("two at ")]


def note(
    event: str,
    json: bytes,
    claims: dict[int, list[int]],
    ends: dict[int, list[tuple[str, Any]]],
    outcome: Outcome,
) -> None:
    import orjson

    if not event.startswith("task_"):
        return
    data = orjson.loads(json)["data"]
    if event == "task_claimed":
        outcome.claims += 1
        claims[int(data["id"])].append(data["attempt"])
    elif event == "task_requeued":
        outcome.lost += "lost" in data
    elif event in ("task_completed", "task_failed", "task_cancelled"):
        ends[int(data["id"])].append((event, [data.get("attempt")]))


# ---- cancels -----------------------------------------------------------------------


async def time_cancels(transport: str, *, thread: bool) -> list[float]:
    """Milliseconds from a client's `emit` to the function's knowledge."""
    begun, told = asyncio.Event(), asyncio.Queue[float]()

    async def in_coroutine(_task: WorkTask, report: AsyncReport) -> None:
        await report(1, "begun")
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            told.put_nowait(time.perf_counter())

    loop = asyncio.get_running_loop()

    def in_thread(task: WorkTask, report: Report) -> None:
        report(1, "begun")
        loop.call_soon_threadsafe(begun.set)
        task.wait_cancelled(60)
        loop.call_soon_threadsafe(told.put_nowait, time.perf_counter())
        raise TaskCancelled

    async with Server(port=0, log="memory:") as server, Client() as client:
        url = server.url.rstrip("/")
        worker = Worker(url, transports=transport)
        working = asyncio.create_task(worker.serve(in_thread if thread else in_coroutine))
        await client.connect(url)
        found = []
        for number in range(CANCELS):
            begun.clear()
            await client.call("task_created", {"id": number})
            await begun.wait()
            began = time.perf_counter()
            await client.emit("task_cancel", {"id": number})
            found.append(1000 * (await told.get() - began))
        working.cancel()
        await asyncio.wait([working])
    return found


async def main(tasks: int, workers: int, every: float) -> bool:
    with tempfile.TemporaryDirectory() as folder, own_redis(folder) as redis:
        if redis is None:
            print("redis-server is not installed: tasks are not measured")
            return False
        place = Path(folder) / "tasks"
        place.mkdir()
        outcome = await run(redis.url, place, tasks=tasks, workers=workers, every=every)
    print(
        f"{outcome.tasks} tasks, {workers} workers on {NODES} nodes: done in "
        f"{outcome.seconds:.1f} s; {outcome.kills} workers killed, {outcome.claims} claims, "
        f"{outcome.lost} attempts lost, {len(outcome.wrong)} promises broken"
    )
    print(*outcome.wrong, sep="\n")
    print("\nfrom a cancel to the worker's knowledge, in ms: median (95 of 100)")
    for transport in ("websocket", "sse", "poll"):
        for thread in (False, True):
            found = await time_cancels(transport, thread=thread)
            most = statistics.quantiles(found, n=20)[-1]
            kind = "thread" if thread else "coroutine"
            print(f"  {transport:<10} {kind:<10} {statistics.median(found):6.2f} ({most:.2f})")
    return not outcome.wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two kills")
    parser.add_argument("--work", nargs=2, metavar=("URL", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work_for(given.work[0], Path(given.work[1]))
    else:
        sys.exit(not asyncio.run(main(given.tasks, given.workers, given.every)))
