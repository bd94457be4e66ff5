"""What Windows does not have is not needed to import the package and to run a server."""

from __future__ import annotations

import subprocess
import sys

# The libraries look for such names when they are imported, too, and find their own way.
WITHOUT_UNIX = """
import asyncio, importlib, os, pkgutil, signal, sys
import aiohttp, jwt, multiprocessing, prometheus_client, rich.live, sqlite3, subprocess, websockets
import asyncio.unix_events

gone = {
    os: "fork register_at_fork setpgid killpg getuid posix_spawn WNOHANG O_NOCTTY openpty getpgrp "
    "getpgid tcsetpgrp ttyname fchmod".split(),
    signal: "SIGCHLD SIGHUP SIGQUIT SIGTSTP SIGWINCH SIGCONT SIGUSR1 SIGKILL setitimer".split(),
}
for module, names in gone.items():
    for name in names:
        delattr(module, name)
for name in ("fcntl", "termios", "resource", "pty", "tty", "uvloop"):
    sys.modules[name] = None

import rtpush
for found in pkgutil.walk_packages(rtpush.__path__, "rtpush."):
    # `rtpush exec` says itself that it needs a Unix system.
    if not found.name.endswith(("__main__", ".passthrough", "cli.exec")):
        importlib.import_module(found.name)

async def main():
    async with rtpush.Server(port=0, log="memory:") as server:
        print(await server.emit("hello") is not None)

asyncio.run(main())
"""


def test_a_server_runs_without_the_names_of_unix() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_UNIX], capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "True\n", "")
