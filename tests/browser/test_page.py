"""The page in a real Chromium: two devices, bad networks, hostile tasks."""

from __future__ import annotations

import asyncio
import base64
import re
import sysconfig
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from browser import PATIENCE, in_chromium
from needs import needs
from playwright.async_api import Browser, Page, expect
from processes import ROOT, ServerProcess, nginx, running
from servers import serving

pytestmark = in_chromium


class Device:
    """A browser context of its own with the page open in it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        self.addresses: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", self._heard)
        page.on("request", lambda request: self.addresses.append(request.url))

    def _heard(self, message: Any) -> None:
        # What the network did is in the console of every browser; the rest is a bug.
        network = ("ERR_", "WebSocket", "Failed to load resource")
        if message.type == "error" and not any(word in message.text for word in network):
            self.problems.append(message.text)

    async def wait_online(self, transport: str) -> None:
        root = self.page.locator("html")
        await expect(root).to_have_attribute("data-state", "online", timeout=PATIENCE)
        await expect(root).to_have_attribute("data-transport", transport, timeout=PATIENCE)

    async def ask_for(self, prompt: str, mode: str = "landscape") -> None:
        await self.page.fill("#prompt", prompt)
        await self.page.select_option("#mode", mode)
        await self.page.press("#prompt", "Control+Enter")

    def card(self, prompt: str) -> Any:
        return self.page.locator("article[data-task-id]").filter(has_text=prompt)

    async def wait_status(self, prompt: str, status: str) -> None:
        await expect(self.card(prompt)).to_have_attribute("data-status", status, timeout=PATIENCE)


async def device(browser: Browser, url: str, *, clock: bool = False, **options: Any) -> Device:
    context = await browser.new_context(locale="en-GB", **options)
    if clock:
        await context.clock.install()
    opened = Device(await context.new_page())
    await opened.page.goto(url)
    return opened


async def publish(url: str, event: str, data: Any) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/api/publish", json={"event": event, "data": data}) as answer,
    ):
        assert answer.status == 200, await answer.text()


async def draw(url: str, seen: Device, prompt: str) -> None:
    """Do what a worker would, with the task that a device shows."""
    card = seen.card(prompt)
    await expect(card).to_have_attribute("data-status", "active", timeout=PATIENCE)
    task = await card.get_attribute("data-task-id")
    await publish(url, "task_progress", {"id": task, "progress": 50, "message": "half"})
    await expect(card).to_contain_text("half", timeout=PATIENCE)
    await publish(url, "task_completed", {"id": task, "result": {"image": PICTURE}})


PICTURE = (
    "data:image/svg+xml;base64,"
    + base64.b64encode(b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>').decode()
)


async def test_a_task_is_watched_live_on_two_devices(browser: Browser, tmp_path: Path) -> None:
    async with running(tmp_path, "--demo") as server:
        desk = await device(browser, server.url, viewport={"width": 1280, "height": 900})
        phone = await device(browser, server.url, viewport={"width": 360, "height": 800})
        await desk.wait_online("websocket")
        await phone.wait_online("websocket")

        await desk.ask_for("a lake at dawn")

        for seen in (desk, phone):
            bar = seen.card("a lake at dawn").get_by_role("progressbar")
            await expect(bar).to_have_attribute(
                "aria-valuenow", re.compile("^[1-9]"), timeout=PATIENCE
            )
        for seen in (desk, phone):
            await seen.wait_status("a lake at dawn", "completed")
            picture = seen.card("a lake at dawn").locator("img").first
            assert await picture.evaluate("image => image.decode().then(() => image.naturalWidth)")
            assert seen.problems == []
            assert {address.split("/")[2] for address in seen.addresses if "://" in address} == {
                f"127.0.0.1:{server.port}"
            }


def link_libraries(folder: Path) -> None:
    """What is installed here, but rtpush: to install it all again would take half a minute."""
    folder.mkdir()
    for found in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not re.match(r"_editable_impl|rtpush|pip\b|setuptools|.*\.pth$", found.name):
            (folder / found.name).symlink_to(found)


@pytest.mark.timeout(300)
async def test_a_fresh_clone_needs_one_command(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pip finds all that rtpush asks for (tests/project/test_packages.py), and fetches nothing.
    link_libraries(tmp_path / "libraries")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "libraries"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    # In pip's language, without an environment of its own for the build.
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")
    checkout = tmp_path / "rtpush"
    git = await asyncio.create_subprocess_exec(
        # The checkout may be another user's.
        *("git", "-c", "safe.directory=*", "clone", "-q", str(ROOT), str(checkout))
    )
    assert await git.wait() == 0
    server = ServerProcess(checkout, make=True)
    await server.start()
    try:
        desk = await device(browser, server.url)
        phone = await device(browser, server.url, viewport={"width": 360, "height": 800})
        await desk.wait_online("websocket")
        await phone.wait_online("websocket")
        await phone.ask_for("the first picture")
        await desk.wait_status("the first picture", "completed")
    finally:
        await server.stop()
    assert (checkout / "rtpush.db").exists()


async def test_a_late_page_shows_active_and_finished_tasks(browser: Browser) -> None:
    async with serving() as server:
        fields = {"id": 1, "formData": {"prompt": "early bird"}, "mode": "bloom"}
        await publish(server.url, "task_created", fields)
        await publish(server.url, "task_progress", {"id": 1, "progress": 40, "message": "roots"})
        late = await device(browser, server.url)
        await expect(late.card("early bird")).to_contain_text("roots", timeout=PATIENCE)
        await publish(server.url, "task_failed", {"id": "1", "error": "no more ink"})
        await late.wait_status("early bird", "failed")
        later = await device(browser, server.url)
        await expect(later.card("early bird")).to_contain_text("no more ink", timeout=PATIENCE)


async def test_kill_9_in_the_middle_loses_nothing(browser: Browser, tmp_path: Path) -> None:
    async with running(tmp_path, "--demo") as server:
        desk = await device(browser, server.url)
        phone = await device(browser, server.url)
        await desk.wait_online("websocket")
        await phone.wait_online("websocket")
        await desk.ask_for("a bridge", "weave")
        bar = phone.card("a bridge").get_by_role("progressbar")
        await expect(bar).to_have_attribute("aria-valuenow", re.compile("^[1-9]"), timeout=PATIENCE)

        await server.kill()
        await expect(desk.page.locator("html")).not_to_have_attribute("data-state", "online")
        await desk.ask_for("asked while nobody listened", "orbits")
        await server.start()

        for seen in (desk, phone):
            await seen.wait_status("a bridge", "completed")
            await seen.wait_status("asked while nobody listened", "completed")
            assert seen.problems == []


async def test_cancel_and_retry(browser: Browser) -> None:
    async with serving() as server:
        desk = await device(browser, server.url)
        await desk.wait_online("websocket")
        await desk.ask_for("second thoughts")
        await desk.wait_status("second thoughts", "active")
        await desk.card("second thoughts").get_by_role("button", name="Cancel").click()
        await desk.wait_status("second thoughts", "cancelled")
        await expect(desk.card("second thoughts").locator(".badge")).to_have_text("Cancelled")
        await desk.card("second thoughts").get_by_role("button", name="Try again").click()
        active = desk.page.locator("article[data-status=active]")
        await expect(active).to_contain_text("second thoughts")


async def test_a_story_is_the_same_on_every_device_and_after_a_reload(browser: Browser) -> None:
    async with serving() as server:
        desk, phone = await device(browser, server.url), await device(browser, server.url)
        task = {"id": "s", "formData": {"prompt": "a fox"}, "mode": "story", "owner": "ann"}
        await publish(server.url, "task_created", task)
        await expect(desk.card("a fox")).to_contain_text("Number 1 in the queue", timeout=PATIENCE)
        await expect(desk.card("a fox").locator(".owner")).to_have_text("of ann")
        for letter in "Once ":
            await publish(server.url, "task_progress", {"id": "s", "append": {"text": letter}})
        await expect(desk.card("a fox").locator(".story")).to_have_text("Once", timeout=PATIENCE)
        await desk.page.reload()
        await publish(server.url, "task_progress", {"id": "s", "append": {"text": "upon"}})
        for seen in (desk, phone):
            await expect(seen.card("a fox").locator(".story")).to_have_text("Once upon")
        await phone.card("a fox").get_by_role("button", name="Cancel").click()
        await desk.wait_status("a fox", "cancelling")
        await publish(server.url, "task_cancelled", {"id": "s"})
        await desk.wait_status("a fox", "cancelled")
        await expect(desk.card("a fox").locator(".story")).to_have_text("Once upon")


async def test_only_its_own_program_can_begin_a_task_again(browser: Browser) -> None:
    async with serving() as server:
        desk = await device(browser, server.url)
        backup = {"id": 1, "formData": {"prompt": "rsync"}, "mode": "exec", "worker": "exec"}
        await publish(server.url, "task_created", backup)
        await publish(server.url, "task_failed", {"id": 1, "error": "exit code 2"})
        await desk.wait_status("rsync", "failed")
        await expect(desk.card("rsync").get_by_role("button", name="Try again")).to_be_hidden()


async def test_a_card_says_that_no_program_takes_tasks(browser: Browser) -> None:
    async with serving() as server:
        desk = await device(browser, server.url, clock=True)
        await desk.wait_online("websocket")
        await desk.ask_for("a lake")
        await desk.ask_for("a pond")
        turn = re.compile("Waiting for its turn|in the queue")
        await expect(desk.card("a lake")).to_contain_text(turn)
        await desk.page.clock.fast_forward(15_000)
        for prompt in ("a lake", "a pond"):
            card = desk.card(prompt)
            await expect(card).to_contain_text("No program takes tasks here", timeout=PATIENCE)
        task = await desk.card("a lake").get_attribute("data-task-id")
        await publish(server.url, "task_progress", {"id": task, "progress": 1})
        await expect(desk.card("a pond")).to_contain_text(turn)


async def test_stages_are_told_in_the_language_of_the_page(browser: Browser) -> None:
    async with serving() as server:
        desk = await device(browser, server.url)
        await publish(server.url, "task_created", {"id": "t", "title": "hills"})
        stage = {"name": "range", "n": 2, "of": 6}
        progress = {"id": "t", "progress": 30, "message": "Raising range 2 of 6", "stage": stage}
        await publish(server.url, "task_progress", progress)
        await expect(desk.card("hills")).to_contain_text("Raising range 2 of 6", timeout=PATIENCE)
        await desk.page.click("#lang")
        await expect(desk.card("hills")).to_contain_text("升起第 2 道山岭，共 6 道")  # noqa: RUF001
        plain = {"id": "t", "progress": 60, "message": "one's own words"}
        await publish(server.url, "task_progress", plain)
        await expect(desk.card("hills")).to_contain_text("one's own words")
        refused = {"code": "long_prompt", "message": "Too long.", "most": 500, "n": 501}
        await publish(server.url, "task_failed", {"id": "t", "error": refused})
        await expect(desk.card("hills")).to_contain_text("现在有 501 个")
        other = {"code": "of one's own", "message": "one's own error"}
        await publish(server.url, "task_failed", {"id": "other", "error": other})
        await expect(desk.page.get_by_text("one's own error").first).to_be_visible()


async def test_what_does_not_fit_a_card_can_be_read(browser: Browser) -> None:
    async with serving() as server:
        desk = await device(browser, server.url)
        error = "the oven is cold " * 12 + "and that is all"
        await publish(server.url, "task_created", {"id": "bread"})
        await publish(server.url, "task_failed", {"id": "bread", "error": error})
        card = desk.card("bread")
        await card.get_by_role("button", name="Show all").click(timeout=PATIENCE)
        fits = "(message) => message.scrollHeight <= message.clientHeight"
        assert await card.locator(".message").evaluate(fits)
        await card.get_by_role("button", name="Show less").click()
        assert not await card.locator(".message").evaluate(fits)
        await publish(server.url, "task_created", {"id": "short"})
        await publish(server.url, "task_completed", {"id": "short", "result": {"text": "done so"}})
        await expect(desk.card("short")).to_contain_text("done so")
        await expect(desk.card("short").locator(".more")).to_be_hidden()


async def test_a_phone_shows_the_new_card(browser: Browser) -> None:
    async with serving() as server:
        for number in range(3):
            await publish(server.url, "task_created", {"id": f"before {number}"})
        phone = await device(
            browser,
            server.url,
            viewport={"width": 360, "height": 640},
            has_touch=True,
            is_mobile=True,
        )
        await phone.wait_online("websocket")
        await expect(phone.page.locator("#hint")).to_be_hidden()
        await phone.page.fill("#prompt", "under my thumb")
        await phone.page.tap("#submit")
        card = phone.card("under my thumb")
        await expect(card).to_be_in_viewport(ratio=0.99)
        # Nothing lies over its button.
        await card.get_by_role("button", name="Cancel").tap()
        await phone.wait_status("under my thumb", "cancelled")
        targets = phone.page.locator("button:visible, a:visible:not(.skip), select, summary")
        sizes = await targets.evaluate_all(
            "(all) => all.map((one) => one.getBoundingClientRect()).map((r) => [r.width, r.height])"
        )
        assert len(sizes) > 8
        assert all(side >= 44 for size in sizes for side in size), sizes


async def test_the_page_links_to_documentation_and_api(browser: Browser) -> None:
    async with serving() as server:
        desk = await device(browser, server.url)
        links = await desk.page.locator("footer a").evaluate_all(
            "(links) => links.map((link) => link.href)"
        )
        assert len(links) == 3
        async with aiohttp.ClientSession() as session:
            for link in links:
                async with session.get(link) as answer:
                    assert answer.status == 200, link
                    assert answer.content_type in ("text/plain", "application/json")


async def test_languages_and_themes(browser: Browser) -> None:
    async with serving() as server:
        desk = await device(browser, server.url, color_scheme="light")
        root = desk.page.locator("html")
        await expect(root).to_have_attribute("lang", "en")
        await desk.page.click("#lang")
        await expect(root).to_have_attribute("lang", re.compile("^zh"))
        await expect(desk.page.locator("#submit")).to_contain_text("绘制")
        ground = "getComputedStyle(document.documentElement).backgroundColor"
        light = await desk.page.evaluate(ground)
        await desk.page.click("#theme")
        assert await desk.page.evaluate(ground) != light
        await desk.page.reload()
        await expect(root).to_have_attribute("lang", re.compile("^zh"))
        assert await desk.page.evaluate(ground) != light


MARKUP = "<img src=x onerror='window.pwned=1'><script>window.pwned=1</script>"


async def test_a_task_is_never_markup(browser: Browser) -> None:
    async with serving() as server:
        desk = await device(browser, server.url)
        await desk.wait_online("websocket")
        hostile = {
            "id": MARKUP,
            "formData": {"prompt": MARKUP, "__proto__": {"pwned": 1}},
            "mode": MARKUP,
            "startTime": MARKUP,
            "__proto__": {"pwned": 1},
            "constructor": {"prototype": {"pwned": 1}},
        }
        await publish(server.url, "task_created", hostile)
        progress = {"id": MARKUP, "progress": 5, "message": MARKUP, "preview": "javascript:pwned=1"}
        await publish(server.url, "task_progress", progress)
        await expect(desk.card("<script>")).to_contain_text("onerror", timeout=PATIENCE)
        await publish(server.url, "task_failed", {"id": MARKUP, "error": MARKUP})
        await desk.wait_status("<script>", "failed")
        for odd in (None, 7, "text", [], {"formData": 3}, {"formData": {"prompt": {"a": 1}}}):
            data = odd if isinstance(odd, dict) else {"formData": odd}
            await publish(server.url, "task_created", {"id": str(odd), **data})
        await expect(desk.page.locator("article[data-status=active]")).to_have_count(6)
        assert await desk.page.evaluate("[window.pwned, {}.pwned]") == [None, None]
        assert desk.problems == []


def documented_nginx() -> tuple[str, str]:
    page = (ROOT / "docs/how-to/deploy.md").read_text()
    server, http = re.findall(r"^```nginx\n(.*?)^```$", page, re.M | re.S)
    return server.replace("http://127.0.0.1:5000", "{url}"), http


@needs("nginx")
async def test_the_page_works_behind_nginx(browser: Browser, tmp_path: Path) -> None:
    """As the documentation configures it; what other proxies do to a client: test_client.py."""
    location, http = documented_nginx()
    async with running(tmp_path) as server:
        location = location.replace("{url}", server.url)
        async with nginx(tmp_path, location, http) as url:
            desk = await device(browser, url)
            phone = await device(browser, url)
            await desk.wait_online("websocket")
            await phone.wait_online("websocket")
            await desk.ask_for("through the needle's eye", "orbits")
            await draw(server.url, phone, "through the needle's eye")
            await desk.wait_status("through the needle's eye", "completed")
            await server.kill()
            await server.start()
            await desk.wait_online("websocket")
            await phone.wait_online("websocket")
            await phone.ask_for("after the storm", "bloom")
            await draw(server.url, desk, "after the storm")
            await phone.wait_status("after the storm", "completed")
            assert desk.problems == []
