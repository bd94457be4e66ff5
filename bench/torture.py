"""Three nodes and their Redis under fire, and a checker of what came of it.

    python bench/torture.py --seconds 180

Publishers publish through all nodes, each event until it is acknowledged.
Readers read over all transports, and hop between nodes and transports. Meanwhile
nodes and Redis are killed, paused, cut off and slowed down at random; with
--lose Redis is emptied, too. Afterwards:

- every acknowledged event is in the log where its answer said, and nowhere else;
- every reader has seen what is in the log, each event once, in order and without
  a gap, but for where it was told `resync`;
- no reader was ever put elsewhere without `resync`;
- what every reader knows of retained events and of a room's members, by snapshots and what came
  behind them, is what the server has;
- the members of a node that is killed, and of sessions that were lost, have left in time.

Exit code 1 if not. The same --seed gives the same plan, not the same timing.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

sys.path.insert(0, str(Path(__file__).parent.parent / "tests/support"))

from clients import KINDS, Client, LongPoll, is_logged, split
from faults import FaultProxy, fault_proxy
from members import LEASE, LOST, MEMBERS, ROOM, come_and_go, lose_a_node
from processes import ServerProcess
from redisserver import RedisServer
from truth import Name, Truth

NODES, PUBLISHERS, READERS = 3, 4, 6
# Seconds in which all must be well again, once nothing is broken any more.
RECOVERY = 20.0


@dataclass
class Run:
    """What is going on, and what was seen."""

    random: random.Random
    redis: RedisServer
    nodes: list[ServerProcess] = field(default_factory=list)
    proxies: list[FaultProxy] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)
    ending: bool = False
    # What is waited for when nothing is broken any more.
    awaited: str = ""
    # Where the last event is.
    end: str | None = None
    # Each acknowledged event, by its position.
    acked: dict[str, str] = field(default_factory=dict)
    # What was seen at each position, by any reader.
    seen: dict[str, Any] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    # What is in the log in the end, by its number.
    log: dict[int, Any] = field(default_factory=dict)
    # What is retained in the end.
    state: dict[Name, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def url(self) -> str:
        return self.random.choice(self.nodes).url

    def urls(self) -> Iterator[str]:
        """Each time of another node."""
        while True:
            yield self.url()

    def violation(self, what: str) -> None:
        if len(self.wrong) < 20:
            self.wrong.append(what)
            print("VIOLATION:", what, flush=True)


# ---- publishers and readers --------------------------------------------------


async def publish(run: Run, http: aiohttp.ClientSession, name: int) -> None:
    number = 0
    while not run.ending:
        key = f"{name}/{number}"
        event: dict[str, Any] = {"event": "tick", "data": key, "idempotency_key": key}
        if not number % 4:
            event |= {"key": f"{name}/{number % 12}", "retain": True}
        await publish_one(run, http, event)
        number += 1


async def publish_one(run: Run, http: aiohttp.ClientSession, event: dict[str, Any]) -> str:
    """Until it is acknowledged; its position."""
    begun = time.monotonic()
    while True:
        try:
            async with http.post(f"{run.url()}/api/publish", json=event) as answer:
                body = await answer.json()
        except LOST:
            run.counts["publishes cut"] += 1
            await asyncio.sleep(0.02)
            continue
        if answer.status == 200:
            run.waits.append(time.monotonic() - begun)
            run.acked[body["id"]] = event["data"]
            return str(body["id"])
        run.counts[f"publishes refused: {body['error']['code']}"] += 1
        if body["error"]["code"] not in ("unavailable", "going_away"):
            run.violation(f"a publish was refused with {body}")
        await asyncio.sleep(0.02)


class Reader:
    """Reads on, whatever happens, from where it was."""

    def __init__(self, run: Run, http: aiohttp.ClientSession, name: int, last: str) -> None:
        self.run = run
        self.http = http
        self.name = name
        self.last = last
        self.sid: str | None = None
        self.event = ""
        self.doing = ""
        self.told = False
        self.truth = Truth()

    async def read(self) -> None:
        """Until the last event is read, or a resync has led past it."""
        while self.event != "end" and not self._is_past_the_end():
            kind = self.run.random.choice(KINDS)
            client: Client | None = None
            with suppress(*LOST):
                self.doing = f"opens a {kind.name}"
                urls = self.run.urls() if kind is LongPoll else self.run.url()
                options: dict[str, Any] = {"last": self.last, "sid": self.sid}
                client = await kind.open(urls, self.http, [ROOM], conflate=False, **options)
                self.doing = f"reads from a {kind.name} {client.url}"
                self._begin(client)
                async with asyncio.timeout(self.run.random.uniform(0.1, 3.0)):
                    while self.event != "end":
                        self._take(await client.next())
            if client is None:
                self.run.counts["connections refused"] += 1
                await asyncio.sleep(0.05)
            else:
                self.run.counts["hops"] += 1
                with suppress(*LOST):
                    await client.close()

    def _is_past_the_end(self) -> bool:
        # A new epoch may begin when it is published already, and is told late.
        return self.run.end is not None and split(self.last)[1] >= split(self.run.end)[1]

    def _begin(self, client: Client) -> None:
        events = [envelope["event"] for envelope in client.greeting]
        if not client.hello["recovered"] and "resync" not in events:
            self.run.violation(f"reader {self.name} was put elsewhere in silence: {events}")
        self.sid = client.sid
        for envelope in client.greeting:
            self._take(envelope)

    def _take(self, envelope: dict[str, Any]) -> None:
        self.truth.take([envelope])
        if envelope["event"] == "resync":
            self.run.counts[f"resyncs: {envelope['data']['reason']}"] += 1
            self.told = True
        elif envelope["event"] == "active_tasks":
            if not self.told:
                self.run.violation(f"reader {self.name} was put at {envelope['id']} in silence")
            self.last, self.told = envelope["id"], False
        elif is_logged(envelope):
            self._note(envelope)

    def _note(self, envelope: dict[str, Any]) -> None:
        position, data = envelope["id"], envelope["data"]
        epoch, seq = split(position)
        before = split(self.last)
        if (epoch, seq) != (before[0], before[1] + 1):
            self.run.violation(f"reader {self.name} got {position} after {self.last}")
        if self.run.seen.setdefault(position, data) != data:
            self.run.violation(f"{position} is {data!r} and {self.run.seen[position]!r}")
        self.run.counts["events read"] += 1
        self.last, self.event = position, envelope["event"]


# ---- what goes wrong ---------------------------------------------------------


class Nemesis:
    """Breaks things, and mends them."""

    def __init__(self, run: Run, lose: bool) -> None:
        self.run = run
        self.plan: dict[str, Callable[[], Awaitable[None]]] = {
            "node killed": self._kill_node,
            "node paused": self._pause_node,
            "node cut off": self._cut_off,
            "connections to Redis cut": self._cut,
            "node's way to Redis slow": self._slow,
            "Redis killed": self._kill_redis,
            "Redis paused": self._pause_redis,
        }
        if lose:
            self.plan["Redis emptied"] = self._empty

    async def rage(self) -> None:
        """Until it is over."""
        while not self.run.ending:
            name = self.run.random.choice(list(self.plan))
            self.run.faults[name] += 1
            await self.plan[name]()
            await asyncio.sleep(self.run.random.uniform(0.1, 1.5))

    def _proxy(self) -> FaultProxy:
        return self.run.random.choice(self.run.proxies)

    async def _a_while(self) -> None:
        await asyncio.sleep(self.run.random.uniform(0.2, 4.0))

    async def _kill_node(self) -> None:
        node = self.run.random.choice(self.run.nodes)
        await node.kill()
        await asyncio.sleep(self.run.random.uniform(0, 1))
        # It says no while Redis is not to be had.
        for _ in range(10):
            try:
                await node.start()
            except AssertionError:
                continue
            return
        self.run.violation("a node cannot be started")

    async def _pause_node(self) -> None:
        node = self.run.random.choice(self.run.nodes)
        node.signal(signal.SIGSTOP)
        await self._a_while()
        node.signal(signal.SIGCONT)

    async def _cut_off(self) -> None:
        proxy = self._proxy()
        proxy.hold()
        await self._a_while()
        if self.run.random.random() < 0.5:
            proxy.cut()
        proxy.heal()

    async def _cut(self) -> None:
        self._proxy().cut()

    async def _slow(self) -> None:
        proxy = self._proxy()
        proxy.delay = self.run.random.choice([0.02, 0.3, 2.0])
        await self._a_while()
        proxy.heal()

    async def _kill_redis(self) -> None:
        await asyncio.to_thread(self.run.redis.kill)
        await asyncio.sleep(self.run.random.uniform(0, 1))
        await asyncio.to_thread(self.run.redis.start)

    async def _pause_redis(self) -> None:
        self.run.redis.signal(signal.SIGSTOP)
        await self._a_while()
        self.run.redis.signal(signal.SIGCONT)

    async def _empty(self) -> None:
        await asyncio.to_thread(self.run.redis.client.flushall)


# ---- the whole ---------------------------------------------------------------


async def read_log(run: Run, http: aiohttp.ClientSession) -> str:
    """All that is in the log into `run.log`; its epoch."""
    last, more = "", True
    while more:
        query = {"limit": "1000"} | ({"after": last} if last else {})
        url = run.url()
        run.awaited = f"the history behind {last!r} at {url}"
        async with http.get(f"{url}/api/history", params=query) as answer:
            page = await answer.json()
        if answer.status != 200:
            # A node has only just heard of another epoch, and all begins anew.
            run.counts[f"history refused: {page['error']['message']}"] += 1
            run.log, last = {}, ""
            await asyncio.sleep(0.05)
            continue
        for event in page["events"]:
            run.log[split(event["id"])[1]] = event["data"]
        last, more = page["last"], page["more"]
    async with http.get(f"{run.url()}/api/state") as answer:
        entries = (await answer.json())["entries"]
    run.state = {(one.get("room"), one["event"], one["key"]): one["data"] for one in entries}
    return split(last)[0]


def check(run: Run, epoch: str, lose: bool) -> None:
    """What no reader could see alone."""
    for told, events in (("acknowledged", run.acked), ("read", run.seen)):
        for position, data in events.items():
            begun, seq = split(position)
            # Another epoch goes on with the numbers of the one before, unless all was lost.
            if run.log.get(seq) != data and (begun == epoch or not lose):
                run.violation(f"{data!r} was {told} as {position}: {run.log.get(seq)!r} is there")
    for reader in run.readers:
        if reader.truth.values != run.state:
            known = reader.truth.values
            run.violation(f"reader {reader.name} knows {known}, and {run.state} is retained")
    for data, count in Counter(filter(_is_published, run.log.values())).items():
        if count > 1 and not lose:
            run.violation(f"{data!r} is in the log {count} times")


def _is_published(data: Any) -> bool:
    # The server's own events tell of members.
    return isinstance(data, str)


def report(run: Run, seconds: float) -> None:
    waits = sorted(run.waits)
    print(f"{seconds:.0f} s, {NODES} nodes, {PUBLISHERS} publishers, {READERS} readers")
    print(f"  acknowledged events {len(run.acked)}, in the log {len(run.log)}")
    print(f"  epochs {len({split(position)[0] for position in run.seen})}")
    for name, count in sorted(run.counts.items()):
        print(f"  {name} {count}")
    print("  faults:", ", ".join(f"{name} {n}" for name, n in sorted(run.faults.items())))
    print(
        f"  publish to acknowledgement: median {statistics.median(waits) * 1000:.1f} ms, "
        f"99 % {waits[int(len(waits) * 0.99)] * 1000:.0f} ms, longest {waits[-1]:.1f} s"
    )
    print(f"  violations {len(run.wrong)}")


async def readiness(http: aiohttp.ClientSession, url: str) -> str:
    """What a node says of itself."""
    try:
        async with http.get(f"{url}/readyz", timeout=aiohttp.ClientTimeout(total=2)) as answer:
            return f"{answer.status} {await answer.text()}"
    except (aiohttp.ClientError, OSError) as exc:
        return repr(exc)


async def stop(run: Run, node: ServerProcess) -> None:
    """A node that had to say more than that its log was away has a bug."""
    code, errors = await node.stop()
    if code or "Traceback" in errors:
        run.violation(f"a node ended with {code} and said: {errors}")


async def torture(seconds: float, seed: int, lose: bool, folder: Path) -> Run:
    """One run; see the module's docstring."""
    redis = RedisServer(folder / "redis", kept=True)
    run = Run(random.Random(seed), redis)
    await asyncio.to_thread(redis.start)
    async with AsyncExitStack() as stack:
        stack.callback(redis.stop)
        timeout = aiohttp.ClientTimeout(total=30)
        http = await stack.enter_async_context(
            aiohttp.ClientSession(trust_env=False, timeout=timeout)
        )
        for number in range(NODES):
            proxy = await stack.enter_async_context(fault_proxy(redis.port))
            home = folder / str(number)
            home.mkdir()
            log = f"--log={redis.url(port=proxy.port)}"
            kept = ("--retention-count=10000000", f"--session-lease={LEASE}")
            node = ServerProcess(home, log, "--log-level=error", *kept)
            await node.start()
            stack.push_async_callback(stop, run, node)
            run.nodes.append(node)
            run.proxies.append(proxy)
        async with http.get(f"{run.url()}/api/tasks") as answer:
            start = (await answer.json())["position"]
        run.readers = [Reader(run, http, i, start) for i in range(READERS)]
        readers = [asyncio.create_task(reader.read()) for reader in run.readers]
        publishers = [asyncio.create_task(publish(run, http, i)) for i in range(PUBLISHERS)]
        members = [asyncio.create_task(come_and_go(run, http, i)) for i in range(MEMBERS)]
        raging = asyncio.create_task(Nemesis(run, lose).rage())
        await asyncio.sleep(seconds)
        run.ending = True
        await raging
        try:
            async with asyncio.timeout(RECOVERY):
                run.awaited = "what is being published"
                await asyncio.gather(*publishers, *members)
            staying = await lose_a_node(run, http)
            async with asyncio.timeout(RECOVERY):
                run.awaited = "the last event to be acknowledged"
                run.end = await publish_one(run, http, {"event": "end", "data": "end"})
                run.awaited = "the readers"
                await asyncio.gather(*readers)
                epoch = await read_log(run, http)
        except TimeoutError:
            ready = [await readiness(http, node.url) for node in run.nodes]
            run.violation(
                f"it was not well again within {RECOVERY:g} s: it waits for {run.awaited}; "
                f"nodes {ready}, publishers {[task.done() for task in publishers]}, "
                f"readers {[(reader.last, reader.doing) for reader in run.readers]}"
            )
            for task in (*publishers, *members, *readers):
                task.cancel()
        else:
            check(run, epoch, lose)
            for client in staying:
                await client.close()
    return run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 16))
    parser.add_argument("--lose", action="store_true", help="empty Redis now and then, too")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        run = asyncio.run(torture(args.seconds, args.seed, args.lose, Path(folder)))
    report(run, args.seconds)
    return 1 if run.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
