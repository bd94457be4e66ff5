"""A real Chromium for tests.

A test file that uses the fixture `browser` (conftest.py) is marked with `in_chromium`: the
browser is started once for all of its tests, in an event loop that they share.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from needs import has, needs, program
from playwright.async_api import Browser, async_playwright

# The flags keep Chromium from calling its maker, which a test machine may not reach.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 20_000  # milliseconds


in_chromium = [needs("chromium"), pytest.mark.asyncio(loop_scope="session")]


@asynccontextmanager
async def chromium(*without: str, windows: bool = False) -> AsyncIterator[Browser]:
    """A browser without any page yet; `without` are flags of Playwright's to leave out.

    The cheap one, if it is there; with `windows` the one that people have.
    """
    kind = "headless chromium" if has("headless chromium") and not windows else "chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program(kind), args=FLAGS, ignore_default_args=list(without)
        )
        yield browser
        await browser.close()
