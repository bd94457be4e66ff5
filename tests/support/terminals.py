"""Programs run from a command line: in pipes, or in a terminal of their own."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import forkserver
from processes import PATIENCE, ROOT

RTPUSH = (sys.executable, "-m", "rtpush")


def environment(url: str | None = None) -> dict[str, str]:
    """What the program is started with: our own, and where its server is."""
    found = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"}
    # These would have the last word on a terminal's size.
    found = {name: value for name, value in found.items() if name not in ("COLUMNS", "LINES")}
    return found if url is None else found | {"RTPUSH_URL": url}


class Outcome(NamedTuple):
    """How a program ended."""

    code: int
    out: str
    err: str


async def run(
    *args: str, url: str | None = None, cwd: Path | None = None, given: str = ""
) -> Outcome:
    """Run `rtpush` in pipes, until it ends."""
    process = await forkserver.start(
        *args,
        cwd=cwd,
        env=environment(url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(given.encode()), PATIENCE)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    assert process.returncode is not None
    return Outcome(process.returncode, out.decode(), err.decode())


class Terminal:
    """A terminal with a program in it. `shown` is all that it has shown."""

    def __init__(self, columns: int = 80) -> None:
        self.shown = ""
        self._read = b""
        self._news = asyncio.Event()
        self._ours, self._theirs = pty.openpty()
        self._ends = [self._ours, self._theirs]
        self.resize(columns)

    def resize(self, columns: int) -> None:
        """As a window does: who is in it is told."""
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    @asynccontextmanager
    async def running(self, *command: str, url: str | None = None) -> AsyncIterator[Terminal]:
        """It is killed at the end of the block, if it is still there."""
        self._process = await asyncio.create_subprocess_exec(
            *command,
            env=environment(url),
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        loop = asyncio.get_running_loop()
        loop.add_reader(self._ours, self._readable)
        try:
            yield self
        finally:
            loop.remove_reader(self._ours)
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._close()

    def close(self) -> None:
        """As a window is closed: who is in it is hung up on."""
        asyncio.get_running_loop().remove_reader(self._ours)
        self._close()

    def _close(self) -> None:
        while self._ends:
            os.close(self._ends.pop())

    def _readable(self) -> None:
        self._read += os.read(self._ours, 1 << 16)
        self.shown = self._read.decode(errors="replace")
        self._news.set()

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def signal(self, number: signal.Signals) -> None:
        """Tell the program alone."""
        self._process.send_signal(number)

    async def shows(self, pattern: str) -> re.Match[str]:
        """Wait until something is shown."""
        async with asyncio.timeout(PATIENCE):
            while not (found := re.search(pattern, self.shown, re.DOTALL)):
                self._news.clear()
                await self._news.wait()
        return found

    async def ended(self) -> int:
        """Wait for the program's end; its exit code."""
        return await asyncio.wait_for(self._process.wait(), PATIENCE)
