"""A real Chromium for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from needs import program
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


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser without any page yet."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program("chromium"), args=FLAGS)
        yield browser
        await browser.close()
