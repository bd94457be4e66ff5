"""What tests of several files share."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from browser import chromium
from hypothesis import HealthCheck, Phase, settings
from playwright.async_api import Browser
from processes import ServerProcess, running
from redisserver import RedisServer
from servers import Local
from tabs import CLIENT, PAGES

from rtpush.server import Server

pytest_plugins = ["hangs", "leaks"]

# Collecting the tests makes a million objects that stay: see `pytest_collection_finish`.
gc.disable()

# Some containers set it. Hundreds of programs are started here, and each would compile anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Each run tries some examples, and other ones than the last; `make fuzz` tries many.
# `make mutate` has the same ones each time, and needs no short one.
# How long that takes is the machine's affair.
SLOWLY = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("some", max_examples=15, **SLOWLY)
settings.register_profile("many", max_examples=3000, **SLOWLY)
settings.register_profile(
    "same", max_examples=40, derandomize=True, phases=[Phase.explicit, Phase.generate], **SLOWLY
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "some"))


def pytest_xdist_auto_num_workers() -> int:
    """Tests wait for programs and pages nearly as long as they compute."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return 2 * (cores or 1)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest: one that began last would run beside idle cores."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


def pytest_collection_finish() -> None:
    """Look for garbage from now on, and only among what is made from now on."""
    gc.freeze()
    gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tests run in random order; `-q` hides the header that names the seed."""
    seed = terminalreporter.config.getoption("randomly_seed", None)
    terminalreporter.write_line(f"Run again in this order: --randomly-seed={seed}")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for all tests that do it no harm; each has a prefix of its own."""
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def one_chromium() -> AsyncIterator[Browser]:
    """One Chromium for all tests."""
    async with chromium() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def browser(one_chromium: Browser) -> AsyncIterator[Browser]:
    """A Chromium whose pages are closed when the test is over."""
    yield one_chromium
    for context in one_chromium.contexts:
        await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def local(tmp_path: Path) -> AsyncIterator[Local]:
    """A server with the pages of tests/browser/pages, for tests in Chromium."""
    async with Server(port=0, log=f"sqlite:{tmp_path}/rtpush.db", client=PAGES) as server:
        yield Local.of(server)


@pytest_asyncio.fixture(loop_scope="session")
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """The same as a process, which can be killed."""
    async with running(tmp_path, CLIENT) as process:
        yield process
