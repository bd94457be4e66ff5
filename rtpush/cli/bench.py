"""`rtpush bench`: what this machine can do, in a few seconds.

Rules that hold here:

- The server is a process of its own, with a log in memory and its defaults; the
  environment and rtpush.toml have no say.
- It and its clients share the machine: the figures are what both can do
  together, and no more than a first idea of what the server can do alone.
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

from .common import FAILED, USAGE, Parser, complain, duration
from .load_generator import Crowd, CrowdError

__all__ = ["main", "make_parser"]

EXAMPLES: Final = """\
Starts a server with a log in memory, connects clients, and sends them events:
one at a time for the latency, then many at once for the deliveries. Server and
clients share this machine, so a server alone does better.
"""

_ROOT: Final = Path(__file__).resolve().parents[2]
# The heartbeat would be a delivery, too; and one client publishes for all.
_FLAGS: Final = (
    *("--port=0", "--log=memory:", "--log-level=error", "--heartbeat=10m"),
    *("--rate-messages=1000000", "--rate-bytes=1GiB"),
)
# Events that are sent at once.
_BURST: Final = 500
# Of a process's files, those that are no clients.
_OTHER_FILES: Final = 100


def make_parser() -> Parser:
    """How many, and how long."""
    parser = Parser("bench", EXAMPLES)
    parser.add_argument(
        "--connections", type=int, default=1000, metavar="N", help="how many clients [1000]"
    )
    parser.add_argument(
        "--time", type=duration, default=1.5, metavar="TIME", help="for each measurement [1.5s]"
    )
    return parser


def main(argv: Sequence[str]) -> int:
    """Measure and print; the exit code."""
    args = make_parser().parse(argv)
    problem = _problem(args)
    if problem:
        return complain([problem], USAGE)
    try:
        with _server() as (port, pid):
            crowd = Crowd(port)
            try:
                _measure(crowd, args, pid)
            finally:
                crowd.close()
    except CrowdError as exc:
        _note("")
        return complain([str(exc)], FAILED)
    return 0


def _problem(args: argparse.Namespace) -> str | None:
    most = _raise_file_limit(args.connections + _OTHER_FILES) - _OTHER_FILES
    if not 1 <= args.connections <= most:
        return f"--connections is from 1 to {most:,} here; more open files: ulimit -n"
    if not 0.1 <= args.time <= 60:
        return "--time is from 100ms to 60s"
    return None


def _raise_file_limit(wanted: int) -> int:
    """For this process and the server; what it came to."""
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
    """A server of our own: its port, and its process. Raises CrowdError."""
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
            raise CrowdError("the server does not start")
        finally:
            process.kill()


def _measure(crowd: Crowd, args: argparse.Namespace, pid: int) -> None:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    print(f"rtpush on {python}, {platform.system()}, {os.cpu_count()} cores")
    before = _memory(pid)
    for count in crowd.open(args.connections):
        _note(f"connecting {count:,} clients")
    if before is not None:
        each = ((_memory(pid) or 0) - before) / len(crowd)
        _tell("memory", f"{each / 1024:.1f} KiB per connection, {len(crowd):,} of them")
    _note("one event at a time")
    delays = sorted(_delays(crowd, args.time))
    middle, late = (quantiles(delays, n=100)[at] * 1000 for at in (49, 98))
    _tell("latency", f"median {middle:.1f} ms, p99 {late:.1f} ms, one event at a time to all")
    _note("many events at once")
    events, seconds = _bursts(crowd, args.time)
    rate = events * len(crowd) / seconds
    _tell("speed", f"{rate:,.0f} deliveries/s, {events:,} events to all in {seconds:.1f} s")


def _delays(crowd: Crowd, seconds: float) -> list[float]:
    """Of each delivery, in seconds."""
    found: list[float] = []
    end = time.perf_counter() + seconds
    number = 0
    while time.perf_counter() < end:
        number += 1
        sent = time.perf_counter()
        crowd.publish(number, 1)
        for at, count in crowd.arrivals(1):
            found += [at - sent] * count
    return found


def _bursts(crowd: Crowd, seconds: float) -> tuple[int, float]:
    """How many events arrived everywhere, and in how many seconds."""
    begun, events = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        crowd.publish(events, _BURST)
        for _ in crowd.arrivals(_BURST):
            pass
        events += _BURST
    return events, time.perf_counter() - begun


def _memory(pid: int) -> int | None:
    """Resident bytes of a process; None where nobody tells."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")
    except (OSError, AttributeError):
        pass
    try:
        told = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True)
        return int(told.stdout) * 1024
    except (OSError, ValueError):
        return None


def _tell(name: str, text: str) -> None:
    _note("")
    print(f"  {name:<9}{text}", flush=True)


def _note(text: str) -> None:
    """What is being done, for who watches."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}{' …' if text else ''}", end="", file=sys.stderr, flush=True)
