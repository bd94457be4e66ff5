"""What an append to each log costs, beside the same of another commit.

`python bench/append.py [--against COMMIT] [--quick]`. Redis where it is installed.

For each log: microseconds of CPU for an event, of this process (for Redis: of Redis's
process too), when events come one by one and in batches, into one room and into many.
The commits take turns, and the least of each counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from own_redis import OwnRedis, own_redis

ROOT = Path(__file__).resolve().parent.parent
# Events of one call of `append`, calls, and the rooms that they go to.
CASES = [(1, 1000, 1000), (100, 200, 1), (100, 200, 1000), (1000, 40, 100_000)]
TURNS = 5


async def measure(kind: str, place: str, redis: int | None) -> list[float]:
    """Microseconds of CPU for an event, for each case. Imports the `rtpush` of its path."""
    from rtpush.config.settings import Settings
    from rtpush.log.entry import Draft
    from rtpush.log.factory import make_log

    def spent() -> float:
        return time.process_time() + (cpu_of(redis) if redis else 0.0)

    found = []
    for size, calls, rooms in CASES:
        address = f"{place}/{size}-{rooms}.db" if kind == "sqlite" else f"{place}-{size}-{rooms}"
        log = make_log(Settings(log="memory:" if kind == "memory" else address))
        await log.open()
        data = b'"' + b"x" * 150 + b'"'
        batches = [
            [
                Draft("message", room=f"room-{(call * size + n) * 7919 % rooms}", encoded=data)
                for n in range(size)
            ]
            for call in range(calls)
        ]
        await log.append(batches[0])
        began = spent()
        for batch in batches:
            await log.append(batch)
        found.append((spent() - began) / (size * calls) * 1e6)
        await log.close()
    return found


def cpu_of(process: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(tree: Path, kind: str, place: str, redis: int | None) -> list[float]:
    """`measure` in a process of its own, with the `rtpush` of a tree."""
    command = [sys.executable, __file__, "--measure", kind, place, str(redis or 0)]
    env = os.environ | {"PYTHONPATH": str(tree)}
    found: list[float] = json.loads(subprocess.check_output(command, env=env, cwd=tree))
    return found


@contextmanager
def tree_of(commit: str | None) -> Iterator[Path | None]:
    """A folder with the files of a commit."""
    if commit is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.check_output(["git", "archive", commit, "rtpush"], cwd=ROOT)
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        yield Path(folder)


def compare(kind: str, trees: list[Path], redis: OwnRedis | None, turns: int) -> None:
    """Print a line for each case."""
    best = [[float("inf")] * len(CASES) for _ in trees]
    for turn in range(turns):
        for i, tree in enumerate(trees):
            with tempfile.TemporaryDirectory() as folder:
                place = f"{redis.url}/0?prefix={turn}-{i}" if redis else f"sqlite:{folder}"
                found = run(tree, kind, place, redis.pid if redis else None)
            best[i] = [min(pair) for pair in zip(best[i], found, strict=True)]
    for (size, _, rooms), *costs in zip(CASES, *best, strict=True):
        ratio = f"  x {costs[0] / costs[1]:.2f}" if len(costs) > 1 else ""
        shown = "  ".join(f"{cost:7.1f} µs" for cost in costs)
        print(f"{kind:7} {size:5} at once, {rooms:7,} rooms: {shown}{ratio}", flush=True)


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--measure"]:
        kind, place, process = sys.argv[2:]
        print(json.dumps(asyncio.run(measure(kind, place, int(process) or None))))
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--against", metavar="COMMIT", help="compare with this commit")
    parser.add_argument("--quick", action="store_true", help="one turn")
    args = parser.parse_args()
    turns = 1 if args.quick else TURNS
    with tree_of(args.against) as other, tempfile.TemporaryDirectory() as folder:
        trees = [ROOT, *([other] if other else [])]
        for kind in ("memory", "sqlite"):
            compare(kind, trees, None, turns)
        with own_redis(folder) as redis:
            if redis:
                compare("redis", trees, redis, turns)


if __name__ == "__main__":
    main()
