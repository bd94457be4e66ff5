"""The suite itself: a hang ends, what is left behind fails, and Ctrl+C ends a program."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from processes import PATIENCE, ROOT

INI = "[pytest]\nasyncio_mode = auto\ntimeout = 20\ntimeout_method = signal\n"


async def pytest(
    folder: Path, tests: str, *flags: str, before: Callable[[], object] | None = None
) -> tuple[int, str]:
    """Run tests with this suite's plugins, in a process of their own; exit code and output."""
    (folder / "pytest.ini").write_text(INI)
    (folder / "test_it.py").write_text(tests)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-p", "hangs", "-p", "leaks", "-p", "no:randomly"),
        *flags,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests/support"), "TMPDIR": str(folder)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        preexec_fn=before,
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 3 * PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode()


LEAVES = """
import asyncio, atexit, leaks, socket, subprocess, tempfile, threading

leaks.PATIENCE = 0.1
left = []

def test_thread():
    threading.Thread(target=threading.Event().wait, name="endless", daemon=True).start()

def test_process():
    left.append(subprocess.Popen(["sleep", "60"]))
    atexit.register(left[-1].kill)

def test_port():
    left.append(socket.create_server(("127.0.0.1", 0)))

def test_file():
    tempfile.mkdtemp(prefix="forgotten")

async def test_task():
    left.append(asyncio.create_task(asyncio.sleep(60), name="forgotten task"))

def test_clean(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        (tmp_path / "file").write_text("")
        subprocess.run(["true"])
"""


async def test_what_is_left_behind_is_named_with_its_test(tmp_path: Path) -> None:
    code, out = await pytest(tmp_path, LEAVES)
    assert code == 1
    assert "6 passed, 2 errors" in out, out
    assert "the thread endless, left by test_thread" in out
    assert "(sleep 60), left by test_process" in out
    assert "listening), left by test_port" in out
    assert re.search(r"the file \S+/forgotten\S+, left by test_file", out)
    assert "ERROR at teardown of test_task" in out
    assert "name='forgotten task'" in out
    assert "left by test_clean" not in out


HANGS = """
import asyncio, leaks, threading, weakref

leaks.PATIENCE = 0.1

class Gone:
    pass

# What looks for tasks meets this one, too.
gone = weakref.proxy(Gone())

async def deep():
    await asyncio.Event().wait()

async def test_task():
    beside = asyncio.create_task(deep(), name="beside")
    await asyncio.gather(beside)

def test_thread():
    thread = threading.Thread(target=threading.Event().wait, name="stuck", daemon=True)
    thread.start()
    thread.join()

def test_other():
    pass
"""


async def test_a_test_that_hangs_ends_and_the_others_go_on(tmp_path: Path) -> None:
    code, out = await pytest(tmp_path, HANGS, "--timeout=1")
    assert code == 1
    assert "2 failed, 1 passed" in out
    assert "name='beside'" in out
    assert "in deep: await asyncio.Event().wait()" in out
    assert "stuck:" in out


STUCK = """
import hangs, time

hangs.PATIENCE = 0.5

def test_it():
    raise ValueError

def teardown_module():
    time.sleep(60)
"""


async def test_a_teardown_that_hangs_after_a_failure_ends_the_run(tmp_path: Path) -> None:
    code, out = await pytest(tmp_path, STUCK)
    assert code == 1
    assert "Timeout (0:00:00.500000)!" in out
    assert "in teardown_module" in out


INTERRUPTED = """
import signal, subprocess

def test_it():
    program = subprocess.Popen(["sleep", "60"])
    program.send_signal(signal.SIGINT)
    assert program.wait(10) == -signal.SIGINT
"""


async def test_programs_can_be_interrupted_from_a_suite_in_the_background(tmp_path: Path) -> None:
    code, out = await pytest(
        tmp_path, INTERRUPTED, before=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)
    )
    assert code == 0, out
