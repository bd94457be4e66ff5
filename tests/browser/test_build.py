"""What is made of the browser client, and where else than in a page it runs."""

from __future__ import annotations

import asyncio
import fcntl
import json
import re
import shutil
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from browser import in_chromium
from needs import needs, program
from playwright.async_api import Browser
from processes import ROOT, ServerProcess
from servers import Local, serving
from tabs import PAGES, Tab

# npm may have to install the tools first.
pytestmark = [*in_chromium, pytest.mark.timeout(300)]


@needs("npm")
async def test_the_built_files_match_the_sources() -> None:
    await install_tools()
    out = await npm("run", "check")
    found = re.search(r"rtpush\.min\.js: (\d+) bytes gzipped", out)
    assert found is not None, out
    assert int(found[1]) <= 10.5 * 1024


@needs("npm")
async def test_the_package_is_used_from_node_and_typescript(local: Local, tmp_path: Path) -> None:
    await install_tools()
    packed = await npm("pack", "--silent", "--pack-destination", str(tmp_path), at=ROOT / "client")
    package = tmp_path / packed.strip()
    project = tmp_path / "project"
    project.mkdir()
    (project / "package.json").write_text('{"type": "module"}')
    await npm("install", "--offline", "--no-audit", "--no-fund", str(package), at=project)
    (project / "use.ts").write_text(USE)
    tsc = ROOT / "node_modules/typescript/bin/tsc"
    flags = "--strict --module nodenext --target es2022 --lib es2023,dom,dom.iterable"
    flags += " --skipDefaultLibCheck"
    await said(program("node"), str(tsc), *flags.split(), "use.ts", at=project)
    out = await said(program("node"), "use.js", local.url, at=project)
    assert out.splitlines() == ["hello, package", "bad_task"]
    (project / "use.cjs").write_text(REQUIRE)
    out = await said(program("node"), "use.cjs", local.url, at=project)
    assert out.splitlines() == ["hello, package"]


USE = """
import { io, type Socket } from "rtpush";
import { WebSocketManager } from "rtpush/websocket";

declare const process: { argv: string[] };
const socket: Socket = io(process.argv[2], { transports: ["websocket", "polling"] });
socket.on("hello", (name: string) => console.log("hello,", name));
const { id }: { id: string } = await socket.emitWithAck("hello", "package");
const bad = { id, progress: 400 };
await socket.emitWithAck("task_progress", bad).catch(({ code }) => console.log(code));
socket.disconnect();
// @ts-expect-error There is no such option.
io(process.argv[2], { reconnectionDelay: "soon", autoConnect: false });
interface FromServer { greeting: (name: string, times: number) => void; }
interface FromClient {
  hello: (name: string, done: (length: number) => void) => void;
  bare: () => void;
}
export function compiles() {
const typed: Socket<FromServer, FromClient> = io(process.argv[2], { autoConnect: false });
typed.on("greeting", (name, times) => name.repeat(times));
typed.on("connect_error", (error) => error.code.toUpperCase());
typed.on("disconnect", (reason, { description }) => reason + description);
typed.emit("bare");
typed.emit("hello", "Ada", (length) => length.toFixed());
typed.timeout(5000).emit("hello", "Ada", (error, length) => error?.message ?? length.toFixed());
const length: Promise<number> = typed.emitWithAck("hello", "Ada");
const within: Promise<number> = typed.timeout(5000).emitWithAck("hello", "Ada");
// @ts-expect-error There is no such event.
typed.on("greetings", () => {});
// @ts-expect-error A name is a string.
typed.emit("hello", 7, () => {});
// @ts-expect-error The event has an argument.
typed.emit("bare", 7);
// Options of Socket.IO that have no meaning here are no errors.
io(process.argv[2], { autoConnect: false, upgrade: true, rememberUpgrade: true, multiplex: false });
return [length, within];
}
new WebSocketManager({ showToast: (text: string, mood: string) => console.log(text, mood) });
"""


REQUIRE = """
const io = require("rtpush");
if (io !== io.io || io !== io.connect || io !== io.default) throw new Error("not the same");
const socket = io(process.argv[2]);
socket.on("hello", (name) => {
  console.log("hello,", name);
  socket.disconnect();
});
socket.emit("hello", "package");
"""


async def install_tools() -> None:
    """Have what package-lock.json names; of tests that run beside each other, one installs it."""
    there, wanted = ROOT / "node_modules/.package-lock.json", ROOT / "package-lock.json"
    with wanted.open() as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        if not there.exists() or there.stat().st_mtime < wanted.stat().st_mtime:
            await npm("ci", "--ignore-scripts", "--no-audit", "--no-fund")


async def npm(*words: str, at: Path = ROOT) -> str:
    return await said(program("npm"), *words, at=at)


async def said(*words: str, at: Path) -> str:
    process = await asyncio.create_subprocess_exec(*words, cwd=at, stdout=PIPE, stderr=PIPE)
    out, errors = await process.communicate()
    assert process.returncode == 0, out.decode() + errors.decode()
    return out.decode()


@needs("npm")
async def test_react_hooks(browser: Browser, tmp_path: Path) -> None:
    await install_tools()
    pages = tmp_path / "pages"
    shutil.copytree(PAGES / "react", pages)
    words = ("--bundle", "--format=esm", "--jsx=automatic", "--define:process.env.NODE_ENV='test'")
    esbuild = str(ROOT / "node_modules/.bin/esbuild")
    await said(esbuild, "tests/browser/js/react.jsx", *words, f"--outfile={pages}/app.js", at=ROOT)
    async with serving(client=pages) as server:
        tab = await Tab.open(browser, server.url, begin=False)
        await tab.until("window.socket?.connected === true")
        # The first snapshot has come and gone before anybody asked for tasks.
        await tab.run("socket.emitWithAck('task_created', {id: 'a'})")
        await tab.run("new Promise((done) => socket.retain('a').emit('weather', 1, done))")
        await tab.run("mount()")
        await tab.run("socket.join('room', {presence: {name: 'Ann'}})")
        await tab.until("document.getElementById('room')?.textContent === 'a 1; Ann'")
        await tab.run("socket.join('room', {presence: {name: 'Anna'}})")
        await tab.until("document.getElementById('room').textContent === 'a 1; Anna'")
        text = "name => document.getElementById(name)?.textContent"
        await tab.until("document.getElementById('early')?.textContent === 'a 0 queued'")
        await tab.run("socket.emitWithAck('task_progress', {id: 'a', progress: 40})")
        await tab.until("document.getElementById('early').textContent === 'a 40 running'")
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
    script = ROOT / "tests/browser/js/node_client.mjs"
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


async def test_browsers_revalidate_the_script(local: Local) -> None:
    async with aiohttp.ClientSession() as http:
        for name in ("rtpush.js", "rtpush/socket.js", "dist/rtpush.min.js", "websocket.js"):
            async with http.get(f"{local.url}/{name}") as answer:
                assert answer.status == 200
                assert re.match(r"text/javascript|application/javascript", answer.content_type)
                assert "no-cache" in answer.headers["Cache-Control"]
                etag = answer.headers["ETag"]
            async with http.get(f"{local.url}/{name}", headers={"If-None-Match": etag}) as answer:
                assert answer.status == 304
