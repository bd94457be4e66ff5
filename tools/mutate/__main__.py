"""Change the server's code by one line, again and again, and see whether a test fails.

    python tools/mutate                       all targets
    python tools/mutate hub delivery          some of them
    python tools/mutate hub --sample 60       60 changes taken at random

Exits with 0 when every change was noticed or is explained in `explained.txt`.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from changes import Change, changes
from runner import Mutation

ROOT: Final = Path(__file__).parents[2]
EXPLAINED: Final = Path(__file__).with_name("explained.txt")

# Each target, and the tests that are to notice: those of the module itself, over one
# transport and no Redis, in the process of the tests.
ONE: Final = "not (redis or sqlite or -sse or [sse or -poll or [poll)"
CONNECTING: Final = (
    "tests/conformance/test_4_connecting.py",
    "tests/conformance/test_10_closing.py",
)
TARGETS: Final[dict[str, tuple[str, Sequence[str], str]]] = {
    "patterns": ("patterns.py", ["tests/test_patterns.py"], ""),
    "callers": ("access/callers.py", ["tests/access/test_callers.py"], ""),
    "origins": ("access/origins.py", ["tests/access/test_origins.py"], ""),
    "auth": (
        "access/auth.py",
        [f"tests/access/test_{name}.py" for name in ("authenticator", "auth", "key_file")],
        ONE,
    ),
    "tail": ("log/tail.py", ["tests/log/test_tail.py"], ""),
    "memory": ("log/memory.py", ["tests/log/test_contract.py"], "memory"),
    "local": ("log/local.py", ["tests/log/test_contract.py"], "not redis"),
    "group_commit": ("log/group_commit.py", ["tests/log/test_contract.py"], "not redis"),
    "sqlite": ("log/sqlite.py", ["tests/log/test_contract.py"], "sqlite"),
    "sqlite_file": (
        "log/sqlite_file.py",
        ["tests/log/test_contract.py", "tests/log/test_sqlite.py"],
        "sqlite",
    ),
    "sqlite_reader": (
        "log/sqlite_reader.py",
        ["tests/log/test_contract.py", "tests/log/test_sqlite.py"],
        "sqlite",
    ),
    "board_index": ("log/board_index.py", ["tests/log/test_board.py", "tests/sessions"], ""),
    "board": ("log/board.py", ["tests/log/test_board.py"], ""),
    "task_map": ("log/task_map.py", ["tests/log/test_board.py"], ""),
    "task_versions": ("log/task_versions.py", ["tests/log/test_board.py"], ""),
    "session": ("sessions/session.py", ["tests/sessions", "tests/application"], ONE),
    "groups": ("sessions/groups.py", ["tests/sessions"], ""),
    "snapshots": ("sessions/snapshots.py", ["tests/sessions"], ""),
    "timers": ("sessions/timers.py", ["tests/sessions"], ""),
    "delivery": ("sessions/delivery.py", ["tests/sessions"], ""),
    "catch_up": ("sessions/catch_up.py", ["tests/sessions"], ""),
    "merging": ("sessions/merging.py", ["tests/sessions"], ""),
    "shares": ("sessions/shares.py", ["tests/sessions"], ""),
    "membership": ("sessions/membership.py", ["tests/sessions", *CONNECTING], ONE),
    "hub": ("hub.py", ["tests/sessions", *CONNECTING], ONE),
    "dispatcher": (
        "application/dispatcher.py",
        ["tests/application", "tests/conformance/test_5_sending.py"],
        ONE,
    ),
}


def main() -> int:
    """Run the targets, one process each."""
    parser = argparse.ArgumentParser(prog="mutate")
    parser.add_argument("target", nargs="*", choices=[*TARGETS, []], help="all by default")
    parser.add_argument("--sample", type=int, help="take so many changes of each target")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the sample")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="at once")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        return _run(given.target[0], given.sample, given.seed, given.jobs)
    command = [sys.executable, __file__, "--child", f"--seed={given.seed}", f"--jobs={given.jobs}"]
    command += [f"--sample={given.sample}"] if given.sample else []
    return max([subprocess.call([*command, one]) for one in given.target or TARGETS])


def _run(target: str, sample: int | None, seed: int, jobs: int) -> int:
    os.chdir(ROOT)
    os.environ["HYPOTHESIS_PROFILE"] = "same"
    path, tests, keywords = TARGETS[target]
    every = changes(f"rtpush/{path}", Path("rtpush", path).read_text())
    chosen = every
    if sample is not None and sample < len(every):
        chosen = random.Random(seed).sample(every, sample)
    began = time.monotonic()
    mutation = Mutation(chosen, jobs)
    options = ["-p", "no:randomly", "-p", "no:cacheprovider", "-o", "timeout=0"]
    with _silence():
        status = pytest.main([*options, "-k", keywords, *tests], plugins=[mutation])
    if mutation.failed or status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        print(f"{target}: tests fail without any change: pytest -k '{keywords}' {' '.join(tests)}")
        return 2
    return _report(target, every, chosen, mutation, seed, time.monotonic() - began)


@contextmanager
def _silence() -> Iterator[None]:
    """Drop what pytest reports: each fork would write a report of its own."""
    streams = {number: os.dup(number) for number in (1, 2)}
    nothing = os.open(os.devnull, os.O_WRONLY)
    for number in streams:
        os.dup2(nothing, number)
    try:
        yield
    finally:
        for number, kept in streams.items():
            os.dup2(kept, number)
            os.close(kept)
        os.close(nothing)


def _report(
    target: str,
    every: Sequence[Change],
    chosen: Sequence[Change],
    mutation: Mutation,
    seed: int,
    seconds: float,
) -> int:
    explained = _explained(every[0].path)
    unexplained = [one for one in mutation.survivors if one[0].name not in explained]
    for change, how in sorted(unexplained, key=lambda one: one[0].line):
        print(f"{change.path}:{change.line}: in {change.function[0]} ({how})")
        print(f"    - {change.before}\n    + {change.after}")
    names = {change.name for change in every}
    stale = [name for name in explained if name not in names]
    for name in stale:
        print(f"{EXPLAINED.name}: there is no such change any more: {name}")
    of = f"{len(chosen)} changes" + (
        f" of {len(every)}, with --seed {seed}" if len(chosen) < len(every) else ""
    )
    survivors = len(mutation.survivors)
    print(
        f"{target}: {of}: {len(chosen) - survivors} noticed, "
        f"{survivors - len(unexplained)} explained, {len(unexplained)} unnoticed ({seconds:.0f} s)",
        flush=True,
    )
    return 1 if unexplained or stale else 0


def _explained(path: str) -> dict[str, str]:
    """The changes to a module that no test can notice, and why."""
    found = {}
    for line in EXPLAINED.read_text().splitlines():
        if line.startswith(f"{path} "):
            name, _, reason = line.rpartition(" # ")
            found[name.strip()] = reason
    return found


if __name__ == "__main__":
    sys.exit(main())
