"""One connection for all tabs of a page, in a real Chromium.

Whichever tab leads, and however it ends, every tab has seen exactly what was published.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import aiohttp
import jwt
from browser import in_chromium
from playwright.async_api import Browser
from processes import ServerProcess, running
from servers import Local, serving
from tabs import CLIENT, PAGES, SECRET, Tab, keeping, numbers, token

from rtpush.server import Server

pytestmark = in_chromium


async def test_ten_tabs_and_the_leader_is_closed(browser: Browser, local: Local) -> None:
    context = await browser.new_context()
    tabs = [await Tab.open(context, local.url, shared=True) for _ in range(10)]
    for tab in tabs:
        await tab.wait_online()

    async def connections() -> int:
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{local.url}/api/connections") as answer,
        ):
            return len((await answer.json())["connections"])

    assert await connections() == 1
    async with numbers(local.url) as published:
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
    late = await Tab.open(context, local.url, shared=True)
    await late.until("record.tasks !== null")
    assert await late.run("record.seen") == []


async def test_shared_tabs_have_their_own_rooms(browser: Browser, local: Local) -> None:
    context = await browser.new_context()
    one = await Tab.open(context, local.url, shared=True)
    two = await Tab.open(context, local.url, shared=True)
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


async def test_shared_tabs_survive_a_restart(browser: Browser, server: ServerProcess) -> None:
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


async def test_a_room_is_kept_while_a_tab_is_in_it(browser: Browser, local: Local) -> None:
    async def members() -> int:
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{local.url}/api/rooms") as answer,
        ):
            return sum(room["members"] for room in (await answer.json())["rooms"])

    context = await browser.new_context()
    one = await Tab.open(context, local.url, shared=True)
    two = await Tab.open(context, local.url, shared=True)
    for tab in (one, two):
        await tab.wait_online()
        await tab.run("socket.join('red')")
    await one.run("socket.leave('red')")
    await one.run("socket.to('red').emitWithAck('n', 1)")
    await one.run("socket.emitWithAck('n', 2)")
    for tab in (one, two):
        await tab.until("record.seen.at(-1) === 2")
    assert await one.run("record.seen") == [2]
    assert await two.run("record.seen") == [1, 2]
    assert await members() == 1
    await two.run("socket.leave('red')")
    await two.run("socket.emitWithAck('ping', null)")
    assert await members() == 0


async def test_a_room_with_a_token_belongs_to_one_tab(browser: Browser) -> None:
    async with serving(client=PAGES, auth_secret=SECRET) as server:
        claims = {"exp": time.time() + 600}
        own = jwt.encode({**claims, "sub": "ada", "rooms": []}, SECRET, "HS256")
        key = jwt.encode({**claims, "rooms": ["private"]}, SECRET, "HS256")
        context = await browser.new_context()
        one, two = [
            await Tab.open(context, server.url, shared=True, auth={"token": own}) for _ in range(2)
        ]
        for tab in (one, two):
            await tab.wait_online()
        await two.run("key => socket.join('private', { token: key })", key)
        headers = {"Authorization": f"Bearer {token(60)}"}
        async with aiohttp.ClientSession(headers=headers) as http:
            for envelope in (
                {"event": "n", "data": 1, "room": "private"},
                {"event": "n", "data": 2},
            ):
                async with http.post(f"{server.url}/api/publish", json=envelope) as answer:
                    assert answer.status == 200
        for tab in (one, two):
            await tab.until("record.seen.at(-1) === 2")
        assert await one.run("record.seen") == [2]
        assert await two.run("record.seen") == [1, 2]


async def test_no_tab_reconnects_after_a_final_close(browser: Browser) -> None:
    asked = 0
    async with Server(port=0, log="memory:", client=PAGES) as server:

        @server.event
        async def connect(_sid: str, _environ: dict[str, Any], _auth: Any) -> bool:
            nonlocal asked
            asked += 1
            return asked > 1

        context = await browser.new_context()
        tabs = [await Tab.open(context, server.url, begin=False) for _ in range(2)]
        for tab in tabs:
            await tab.page.clock.install()
            await tab.run("begin({shared: true, autoConnect: false})")
        # Both are there before anything is asked.
        for tab in tabs:
            await tab.run("{ socket.connect(); }")
        for tab in tabs:
            await tab.until("record.life.some(([name]) => name === 'connect_error')")
        for tab in tabs:
            await tab.pass_time(20)
        assert asked == 1
        assert [await tab.run("socket.active") for tab in tabs] == [False, False]
        # Whoever asks again leads.
        await tabs[1].run("{ socket.connect(); }")
        await tabs[1].wait_online()
        assert asked == 2


async def test_an_expired_token_is_renewed_for_all_tabs(browser: Browser, tmp_path: Path) -> None:
    async with running(tmp_path, CLIENT, f"--auth-secret={SECRET}") as server:
        context = await browser.new_context()
        # The first tab asks for one to know with which tabs it shares, and then leads.
        lives = iter([-60, -60, 60])
        await context.expose_function("freshToken", lambda: token(next(lives)))
        tabs = [await Tab.open(context, server.url, begin=False) for _ in range(2)]
        await tabs[0].run(
            "begin({shared: true, auth: async () => freshToken(), reconnectionDelay: 50})"
        )
        await tabs[1].begin(shared=True, auth=token(60))
        async with numbers(server.url, token(600)) as published:
            for tab in tabs:
                await tab.wait_online()
                assert await tab.run("socket.active")
            seen = await tabs[0].run("record.seen.length")
            await published.reach(published.published + 10)
            for tab in tabs:
                await tab.until("seen => record.seen.length > seen", seen)


async def test_a_leader_in_the_back_forward_cache(local: Local) -> None:
    async with keeping() as browser:
        context = await browser.new_context()
        leader = await Tab.open(context, local.url, shared=True)
        await leader.wait_online()
        follower = await Tab.open(context, local.url, shared=True)
        await follower.wait_online()
        await leader.run(
            "addEventListener('pageshow', (event) => { window.kept = event.persisted; })"
        )
        async with numbers(local.url) as published:
            await published.more()
            await leader.page.goto(f"{local.url}/healthz")
            await follower.until("record.life.some(([name]) => name === 'disconnect')")
            await follower.wait_online()
            await published.more()
            await leader.page.go_back(wait_until="commit")
            await leader.until("window.kept === true")
            await leader.wait_online()
            await published.more()
            await published.check(leader, follower)


async def test_a_silent_leader_loses_the_lock(browser: Browser, local: Local) -> None:
    context = await browser.new_context()
    leader, follower, other = [await Tab.open(context, local.url, begin=False) for _ in range(3)]
    for tab in (leader, follower, other):
        await tab.page.clock.install()
        await tab.begin(shared=True)
        await tab.wait_online()
    async with numbers(local.url) as published:
        await published.more()
        # A renderer that hangs would take the others of its process with it; this one is mute.
        await leader.run(
            "window.held = [];"
            "window.post = BroadcastChannel.prototype.postMessage;"
            "BroadcastChannel.prototype.postMessage = function (message) {"
            "  held.push([this.name, structuredClone(message)]);"
            "}; 0"
        )
        await published.more()
        await follower.pass_time_until("record.life.some(([name]) => name === 'disconnect')")
        await follower.wait_online()
        await published.more()
        lost = [(await tab.life()).count("disconnect") for tab in (follower, other)]
        # Later it is heard all the same, and what it has to say of its own connection.
        await leader.run(
            "BroadcastChannel.prototype.postMessage = post;"
            "const [name, { from }] = held.find(([, message]) => message.from);"
            "const args = ['transport close', {}];"
            "held.push([name, { to: 'tabs', from, type: 'disconnected', args }]);"
            "held.forEach(([name, message]) => new BroadcastChannel(name).postMessage(message))"
        )
        for tab in (leader, other):
            await tab.wait_online()
        await published.more()
        await published.check(leader, follower, other)
        assert lost == [(await tab.life()).count("disconnect") for tab in (follower, other)]


async def test_two_people_in_one_browser_share_nothing(browser: Browser) -> None:
    async with serving(client=PAGES, auth_secret=SECRET) as server:
        context = await browser.new_context()
        names = ["ada", "bob", "ada"]
        tabs = [await Tab.open(context, server.url, begin=False) for _ in names]
        for tab, name in zip(tabs, names, strict=True):
            await tab.begin(shared=True, auth={"token": token(600, name)})
            await tab.wait_online()
        ada, bob, again = [await tab.run("socket.id") for tab in tabs]
        assert (ada == again, ada == bob) == (True, False)


async def test_a_page_that_may_not_share_connects_alone(browser: Browser, local: Local) -> None:
    context = await browser.new_context()
    # As where storage is blocked: the API is there, and refuses.
    await context.add_init_script(
        "LockManager.prototype.request = () => {"
        "  window.asked = (window.asked ?? 0) + 1;"
        "  return Promise.reject(new DOMException('no', 'SecurityError'));"
        "};"
    )
    tab = await Tab.open(context, local.url, shared=True)
    await tab.wait_online()
    assert await tab.run("asked") == 1
