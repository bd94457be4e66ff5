"""`rtpush bench`: measure memory, latency and throughput in a few seconds.

The server is a process of its own with a log in memory and the default
settings; the environment and rtpush.toml do not apply. It shares the machine
with the load generator, so the figures are those of both together.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Final

from .common import FAILED, USAGE, Parser, duration, fail
from .load_generator import LoadGenerator, LoadGeneratorError

__all__ = ["main", "make_parser"]

EXAMPLES: Final = """\
Starts a server with a log in memory, connects clients, and sends them events:
one at a time for the latency, then many at once for the throughput. Server and
clients share this machine, so a server alone does better.
"""

_ROOT: Final = Path(__file__).resolve().parents[2]
# A heartbeat would count as a delivery; and one client publishes all events.
_FLAGS: Final = (
    *("--port=0", "--log=memory:", "--log-level=error", "--heartbeat=10m"),
    *("--rate-messages=1000000", "--rate-bytes=1GiB"),
)
# Events sent at once: enough for the server to write many to a connection in one pass.
_BURST: Final = 500
# Open files of a process beside its connections, with room to spare.
_OTHER_FILES: Final = 100


def make_parser() -> Parser:
    """The parser of the command line."""
    parser = Parser("bench", EXAMPLES)
    parser.add_argument(
        "--connections", type=int, default=1000, metavar="N", help="number of clients [1000]"
    )
    parser.add_argument(
        "--time",
        type=duration,
        default=1.5,
        metavar="TIME",
        help="duration of each measurement [1.5s]",
    )
    return parser


def main(argv: Sequence[str]) -> int:
    """Measure and print; returns the exit code."""
    args = make_parser().parse(argv)
    problem = _problem(args)
    if problem:
        return fail([problem], USAGE)
    try:
        with _server() as (port, pid):
            load = LoadGenerator(port)
            try:
                _measure(load, args, pid)
            finally:
                load.close()
    except LoadGeneratorError as exc:
        _show_step("")
        return fail([str(exc)], FAILED)
    return 0


def _problem(args: argparse.Namespace) -> str | None:
    most = _raise_file_limit(args.connections + _OTHER_FILES) - _OTHER_FILES
    if not 1 <= args.connections <= most:
        return f"--connections is from 1 to {most:,} here; more open files: ulimit -n"
    if not 0.1 <= args.time <= 60:
        return "--time is from 100ms to 60s"
    return None


def _raise_file_limit(wanted: int) -> int:
    """Raise the limit of open files for this process and the server; returns the new limit."""
    try:
        import resource
    except ImportError:  # Windows: select() takes 512
        return 512
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft


@contextmanager
def _server() -> Iterator[tuple[int, int]]:
    """Start a server; yields its port and its process id. Raises LoadGeneratorError."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RTPUSH_")}
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, "-m", "rtpush", *_FLAGS],
            cwd=folder,
            env=environ | {"PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                found = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
                if found:
                    yield int(found[1]), process.pid
                    return
            raise LoadGeneratorError("the server does not start")
        finally:
            process.kill()


def _measure(load: LoadGenerator, args: argparse.Namespace, pid: int) -> None:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    print(f"rtpush on {python}, {platform.system()}, {os.cpu_count()} cores")
    before = _memory(pid)
    for count in load.open(args.connections):
        _show_step(f"connecting {count:,} clients")
    _report("memory", _memory_of_each(before, _memory(pid), len(load)))
    _show_step("one event at a time")
    median, p99 = (quantiles(_latencies(load, args.time), n=100)[at] * 1000 for at in (49, 98))
    _report("latency", f"median {median:.1f} ms, p99 {p99:.1f} ms, one event at a time to all")
    _show_step("many events at once")
    events, seconds = _bursts(load, args.time)
    rate = events * len(load) / seconds
    _report("speed", f"{rate:,.0f} deliveries/s, {events:,} events to all in {seconds:.1f} s")


def _memory(pid: int) -> int | None:
    """Resident bytes of a process; None without psutil."""
    try:
        import psutil
    except ModuleNotFoundError:
        return None
    resident: int = psutil.Process(pid).memory_info().rss
    return resident


def _memory_of_each(before: int | None, after: int | None, connections: int) -> str:
    if before is None or after is None:
        return "needs psutil; install it: pip install 'rtpush[cli]'"
    each = (after - before) / connections
    return f"{each / 1024:.1f} KiB per connection, {connections:,} of them"


def _latencies(load: LoadGenerator, seconds: float) -> list[float]:
    """Seconds from sending an event to each of its deliveries."""
    found: list[float] = []
    end = time.perf_counter() + seconds
    number = 0
    while time.perf_counter() < end:
        number += 1
        sent = time.perf_counter()
        load.publish(number, 1)
        for at, count in load.deliveries(1):
            found += [at - sent] * count
    return found


def _bursts(load: LoadGenerator, seconds: float) -> tuple[int, float]:
    """How many events reached every connection, and in how many seconds."""
    start, events = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        load.publish(events, _BURST)
        for _ in load.deliveries(_BURST):
            pass
        events += _BURST
    return events, time.perf_counter() - start


def _report(name: str, text: str) -> None:
    _show_step("")
    print(f"  {name:<9}{text}", flush=True)


def _show_step(text: str) -> None:
    """The step at work, on one line of a terminal; empty to clear it."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}{' …' if text else ''}", end="", file=sys.stderr, flush=True)
