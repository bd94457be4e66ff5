"""`rtpush module:server`: run a user's server, and restart it when its files change."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from clients import Ended, WebSocket
from processes import PATIENCE, free_port, pause
from terminals import RTPUSH, environment

from rtpush.cli import reloader
from rtpush.cli.main import main

APP = """
import rtpush

server = rtpush.Server(port={port}, log="sqlite:own.db", max_rooms=7)

@server.event
def ask(sid):
    return {answer!r}
"""


class Own:
    """`rtpush app:server` in a folder. `out` and `err` are what it has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.out, self.err = "", ""

    async def says(self, pattern: str) -> re.Match[str]:
        """Wait for something on stdout."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while not (found := re.search(pattern, self.out, re.DOTALL)):
                data = await self.process.stdout.read(1 << 16)
                assert data, f"it has ended: {self.out}"
                self.out += data.decode()
        return found

    async def complains(self, pattern: str) -> None:
        """Wait for something on stderr."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            while not re.search(pattern, self.err, re.DOTALL):
                data = await self.process.stderr.read(1 << 16)
                assert data, f"it has ended: {self.err}"
                self.err += data.decode()

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), PATIENCE)


@asynccontextmanager
async def own(folder: Path, *args: str, **variables: str) -> AsyncIterator[Own]:
    process = await asyncio.create_subprocess_exec(
        *RTPUSH,
        *args,
        cwd=folder,
        env=environment() | variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Own(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def answer(url: str) -> object:
    async with aiohttp.ClientSession() as http:
        client = await WebSocket.open(url, http)
        found = await client.accepted({"event": "ask"})
        await client.close()
        return found


async def test_a_server_of_the_user(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg/app.py").write_text(APP.format(port=port, answer="mine"))
    async with own(tmp_path, "pkg.app:server") as server:
        await server.says(rf"http://127\.0\.0\.1:{port}/.*own\.db.*Stop")
        assert await answer(f"http://127.0.0.1:{port}") == "mine"
        assert await server.stop() == 0


async def test_a_run_without_a_guard_is_ignored(tmp_path: Path) -> None:
    """As Flask's command line does with `app.run()`."""
    own_port, port = free_port(), free_port()
    (tmp_path / "app.py").write_text(APP.format(port=own_port, answer="mine") + "server.run()\n")
    async with own(tmp_path, "app:server", "--port", str(port)) as server:
        await server.says(rf"http://127\.0\.0\.1:{port}/.*Stop")
        assert await server.stop() == 0
        assert server.process.stderr is not None
        errors = (await server.process.stderr.read()).decode()
        assert "server.run() is ignored while its module is imported" in errors
    async with own(tmp_path, "check", "app:server", "--port", str(port)) as check:
        assert await asyncio.wait_for(check.process.wait(), PATIENCE) == 0


async def test_flags_and_environment_win_over_the_module(tmp_path: Path) -> None:
    flag, variable = free_port(), free_port()
    (tmp_path / "app.py").write_text(APP.format(port=1, answer="mine"))
    (tmp_path / "rtpush.toml").write_text('log = "memory:"\nport = 2')
    environ = {"RTPUSH_PORT": str(variable)}
    async with own(tmp_path, "serve", "app:server", "--port", str(flag), **environ) as server:
        await server.says(rf":{flag}/.*memory \(gone.*Stop")
    async with own(tmp_path, "--grace=1s", "app:server", **environ) as server:
        await server.says(rf":{variable}/.*Stop")
        assert await server.stop() == 0


APPS = {
    "broken": "import rtpush\nserver = rtpush.Server(\n",
    "failing": "def f():\n    raise KeyError('ink')\nf()\n",
    "leaving": "import sys\nsys.exit('no ink')\n",
    "needing": "import no_such_library\n",
    "wrong": "import rtpush\nmain = rtpush.Server()\nnumber = 5\n",
    "optional": "import rtpush\nserver = rtpush.Server(colour='red')\n",
}


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("no_such:server", r"there is no module no_such in \S+, or installed"),
        ("broken:server", r"broken cannot be loaded: SyntaxError: .* \(\S*broken.py, line 2\)"),
        ("failing:server", r"failing cannot be loaded: KeyError: 'ink' \(\S*failing.py, line 2\)"),
        (
            "leaving:server",
            r"leaving cannot be loaded: SystemExit: no ink \(\S*leaving.py, line 2\)",
        ),
        ("needing:server", r"needing cannot be loaded: ModuleNotFoundError: No module named 'no_"),
        (
            "optional:server",
            r"optional cannot be loaded: ConfigError: .*colour.*optional.py, line 2\)",
        ),
        ("wrong:server", r"wrong has no server; it has main$"),
        ("wrong:mian", r"wrong has no mian; did you mean main\?$"),
        ("wrong:number", r"wrong:number is no rtpush.Server but of type int; it has main$"),
    ],
)
def test_targets_that_cannot_be_imported(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    target: str,
    says: str,
) -> None:
    for name, text in APPS.items():
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main([target]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    *details, line = err.splitlines()
    assert re.match(f"rtpush: {says}", line)
    # The traceback begins with their file, not with ours.
    assert not details or "File" not in details[1] or str(tmp_path) in details[1]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--reload"], "--reload needs a server of yours: rtpush app:server --reload"),
        (["app:server", "--reload", "--workers=2"], "--reload is for one worker"),
        (["app.py:main"], "'app.py:main' is not module:server; write for example app:main"),
        (["app:"], "'app:' is not module:server; write for example app:server"),
        (["serve", "8080"], "'8080' is not module:server"),
        (["a:b", "c:d"], "unexpected argument 'c:d'"),
    ],
)
def test_usage_errors(
    args: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(args) == 2
    assert says in capsys.readouterr().err


# ---- reload ------------------------------------------------------------------


async def come_back(before: WebSocket, url: str) -> WebSocket:
    """As a client does: try until it works, from where it was."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(OSError, Ended):
                back = await WebSocket.open(url, before.http, last=before.position, sid=before.sid)
                assert isinstance(back, WebSocket)
                return back
            await pause()


async def test_it_restarts_when_a_file_changes(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    app = tmp_path / "app.py"
    app.write_text(APP.format(port=port, answer="first"))
    (tmp_path / ".venv").mkdir()
    (tmp_path / "a_venv").mkdir()
    (tmp_path / "a_venv/pyvenv.cfg").touch()
    async with own(tmp_path, "app:server", "--reload") as server, aiohttp.ClientSession() as http:
        await server.says("Stop")
        client = await WebSocket.open(url, http)
        assert isinstance(client, WebSocket)
        assert await client.accepted({"event": "ask"}) == "first"

        # Not ours to watch; if it were, the next start would name it.
        (tmp_path / ".venv/lib.py").write_text("changed")
        (tmp_path / "a_venv/lib.py").write_text("changed")
        (tmp_path / "notes.txt").write_text("changed")
        # How Emacs marks a file that is being edited: a link to nowhere.
        (tmp_path / ".#app.py").symlink_to("me@here.1:2")
        app.write_text("import rtpush\nserver = rtpush.Server(\n")
        await server.complains(r"app.py has changed.*SyntaxError.*waiting for a file to change")
        assert await client.ended() == 1001

        app.write_text(APP.format(port=port, answer="second"))
        back = await come_back(client, url)
        assert back.hello["recovered"] is True
        assert await back.accepted({"event": "ask"}) == "second"
        await back.close()
        assert re.findall("rtpush: (.*) has changed", server.err)[0] == "app.py"
        assert await server.stop() == 0


def test_a_directory_that_cannot_be_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*paths: Path, **options: object) -> Iterator[set[object]]:
        raise OSError("OS file watch limit reached.")
        yield set()

    monkeypatch.setattr(reloader, "watch", full)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.chdir(tmp_path)
    assert main(["app:server", "--reload"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("rtpush: --reload cannot watch this directory: OS file watch limit")
    assert "WATCHFILES_FORCE_POLLING=1" in told
