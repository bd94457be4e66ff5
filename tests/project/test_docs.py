"""Every example of the documentation is run.

Rules that hold here:

- A fenced block is an example of the kind that its fence names, and a kind
  that nobody runs fails the test.
- The examples talk to 127.0.0.1:5000; here that is a server of the test's own.
"""

from __future__ import annotations

import asyncio
import configparser
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import forkserver
import pytest
import pytest_asyncio
from doors import on_uvicorn
from needs import needs, program
from playwright.async_api import Browser, Route

from rtpush import Worker
from rtpush.config.help import markdown_table
from rtpush.config.settings import Settings
from rtpush.config.sources import load
from rtpush.server import Server

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
# Pictures in characters, transcripts, and what has a test of its own (nginx: test_page.py).
NOT_RUN = {"text", "console", "nginx"}
# Examples that say how to start a server; the fixture has done so.
STARTS = ("rtpush --demo\n", "rtpush model:server\n", "rtpush worker ")


class Example(NamedTuple):
    """One fenced block."""

    page: str
    line: int
    kind: str
    text: str


def examples() -> list[Example]:
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Example(str(page.relative_to(ROOT)), line, match[1], match[2]))
    return found


def of_kind(kind: str) -> Any:
    chosen = [e for e in examples() if e.kind == kind]
    return pytest.mark.parametrize("example", chosen, ids=lambda e: f"{e.page}:{e.line}")


def make_server(folder: Path) -> Server:
    # With its demo, as README.md and the tutorial begin.
    return Server(Settings(port=0, log=f"sqlite:{folder / 'rtpush.db'}", demo=True))


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    async with make_server(tmp_path) as running:
        # What an example that names no address talks to.
        monkeypatch.setenv("RTPUSH_URL", running.url)
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def served(tmp_path: Path) -> AsyncIterator[Server]:
    """The same on the loop of the browser."""
    async with make_server(tmp_path) as running:
        yield running


def here(text: str, server: Server) -> str:
    return text.replace("127.0.0.1:5000", f"127.0.0.1:{server.port}")


async def run(*command: str, **options: Any) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
    )
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, output.decode()
    return output.decode()


def test_every_kind_of_example_is_run() -> None:
    run = {"sh", "python", "json", "js", "html", "toml", "ini"}
    assert {e.kind for e in examples()} <= NOT_RUN | run


@of_kind("sh")
async def test_shell_examples(example: Example, server: Server) -> None:
    if example.text.startswith(STARTS):
        return
    script = here(example.text, server).replace("curl ", "curl -fsS ")
    # The command `rtpush` is where this Python is.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environ = os.environ | {"PATH": path}
    output = await run("bash", "-euo", "pipefail", "-c", script, env=environ)
    assert output, "an example that prints nothing shows nothing"


@of_kind("json")
def test_json_examples(example: Example) -> None:
    assert isinstance(json.loads(example.text), dict)


@of_kind("toml")
def test_toml_examples(example: Example, tmp_path: Path) -> None:
    (tmp_path / "rtpush.toml").write_text(example.text)
    settings = load([], {}, tmp_path)
    assert settings != Settings()
    assert tomllib.loads(example.text)["port"] == settings.port


@of_kind("ini")
def test_systemd_examples(example: Example) -> None:
    unit = configparser.ConfigParser()
    unit.read_string(example.text)
    _, _, *arguments = unit["Service"]["ExecStart"].split()
    load(arguments[1:], {}, ROOT)


@needs("node")
@of_kind("js")
async def test_javascript_examples(example: Example, server: Server, tmp_path: Path) -> None:
    node = program("node")
    script = tmp_path / "example.mjs"
    script.write_text(here(example.text, server))
    if 'from "rtpush"' not in example.text:
        # It is for a page; tests/browser/test_build.py runs what it says.
        await run(node, "--check", str(script))
        return
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules/rtpush").symlink_to(ROOT / "client")
    output = await run(node, str(script))
    assert output, "an example that prints nothing shows nothing"


@needs("chromium")
@of_kind("html")
@pytest.mark.asyncio(loop_scope="session")
async def test_pages(example: Example, browser: Browser, served: Server) -> None:
    problems: list[str] = []

    async def serve(route: Route) -> None:
        if route.request.url == f"{served.url}example":
            await route.fulfill(body=example.text, content_type="text/html")
        elif route.request.url.startswith(served.url):
            await route.continue_()
        else:
            await route.abort()

    async with await browser.new_context() as context:
        page = await context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        await page.route("**", serve)
        await page.goto(f"{served.url}example")
        # What it shows is there: the classic script's `io`, or a connection.
        async with asyncio.timeout(20):
            while not await page.evaluate("typeof io === 'function'"):
                if served._hub.sessions:
                    break
                await asyncio.sleep(0.01)
    assert problems == []


RUN_STRICTLY = """
import runpy, sys, warnings
warnings.simplefilter("error")
runpy.run_path(sys.argv[1], run_name="__main__")
"""


async def run_script(script: Path) -> str:
    """What a script prints, for which warnings are errors."""
    process = await forkserver.start(
        str(script),
        code=RUN_STRICTLY,
        cwd=script.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def publish_news(server: Server) -> None:
    async with aiohttp.ClientSession() as session:
        while True:
            event = {"event": "news", "data": {"text": "hello"}}
            async with session.post(f"{server.url}api/publish", json=event) as answer:
                assert answer.status == 200


@of_kind("python")
async def test_python_examples(
    example: Example, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "example.py"
    script.write_text(here(example.text, server))
    if "work=" in example.text and "asyncio.run" not in example.text:
        await check_work(script)
        return
    if "Worker(" in example.text:
        await check_worker(script, server)
        return
    if "rtpush.ASGIApp(" in example.text or ".host_app(" in example.text:
        await check_application(script, monkeypatch)
        return
    if "rtpush.testing" in example.text:
        await run(sys.executable, "-m", "pytest", "-q", str(script), cwd=script.parent)
        return
    if "is_genuine(" in example.text:
        # A backend: tests/hooks/test_backends.py runs it.
        return
    if "while you were away" in example.text:
        assert await run_script(script) == "True while you were away\n"
        return
    publisher = asyncio.create_task(publish_news(server))
    assert await run_script(script)
    publisher.cancel()


def loaded(script: Path) -> Any:
    spec = importlib.util.spec_from_file_location("example", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Frameworks look up where their functions are from.
    sys.modules["example"] = module
    spec.loader.exec_module(module)
    return module


async def check_worker(script: Path, server: Server) -> None:
    worker = Worker(server.url, queues=["gpu"])
    working = asyncio.create_task(worker.serve(loaded(script).draw))
    data = {"id": "t", "formData": {"prompt": "one two"}, "queue": "gpu"}
    async with (
        asyncio.timeout(10),
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{server.url}ws") as ws,
    ):
        await ws.send_json({"event": "task_created", "data": data})
        while (envelope := await ws.receive_json())["event"] != "task_completed":
            assert envelope["event"] != "task_failed"
    assert envelope["data"]["result"] == {"text": "two one"}
    working.cancel()
    await asyncio.wait([working])


@asynccontextmanager
async def on_a_port(module: Any) -> AsyncIterator[str]:
    if module.server._app is not None:
        module.server.settings = replace(module.server.settings, port=0)
        async with module.server:
            yield module.server.url.removesuffix("/rtpush/")
        return
    app = getattr(module, "app", None) or module.application
    async with on_uvicorn(app, lifespan="on") as url:
        yield url


async def check_application(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event goes from an application's endpoint to a client of the server in it."""
    monkeypatch.chdir(script.parent)
    async with (
        on_a_port(loaded(script)) as url,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}/rtpush/ws") as ws,
    ):
        async with session.post(f"{url}/news", params={"text": "hello"}) as answer:
            assert answer.ok, await answer.text()
        async with asyncio.timeout(10):
            while (envelope := await ws.receive_json())["event"] != "news":
                pass
    assert envelope["data"] == {"text": "hello"}


async def check_work(script: Path) -> None:
    module = loaded(script)
    # As `rtpush model:server` would find it, but for the port.
    server = module.server
    server.settings = replace(server.settings, port=0, log="memory:")
    await server.start()
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{server.url}ws") as ws,
    ):
        data = {"id": "t", "formData": {"prompt": "one two"}, "mode": "any"}
        await ws.send_json({"event": "task_created", "data": data})
        async with asyncio.timeout(10):
            while (envelope := await ws.receive_json())["event"] != "task_completed":
                assert envelope["event"] != "task_failed"
    assert envelope["data"]["result"] == {"text": "two one"}
    await server.stop()


def test_the_tests_that_security_names_exist() -> None:
    text = (ROOT / "docs/security.md").read_text()
    sources = {path.name: path.read_text() for path in (ROOT / "tests").glob("**/test_*.py")}
    files = set(re.findall(r"`(test_\w+\.py)", text))
    assert files <= set(sources)
    for name in re.findall(r"::(test_\w+)", text):
        assert any(f"def {name}(" in source for source in sources.values()), name


def test_configuration_lists_every_setting() -> None:
    assert (ROOT / "docs/configuration.md").read_text().rstrip().endswith(markdown_table().rstrip())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target
