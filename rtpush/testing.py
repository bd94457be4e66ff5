"""A server for the tests of an application: pytest fixtures, what was sent, time that passes.

A test file or `conftest.py` takes the fixtures by `pytest_plugins = ["rtpush.testing"]`, whether
it has imported this module before or not: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeVar

import pytest

from .log.entry import Entry
from .log.group_commit import GroupCommitLog
from .server import Server

__all__ = ["Received", "RunningServer", "rtpush_server", "rtpush_settings", "running"]

T = TypeVar("T")

# Seconds for a server to start, to answer a test, or to stop.
PATIENCE: Final = 20.0
# Events that one read of the log gives at most.
_PAGE: Final = 1000


class Received(NamedTuple):
    """An event as clients get it. `room` is None for everyone, `id` its position."""

    event: str
    data: Any
    room: str | None
    id: str


class RunningServer:
    """A server that runs in a thread of its own."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._grown = asyncio.Event()
        told = server._hub.on_grown

        def grown() -> None:
            told()
            self._grown.set()

        server._hub.on_grown = grown

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return self.server.url.rstrip("/")

    @property
    def port(self) -> int:
        """Its port."""
        return self.server.port

    def received(
        self,
        event: str | None = None,
        room: str | None = None,
        *,
        count: int = 0,
        timeout: float = 5.0,
    ) -> list[Received]:
        """The events that were sent so far, whether by the application or by clients.

        Volatile events are not among them: no log has them.

        Args:
            event: Only those of this name; None: all.
            room: Only those of this room; None: of every room, and for everyone.
            count: Wait until there are so many; 0: do not wait.
            timeout: Seconds to wait at most.

        Returns:
            The events in the order in which clients get them.

        Raises:
            TimeoutError: There are fewer. The message names those that there are.
        """

        def wanted(one: Received) -> bool:
            return event in (None, one.event) and room in (None, one.room)

        return self._run(lambda: self._received(wanted, count, timeout), timeout)

    async def _received(
        self, wanted: Callable[[Received], bool], count: int, timeout: float
    ) -> list[Received]:
        found: list[Received] = []
        with_others: list[Received] = []
        try:
            async with asyncio.timeout(timeout):
                while True:
                    self._grown.clear()
                    with_others = await self._all()
                    found = [one for one in with_others if wanted(one)]
                    if len(found) >= count:
                        return found
                    await self._grown.wait()
        except TimeoutError:
            names = ", ".join(one.event for one in with_others) or "none"
            raise TimeoutError(
                f"{count} such events were waited for, and {len(found)} came; all: {names}"
            ) from None

    async def _all(self) -> list[Received]:
        log = self.server._log
        await log.wait_idle()
        found: list[Received] = []
        at = log.first - 1
        while at < log.last:
            page = await log.read(at, _PAGE)
            found += map(_received_of, page.entries)
            at = page.upto
        return found

    def advance(self, seconds: float) -> None:
        """Let time pass at once for what the log measures.

        That is `task_ttl`, `cancel_timeout`, `finished_for`, `retention_age` and how long
        idempotency keys are known. Connections and leases go by the real clock.
        """
        self._run(lambda: self._advance(seconds))

    async def _advance(self, seconds: float) -> None:
        log = self.server._log
        assert isinstance(log, GroupCommitLog)
        log._clock.reach(log.now() + seconds)
        self.server._act()
        await log.wait_idle()

    def _run(self, call: Callable[[], Coroutine[Any, Any, T]], timeout: float = 0.0) -> T:
        """Run on the server's event loop, and wait."""
        return self.server._home.hand_over("received", call).result(timeout + PATIENCE)


def _received_of(entry: Entry) -> Received:
    fields = json.loads(entry.json)
    return Received(fields["event"], fields.get("data"), fields.get("room"), fields["id"])


@contextmanager
def running(server: Server) -> Iterator[RunningServer]:
    """Run a server in a thread while the block lasts; it may have an application's handlers.

    Args:
        server: A server that does not run yet. With `port=0` it takes a free port.

    Yields:
        The server, ready for clients.

    Raises:
        StartError: It cannot start.
    """
    loop, started = asyncio.new_event_loop(), Future[RunningServer]()
    over = asyncio.Event()

    async def serve() -> None:
        try:
            async with server:
                started.set_result(RunningServer(server))
                await over.wait()
        except BaseException as exc:
            if started.done():
                raise
            started.set_exception(exc)

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()], name="rtpush-test")
    thread.start()
    try:
        yield started.result(PATIENCE)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(PATIENCE)
        loop.close()


@pytest.fixture
def rtpush_settings() -> dict[str, Any]:
    """The settings of `rtpush_server`. A fixture of the same name takes its place."""
    return {}


@pytest.fixture
def rtpush_server(
    rtpush_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningServer]:
    """A server on a port of its own, with its log in memory.

    RTPUSH_URL leads to it: publishers and clients that are given no address find it.
    """
    options: dict[str, Any] = {"port": 0, "log": "memory:"} | rtpush_settings
    with running(Server(**options)) as server:
        monkeypatch.setenv("RTPUSH_URL", server.url)
        yield server
