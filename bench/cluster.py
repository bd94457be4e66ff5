"""What nodes on one Redis carry; rtpush beside python-socketio with its Redis manager.

`python bench/cluster.py [--quick]`. Linux only.

Every node is a process of its own on 127.0.0.1, and so is Redis; this process is
all of the clients, spread over the nodes. One client publishes on its WebSocket and
all receive, on all nodes. rtpush logs every event in the stream before anybody
sees it; python-socketio publishes it and forgets it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

from crowd import PATIENCE, PAUSE, Crowd, event_text, frame
from servers import Kind, Server, kinds

sys.path.insert(0, str(Path(__file__).parent.parent / "tests/support"))

from redisserver import RedisServer

CLIENTS = 240
# As Redis comes: an append-only file that it may write a little later.
FLAGS = ("--appendfsync", "everysec")


@contextmanager
def redis_running() -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder), kept=True, flags=FLAGS).start()
        try:
            yield server
        finally:
            server.stop()


class Cluster:
    """Nodes of one kind with clients on each. Use as a context manager."""

    def __init__(self, kind: Kind, nodes: int, redis: RedisServer) -> None:
        self.kind = kind
        redis.client.flushall()
        url = redis.url() if kind.name == "rtpush" else f"redis://127.0.0.1:{redis.port}/0"
        options = ["--log", url] if kind.name == "rtpush" else [url]
        self._stack = ExitStack()
        self.servers = [self._stack.enter_context(Server(kind, options)) for _ in range(nodes)]
        self.crowds = [Crowd(server.port, kind.path, kind.hello) for server in self.servers]
        for crowd in self.crowds:
            self._stack.callback(crowd.close)
            crowd.open(CLIENTS // nodes)
        # Each client is in when it has been sent something.
        self.publish(1)
        self.wait(1)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def publish(self, count: int) -> None:
        """So many events, through the first client."""
        texts = (self.kind.wrap.format(event_text(number)) for number in range(count))
        self.crowds[0].publish(b"".join(map(frame, texts)))

    def received(self) -> int:
        return sum(crowd.received for crowd in self.crowds)

    def wait(self, events: int, pause: float = PAUSE) -> None:
        """Until all clients have received so many more."""
        goal = CLIENTS * events
        deadline = time.monotonic() + PATIENCE
        while self.received() < goal:
            time.sleep(pause)
            for crowd in self.crowds:
                crowd.read()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.received()} of {goal} arrived")
        for crowd in self.crowds:
            crowd.received = 0

    def cpu(self) -> float:
        return sum(server.cpu() for server in self.servers)


def measure(cluster: Cluster, burst: int, singles: int) -> dict[str, float]:
    """Deliveries a second and CPU for each in a burst; one event to all, at rest."""
    before, begun = cluster.cpu(), time.monotonic()
    cluster.publish(burst)
    cluster.wait(burst)
    seconds, cpu = time.monotonic() - begun, cluster.cpu() - before
    waits = []
    for _ in range(singles):
        begun = time.monotonic()
        cluster.publish(1)
        cluster.wait(1, pause=0)
        waits.append(time.monotonic() - begun)
    return {
        "events a second": burst / seconds,
        "deliveries a second": burst * CLIENTS / seconds,
        "us of CPU a delivery": cpu * 1e6 / burst / CLIENTS,
        "ms to all, median": statistics.median(waits) * 1000,
        "ms to all, 99 %": sorted(waits)[int(len(waits) * 0.99)] * 1000,
    }


def fill(kind: Kind, nodes: int, redis: RedisServer, seconds: float) -> float:
    """Events a second that the stream takes, published in batches of 500 at every node."""
    body = b"[" + b",".join(event_text(n).encode() for n in range(500)) + b"]"
    taken = 0

    def publish(port: int) -> None:
        nonlocal taken
        while time.monotonic() < end:
            request = Request(f"http://127.0.0.1:{port}/api/publish", body)
            with urlopen(request, timeout=PATIENCE) as answer:
                assert answer.status == 200
            taken += 500

    redis.client.flushall()
    with ExitStack() as stack:
        options = ["--log", redis.url()]
        servers = [stack.enter_context(Server(kind, options)) for _ in range(nodes)]
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=publish, args=(server.port,)) for server in servers * 3]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return taken / seconds


def found(build: str) -> list[Kind]:
    names = {"rtpush", "python-socketio"}
    return [kind for kind in kinds(Path(build)) if kind.name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one small round")
    rounds, burst, singles = (1, 200, 50) if parser.parse_args().quick else (3, 2000, 300)
    with tempfile.TemporaryDirectory() as build, redis_running() as redis:
        results: dict[tuple[str, int], list[dict[str, float]]] = {}
        for _ in range(rounds):
            for kind in found(build):
                for nodes in (1, 3):
                    with Cluster(kind, nodes, redis) as cluster:
                        figures = measure(cluster, burst, singles)
                    results.setdefault((kind.name, nodes), []).append(figures)
        stream = {nodes: fill(found(build)[0], nodes, redis, 2.0 * rounds) for nodes in (1, 3)}
    for nodes, rate in stream.items():
        print(f"one stream, filled by {nodes}: {rate:,.0f} events a second")
    print(f"{CLIENTS} clients, bursts of {burst} events, medians of {rounds} rounds")
    for (name, nodes), rows in results.items():
        print(f"{name}, {nodes} node{'s' if nodes > 1 else ''}")
        for measured in rows[0]:
            print(f"  {measured:22} {statistics.median(row[measured] for row in rows):12,.2f}")


if __name__ == "__main__":
    main()
