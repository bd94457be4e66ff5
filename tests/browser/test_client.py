"""The browser client in a real Chromium, on good days and on bad ones.

Whatever happens to the network, a page must have seen exactly what was published,
in order.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from browser import in_chromium
from needs import needs
from playwright.async_api import Browser
from playwright.async_api import Error as PlaywrightError
from processes import ServerProcess, nginx, running
from relay import relay
from servers import Local
from tabs import CLIENT, PAGES, SECRET, Tab, keeping, numbers, token

from rtpush.server import Server

pytestmark = in_chromium

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


@pytest.mark.parametrize("transport", ["websocket", "sse", "poll"])
async def test_a_client_resumes_its_session(browser: Browser, local: Local, transport: str) -> None:
    async with relay(local.port) as between:
        tab = await Tab.open(browser, between.url, transports=[transport])
        await tab.wait_online(transport)
        sid = await tab.run("socket.id")
        async with numbers(local.url) as published:
            for _ in range(2):
                await published.more()
                between.closed = True
                between.cut()
                await tab.until("!socket.connected")
                await published.more()
                between.closed = False
                await tab.wait_online(transport)
            await published.more()
            await published.check(tab)
        assert "resync" not in await tab.life()
        assert await tab.run("[socket.id, socket.recovered]") == [sid, True]


async def test_the_network_is_lost_and_restored(browser: Browser, local: Local) -> None:
    tab = await Tab.open(browser, local.url)
    await tab.wait_online()
    async with numbers(local.url) as published:
        await published.more()
        await tab.page.context.set_offline(True)
        await tab.until("!socket.connected")
        await published.more()
        await tab.until("record.life.some(([name]) => name === 'connect_error')")
        await tab.page.context.set_offline(False)
        await tab.wait_online()
        await published.more()
        await published.check(tab)


async def test_a_page_resumes_at_an_earlier_position(browser: Browser, local: Local) -> None:
    tab = await Tab.open(browser, local.url)
    await tab.wait_online()
    async with numbers(local.url) as published:
        await tab.until("record.seen.length > 5")
        await tab.run("{ socket.disconnect(); }")
        seen = await tab.run("record.seen")
        last = await tab.run("socket.position")
        await published.more()
        later = await Tab.open(browser, local.url, begin=False)
        # What it has seen comes first, as on a page that has kept it.
        await later.run(
            "([last, seen]) => { begin({ last }); record.seen.push(...seen); }", [last, seen]
        )
        await published.check(later)


PROXY = (
    "location / {{ proxy_pass {url}; proxy_http_version 1.1; "
    "proxy_set_header Host $http_host; {more} }}"
)
# More rooms than an address holds, and an event in the last one of them.
JOIN = """async () => {
  window.said = [];
  socket.on('said', (text) => said.push(text));
  const names = Array.from({ length: 100 }, (_, index) => `${index}-${'я'.repeat(73)}`);
  await Promise.all(names.map((name) => socket.join(name)));
}"""
SAY = "socket.to(`99-${'я'.repeat(73)}`).emitWithAck('said', 'hello')"
UPGRADES = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"


@needs("nginx")
@pytest.mark.parametrize(
    ("transport", "more"),
    [
        # What a proxy does that has not been told of WebSockets.
        ("sse", "proxy_read_timeout 60s;"),
        # Holds a response back until it is over, whatever the server says.
        ("poll", "proxy_read_timeout 60s; proxy_ignore_headers X-Accel-Buffering;"),
    ],
    ids=["strips upgrades", "buffers"],
)
async def test_proxies(
    browser: Browser, local: Local, tmp_path: Path, transport: str, more: str
) -> None:
    # The greeting fills the proxy's first buffer, so it gets through, and what follows may not.
    task = {"event": "task_created", "data": {"id": 1, "formData": {"prompt": "x" * 6000}}}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{local.url}/api/publish", json=task) as answer,
    ):
        assert answer.status == 200
    async with nginx(tmp_path, PROXY.format(url=local.url, more=more)) as url:
        tab = await Tab.open(browser, url, timeout=2000)
        await tab.wait_online(transport)
        await tab.run(JOIN)
        async with numbers(local.url) as published:
            await published.more()
            await tab.run("{ socket.disconnect().connect(); }")
            await tab.wait_online(transport)
            await published.more()
            await published.check(tab)
        await tab.run(SAY)
        await tab.until("said.length === 1")
    assert "resync" not in await tab.life()


@needs("nginx")
async def test_a_proxy_with_a_short_idle_timeout(
    browser: Browser, local: Local, tmp_path: Path
) -> None:
    proxy = PROXY.format(url=local.url, more=UPGRADES + " proxy_read_timeout 2s;")
    async with nginx(tmp_path, proxy) as url:
        tab = await Tab.open(browser, url)
        await tab.wait_online()
        await tab.run(JOIN)
        await tab.run(
            "window.pings = 0;"
            "socket.on('connect', () => { pings = 0; });"
            "socket.io.on('latency', () => { pings += 1; })"
        )
        async with numbers(local.url) as published:
            await published.more()
            await published.check(tab)
        # Nothing is said for longer than the proxy has patience. When that has happened
        # again, the page says something often enough: every second.
        await tab.until("record.life.filter(([name]) => name === 'disconnect').length >= 2")
        await tab.until("socket.connected && pings >= 4")
        async with numbers(local.url, begin=published.published + 2) as later:
            await later.more()
            await later.check(tab)
        await tab.run(SAY)
        await tab.until("said.length === 1")
    assert "resync" not in await tab.life()


async def test_a_proxy_that_swallows_websockets(browser: Browser, local: Local) -> None:
    async with relay(local.port) as between:
        between.mute = True
        tab = await Tab.open(browser, between.url, begin=False)
        await tab.page.clock.install()
        await tab.begin()
        await tab.pass_time_until("socket.transport === 'sse'")
        # The next page begins with what has worked on this network.
        tried = between.websockets
        await tab.page.reload()
        await tab.begin()
        await tab.pass_time_until("socket.transport === 'sse'")
        assert between.websockets == tried
        async with numbers(local.url) as published:
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


async def test_more_tabs_than_a_browser_has_connections(browser: Browser, local: Local) -> None:
    """Over HTTP/1.1 it has six for all tabs: five streams leave one for all that they send."""
    context = await browser.new_context()
    options = {"transports": ["sse", "poll"], "timeout": 2000}
    tabs = [await Tab.open(context, local.url, **options) for _ in range(6)]
    await tabs[5].wait_online("poll")
    for number, tab in enumerate((tabs[0], tabs[5])):
        await tab.run("number => { socket.emit('n', number); }", number)
    for tab in tabs:
        await tab.until("record.seen.length === 2")
        assert "disconnect" not in await tab.life()
    assert [await tab.run("socket.transport") for tab in tabs] == ["sse"] * 5 + ["poll"]


async def test_a_half_open_connection_is_detected(browser: Browser, local: Local) -> None:
    async with relay(local.port) as between:
        tab = await Tab.open(browser, between.url)
        await tab.wait_online()
        async with numbers(local.url) as published:
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


async def test_the_back_forward_cache(local: Local) -> None:
    async with keeping() as browser:
        tab = await Tab.open(browser, local.url)
        await tab.wait_online()
        await tab.run("addEventListener('pageshow', (event) => { window.kept = event.persisted; })")
        async with numbers(local.url) as published:
            await published.more()
            await tab.page.goto(f"{local.url}/healthz")
            await published.more()
            await tab.page.go_back(wait_until="commit")
            # The page is the one that was left, with all that it had seen.
            await tab.until("window.kept === true")
            await tab.wait_online()
            await published.more()
            await published.check(tab)
        assert await tab.run("socket.recovered")


async def test_what_a_page_says_while_it_is_closed(browser: Browser, local: Local) -> None:
    names, transports = ("pagehide", "visibilitychange", "unload"), ("websocket", "sse", "poll")
    for transport in transports:
        tab = await Tab.open(browser, local.url, transports=[transport])
        await tab.wait_online(transport)
        await tab.run(
            """([names, transport]) => {
              for (const name of names) addEventListener(name, () => socket.emit(name, transport));
            }""",
            [names, transport],
        )
        await tab.page.close()
    expected = sorted((name, transport) for name in names for transport in transports)
    async with asyncio.timeout(20), aiohttp.ClientSession() as http:
        said: list[Any] = []
        while len(said) < len(expected):
            async with http.get(f"{local.url}/api/history") as history:
                said = [(one["event"], one["data"]) for one in (await history.json())["events"]]
    assert sorted(said) == expected


async def test_an_expired_token_is_renewed(browser: Browser, tmp_path: Path) -> None:
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
async def test_an_application_handles_and_calls(browser: Browser, transport: str) -> None:
    async with Server(port=0, log="memory:", client=PAGES) as server:

        @server.event
        async def connect(_sid: str, environ: dict[str, Any], auth: Any) -> bool:
            return "let=in" in environ["QUERY_STRING"]

        @server.event
        async def double(_sid: str, number: int) -> int:
            return 2 * number

        @server.event
        async def both(_sid: str, a: int, b: int) -> tuple[int, int]:
            return b, a

        @server.event
        async def order(sid: str, number: int) -> Any:
            # Of the one who waits for the answer to this.
            return await server.call("ask", number, to=sid, timeout=5)

        tab = await Tab.open(browser, server.url, transports=[transport], query={"let": "in"})
        await tab.wait_online(transport)
        await tab.run("socket.on('ask', (number, answer) => answer({ half: number / 2 }))")
        sid = await tab.run("socket.id")
        assert await server.call("ask", 10, to=sid) == {"half": 5}
        assert await tab.run("socket.emitWithAck('double', 4)") == 8
        assert await tab.run("socket.emitWithAck('order', 6)") == {"half": 3}
        promise = "new Promise((done) => socket.emit('both', 1, 2, (...args) => done(args)))"
        assert await tab.run(promise) == [2, 1]
        await tab.run("window.args = []; socket.on('pair', (...all) => args.push(all))")
        await server.emit("pair", (3, [4]))
        await tab.until("args.length === 1")
        assert await tab.run("args") == [[3, [4]]]
        # Without data, the function alone, as in Socket.IO.
        await tab.run("socket.on('swap', (...all) => all.pop()(all.length, 7))")
        assert await server.call("swap", to=sid) == (0, 7)

        refused = await Tab.open(browser, server.url, transports=[transport])
        await refused.until("record.life.some(([name]) => name === 'connect_error')")
        assert await refused.run("[socket.active, socket.connected]") == [False, False]
        assert (await refused.run("record.life"))[0][1]["data"]["code"] == 4403


async def test_a_room_with_a_token_is_rejoined(browser: Browser, tmp_path: Path) -> None:
    async with running(tmp_path, CLIENT, f"--auth-secret={SECRET}") as server:
        claims = {"exp": time.time() + 600}
        own = jwt.encode({**claims, "sub": "ada", "rooms": []}, SECRET, "HS256")
        key = jwt.encode({**claims, "rooms": ["private"]}, SECRET, "HS256")
        tab = await Tab.open(browser, server.url, auth={"token": own})
        await tab.wait_online()
        with pytest.raises(PlaywrightError, match="room"):
            await tab.run("socket.join('private')")
        await tab.run("key => socket.join('private', { token: key })", key)
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


# ------------------------------------------------------------------- sending


@pytest.mark.parametrize("transport", ["websocket", "sse", "poll"])
async def test_events_emitted_offline_are_sent_in_order(
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
async def test_a_lost_answer_causes_no_second_event(
    browser: Browser, local: Local, transport: str
) -> None:
    async with relay(local.port) as between:
        tab = await Tab.open(browser, between.url, transports=[transport])
        await tab.wait_online(transport)
        # Nothing is under way: over HTTP, the event would wait for that.
        await tab.until("socket.latency !== null")
        between.deaf = True
        await tab.run("window.answers = []; socket.emit('n', 1, (answer) => answers.push(answer))")
        async with asyncio.timeout(20), aiohttp.ClientSession() as http:
            stored: list[Any] = []
            while not stored:
                async with http.get(f"{local.url}/api/history") as history:
                    stored = (await history.json())["events"]
        between.deaf = False
        between.cut()
        await tab.until("answers.length === 1")
        await tab.until("record.seen.length === 1")
        assert await tab.run("answers[0].id") == stored[0]["id"]
        await tab.run("socket.emitWithAck('n', 2)")
        await tab.until("record.seen.at(-1) === 2")
        assert await tab.run("record.seen") == [1, 2]


async def test_refusals_reach_the_callback(browser: Browser, local: Local) -> None:
    tab = await Tab.open(browser, local.url)
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


async def test_volatile_events_reach_connected_clients_only(browser: Browser, local: Local) -> None:
    one = await Tab.open(browser, local.url)
    two = await Tab.open(browser, local.url)
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


async def test_without_reconnection_a_lost_connection_is_final(
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


async def test_only_the_message_that_is_too_large_is_refused(
    browser: Browser, local: Local
) -> None:
    tab = await Tab.open(browser, local.url)
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


async def test_hostile_events_are_ignored(browser: Browser, local: Local) -> None:
    tab = await Tab.open(browser, local.url)
    await tab.wait_online()
    await tab.run("window.caught = []; socket.onAny((event) => caught.push(event))")
    before = await tab.life()
    forged = ["reconnect_failed", "reconnect", "disconnecting", "newListener"]
    odd = ["__proto__", "constructor", "toString", "hasOwnProperty", "<img src=x onerror=pwned=1>"]
    data = {"__proto__": {"pwned": 1}, "constructor": {"prototype": {"pwned": 1}}}
    async with aiohttp.ClientSession() as http:

        async def send(event: str, body: Any) -> int:
            envelope = {"event": event, "data": body}
            async with http.post(f"{local.url}/api/publish", json=envelope) as answer:
                return answer.status

        for event in ["connect", "disconnect", "connect_error", "active_tasks", "resync"]:
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


# ---------------------------------------------------------------- the board


async def test_resync_is_followed_by_one_snapshot(browser: Browser, tmp_path: Path) -> None:
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
