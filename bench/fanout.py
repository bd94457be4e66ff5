"""What a delivery, a handshake and an idle connection cost; rtpush beside others.

`make bench`, or `python bench/fanout.py [--quick] [--json]`. Linux only. `--asgi` compares
rtpush by itself, rtpush behind uvicorn and python-socketio behind uvicorn.

Every server is a process of its own on 127.0.0.1; this process is all of its
clients. What is measured is the CPU time of the server's process as the kernel
counts it (user and system), never the time on a clock, and the servers take
turns in each round, so that what else the machine does falls on all of them.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from importlib import metadata
from pathlib import Path

from crowd import Crowd, event_text, frame
from servers import Kind, Server, behind_uvicorn, kinds, raise_file_limit

RTPUSH, FLOOR = "rtpush", "C epoll send()"

# The name of a measure to each server's figures, one for each round.
Results = dict[str, dict[str, list[float]]]

NOTES = """\
An event is about 130 bytes of JSON that one client sends on its WebSocket and
every client receives, the sender too. What a server does to receive it is
included; for rtpush also parsing, checking, logging (memory:), a position, and
the 25 bytes that the position adds. The C server only calls send().
CPU figures are medians of {rounds} rounds; resident memory leaves out what the
kernel keeps for sockets. On loopback a send() includes the kernel's work for
the receiver, and it is nearly all of what one event at a time costs."""


def say(text: str) -> None:
    """Progress, apart from the results."""
    print(text, file=sys.stderr, flush=True)


def frames(kind: Kind, numbers: Iterable[int]) -> list[bytes]:
    """Events as one server's publisher sends them."""
    texts = (event_text(number) for number in numbers)
    if kind.wrap != "{}":
        texts = (kind.wrap.replace("{}", json.dumps(json.loads(t)["data"])) for t in texts)
    return [frame(text.ljust(130)) for text in texts]


def one_at_a_time(server: Server, crowd: Crowd, events: int) -> float:
    """Microseconds of CPU for each delivery when each event waits for the last."""
    sent = frames(server.kind, range(events))
    before, seen = server.cpu(), crowd.received
    for number, data in enumerate(sent, 1):
        crowd.publish_now(data)
        crowd.wait(seen + number * len(crowd))
    return 1e6 * (_settled(server) - before) / (events * len(crowd))


def burst(server: Server, crowd: Crowd, events: int) -> float:
    """Microseconds of CPU for each delivery when all events are sent at once."""
    data = b"".join(frames(server.kind, range(events)))
    before, seen = server.cpu(), crowd.received
    crowd.publish(data)
    crowd.wait(seen + events * len(crowd))
    return 1e6 * (_settled(server) - before) / (events * len(crowd))


def stream(server: Server, crowd: Crowd, events: int) -> float:
    """Microseconds of CPU for each delivery when each event is an HTTP request, pipelined."""
    before, seen = server.cpu(), crowd.received
    crowd.post([event_text(number) for number in range(events)])
    crowd.wait(seen + events * len(crowd))
    return 1e6 * (_settled(server) - before) / (events * len(crowd))


def _settled(server: Server) -> float:
    time.sleep(0.05)
    return server.cpu()


def deliveries(found: Sequence[Kind], results: Results, args: argparse.Namespace) -> None:
    """All ways to deliver, on servers that run side by side."""
    for name, measure, clients, events in (
        ("one at a time, µs", one_at_a_time, 2 * args.connections, 20 if args.quick else 100),
        ("stream, µs", stream, args.connections, 400 if args.quick else 2000),
        ("burst, µs", burst, args.connections, 400 if args.quick else 2000),
    ):
        with ExitStack() as stack:
            running = []
            for kind in found:
                if measure is stream and not kind.name.startswith(RTPUSH):
                    # The others take no events over HTTP.
                    continue
                server = stack.enter_context(Server(kind))
                crowd = stack.enter_context(closing(Crowd(server.port, kind.path, kind.hello)))
                crowd.open(clients)
                running.append((server, crowd))
            for server, crowd in running:
                measure(server, crowd, 5)
            for turn in range(args.rounds):
                for server, crowd in running:
                    cost = measure(server, crowd, events)
                    results.setdefault(name, {}).setdefault(server.kind.name, []).append(cost)
                    say(
                        f"{name} ({events} events to {clients}), round {turn + 1}: "
                        f"{server.kind.name} {cost:.2f}"
                    )


def connections(found: Sequence[Kind], results: Results, args: argparse.Namespace) -> None:
    """Handshakes, and what connections hold, each time on a fresh server."""
    count = min(2_000 if args.quick else 10_000, raise_file_limit(20_000) - 100)
    for turn in range(min(args.rounds, 3)):
        for kind in found:
            with (
                Server(kind) as server,
                closing(Crowd(server.port, kind.path, kind.hello)) as crowd,
            ):
                crowd.open(20)
                cpu, memory = server.cpu(), server.memory()
                crowd.open(count)
                rate = count / (_settled(server) - cpu)
                held = (server.memory() - memory) / count / 1024
            results.setdefault("handshakes/CPU s", {}).setdefault(kind.name, []).append(rate)
            results.setdefault("idle, KiB", {}).setdefault(kind.name, []).append(held)
            say(
                f"{count} connections, round {turn + 1}: {kind.name} {rate:.0f} handshakes "
                f"per CPU second, {held:.2f} KiB each"
            )


def machine() -> dict[str, str]:
    """What was measured, and on what."""
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    found = {"cpu": model, "kernel": platform.release(), "python": platform.python_version()}
    for package in ("uvloop", "websockets", "aiohttp", "orjson", "python-socketio", "uvicorn"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def table(results: Results) -> str:
    """A line for each measure and server, with ratios to rtpush."""
    lines = [f"{'':20} {'':16} {'median':>9} {'lowest':>9} {'highest':>9}   of rtpush's"]
    for measure, servers in results.items():
        own = statistics.median(servers[RTPUSH])
        for name, values in servers.items():
            median = statistics.median(values)
            lines.append(
                f"{measure:20} {name:16} {median:9.2f} {min(values):9.2f} {max(values):9.2f}"
                + (f"   x {median / own:.2f}" if own and name != RTPUSH else "")
            )
            measure = ""
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--connections", type=int, default=500, help="receivers of a burst; twice as many of others"
    )
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--quick", action="store_true", help="fewer of everything")
    parser.add_argument("--asgi", action="store_true", help="what an ASGI server costs")
    parser.add_argument("--json", action="store_true", help="print figures for a program")
    args = parser.parse_args()
    args.rounds = args.rounds or (3 if args.quick else 5)
    if not Path("/proc/self/schedstat").exists():
        sys.exit("bench: this needs Linux, where /proc tells the CPU time of a process")
    raise_file_limit(20_000)
    results: Results = {}
    with tempfile.TemporaryDirectory() as build:
        found = behind_uvicorn() if args.asgi else kinds(Path(build))
        if not args.asgi and FLOOR not in [kind.name for kind in found]:
            say("bench: there is no C compiler (cc); the C server is left out")
        deliveries(found, results, args)
        connections(found, results, args)
    if args.json:
        print(json.dumps({"machine": machine(), "rounds": args.rounds, "results": results}))
        return
    print(table(results))
    print("\n" + NOTES.format(rounds=args.rounds))
    print("\n" + ", ".join(f"{name} {version}" for name, version in machine().items()))


if __name__ == "__main__":
    main()
