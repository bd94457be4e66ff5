"""The browser client in a real Chromium, on good days and on bad ones.

Whatever happens to the network, a page must have seen exactly what was published,
in order.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from browser import PATIENCE, chromium
from needs import needs, program
from playwright.async_api import Browser, BrowserContext, Page
from playwright.async_api import Error as PlaywrightError
from processes import ROOT, ServerProcess, nginx, running
from relay import relay

from rtpush.server import Server

pytestmark = needs("chromium")

PAGES = ROOT / "tests" / "pages"
CLIENT = f"--client={PAGES}"
SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    async with running(tmp_path, CLIENT) as process:
        yield process


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

    async def pass_time(self) -> None:
        """A second, for a page whose clock is installed; and a moment for the network."""
        await self.page.clock.fast_forward(1000)
        await asyncio.sleep(0.02)

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

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url
        self.published = 0
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._task: asyncio.Task[None] | None = None
        self._grown = asyncio.Event()

    async def run(self) -> None:
        async with aiohttp.ClientSession(headers=self._headers) as http:
            for number in count(1):
                await self._publish(http, number)
                self.published = number
                self._grown.set()

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
async def numbers(url: str, token: str | None = None) -> AsyncIterator[Numbers]:
    publisher = Numbers(url, token)
    publisher._task = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        publisher._task.cancel()


# ------------------------------------------------------------- the prototype


async def test_the_prototype_runs_unchanged(browser: Browser, server: ServerProcess) -> None:
    async def shown(tab: Tab, *entry: Any) -> None:
        await tab.until(
            "entry => shown.some((one) => JSON.stringify(one) === entry)",
            json.dumps(entry, ensure_ascii=False, separators=(",", ":")),
        )

    one = await Tab.open(browser, f"{server.url}/prototype/index.html", begin=False)
    await shown(one, "showToast", "实时连接已建立", "success")
    await one.run("app.submitTask({prompt: 'a lake'}, 'fast')")
    await shown(one, "createTaskCard", 1, "a lake")
    two = await Tab.open(browser, f"{server.url}/prototype/index.html", begin=False)
    await shown(two, "createTaskCard", 1, "a lake")

    await one.run("ws.emit('task_progress', {id: 1, progress: 40, message: 'water'})")
    await shown(two, "updateTaskProgress", 1, 40, "water")
    await one.run("ws.emit('task_completed', {id: 1, result: {url: 'a.png'}})")
    await shown(two, "showTaskResult", 1, {"url": "a.png"})
    await one.run("app.taskIdCounter = 1; app.submitTask({prompt: 'a hill'}, 'fast')")
    await shown(two, "createTaskCard", 2, "a hill")
    await one.run("ws.emit('task_failed', {id: 2, error: 'no ink'})")
    await shown(two, "showTaskError", 2, "no ink")

    attempts = "ws.socket.on('reconnect_attempt', (n) => shown.push(['attempt', n]))"
    await two.run(attempts)
    await server.kill()
    await shown(two, "showToast", "实时连接已断开", "warning")
    await shown(two, "attempt", 1)
    await server.start()
    await shown(two, "showToast", "实时连接已恢复", "success")
    # Another time it has five attempts, and then says so.
    await two.page.clock.install()
    await server.kill()
    await two.pass_time_until("JSON.stringify(shown).includes('实时连接失败,请刷新页面')")
    await shown(two, "attempt", 5)
    assert one.problems == two.problems == []


# ------------------------------------------------------------------ bad days


@pytest.mark.parametrize("transport", ["websocket", "sse", "poll"])
async def test_the_server_is_killed_and_started_again(
    browser: Browser, server: ServerProcess, transport: str
) -> None:
    tab = await Tab.open(browser, server.url, transports=[transport])
    await tab.wait_online(transport)
    async with numbers(server.url) as published:
        for _ in range(2):
            await published.more()
            await server.kill()
            await tab.until("!socket.connected")
            await server.start()
            await tab.wait_online(transport)
        await published.more()
        await published.check(tab)
    assert "resync" not in await tab.life()
    assert await tab.run("socket.recovered")


async def test_the_network_goes_and_comes(browser: Browser, server: ServerProcess) -> None:
    tab = await Tab.open(browser, server.url)
    await tab.wait_online()
    async with numbers(server.url) as published:
        await published.more()
        await tab.page.context.set_offline(True)
        await tab.until("!socket.connected")
        await published.more()
        await tab.until("record.life.some(([name]) => name === 'connect_error')")
        await tab.page.context.set_offline(False)
        await tab.wait_online()
        await published.more()
        await published.check(tab)


async def test_a_page_goes_on_where_an_earlier_one_was(
    browser: Browser, server: ServerProcess
) -> None:
    tab = await Tab.open(browser, server.url)
    await tab.wait_online()
    async with numbers(server.url) as published:
        await tab.until("record.seen.length > 5")
        await tab.run("{ socket.disconnect(); }")
        seen = await tab.run("record.seen")
        last = await tab.run("socket.position")
        await published.more()
        later = await Tab.open(browser, server.url, begin=False)
        # What it has seen comes first, as on a page that has kept it.
        await later.run(
            "([last, seen]) => { begin({ last }); record.seen.push(...seen); }", [last, seen]
        )
        await published.check(later)


PROXY = (
    "location / {{ proxy_pass {url}; proxy_http_version 1.1; "
    "proxy_set_header Host $http_host; {more} }}"
)
UPGRADES = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"


@needs("nginx")
@pytest.mark.parametrize(
    ("transport", "more"),
    [
        # What a proxy does that has not been told of WebSockets.
        ("sse", "proxy_read_timeout 60s;"),
        # Holds a response back until it is over, whatever the server says.
        ("poll", "proxy_read_timeout 60s; proxy_ignore_headers X-Accel-Buffering;"),
        # Ends what is idle.
        ("websocket", UPGRADES + " proxy_read_timeout 1s;"),
    ],
    ids=["strips upgrades", "buffers", "cuts what is idle"],
)
async def test_proxies(
    browser: Browser, server: ServerProcess, tmp_path: Path, transport: str, more: str
) -> None:
    async with nginx(tmp_path, PROXY.format(url=server.url, more=more)) as url:
        tab = await Tab.open(browser, url)
        await tab.wait_online(transport)
        async with numbers(server.url) as published:
            await published.more()
            if "1s" in more:
                await published.check(tab)
                # Nothing is said for longer than the proxy has patience.
                await tab.until("record.life.filter(([name]) => name === 'disconnect').length > 1")
                await tab.wait_online(transport)
            else:
                await published.more(100)
                await published.check(tab)
    assert "resync" not in await tab.life()


async def test_an_upgrade_that_is_accepted_and_then_silent(
    browser: Browser, server: ServerProcess
) -> None:
    async with relay(server.port) as between:
        between.mute = True
        tab = await Tab.open(browser, between.url, begin=False)
        await tab.page.clock.install()
        await tab.begin()
        await tab.pass_time_until("socket.transport === 'sse'")
        async with numbers(server.url) as published:
            await published.more()
            # It looks for a WebSocket again, and leaves what works alone until there is one.
            tried = between.websockets
            while between.websockets == tried:
                await tab.pass_time()
            assert await tab.run("socket.transport") == "sse"
            between.mute = False
            await tab.pass_time_until("socket.transport === 'websocket'")
            await published.more()
            await published.check(tab)
        assert (await tab.life()).count("disconnect") == 0


async def test_a_half_open_connection_is_noticed(browser: Browser, server: ServerProcess) -> None:
    async with relay(server.port) as between:
        tab = await Tab.open(browser, between.url)
        await tab.wait_online()
        async with numbers(server.url) as published:
            await published.more()
            between.deaf = True
            # As after a sleep: the page looks at once, and not at the next heartbeat.
            await tab.run("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
            await tab.until("!socket.connected")
            between.deaf = False
            between.cut()
            await tab.wait_online()
            await published.more()
            await published.check(tab)
    assert ["disconnect", "ping timeout"] in [event[:2] for event in await tab.run("record.life")]


async def test_a_suspended_tab(browser: Browser, server: ServerProcess) -> None:
    tab = await Tab.open(browser, server.url)
    await tab.wait_online()
    async with numbers(server.url) as published:
        await published.more()
        async with suspended(tab):
            await published.more()
            await server.kill()
            await server.start()
            await published.more()
        await tab.wait_online()
        await published.check(tab)


@asynccontextmanager
async def suspended(tab: Tab) -> AsyncIterator[None]:
    """While nothing of the page runs, as in a laptop that sleeps."""
    devtools = await tab.page.context.new_cdp_session(tab.page)
    await devtools.send("Debugger.enable")
    paused = asyncio.Event()
    devtools.on("Debugger.paused", lambda _: paused.set())
    await devtools.send("Debugger.pause")
    # It stops at the next line that it runs.
    running = asyncio.create_task(tab.run("1"))
    await asyncio.wait_for(paused.wait(), 10)
    yield
    await devtools.send("Debugger.resume")
    await devtools.send("Debugger.disable")
    await running


async def test_back_by_the_back_button(browser: Browser, server: ServerProcess) -> None:
    tab = await Tab.open(browser, server.url)
    await tab.wait_online()
    async with numbers(server.url) as published:
        await published.more()
        await tab.page.goto(f"{server.url}/healthz")
        await published.more()
        await tab.page.go_back()
        if await tab.run("window.socket === undefined"):
            # The browser has not kept the page: it begins anew, as after a reload.
            await tab.begin()
            await tab.wait_online()
            assert (await tab.life())[:2] == ["connect", "active_tasks"]
        else:
            await tab.wait_online()
            await published.check(tab)


def token(seconds: float, subject: str = "ada") -> str:
    claims = {"sub": subject, "exp": time.time() + seconds, "publish": True}
    return jwt.encode(claims, SECRET, "HS256")


async def test_a_token_that_expires_is_asked_for_again(browser: Browser, tmp_path: Path) -> None:
    async with running(tmp_path, CLIENT, f"--auth-secret={SECRET}") as server:
        tab = await Tab.open(browser, server.url, begin=False)
        lives = iter([1.5, 60, 60])
        await tab.page.expose_function("freshToken", lambda: token(next(lives)))
        await tab.run("begin({auth: async () => freshToken(), reconnectionDelay: 50})")
        await tab.wait_online()
        async with numbers(server.url, token(600)) as published:
            await published.more()
            await tab.until("record.life.some(([name]) => name === 'disconnect')")
            await tab.wait_online()
            await published.more()
            await published.check(tab)
        details = [e for e in await tab.run("record.life") if e[0] == "disconnect"]
        assert [e[2]["code"] for e in details] == [4401]
        assert await tab.run("socket.recovered")

        # Who has no other is told so, and does not come back by itself.
        other = await Tab.open(browser, server.url, begin=False)
        await other.run("t => begin({auth: {token: t}})", token(60) + "x")
        await other.until("record.life.some(([name]) => name === 'connect_error')")
        error = (await other.run("record.life"))[0][1]
        assert (error["code"], error["data"]["code"]) == ("not_authenticated", 4401)
        assert await other.run("socket.active") is False


async def test_ten_tabs_and_the_leader_is_closed(browser: Browser, server: ServerProcess) -> None:
    context = await browser.new_context()
    tabs = [await Tab.open(context, server.url, shared=True) for _ in range(10)]
    for tab in tabs:
        await tab.wait_online()

    async def connections() -> int:
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{server.url}/api/connections") as answer,
        ):
            return len((await answer.json())["connections"])

    assert await connections() == 1
    async with numbers(server.url) as published:
        await published.more()
        for tab in tabs[:3]:
            # The oldest has asked for the lock first.
            await tab.page.close()
            await published.more()
        rest = tabs[3:]
        for tab in rest:
            await tab.wait_online()
        await published.more()
        await published.check(*rest)
    assert await connections() == 1
    assert await rest[0].run("socket.emitWithAck('hello', {from: 0})")
    late = await Tab.open(context, server.url, shared=True)
    await late.until("record.tasks !== null")
    assert await late.run("record.seen") == []


async def test_tabs_that_share_are_in_rooms_of_their_own(
    browser: Browser, server: ServerProcess
) -> None:
    context = await browser.new_context()
    one = await Tab.open(context, server.url, shared=True)
    two = await Tab.open(context, server.url, shared=True)
    for tab in (one, two):
        await tab.wait_online()
        await tab.run("socket.on('said', (text) => record.seen.push(text))")
    await one.run("socket.join('red')")
    await two.run("socket.join('blue')")
    await one.run("socket.to('blue').emitWithAck('said', 'to blue')")
    await one.run("socket.to('red').emitWithAck('said', 'to red')")
    await one.run("socket.emitWithAck('said', 'to all')")
    await one.until("record.seen.includes('to all')")
    await two.until("record.seen.includes('to all')")
    assert await one.run("record.seen") == ["to red", "to all"]
    assert await two.run("record.seen") == ["to blue", "to all"]


async def test_tabs_that_share_outlive_the_server(browser: Browser, server: ServerProcess) -> None:
    context = await browser.new_context()
    tabs = [await Tab.open(context, server.url, shared=True) for _ in range(3)]
    for tab in tabs:
        await tab.wait_online()
    async with numbers(server.url) as published:
        await published.more()
        await server.kill()
        for tab in tabs:
            await tab.until("!socket.connected")
        await tabs[2].run("socket.emit('said offline', 1)")
        # The leader goes while there is nothing to lead to.
        await tabs[0].page.close()
        await server.start()
        for tab in tabs[1:]:
            await tab.wait_online()
        await published.more()
        # One that left and came back has missed what the others saw.
        await tabs[2].run("socket.disconnect()")
        await published.more()
        await tabs[2].run("socket.connect()")
        await tabs[2].wait_online()
        await published.more()
        await published.check(*tabs[1:])
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{server.url}/api/history?limit=1000") as answer,
    ):
        events = [event["event"] for event in (await answer.json())["events"]]
    assert events.count("said offline") == 1


async def test_a_leader_that_says_nothing_is_unseated(
    browser: Browser, server: ServerProcess
) -> None:
    context = await browser.new_context()
    leader, follower, other = [await Tab.open(context, server.url, begin=False) for _ in range(3)]
    for tab in (leader, follower, other):
        await tab.page.clock.install()
        await tab.begin(shared=True)
        await tab.pass_time_until("socket.connected")
    async with numbers(server.url) as published:
        await published.more()
        # A renderer that hangs would take the others of its process with it; this one is mute.
        await leader.run(
            "window.post = BroadcastChannel.prototype.postMessage;"
            "BroadcastChannel.prototype.postMessage = () => {}; 0"
        )
        await published.more()
        await follower.pass_time_until("record.life.some(([name]) => name === 'disconnect')")
        await follower.pass_time_until("socket.connected")
        await published.more()
        await leader.run("BroadcastChannel.prototype.postMessage = post; 0")
        for tab in (leader, other):
            await tab.pass_time_until("socket.connected")
        await published.more()
        await published.check(leader, follower, other)


# ----------------------------------------------------- rooms and applications


@pytest.mark.parametrize("transport", ["websocket", "sse", "poll"])
async def test_a_room_is_kept_over_a_restart(
    browser: Browser, server: ServerProcess, transport: str
) -> None:
    tab = await Tab.open(browser, server.url, transports=[transport])
    await tab.wait_online(transport)
    await tab.run("socket.join('red')")
    await server.kill()
    await tab.until("!socket.connected")
    await server.start()
    async with aiohttp.ClientSession() as http:
        for room, number in (("blue", 1), ("red", 2)):
            envelope = {"event": "n", "data": number, "room": room}
            async with http.post(f"{server.url}/api/publish", json=envelope) as answer:
                assert answer.status == 200
    await tab.until("record.seen.length === 1")
    await tab.run("socket.leave('red')")
    await tab.run("socket.to('red').emitWithAck('n', 3)")
    await tab.run("socket.emitWithAck('n', 4)")
    await tab.until("record.seen.at(-1) === 4")
    assert await tab.run("record.seen") == [2, 4]


@pytest.mark.parametrize("transport", ["websocket", "sse", "poll"])
async def test_an_application_asks_and_answers(browser: Browser, transport: str) -> None:
    async with Server(port=0, log="memory:", client=PAGES) as server:

        @server.event
        async def connect(_sid: str, environ: dict[str, Any], auth: Any) -> bool:
            return "let=in" in environ["QUERY_STRING"]

        @server.event
        async def double(_sid: str, number: int) -> int:
            return 2 * number

        @server.event
        async def both(_sid: str, pair: list[int]) -> list[int]:
            return pair[::-1]

        tab = await Tab.open(browser, server.url, transports=[transport], query={"let": "in"})
        await tab.wait_online(transport)
        await tab.run("socket.on('ask', (number, answer) => answer({ half: number / 2 }))")
        sid = await tab.run("socket.id")
        assert await server.call("ask", 10, to=sid) == {"half": 5}
        assert await tab.run("socket.emitWithAck('double', 4)") == 8
        assert await tab.run("socket.timeout(5000).emitWithAck('both', 1, 2)") == [2, 1]

        refused = await Tab.open(browser, server.url, transports=[transport])
        await refused.until("record.life.some(([name]) => name === 'connect_error')")
        assert await refused.run("[socket.active, socket.connected]") == [False, False]
        assert (await refused.run("record.life"))[0][1]["data"]["code"] == 4403


async def test_a_room_of_a_token_is_joined_again(browser: Browser, tmp_path: Path) -> None:
    async with running(tmp_path, CLIENT, f"--auth-secret={SECRET}") as server:
        claims = {"exp": time.time() + 600}
        own = jwt.encode({**claims, "sub": "ada", "rooms": []}, SECRET, "HS256")
        key = jwt.encode({**claims, "rooms": ["private"]}, SECRET, "HS256")
        tab = await Tab.open(browser, server.url, auth={"token": own})
        await tab.wait_online()
        with pytest.raises(PlaywrightError, match="room"):
            await tab.run("socket.join('private')")
        await tab.run("key => socket.join('private', key)", key)
        await server.kill()
        await tab.until("!socket.connected")
        await server.start()
        await tab.wait_online()
        await tab.run("socket.emitWithAck('ping', null)")
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token(60)}"}) as http:
            envelope = {"event": "n", "data": 1, "room": "private"}
            async with http.post(f"{server.url}/api/publish", json=envelope) as answer:
                assert answer.status == 200
        await tab.until("record.seen.length === 1")


# ------------------------------------------------------------ other entry points


@needs("npm")
async def test_what_is_built_is_what_the_sources_make() -> None:
    await npm("ci", "--ignore-scripts", "--no-audit", "--no-fund")
    assert "bytes gzipped" in await npm("run", "check")


async def npm(*words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        program("npm"), *words, cwd=ROOT, stdout=PIPE, stderr=PIPE
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, out.decode() + errors.decode()
    return out.decode()


@needs("npm")
async def test_react_hooks(browser: Browser, tmp_path: Path) -> None:
    if not (ROOT / "node_modules/.package-lock.json").exists():
        await npm("ci", "--ignore-scripts", "--no-audit", "--no-fund")
    pages = tmp_path / "pages"
    shutil.copytree(PAGES / "react", pages)
    words = ("--bundle", "--format=esm", "--jsx=automatic", "--define:process.env.NODE_ENV='test'")
    await npm("exec", "--", "esbuild", "tests/js/react.jsx", *words, f"--outfile={pages}/app.js")
    async with running(tmp_path, f"--client={pages}") as server:
        tab = await Tab.open(browser, server.url, begin=False)
        await tab.until("window.socket?.connected === true")
        # The first snapshot has come and gone before anybody asked for tasks.
        await tab.run("socket.emitWithAck('task_created', {id: 'a'})")
        await tab.run("mount()")
        text = "name => document.getElementById(name)?.textContent"
        await tab.until("document.getElementById('early')?.textContent === 'a 0 active'")
        await tab.run("socket.emitWithAck('task_progress', {id: 'a', progress: 40})")
        await tab.until("document.getElementById('early').textContent === 'a 40 active'")
        await tab.page.click("button")
        await tab.run("socket.emitWithAck('task_failed', {id: 'a', error: 'x'})")
        await tab.until("document.getElementById('late').textContent === 'a 40 failed'")
        assert await tab.run(text, "early") == "a 40 failed"
        for word in ("one", "two"):
            await tab.run("word => socket.emitWithAck('said', word)", word)
        await tab.until("document.getElementById('said').textContent === 'one two'")
        assert tab.problems == []


@needs("node")
async def test_in_node(server: ServerProcess) -> None:
    script = ROOT / "tests/js/node_client.mjs"
    process = await asyncio.create_subprocess_exec(
        program("node"), str(script), server.url, stdin=PIPE, stdout=PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None

    async def heard() -> Any:
        assert process.stdout is not None
        return json.loads(await asyncio.wait_for(process.stdout.readline(), 20))

    # Node has a WebSocket of its own since 22; before it, SSE comes first.
    assert (await heard())[::2] == ["connect", False]
    process.stdin.write(b"1\n")
    both = [await heard(), await heard()]
    assert ["n", 1] in both
    await server.kill()
    assert await heard() == ["disconnect"]
    await server.start()
    assert (await heard())[::2] == ["connect", True]
    process.stdin.write(b"2\n")
    assert ["n", 2] in [await heard(), await heard()]
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 20) == 0


# ------------------------------------------------------------------- sending


@pytest.mark.parametrize("transport", ["websocket", "sse", "poll"])
async def test_what_is_said_offline_goes_out_in_order(
    browser: Browser, server: ServerProcess, transport: str
) -> None:
    tab = await Tab.open(browser, server.url, transports=[transport], autoConnect=False)
    await tab.run("for (let i = 1; i <= 30; i += 1) socket.emit('n', i)")
    await tab.run("socket.connect()")
    await tab.until("record.seen.length === 30")
    await server.kill()
    await tab.until("!socket.connected")
    await tab.run("for (let i = 31; i <= 60; i += 1) socket.emit('n', i)")
    await server.start()
    await tab.until("record.seen.length >= 60")
    assert await tab.run("record.seen") == list(range(1, 61))


@pytest.mark.parametrize("transport", ["websocket", "sse", "poll"])
async def test_an_answer_that_was_lost_is_no_second_event(
    browser: Browser, server: ServerProcess, transport: str
) -> None:
    async with relay(server.port) as between:
        tab = await Tab.open(browser, between.url, transports=[transport])
        await tab.wait_online(transport)
        between.deaf = True
        await tab.run("window.answers = []; socket.emit('n', 1, (answer) => answers.push(answer))")
        async with asyncio.timeout(20), aiohttp.ClientSession() as http:
            stored: list[Any] = []
            while not stored:
                async with http.get(f"{server.url}/api/history") as history:
                    stored = (await history.json())["events"]
        between.deaf = False
        between.cut()
        await tab.until("answers.length === 1")
        await tab.until("record.seen.length === 1")
        assert await tab.run("answers[0].id") == stored[0]["id"]
        await tab.run("socket.emitWithAck('n', 2)")
        await tab.until("record.seen.at(-1) === 2")
        assert await tab.run("record.seen") == [1, 2]


async def test_refusals_reach_whoever_asked(browser: Browser, server: ServerProcess) -> None:
    tab = await Tab.open(browser, server.url)
    await tab.wait_online()
    await tab.run("window.bad = ['task_progress', {id: 1, progress: 400}]")
    answer = await tab.run("new Promise((done) => socket.emit(...bad, done))")
    assert answer["error"]["code"] == "bad_task"
    timed = "new Promise((done) => socket.timeout(5000).emit(...bad, (e) => done(e.code)))"
    assert await tab.run(timed) == "bad_task"
    promised = "socket.emitWithAck(...bad).catch((e) => [e.code, e.message])"
    assert (await tab.run(promised))[0] == "bad_task"
    await tab.run("{ socket.emit(...bad); }")
    await tab.until("record.life.some(([name, e]) => name === 'error' && e.code === 'bad_task')")
    late = "new Promise((done) => socket.disconnect().timeout(50).emit('x', (e) => done(e.code)))"
    assert await tab.run(late) == "timeout"
    full = """new Promise((done) => {
        const tell = (answer) => answer?.error && done(answer.error.code);
        for (let i = 0; i < 1001; i += 1) socket.emit('x', i, tell);
    })"""
    assert await tab.run(full) == "queue_full"
    thrown = """(event, data) => {
        try { socket.emit(event, data); } catch (error) { return error.message; }
    }"""
    for reserved in ("connect", "reconnect", "active_tasks"):
        assert (
            await tab.run(f"({thrown})('{reserved}')") == f'"{reserved}" is a reserved event name'
        )
    assert "base64" in await tab.run(f"({thrown})('x', {{bytes: new Uint8Array(3)}})")


async def test_volatile_events_are_for_who_is_there(
    browser: Browser, server: ServerProcess
) -> None:
    one = await Tab.open(browser, server.url)
    two = await Tab.open(browser, server.url)
    for tab in (one, two):
        await tab.wait_online()
    await one.run("{ socket.volatile.emit('n', 1); }")
    await two.until("record.seen.length === 1")
    answer = "new Promise((done) => socket.volatile.emit('n', 2, (answer) => done([answer])))"
    assert await one.run(answer) == [None]
    position = await two.run("socket.position")
    await one.run("{ socket.disconnect(); socket.volatile.emit('n', 3); socket.connect(); }")
    await one.wait_online()
    await one.run("socket.emitWithAck('n', 4)")
    await two.until("record.seen.at(-1) === 4")
    assert await two.run("record.seen") == [1, 2, 4]
    assert position != await two.run("socket.position")


async def test_without_reconnection_a_loss_is_the_end(
    browser: Browser, server: ServerProcess
) -> None:
    tab = await Tab.open(browser, server.url, reconnection=False)
    await tab.wait_online()
    await server.kill()
    await tab.until("!socket.connected")
    assert (await tab.run("record.life.at(-1)"))[:2] == ["disconnect", "transport error"]
    assert await tab.run("socket.active") is False
    await server.start()
    await tab.run("{ socket.connect(); }")
    await tab.wait_online()


async def test_a_message_that_is_too_large_is_given_up_alone(
    browser: Browser, server: ServerProcess
) -> None:
    tab = await Tab.open(browser, server.url)
    await tab.wait_online()
    await tab.run(
        "window.codes = [];"
        "socket.emit('x', 'y'.repeat(2 << 20), (answer) => codes.push(answer.error.code));"
        "socket.emit('n', 1)"
    )
    await tab.until("codes.length === 1 && record.seen.length === 1")
    assert await tab.run("codes") == ["too_large"]
    assert await tab.run("socket.emitWithAck('n', 2)")


# --------------------------------------------------------------- hostile data


async def test_nothing_hostile_gets_anywhere(browser: Browser, server: ServerProcess) -> None:
    tab = await Tab.open(browser, server.url)
    await tab.wait_online()
    await tab.run("window.caught = []; socket.onAny((event) => caught.push(event))")
    before = await tab.life()
    forged = ["reconnect_failed", "reconnect", "disconnecting", "newListener"]
    odd = ["__proto__", "constructor", "toString", "hasOwnProperty", "<img src=x onerror=pwned=1>"]
    data = {"__proto__": {"pwned": 1}, "constructor": {"prototype": {"pwned": 1}}}
    async with aiohttp.ClientSession() as http:

        async def send(event: str, body: Any) -> int:
            envelope = {"event": event, "data": body}
            async with http.post(f"{server.url}/api/publish", json=envelope) as answer:
                return answer.status

        for event in ["connect", "disconnect", "connect_error", "pong", "error", "heartbeat"]:
            assert await send(event, {"sid": "forged", "code": 4403}) == 403
        for event in [*forged, *odd]:
            assert await send(event, data) == 200
        assert await send("n", "x" * 500_000) == 200
        assert await send("n", data) == 200
    await tab.until("record.seen.length === 2")
    assert await tab.run("caught") == [*odd, "n", "n"]
    assert await tab.life() == before
    assert await tab.run("[window.pwned, {}.pwned, [].pwned]") == [None, None, None]
    assert await tab.run("socket.connected")
    assert tab.problems == []


async def test_what_a_server_may_say_that_is_none_of_ours(browser: Browser, tmp_path: Path) -> None:
    """A server that speaks nonsense: nothing is thrown, nothing believed."""
    nonsense = [
        "", "null", "7", "[]", '"x"', "{}", '{"event":7}', '{"event":null,"id":{}}',
        '{"event":"active_tasks","id":"-","data":{"tasks":[]}}', '{"ack":{"a":1}}',
        '{"ack":"__proto__","error":7}', '{"event":"pong","data":null}',
        '{"event":"connect","id":"e-5","data":{"sid":"forged"}}',
        '{"event":"n","id":"e-6","room":{"a":1},"data":5}',
        '{"event":"n","id":"e-7","data":6}', '{"event":"n","id":"e-4","data":7}',
        '{"event":"n","id":"nonsense","data":8}',
    ]  # fmt: skip
    async with running(tmp_path, CLIENT) as server:
        tab = await Tab.open(browser, server.url, begin=False)
        await tab.run(
            """lines => {
              window.WebSocket = class {
                constructor() { setTimeout(() => this.talk()); }
                talk() {
                  const say = (data) => this.onmessage({ data });
                  say('{"event":"connect","data":{"sid":"s","heartbeat":"x","recovered":1}}');
                  lines.forEach(say);
                }
                send() {}
                close() {}
              };
              begin({transports: ['websocket']});
            }""",
            nonsense,
        )
        await tab.until("record.seen.length === 3")
        assert await tab.run("record.seen") == [5, 6, 8]
        assert await tab.run("[socket.id, socket.position]") == ["s", "e-7"]
        assert tab.problems == []


# ---------------------------------------------------------------- the board


async def test_resync_hands_over_one_true_snapshot(browser: Browser, tmp_path: Path) -> None:
    async with running(tmp_path, CLIENT, "--log=memory:") as server:
        tab = await Tab.open(browser, server.url)
        await tab.wait_online()
        await tab.run("socket.emitWithAck('task_created', {id: 'gone', formData: {}})")
        await server.kill()
        await tab.until("!socket.connected")
        await server.start()
        await tab.wait_online()
        await tab.until("record.tasks?.length === 0")
        life = await tab.life()
        assert life[life.index("reconnect") :] == ["reconnect", "resync", "active_tasks"]
        await tab.run("socket.emitWithAck('n', 1)")
        await tab.until("record.seen.length === 1")


async def test_the_script_is_always_asked_for_again(server: ServerProcess) -> None:
    async with aiohttp.ClientSession() as http:
        for name in ("rtpush.js", "rtpush/socket.js", "dist/rtpush.min.js", "websocket.js"):
            async with http.get(f"{server.url}/{name}") as answer:
                assert answer.status == 200
                assert re.match(r"text/javascript|application/javascript", answer.content_type)
                assert "no-cache" in answer.headers["Cache-Control"]
                etag = answer.headers["ETag"]
            async with http.get(f"{server.url}/{name}", headers={"If-None-Match": etag}) as answer:
                assert answer.status == 304
