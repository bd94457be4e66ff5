"""`track` and tqdm's bars: what the board shows, and what the terminal does."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import forkserver
import pytest
from boards import active, board, ended
from clients import PATIENCE
from processes import ServerProcess, free_port
from servers import in_thread

from rtpush import Publisher, Server, track
from rtpush.config.kinds import show_clock
from rtpush.contrib.tqdm import tqdm, trange

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def url() -> Iterator[str]:
    # In a thread: what is tested here blocks.
    with in_thread(Server(port=0, log="memory:")) as local:
        yield local.url


class Loop:
    """A loop in a thread that stops at a step until it is let go on."""

    def __init__(self, wrap: Callable[[Iterable[int]], Iterable[int]], *, halt: int) -> None:
        self.seen: list[int] = []
        self._halt = halt
        self._on = threading.Event()
        self._work = asyncio.create_task(asyncio.to_thread(self._run, wrap))

    def _run(self, wrap: Callable[[Iterable[int]], Iterable[int]]) -> None:
        for step in wrap(range(100)):
            if step == self._halt:
                assert self._on.wait(PATIENCE)
            self.seen.append(step)

    async def end(self) -> None:
        self._on.set()
        await self._work
        assert self.seen == list(range(100))


async def test_a_loop_is_a_task(url: str) -> None:
    loop = Loop(lambda steps: track(steps, "Reading", url=url, room="r"), halt=40)
    task = await active(url, lambda task: task.get("progress") == 40)
    assert task["formData"] == {"prompt": "Reading"}
    assert (task["mode"], task["worker"], task["room"]) == ("track", "track", "r")
    assert task["message"].startswith("40 of 100 · ")
    await loop.end()
    task = await ended(url)
    assert (task["status"], task["result"]) == ("completed", {"steps": 100})


async def test_without_a_length(url: str) -> None:
    loop = Loop(lambda steps: track(iter(map(abs, steps)), url=url), halt=1)
    task = await active(url, lambda task: task.get("message", "").startswith("1 · "))
    assert "progress" not in task
    await loop.end()


async def test_with_a_total(url: str) -> None:
    loop = Loop(lambda steps: track(iter(map(abs, steps)), total=200, url=url), halt=50)
    await active(url, lambda task: task.get("progress") == 25)
    await loop.end()


def stop_early(url: str) -> None:
    for step in track(range(10), url=url):
        if step == 3:
            break


def fail_in_the_loop(url: str) -> None:
    for step in track(range(10), url=url):
        if step == 3:
            raise ValueError("bad line")


def fail_at_the_source(url: str) -> None:
    for _ in track((10 // (3 - step) for step in range(10)), total=10, url=url):
        pass


@pytest.mark.parametrize(
    ("work", "error"),
    [
        (stop_early, "stopped at 3 of 10"),
        (fail_in_the_loop, "stopped at 3 of 10"),
        (fail_at_the_source, "integer division or modulo by zero"),
    ],
)
async def test_a_loop_that_is_left_fails_its_task(
    url: str, work: Callable[[str], None], error: str
) -> None:
    try:
        await asyncio.to_thread(work, url)
    except (ValueError, ZeroDivisionError):
        assert work is not stop_early
    task = await ended(url)
    assert (task["status"], task["error"]) == ("failed", error)


async def test_a_server_that_is_away_or_comes_late(tmp_path: Path) -> None:
    assert list(track(range(1000), url=NOBODY)) == list(range(1000))
    server = ServerProcess(tmp_path)
    server.port = free_port()
    loop = Loop(lambda steps: track(steps, url=server.url), halt=40)
    await server.start()
    await active(server.url, lambda task: task.get("progress") == 40)
    await loop.end()
    assert (await ended(server.url))["status"] == "completed"
    await server.stop()


async def test_a_loop_goes_on_when_its_task_is_cancelled(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    loop = Loop(lambda steps: track(steps, url=url), halt=40)
    task = await active(url, lambda _: True)
    with Publisher(url) as publisher:
        cancel = {"id": task["id"], "reason": "enough"}
        await asyncio.to_thread(publisher.publish, "task_cancel", cancel)
    await loop.end()
    assert (await ended(url))["status"] == "cancelled"


async def test_a_fork_does_not_end_the_task(url: str) -> None:
    script = f"""
import os
from rtpush import track
for step in track(range(3), url={url!r}):
    if os.fork() == 0:
        raise SystemExit(3)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 3
"""
    process = await forkserver.start(code=script)
    assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
    assert (await ended(url))["status"] == "completed"


def test_an_invalid_address_is_refused() -> None:
    with pytest.raises(ValueError, match="not an address"):
        next(track([1], url="nowhere"))


# ---- the terminal ------------------------------------------------------------

SCRIPT = f"""
import threading
from rtpush import track
for step in track(range(4), "Reading", url={NOBODY!r}):
    for inner in track(range(2), "inside", url={NOBODY!r}):
        threading.Event().wait(0.06)
"""


async def in_a_terminal(script: str, **environment: str) -> str:
    """What a script writes to its terminal, which is 80 columns wide."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        stderr=theirs,
        stdout=theirs,
        env=os.environ
        | {"COLUMNS": "80", "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
        | environment,
    )
    os.close(theirs)
    shown = await asyncio.to_thread(_read_all, ours)
    assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
    return shown


def _read_all(terminal: int) -> str:
    found = b""
    with os.fdopen(terminal, "rb", buffering=0) as stream:
        try:
            while data := stream.read(1 << 16):
                found += data
        except OSError:  # how Linux says that the other side has closed
            return found.decode()
    return found.decode()


WRAP_OFF, WRAP_ON = "\033[?7l", "\033[?7h"


def drawn(shown: str) -> list[str]:
    return shown.removesuffix("\r\n").split("\r\033[K")[1:]


async def test_a_wide_title_stays_on_its_line() -> None:
    script = f"import rtpush; list(rtpush.track([1], '山间的\\n湖' * 20, url={NOBODY!r}))"
    shown = await in_a_terminal(script)
    assert drawn(shown)
    for state in drawn(shown):
        assert state.startswith(f"{WRAP_OFF}山间的 湖山间的 湖")
        assert state.endswith(WRAP_ON)
        assert "\n" not in state


async def test_the_bar() -> None:
    shown = await in_a_terminal(SCRIPT)
    assert "inside" not in shown
    states = [state.replace(WRAP_OFF, "").replace(WRAP_ON, "") for state in drawn(shown)]
    assert "\n" not in "".join(states)
    assert states[-1].startswith(f"Reading 100% {'━' * 24} 4 of 4 · ")
    assert all(len(state) < 80 for state in states)
    assert any(f" 50% {'━' * 12}{' ' * 12} 2 of 4 · " in state for state in states)


@pytest.mark.parametrize(("coding", "bar"), [("utf-8", "━"), ("ascii", "#")])
async def test_the_bar_of_an_old_terminal(coding: str, bar: str) -> None:
    script = f"import rtpush; list(rtpush.track([1, 2], url={NOBODY!r}))"
    assert f"100% {bar * 24} 2 of 2" in await in_a_terminal(script, PYTHONIOENCODING=coding)
    assert await in_a_terminal(script, TERM="dumb") == ""


def test_no_bar_where_there_is_no_terminal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    list(track(range(10), url=NOBODY))
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(sys, "stderr", None)
    assert list(track(range(10), url=NOBODY)) == list(range(10))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01")]
)
def test_clock(seconds: float, text: str) -> None:
    assert show_clock(seconds) == text


# ---- tqdm --------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    """tqdm's own thread, which lives as long as the program."""
    monkeypatch.setattr(tqdm, "monitor_interval", 0)


async def test_a_bar_of_tqdm_is_a_task(url: str) -> None:
    def wrap(steps: Iterable[int]) -> Iterator[int]:
        bar = tqdm(steps, desc="Training", mininterval=0, miniters=1, url=url, unit="epoch")
        bar.set_postfix(loss=3)
        return iter(bar)

    loop = Loop(wrap, halt=40)
    task = await active(url, lambda task: task.get("progress") == 40)
    assert (task["formData"], task["mode"]) == ({"prompt": "Training"}, "tqdm")
    assert task["message"].startswith("40/100 [")
    assert "epoch" in task["message"]
    assert "loss=3" in task["message"]
    await loop.end()
    task = await ended(url)
    assert (task["status"], task["result"]) == ("completed", {"steps": 100})


async def test_a_bar_by_hand_fails_with_its_exception(url: str) -> None:
    def work() -> None:
        with tqdm(total=10, url=url) as bar:
            bar.update(4)
            raise ValueError("out of ink")

    with pytest.raises(ValueError, match="ink"):
        await asyncio.to_thread(work)
    task = await ended(url)
    assert (task["status"], task["error"], task["progress"]) == ("failed", "out of ink", 40)


async def test_a_bar_that_is_left_fails_its_task(url: str) -> None:
    def work() -> None:
        for step in trange(10, url=url):
            if step == 4:
                break

    await asyncio.to_thread(work)
    task = await ended(url)
    assert (task["status"], task["error"]) == ("failed", "stopped at 4 of 10")


async def test_a_bar_without_a_length(url: str) -> None:
    assert len(await asyncio.to_thread(lambda: list(tqdm(iter("abc"), url=url)))) == 3
    task = await ended(url)
    assert (task["status"], task["result"]) == ("completed", {"steps": 3})
    assert "3it" in task["message"]


async def test_a_disabled_bar_is_no_task(url: str) -> None:
    assert list(trange(3, disable=True, url=url)) == [0, 1, 2]
    found = await board(url)
    assert (found["tasks"], found["finished"]) == ([], [])


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(Exception, match="colours"):
        tqdm([1], colours=3)
