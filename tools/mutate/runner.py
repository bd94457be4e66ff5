"""Run the tests that a change concerns against it, without starting Python again.

Rules that hold here:

- pytest collects a target's tests once. Each run is a fork of that process: one runs all
  tests and notes which functions each of them calls and how long it takes, then there is one
  for each change.
- A change takes effect by giving its function the code of the changed source. So nothing is
  written to the source tree, and a run that is interrupted leaves nothing to restore.
- A change is noticed when a test that calls its function fails, or does not end.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any, Final

import pytest
from changes import Change

__all__ = ["Mutation"]

# Seconds for a test of a changed function, beside four times what it takes without a change.
PATIENCE: Final = 5.0
NOTICED: Final = 1

Function = tuple[str, int]


@dataclass(frozen=True)
class Case:
    """A test: the functions of the target that it calls, and the seconds that it takes."""

    index: int
    functions: frozenset[Function]
    seconds: float


class Mutation:
    """A pytest plugin that runs the collected tests once for each change."""

    def __init__(self, changes: Sequence[Change], jobs: int) -> None:
        self.survivors: list[tuple[Change, str]] = []
        self.failed = False
        self._changes = changes
        self._jobs = jobs

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Instead of running the tests once."""
        if session.testsfailed:
            self.failed = True
            return True
        paths = {str(Path(change.path).resolve()) for change in self._changes}
        cases = _measure(session, paths)
        self.failed = cases is None
        if cases is not None:
            functions = _functions(paths)
            jobs = (self._job(session, change, cases, functions) for change in self._changes)
            _run_all(jobs, self._jobs)
        return True

    def _job(
        self,
        session: pytest.Session,
        change: Change,
        cases: Sequence[Case],
        functions: dict[Function, list[FunctionType]],
    ) -> Job:
        concerned = [case for case in cases if change.function in case.functions]
        concerned.sort(key=lambda case: case.seconds)
        seconds = [PATIENCE + 4 * case.seconds for case in concerned]

        def work() -> int:
            _apply(change, functions)
            return _run(session, [session.items[case.index] for case in concerned], seconds)

        def done(status: int) -> None:
            if status == 0:
                how = f"{len(concerned)} tests pass" if concerned else "no test runs it"
                self.survivors.append((change, how))

        return Job(work, done)


@dataclass(frozen=True)
class Job:
    """What a fork does, and what becomes of its exit status."""

    work: Callable[[], int]
    done: Callable[[int], None]


def _run_all(jobs: Iterator[Job], at_once: int) -> None:
    running: dict[int, tuple[Job, tempfile.TemporaryDirectory[str]]] = {}
    more = True
    while more or running:
        while more and len(running) < at_once:
            job = next(jobs, None)
            more = job is not None
            if job is not None:
                folder = tempfile.TemporaryDirectory(prefix="rtpush-mutate-")
                running[_fork(job.work, folder.name)] = job, folder
        if running:
            pid, status = os.wait()
            job, folder = running.pop(pid)
            folder.cleanup()
            job.done(status)


def _fork(work: Callable[[], int], folder: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = NOTICED
    try:
        # Where `tmp_path` is made, and everything else that is temporary.
        os.environ["PYTEST_DEBUG_TEMPROOT"] = os.environ["TMPDIR"] = tempfile.tempdir = folder
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (1, 2):
            os.dup2(nothing, stream)
        status = work()
    finally:
        os._exit(status)


def _run(session: pytest.Session, items: Sequence[pytest.Item], seconds: Sequence[float]) -> int:
    session.items = list(items)
    # Ends the process: a test that hangs has noticed the change.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for item, following, limit in zip(items, [*items[1:], None], seconds, strict=True):
        signal.setitimer(signal.ITIMER_REAL, limit)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return NOTICED
    return 0


def _measure(session: pytest.Session, paths: set[str]) -> list[Case] | None:
    """Run all tests as they are; None when one fails."""
    with tempfile.TemporaryDirectory(prefix="rtpush-mutate-") as folder:
        result = Path(folder, "cases")

        def work() -> int:
            cases = [_measure_one(session, index, paths) for index in range(len(session.items))]
            result.write_bytes(pickle.dumps(cases))
            return NOTICED if session.testsfailed else 0

        _, status = os.waitpid(_fork(work, folder), 0)
        return None if status else pickle.loads(result.read_bytes())


def _measure_one(session: pytest.Session, index: int, paths: set[str]) -> Case:
    item = session.items[index]
    following = session.items[index + 1] if index + 1 < len(session.items) else None
    called: set[CodeType] = set()

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            called.add(frame.f_code)

    threading.setprofile(note)
    sys.setprofile(note)
    began = time.monotonic()
    try:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]  # as its documentation has it
    ours = (code for code in called if code.co_filename in paths)
    functions = frozenset((code.co_qualname, code.co_firstlineno) for code in ours)
    return Case(index, functions, time.monotonic() - began)


def _functions(paths: set[str]) -> dict[Function, list[FunctionType]]:
    """All functions that were made from these files, whatever wraps them."""
    found: dict[Function, list[FunctionType]] = {}
    for one in gc.get_objects():
        if isinstance(one, FunctionType) and one.__code__.co_filename in paths:
            code = one.__code__
            found.setdefault((code.co_qualname, code.co_firstlineno), []).append(one)
    return found


def _apply(change: Change, functions: dict[Function, list[FunctionType]]) -> None:
    path = str(Path(change.path).resolve())
    module = compile(change.source, path, "exec", dont_inherit=True)
    (code,) = (
        code
        for code in _codes(module)
        if (code.co_qualname, code.co_firstlineno) == change.function
    )
    for function in functions[change.function]:
        function.__code__ = code


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
