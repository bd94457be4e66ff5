"""Fail a test module that leaves something behind, and name what and which test.

- Compared before and after each test: threads, child processes, open sockets, pipes and
  files, and temporary files outside of `tmp_path`. What a test leaves must be gone at the end
  of its module.
- Asyncio tasks are looked for at the end of each test, before its event loop is closed.
- A fixture of the whole session (Redis, Chromium) keeps what it makes.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import forkserver
import pytest
import pytest_asyncio

# Seconds for what has been told to end.
PATIENCE = 5.0

# Each thing that is there, and how to name it in a failure.
Things = dict[object, str]


class Leaks:
    """What is there, and which test left it."""

    def __init__(self) -> None:
        self.temporary: Path | None = None
        self._allowed: set[object] = set()
        self._left_by: dict[object, str] = {}
        self._signature: object = None

    def things(self) -> Things:
        """Everything that can be left behind."""
        found = _threads() | _children() | _open_files() | self._temporary_files()
        # What starts programs is one for all tests.
        forker = forkserver.forker()
        ours = () if forker is None else (f"process {forker.pid}", f"socket:[{forker.socket}]")
        return {key: what for key, what in found.items() if key not in ours}

    def allow(self, things: Things) -> None:
        """These may stay to the end of the session."""
        self._allowed |= things.keys()

    def blame(self, test: str) -> None:
        """Remember that a test left what was not there after the one before it."""
        before, self._signature = self._signature, self._sign()
        if before == self._signature:
            return
        here = self.things().keys()
        self._left_by = {key: self._left_by.get(key, test) for key in here}

    def _sign(self) -> object:
        """What is another one where something is left behind, and costs little."""
        files = os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else []
        threads = [thread.ident for thread in threading.enumerate()]
        return files, threads, _children(), self._temporary_files()

    def remaining(self, before: Things) -> list[str]:
        """What stays of what was not there before; waits for what ends by itself."""
        deadline = time.monotonic() + PATIENCE
        while left := self._left(before):
            if time.monotonic() > deadline:
                return [
                    f"{what}{_more(key)}, left by {self._left_by.get(key)}"
                    for key, what in left.items()
                ]
            gc.collect()
            time.sleep(0.01)
        return []

    def _left(self, before: Things) -> Things:
        known = before.keys() | self._allowed
        return {key: what for key, what in self.things().items() if key not in known}

    def _temporary_files(self) -> Things:
        found = [] if self.temporary is None else self.temporary.iterdir()
        return {path: f"the file {path}" for path in found}


def _threads() -> Things:
    # An event loop that ends waits for its executor's; the session's loop keeps them.
    return {
        thread: f"the thread {thread.name}"
        for thread in threading.enumerate()
        if not thread.name.startswith("asyncio_")
    }


def _children() -> Things:
    found = {}
    forker = forkserver.forker()
    theirs = [] if forker is None else _entries(f"/proc/{forker.pid}/task")
    for thread in (*_entries("/proc/self/task"), *theirs):
        with suppress(OSError), open(f"{thread}/children") as children:
            found |= {f"process {pid}": f"the process {pid}" for pid in children.read().split()}
    return found


def _open_files() -> Things:
    found = {}
    for entry in _entries("/proc/self/fd"):
        with suppress(OSError):
            target = os.readlink(entry)
            if not target.startswith(("/dev/", "/proc/", "anon_inode:")):
                found[target] = f"an open {target}"
    return found


def _entries(folder: str) -> list[str]:
    # Only Linux has these.
    return [f"{folder}/{name}" for name in os.listdir(folder)] if os.path.exists(folder) else []


def _more(thing: object) -> str:
    """The command of a process, the ports of a socket."""
    kind, _, rest = str(thing).partition(" ")
    with suppress(OSError):
        if kind == "process":
            command = Path(f"/proc/{rest}/cmdline").read_text().replace("\0", " ").strip()
            return f" ({command or 'ended'})"
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/self/net/{table}").read_text().splitlines():
                fields = line.split()
                if f"socket:[{fields[9]}]" == kind:
                    ours, theirs = (int(end.split(":")[-1], 16) for end in fields[1:3])
                    return f" (port {ours}, {f'to port {theirs}' if theirs else 'listening'})"
    return ""


# ------------------------------------------------------------------------ pytest


_leaks = Leaks()


@pytest.fixture(scope="session", autouse=True)
def _temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Temporary files have a folder of their own, in which nobody else makes any."""
    _leaks.temporary = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(_leaks.temporary))
        patch.setattr(tempfile, "tempdir", None)
        yield


@pytest.fixture(scope="module", autouse=True)
def _nothing_stays(_temporary: None) -> Iterator[None]:
    before = _leaks.things()
    yield
    remaining = _leaks.remaining(before)
    assert not remaining, "\n".join(remaining)


@pytest.fixture(autouse=True)
def _blame(request: pytest.FixtureRequest) -> Iterator[None]:
    if pytest_asyncio.is_async_test(request.node):
        # Begun before all fixtures of the test itself, and so ended behind them.
        mark = request.node.get_closest_marker("asyncio")
        session = mark is not None and mark.kwargs.get("loop_scope") == "session"
        request.getfixturevalue(f"_no_task_stays{'_in_session' * session}")
    yield
    _leaks.blame(request.node.name)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object],
) -> Generator[None, object, object]:
    """What a fixture of the session makes stays with it."""
    if fixturedef.scope != "session":
        return (yield)
    before = _leaks.things()
    made = yield
    _leaks.allow({key: what for key, what in _leaks.things().items() if key not in before})
    return made


def _no_task_stays_on(scope: str) -> Any:
    @pytest_asyncio.fixture(loop_scope=scope)
    async def watch() -> AsyncIterator[None]:
        before = asyncio.all_tasks()
        yield
        left = asyncio.all_tasks() - before - {asyncio.current_task()}
        if left:
            _, left = await asyncio.wait(left, timeout=PATIENCE)
        assert not left, "\n".join(f"{task!r} still runs" for task in left)

    return watch


_no_task_stays = _no_task_stays_on("function")
_no_task_stays_in_session = _no_task_stays_on("session")
