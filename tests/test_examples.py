"""Each example, started as its first lines say, in a real Chromium."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from browser import PATIENCE, chromium
from needs import needs
from playwright.async_api import Browser, Page, expect
from processes import ROOT, free_port

pytestmark = needs("chromium")


@asynccontextmanager
async def example(name: str, folder: Path) -> AsyncIterator[str]:
    """The address of a running example."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "examples" / name / "app.py"),
        cwd=folder,
        env=os.environ | {"PORT": str(port)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE / 1000):
            while b"Stop" not in await process.stdout.readline():
                assert process.returncode is None
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        await process.communicate()
        assert process.returncode == 0


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


async def window(browser: Browser, url: str) -> Page:
    """A window of a person of its own; what goes wrong in its scripts fails the test."""
    page = await (await browser.new_context()).new_page()
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    await page.goto(url)
    await expect(page.locator("#state")).to_have_text("connected", timeout=PATIENCE)
    return page


async def test_chat(browser: Browser, tmp_path: Path) -> None:
    async with example("chat", tmp_path) as url:
        ada, ben = await window(browser, url), await window(browser, url)
        for page, name in ((ada, "Ada"), (ben, "<b>Ben</b>")):
            await page.fill("[name=name]", name)
            await page.press("[name=name]", "Enter")
            await expect(page.locator("#room")).to_be_visible()
        await expect(ada.locator("#here")).to_have_text("<b>Ben</b>, Ada")
        await ben.fill("[name=text]", "hello <img src=x>")
        await ben.press("[name=text]", "Enter")
        for page in (ada, ben):
            await expect(page.locator("#said li")).to_have_text(["<b>Ben</b>hello <img src=x>"])
        await ben.close()
        await expect(ada.locator("#here")).to_have_text("Ada")


async def test_notifications(browser: Browser, tmp_path: Path) -> None:
    async with example("notifications", tmp_path) as url:
        phone, desk = [await window(browser, f"{url}?user=ada") for _ in range(2)]
        other = await window(browser, f"{url}?user=ben")

        async def notify(text: str) -> None:
            event = {"event": "notify", "room": "user:ada", "data": {"text": text}}
            async with (
                aiohttp.ClientSession() as http,
                http.post(f"{url}api/publish", data=json.dumps(event)) as answer,
            ):
                assert answer.status == 200

        await notify("one")
        for page in (phone, desk):
            await expect(page.locator("#unread")).to_have_text("1")
        await phone.click("button")
        await expect(desk.locator("#unread")).to_have_text("0")
        # The phone is switched off for a while.
        await phone.goto("about:blank")
        await notify("two")
        await phone.goto(f"{url}?user=ada")
        await expect(phone.locator("li")).to_have_text(["twoRead"])
        await expect(other.locator("li")).to_have_count(0)


async def test_cursors(browser: Browser, tmp_path: Path) -> None:
    async with example("cursors", tmp_path) as url:
        one, two = await window(browser, url), await window(browser, url)
        await one.mouse.move(100, 100)
        await expect(two.locator(".pointer")).to_have_count(1)
        size = one.viewport_size
        assert size is not None
        await one.mouse.move(size["width"] / 2, size["height"] / 4)
        await expect(two.locator(".pointer")).to_have_css("left", f"{size['width'] / 2:g}px")
        await expect(one.locator(".pointer")).to_have_count(0)
        await one.close()
        await expect(two.locator(".pointer")).to_have_count(0)
