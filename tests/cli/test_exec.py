"""`rtpush exec`: the command runs unchanged, and its task shows the progress."""

from __future__ import annotations

import asyncio
import io
import os
import re
import shlex
import signal
import sys
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import forkserver
import pytest
from aiohttp import web
from boards import active, board, ended
from browser import PATIENCE as PAGE_PATIENCE
from browser import chromium
from clients import PATIENCE
from needs import needs
from playwright.async_api import expect
from processes import ServerProcess, free_port, pause
from terminals import RTPUSH, Outcome, Terminal, environment, run

from rtpush import AsyncPublisher, Server

NOBODY = "http://127.0.0.1:9"


async def execute(*command: str, url: str = NOBODY, flags: tuple[str, ...] = ()) -> Outcome:
    return await run("exec", *flags, "--", *command, url=url)


def python(script: str) -> tuple[str, ...]:
    return (sys.executable, "-c", script)


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with Server(port=0, log="memory:") as server:
        yield server.url.rstrip("/")


# ---- the task ----------------------------------------------------------------

# Prints a bar, and goes on when it is told to.
BAR = r"""
import sys
print("result", flush=True)
for step in range(1, 5):
    print(f"\r{25 * step:3}%|{'#' * step:4}| {step}/4", end="", file=sys.stderr, flush=True)
    if step == 2:
        input()
print("\nsaved", file=sys.stderr)
"""


async def test_a_command_is_a_task(url: str) -> None:
    process = await forkserver.start(
        *("exec", "--title", "Training", "--id", "t-1", "--room", "r", "--"),
        *python(BAR),
        env=environment(url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    task = await active(url, lambda task: task.get("progress") == 50)
    assert (task["id"], task["room"], task["mode"]) == ("t-1", "r", "exec")
    assert task["formData"] == {"prompt": "Training"}
    assert task["message"] == "50%|## | 2/4"
    out, err = await asyncio.wait_for(process.communicate(b"\n"), PATIENCE)
    assert (process.returncode, out) == (0, b"result\n")
    assert err.count(b"\r") == 4
    task = await ended(url)
    assert (task["status"], task["progress"], task["message"]) == ("completed", 100, "saved")
    assert task["result"] == {"exit_code": 0}


FAILURES = [
    ("echo out of ink; exit 3", 3, "exit code 3: out of ink"),
    ("exit 4", 4, "exit code 4"),
    ("kill -KILL $$", 137, "ended by SIGKILL"),
    ("exit 255", 255, "exit code 255"),
]


async def test_commands_that_fail(url: str) -> None:
    for command, code, error in FAILURES:
        assert (await execute("sh", "-c", command, url=url)).code == code
        task, *_ = (await board(url))["finished"]
        assert (task["status"], task["error"]) == ("failed", error)
        assert task["formData"]["prompt"] == shlex.join(["sh", "-c", command])
    for command, code, says in NO_COMMANDS:
        assert await execute(command, url=url) == (code, "", f"rtpush: {says}\n")
    assert len((await board(url))["finished"]) == len(FAILURES)


NO_COMMANDS = [
    ("no-such-command", 127, "no-such-command: there is no such command"),
    ("/etc/passwd/x", 127, "/etc/passwd/x: there is no such command"),
    ("/", 126, "/: it cannot be run: Permission denied"),
]


async def test_a_script_without_a_shebang(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('echo "$1"; exit 3')
    script.chmod(0o755)
    assert await execute(str(script), "a b") == (3, "a b\n", "")


async def test_a_command_goes_on_when_the_server_refuses_its_task(url: str) -> None:
    async with AsyncPublisher(url) as publisher:
        await publisher.publish("task_created", {"id": "x"})
        code, out, err = await execute("echo", "done", url=url, flags=("--id=x", "--title=Again"))
    assert (code, out) == (0, "done\n")
    assert err == (
        "rtpush: Again is not reported: task_exists: A task with this id is active already.\n"
    )


async def test_a_command_may_run_again_under_its_id(url: str) -> None:
    for command, status in (("false", "failed"), ("true", "completed")):
        assert (await execute(command, url=url, flags=("--id=x",))).err == ""
        assert (await board(url))["finished"][0]["status"] == status


async def test_a_server_that_starts_late_gets_the_task(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    server.port = free_port()
    process = await forkserver.start(
        "exec",
        "--",
        *python(BAR),
        env=environment(server.url),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    await process.stderr.readuntil(b" 50%")
    await server.start()
    await active(server.url, lambda task: task.get("progress") == 50)
    await asyncio.wait_for(process.communicate(b"\n"), PATIENCE)
    assert (await ended(server.url))["status"] == "completed"
    await server.stop()


# ---- what the command does is what it does without us ------------------------


async def test_output_passes_through() -> None:
    script = r"import os; os.write(1, b'\x00out\xff\r\n' * 9_999); os.write(2, b'\033[1merr\r')"
    process = await forkserver.start(
        "exec",
        "--",
        *python(script),
        env=environment(NOBODY),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert out == b"\x00out\xff\r\n" * 9_999
    assert err == b"\033[1merr\r"
    assert process.returncode == 0


async def test_a_pipe_stays_a_pipe() -> None:
    script = "import os; print(os.isatty(1), os.isatty(2))"
    assert await execute(*python(script)) == (0, "False False\n", "")


async def test_input_passes_through() -> None:
    assert await run("exec", "--", "cat", url=NOBODY, given="typed") == (0, "typed", "")


async def test_a_closed_pipe_ends_the_command() -> None:
    shell = " ".join([*RTPUSH, "exec -- yes | head -1; echo ${PIPESTATUS[0]}"])
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", shell, env=environment(NOBODY), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert out == b"y\n141\n"


async def test_background_processes_are_not_waited_for() -> None:
    code, out, _ = await execute("sh", "-c", "sleep 60 & echo $!")
    os.kill(int(out), signal.SIGKILL)
    assert code == 0


async def test_a_signal_that_comes_too_late_changes_nothing(url: str) -> None:
    """The command has ended, and what it has left behind goes on printing."""
    process = await forkserver.start(
        *("exec", "--", "sh", "-c", "yes & echo $$ >&2; read line; exit 4"),
        env=environment(url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    pid = int(await process.stderr.readline())
    await process.stdout.readline()
    process.stdin.write(b"\n")
    # As long as nobody reads on, it is not done with what it has to pass on.
    await gone(pid)
    process.send_signal(signal.SIGINT)
    await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 4
    assert (await ended(url))["error"].startswith("exit code 4")


async def gone(pid: int) -> None:
    """Wait until there is no such process."""
    async with asyncio.timeout(PATIENCE):
        with suppress(ProcessLookupError):
            while True:
                os.kill(pid, 0)
                await pause()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
async def test_signals_are_forwarded(number: signal.Signals) -> None:
    script = f"""
import signal, sys
signal.signal({int(number)}, lambda *_: sys.exit("heard"))
print("ready", flush=True)
while True:
    signal.pause()
"""
    process = await forkserver.start(
        *("exec", "--"),
        *python(script),
        env=environment(NOBODY),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    process.send_signal(number)
    _, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert (process.returncode, err) == (1, b"heard\n")


NOT_PERMITTED = """
import os, sys
from rtpush.cli.main import main
def kill(pid, number):
    raise PermissionError("Operation not permitted")
os.kill = kill
sys.exit(main(sys.argv[1:]))
"""


async def test_a_command_of_another_user_is_waited_for() -> None:
    """Nobody may send signals to sudo but root."""
    process = await asyncio.create_subprocess_exec(
        *python(NOT_PERMITTED),
        *("exec", "--", "sh", "-c", "echo ready; read line; exit 5"),
        env=environment(NOBODY),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    _, err = await asyncio.wait_for(process.communicate(b"\n"), PATIENCE)
    assert (process.returncode, err) == (5, b"")


# ---- in a terminal -----------------------------------------------------------


async def test_the_command_has_a_terminal_of_the_same_size() -> None:
    script = r"""
import os, signal
def tell(*_):
    # Not print: of two signals in a row the second would come into the first one's print.
    os.write(1, b"size %d %d\n" % tuple(os.get_terminal_size(2)))
signal.signal(signal.SIGWINCH, tell)
print(*map(os.isatty, range(3)), flush=True)
tell()
input()
print("\033[32mbye\033[0m")
"""
    async with Terminal(columns=93).running(*RTPUSH, "exec", "--", *python(script)) as terminal:
        await terminal.shows("True True True\r\nsize 93 24\r\n")
        terminal.resize(41)
        await terminal.shows("size 41 24\r\n")
        terminal.type("\n")
        await terminal.shows("\033\\[32mbye\033\\[0m\r\n")
        assert await terminal.ended() == 0


COUNT_INTERRUPTS = """
import os, signal
heard = []
signal.signal(signal.SIGINT, lambda *_: (heard.append(1), print("interrupt", flush=True)))
signal.signal(signal.SIGTERM, lambda *_: exit(10 + len(heard)))
print("ready", flush=True)
while True:
    signal.pause()
"""


async def test_ctrl_c_reaches_the_command() -> None:
    command = (*RTPUSH, "exec", "--", *python(COUNT_INTERRUPTS))
    async with Terminal().running(*command) as terminal:
        await terminal.shows("ready")
        terminal.type("\x03")
        await terminal.shows("interrupt")
        terminal.signal(signal.SIGTERM)
        assert await terminal.ended() == 11


async def test_ctrl_c_is_not_forwarded() -> None:
    """The terminal has told the command already, unless it has left our group, as here."""
    command = (*RTPUSH, "exec", "--", *python(f"import os; os.setpgrp(){COUNT_INTERRUPTS}"))
    async with Terminal().running(*command) as terminal:
        await terminal.shows("ready")
        terminal.type("\x03")
        await terminal.shows(r"\^C")
        terminal.signal(signal.SIGTERM)
        assert await terminal.ended() == 10


async def test_errors_in_a_terminal_output_in_a_pipe(tmp_path: Path) -> None:
    script = "import os, sys; print(os.isatty(1)); print(os.isatty(2), file=sys.stderr)"
    (tmp_path / "script.py").write_text(script)
    rtpush = " ".join(RTPUSH)
    shell = f"{rtpush} exec -- python {tmp_path}/script.py > {tmp_path}/out; echo ended"
    async with Terminal().running("sh", "-c", shell) as terminal:
        await terminal.shows("True\r\nended")
        assert (tmp_path / "out").read_text() == "False\n"


# ---- the page ----------------------------------------------------------------


WHEEL = "atlas-1.0-py3-none-any.whl"


def make_wheel() -> bytes:
    """A package of four megabytes."""
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as parts:
        parts.writestr("atlas.py", os.urandom(4_000_000))
        parts.writestr(
            "atlas-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: atlas\nVersion: 1.0\n"
        )
        parts.writestr("atlas-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        parts.writestr("atlas-1.0.dist-info/RECORD", "")
    return wheel.getvalue()


@asynccontextmanager
async def index_of_packages(name: str, data: bytes, go_on: asyncio.Event) -> AsyncIterator[str]:
    """A list of packages with one; half of it is sent, and the rest when it is time to."""

    async def listed(_request: web.Request) -> web.Response:
        return web.Response(text=f'<a href="/{name}">{name}</a>', content_type="text/html")

    async def sent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(data))})
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        await go_on.wait()
        await response.write(data[len(data) // 2 :])
        return response

    app = web.Application()
    app.add_routes([web.get("/", listed), web.get(f"/{name}", sent)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", free_port())
    await site.start()
    try:
        yield f"{site.name}/"
    finally:
        await runner.cleanup()


@needs("chromium")
async def test_pip_on_the_page(tmp_path: Path) -> None:
    """A real program that knows nothing of us, in a terminal; and the demo page."""
    go_on = asyncio.Event()
    async with (
        Server(port=0, log="memory:") as server,
        index_of_packages(WHEEL, make_wheel(), go_on) as index,
        chromium() as browser,
    ):
        page = await browser.new_page(locale="en-GB")
        await page.goto(server.url)
        state = page.locator("html")
        await expect(state).to_have_attribute("data-state", "online", timeout=PAGE_PATIENCE)
        pip = (sys.executable, "-m", "pip", "download", "--isolated", "--no-index")
        pip += (
            "--no-cache-dir",
            "--disable-pip-version-check",
            "--find-links",
            index,
            "-d",
            f"{tmp_path}/got",
        )
        command = (*RTPUSH, "exec", "--title", "Get the atlas", "--", *pip, "atlas")
        async with Terminal().running(*command, url=server.url) as terminal:
            card = page.locator("article[data-task-id]").filter(has_text="Get the atlas")
            bar = card.get_by_role("progressbar")
            half = re.compile("^(4[5-9]|50)$")
            await expect(bar).to_have_attribute("aria-valuenow", half, timeout=PAGE_PATIENCE)
            await expect(card).to_contain_text("/4.0 MB")
            await terminal.shows(r"━/?.*/4\.0 MB")
            go_on.set()
            await expect(card).to_have_attribute("data-status", "completed", timeout=PAGE_PATIENCE)
            assert await terminal.ended() == 0
    assert (tmp_path / "got" / WHEEL).exists()
