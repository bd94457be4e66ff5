"""Pages with a socket in them, and a publisher that knows what they must have seen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from itertools import count
from typing import Any

import aiohttp
import jwt
from browser import PATIENCE, chromium
from playwright.async_api import Browser, BrowserContext, Page
from processes import ROOT

PAGES = ROOT / "tests/browser/pages"
CLIENT = f"--client={PAGES}"
SECRET = "0123456789abcdef0123456789abcdef"


class Tab:
    """A page with a socket in it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))

    @classmethod
    async def open(
        cls, where: Browser | BrowserContext, url: str, /, begin: bool = True, **options: Any
    ) -> Tab:
        context = await where.new_context() if isinstance(where, Browser) else where
        tab = cls(await context.new_page())
        await tab.page.goto(url)
        if begin:
            await tab.begin(**options)
        return tab

    async def begin(self, **options: Any) -> None:
        # Quick to come back, so that a test need not wait for it.
        await self.page.evaluate("begin", {"reconnectionDelay": 50, **options})

    async def run(self, script: str, arg: Any = None) -> Any:
        return await self.page.evaluate(script, arg)

    async def until(self, condition: str, arg: Any = None) -> None:
        # The page's own policy forbids what `wait_for_function` does: to evaluate a string.
        deadline = time.monotonic() + PATIENCE / 1000
        while not await self.page.evaluate(condition, arg):
            if time.monotonic() > deadline:
                life = await self.page.evaluate("window.record?.life.slice(-20)")
                raise AssertionError(f"never {condition}; {life}")
            await asyncio.sleep(0.02)

    async def pass_time(self, seconds: int = 1) -> None:
        """For a page whose clock is installed, and no faster than its network is."""
        for _ in range(seconds):
            await self.page.clock.fast_forward(1000)
            # What was under way before this has arrived when this is answered, or refused.
            for _ in range(2):
                await self.page.evaluate("fetch('/healthz', {cache: 'no-store'}).catch(() => 0)")

    async def pass_time_until(self, condition: str) -> None:
        async with asyncio.timeout(PATIENCE / 1000):
            while not await self.page.evaluate(condition):
                await self.pass_time()

    async def wait_online(self, transport: str = "websocket") -> None:
        await self.until("t => socket.connected && socket.transport === t", transport)

    async def life(self) -> list[str]:
        return [event[0] for event in await self.run("record.life")]


class Numbers:
    """Publishes 1, 2, 3, … as the event `n`, each once, whatever becomes of the server."""

    def __init__(self, url: str, token: str | None = None, begin: int = 1) -> None:
        self.url = url
        self.published = begin - 1
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._task: asyncio.Task[None] | None = None
        self._grown = asyncio.Event()

    async def run(self) -> None:
        async with aiohttp.ClientSession(headers=self._headers) as http:
            for number in count(self.published + 1):
                await self._publish(http, number)
                self.published = number
                self._grown.set()
                # Leaves the processor to the pages, which are to come back meanwhile.
                await asyncio.sleep(0.005)

    async def _publish(self, http: aiohttp.ClientSession, number: int) -> None:
        body = {"event": "n", "data": number, "idempotency_key": f"{id(self)}-{number}"}
        while True:
            with suppress(aiohttp.ClientError):
                async with http.post(f"{self.url}/api/publish", json=body) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.01)

    async def reach(self, number: int) -> None:
        async with asyncio.timeout(20):
            while self.published < number:
                self._grown.clear()
                await self._grown.wait()

    async def more(self, number: int = 20) -> None:
        await self.reach(self.published + number)

    async def check(self, *tabs: Tab) -> None:
        """Stop; every tab has seen all of it, once and in order."""
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        async with aiohttp.ClientSession(headers=self._headers) as http:
            # One may have been under way.
            await self._publish(http, self.published + 1)
        expected = list(range(1, self.published + 2))
        for tab in tabs:
            await tab.until("last => record.seen.at(-1) === last", expected[-1])
            assert await tab.run("record.seen") == expected
            assert tab.problems == []


@asynccontextmanager
async def numbers(url: str, token: str | None = None, begin: int = 1) -> AsyncIterator[Numbers]:
    publisher = Numbers(url, token, begin)
    publisher._task = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        publisher._task.cancel()


def keeping() -> AbstractAsyncContextManager[Browser]:
    """A Chromium that keeps pages that were left, for the way back; Playwright's does not."""
    return chromium("--disable-back-forward-cache", windows=True)


def token(seconds: float, subject: str = "ada") -> str:
    """A token that holds for so long and may publish."""
    claims = {"sub": subject, "exp": time.time() + seconds, "publish": True}
    return jwt.encode(claims, SECRET, "HS256")
