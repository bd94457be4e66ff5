"""What a crowd that comes back costs, and a reader that stops reading.

`python bench/reconnect.py [--quick]`. Linux only.

1. 5,000 clients connect at once with a position that lies 100 events back,
   while a publisher goes on. Every client must get every event, once.
2. A client stops reading while 1 GB is published to it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from crowd import Crowd, event_text
from servers import Server, kinds, raise_file_limit

MISSED = 100
# At once, up to what the kernel holds for a server that is busy.
BACKLOG = 4000
EVERY = 0.05
BIG = 60_000
PER_POST = 16


class Publisher:
    """POSTs to /api/publish on one connection."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def publish(self, texts: list[str]) -> tuple[str, float]:
        """The last event's position, and the seconds until the answer."""
        began = time.monotonic()
        self._http.request("POST", "/api/publish", f"[{','.join(texts)}]".encode())
        answers = json.loads(self._http.getresponse().read())
        return answers[-1]["id"], time.monotonic() - began


def reconnect(server: Server, clients: int) -> None:
    """The first measure."""
    publisher = Publisher(server.port)
    position, _ = publisher.publish([event_text(0)])
    publisher.publish([event_text(number) for number in range(MISSED)])
    waits: list[float] = []
    stop = threading.Event()

    def go_on() -> None:
        while not stop.wait(EVERY):
            waits.append(publisher.publish([event_text(0)])[1])

    with closing(Crowd(server.port, f"/ws?conflate=0&last={position}")) as crowd:
        cpu = server.cpu()
        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            crowd.open(clients, BACKLOG)
            crowd.wait(clients * MISSED)
        finally:
            stop.set()
            thread.join()
        each = MISSED + len(waits)
        crowd.wait(clients * each)
        time.sleep(0.2)
        crowd.read()
        got = Counter(crowd.counts.values())
        verdict = "all got each event once" if got == {each: clients} else f"NOT {each}: {got}"
        print(
            f"{clients} clients came back at once, each to {MISSED} missed events: "
            f"{verdict}\n"
            f"  CPU of the server: {server.cpu() - cpu:.2f} s; {len(waits)} publishes meanwhile: "
            f"median {1e3 * statistics.median(waits):.0f} ms, slowest {1e3 * max(waits):.0f} ms"
        )


def stopped_reader(server: Server, size: int) -> None:
    """The second one."""
    publisher = Publisher(server.port)
    data = [json.dumps({"event": "news", "data": "x" * BIG})] * PER_POST
    posts = size // (BIG * PER_POST)
    with closing(Crowd(server.port, "/ws")) as crowd:
        # It is connected, and nobody calls `read`.
        for _ in range(posts // 10):
            publisher.publish(data)
        crowd.open(1)
        memory, cpu = server.memory(), server.cpu()
        peak = memory
        for _ in range(posts):
            publisher.publish(data)
            peak = max(peak, server.memory())
        print(
            f"A reader stopped while {posts * BIG * PER_POST / 1e9:.2f} GB were published: "
            f"resident memory of the server {memory / 1e6:.0f} MB before, "
            f"{peak / 1e6:.0f} MB at most; CPU {server.cpu() - cpu:.2f} s"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer of everything")
    args = parser.parse_args()
    raise_file_limit(20_000)
    with tempfile.TemporaryDirectory() as build:
        rtpush = kinds(Path(build))[0]
        with Server(rtpush) as server:
            reconnect(server, 1000 if args.quick else 5000)
        with Server(rtpush, ["--retention-bytes", "16MiB"]) as server:
            stopped_reader(server, 10**8 if args.quick else 10**9)


if __name__ == "__main__":
    main()
