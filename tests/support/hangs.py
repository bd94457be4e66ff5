"""End a test that hangs, and a run of tests that hangs.

- pytest-timeout ends a test after `timeout` seconds (pyproject.toml). It raises in the main
  thread, so the other tests go on. This module adds the stacks of threads and tasks.
- Some hangs cannot be ended so: the exception is swallowed, or the teardown hangs after a
  failure, when pytest-timeout has already put its clock away. For these, faulthandler prints
  the stacks of all threads and ends the process; pytest-xdist then reports the test that hung.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import linecache
import os
import signal
import sys
import threading
import traceback
from collections.abc import Generator, Iterator
from types import FrameType
from typing import Any

import pytest

# Seconds for the end of a test that has failed, and for the end of the process.
PATIENCE = 90.0

_stderr = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the real stderr, and let Ctrl+C end the programs that tests start."""
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        config.stash[_stderr] = os.dup(2)
    # A shell ignores SIGINT and SIGQUIT for what runs in its background, and nohup ignores
    # SIGHUP. Programs inherit what is ignored; what has a handler becomes the default.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    """pytest-timeout and faulthandler stop their clocks here: watch the teardown."""
    _end_process_after(PATIENCE, node.config)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A thread that is not a daemon would keep the interpreter for ever."""
    _end_process_after(PATIENCE, session.config)


def _end_process_after(seconds: float, config: pytest.Config) -> None:
    if not config.getoption("usepdb"):
        faulthandler.dump_traceback_later(seconds, file=config.stash[_stderr], exit=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the stacks to the report of a test that took too long."""
    report = yield
    if call.excinfo is not None and str(call.excinfo.value).startswith("Timeout (>"):
        report.sections += [("Threads", _threads()), ("Tasks of asyncio", _tasks())]
    return report


def _threads() -> str:
    frames = sys._current_frames()
    return "\n".join(
        f"{thread.name}:\n{''.join(traceback.format_stack(frames[thread.ident]))}"
        for thread in threading.enumerate()
        if thread.ident in frames and thread is not threading.main_thread()
    )


def _tasks() -> str:
    # Of all event loops, also of those in other threads. `isinstance` would ask a weak
    # reference of what it refers to, which may be gone.
    tasks = [one for one in gc.get_objects() if issubclass(type(one), asyncio.Task)]
    found = [task for task in tasks if not task.done()]
    return "\n".join(f"{task!r}:\n{_stack(task.get_coro())}" for task in found)


def _stack(awaited: Any) -> str:
    """Where a coroutine waits; `Task.print_stack` shows the outermost frame alone."""
    return "".join(f"  {_place(frame)}\n" for frame in _frames(awaited))


def _frames(awaited: Any) -> Iterator[FrameType]:
    while awaited is not None:
        for kind in ("cr", "gi", "ag"):
            frame = getattr(awaited, f"{kind}_frame", None)
            if frame is not None:
                yield frame
                awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
                break
        else:
            return


def _place(frame: FrameType) -> str:
    code, line = frame.f_code, frame.f_lineno
    source = linecache.getline(code.co_filename, line).strip()
    return f"{code.co_filename}:{line} in {code.co_qualname}: {source}"
