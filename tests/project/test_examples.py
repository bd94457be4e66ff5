"""Each example, started as its first lines say, in a real Chromium."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from browser import PATIENCE, in_chromium
from playwright.async_api import Browser, Page, expect
from processes import ROOT, free_port, running

pytestmark = in_chromium


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
        await expect(ada.locator("#here")).to_have_text("Ada", timeout=PATIENCE)
        cy = await window(browser, url)
        await cy.fill("[name=name]", "Cy")
        await cy.press("[name=name]", "Enter")
        await expect(cy.locator("#said li")).to_have_text(["<b>Ben</b>hello <img src=x>"])


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


# ------------------------------------- applications with an rtpush beside them


@asynccontextmanager
async def beside(name: str, folder: Path, *words: str) -> AsyncIterator[tuple[str, str]]:
    """The addresses of a running example and of its rtpush."""
    ports = {"PORT": str(free_port()), "PUSH_PORT": str(free_port())}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "examples" / name / "app.py"),
        *words,
        cwd=folder,
        env=os.environ | ports,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    app, push = (f"http://127.0.0.1:{port}/" for port in ports.values())
    try:
        await answering(f"{push}healthz")
        yield app, push
    finally:
        process.send_signal(signal.SIGINT)
        await process.wait()
    async with aiohttp.ClientSession() as http:
        # It has taken its rtpush along.
        async with asyncio.timeout(PATIENCE / 1000):
            with suppress(aiohttp.ClientConnectionError):
                while True:
                    await http.get(f"{push}healthz")


async def answering(url: str) -> None:
    async with asyncio.timeout(PATIENCE / 1000), aiohttp.ClientSession() as http:
        while True:
            with suppress(aiohttp.ClientConnectionError):
                async with http.get(url) as answer:
                    assert answer.status == 200
                return
            await asyncio.sleep(0.05)


async def test_flask(browser: Browser, tmp_path: Path) -> None:
    async with beside("flask", tmp_path) as (url, _):
        await answering(url)
        one, two = await window(browser, url), await window(browser, url)
        for prompt in ("a lake", "fail"):
            await one.fill("#prompt", prompt)
            await one.press("#prompt", "Enter")
            for page in (one, two):
                await expect(page.locator("li").first.locator("progress")).to_be_visible()
        for page in (one, two):
            texts = ["failout of ink", "a lakeA LAKE"]
            await expect(page.locator("li")).to_have_text(texts, timeout=PATIENCE)
        late = await window(browser, url)
        # Which of the two ended first is the machine's affair.
        await expect(late.locator("li")).to_have_count(2)
        assert sorted(await late.locator("li").all_text_contents()) == sorted(texts)


async def test_fastapi(browser: Browser, tmp_path: Path) -> None:
    async with beside("fastapi", tmp_path) as (url, _):
        await answering(url)
        mine, ours = [await window(browser, f"{url}?table=7") for _ in range(2)]
        other = await window(browser, f"{url}?table=8")
        await mine.fill("#dish", "soup")
        await mine.press("#dish", "Enter")
        await expect(ours.locator("li")).to_contain_text("soup", timeout=PATIENCE)
        for page in (mine, ours):
            await expect(page.locator("li")).to_have_text("soup is served", timeout=PATIENCE)
        await expect(other.locator("li")).to_have_count(0)


async def test_django(browser: Browser, tmp_path: Path) -> None:
    async with beside("django", tmp_path) as (url, _):
        await answering(url)
        one, two = await window(browser, url), await window(browser, url)
        for text in ("hello", "<b>again</b>"):
            await one.fill("#text", text)
            await one.press("#text", "Enter")
        for page in (one, two):
            await expect(page.locator("li")).to_have_text(["hello", "<b>again</b>"])
        late = await window(browser, url)
        await expect(late.locator("li")).to_have_text(["hello", "<b>again</b>"])


async def test_celery(tmp_path: Path) -> None:
    async with beside("celery", tmp_path) as (_, push), aiohttp.ClientSession() as http:
        ended: dict[str, Any] = {}
        async with asyncio.timeout(PATIENCE / 1000):
            while len(ended) < 2:
                async with http.get(f"{push}api/tasks") as answer:
                    finished = (await answer.json())["finished"]
                ended = {task["formData"]["prompt"]: task for task in finished}
                await asyncio.sleep(0.05)
        assert ended["report ('a short one',)"]["result"] == {"pages": 5}
        assert ended["report ('too long',)"]["error"] == "there is no more paper"
        assert ended["report ('too long',)"]["progress"] == 80


async def test_jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as server, aiohttp.ClientSession() as http:
        monkeypatch.setenv("RTPUSH_URL", server.url)
        # Half a second to import, and only here.
        import nbformat
        from nbclient import NotebookClient

        notebook = nbformat.read(ROOT / "examples/jupyter/progress.ipynb", as_version=4)
        with warnings.catch_warnings():
            # What the kernel's own libraries are about to change is not for us.
            warnings.simplefilter("ignore")
            client = NotebookClient(notebook, timeout=60, kernel_name="python3")
            await client.async_execute()
        async with http.get(f"{server.url}/api/tasks") as answer:
            (task,) = (await answer.json())["finished"]
        async with http.get(f"{server.url}/api/history?limit=1000") as answer:
            events = (await answer.json())["events"]
    assert (task["status"], task["progress"]) == ("completed", 100)
    assert events[-1]["event"] == "trained"
    assert events[-1]["id"] in notebook.cells[-1].outputs[0].text
