"""The servers that are compared, each in a process of its own.

`python bench/servers.py websockets|socketio|… PORT` is what such a process runs.
Heartbeats are off, as far as a server allows: the clients do not answer them.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


@dataclass(frozen=True)
class Kind:
    """How to start one of the competitors, and what its clients say."""

    name: str
    command: Sequence[str]
    path: str = "/"
    hello: Sequence[bytes] = ()
    # How an event is spelled for this server.
    wrap: str = "{}"


def kinds_of_python() -> list[Kind]:
    """Those that need nothing else."""
    python = [sys.executable]
    rtpush = [*python, "-m", "rtpush", "--log", "memory:", "--log-level", "error"]
    # One client publishes for all.
    rtpush += ["--rate-messages", "1000000", "--rate-bytes", "1GiB"]
    rtpush += ["--heartbeat", "10m", "--port"]
    return [
        Kind("rtpush", rtpush, "/ws?conflate=0"),
        Kind("websockets", [*python, str(HERE / "servers.py"), "websockets"]),
    ]


def kinds(build: Path) -> list[Kind]:
    """Those that this machine can run; `build` is where the C one is compiled to."""
    found = kinds_of_python()
    compiler = shutil.which("cc")
    if compiler:
        binary = str(build / "epoll_send")
        subprocess.run([compiler, "-O2", "-o", binary, HERE / "epoll_send.c"], check=True)
        found.append(Kind("C epoll send()", [binary]))
    if importlib.util.find_spec("socketio"):
        found.append(_socketio("python-socketio", "socketio"))
    return found


def behind_uvicorn() -> list[Kind]:
    """rtpush by itself, and rtpush and python-socketio behind the same ASGI server."""
    rtpush = kinds_of_python()[0]
    own = [sys.executable, str(HERE / "servers.py"), "rtpush-asgi"]
    return [
        rtpush,
        Kind("rtpush/uvicorn", own, rtpush.path),
        _socketio("socketio/uvicorn", "socketio-asgi"),
    ]


def _socketio(name: str, what: str) -> Kind:
    return Kind(
        name,
        [sys.executable, str(HERE / "servers.py"), what],
        "/socket.io/?EIO=4&transport=websocket",
        [b"\x81\x82" + bytes(4) + b"40"],
        '42["news",{}]',
    )


class Server:
    """A running one. Use as a context manager."""

    def __init__(self, kind: Kind, options: Sequence[str] = ()) -> None:
        self.kind = kind
        self.port = _free_port()
        self._folder = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [*kind.command, str(self.port), *options],
            cwd=self._folder.name,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
        )
        self._wait_ready()

    def _wait_ready(self) -> None:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                break
            except OSError:
                if self._process.poll() is not None:
                    raise RuntimeError(f"{self.kind.name} does not start") from None
                time.sleep(0.05)
        time.sleep(0.2)

    def cpu(self) -> float:
        """CPU seconds that the process has used, all its threads, kernel included."""
        threads = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9

    def memory(self) -> int:
        """Resident bytes. What the kernel keeps for its sockets is not among them."""
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()

    def peak_memory(self) -> int:
        """The most resident bytes so far."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def raise_file_limit(wanted: int) -> int:
    """For this process and those that it starts; returns what it came to."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


# ------------------------------------------------- what their processes run


async def serve_websockets(port: int) -> None:
    """What the documentation of websockets recommends for a broadcast."""
    from websockets.asyncio.server import ServerConnection, broadcast, serve

    connections: set[ServerConnection] = set()

    async def handle(connection: ServerConnection) -> None:
        connections.add(connection)
        try:
            async for message in connection:
                broadcast(connections, message)
        finally:
            connections.remove(connection)

    async with serve(handle, "127.0.0.1", port, ping_interval=None):
        await asyncio.Future()


async def serve_socketio(port: int, redis: str | None = None) -> None:
    """A server of python-socketio on aiohttp that emits what it is told to everyone.

    With `redis`, everyone on every node that names the same one.
    """
    import socketio
    from aiohttp import web

    manager = None if redis is None else socketio.AsyncRedisManager(redis)
    server = socketio.AsyncServer(async_mode="aiohttp", ping_interval=600, client_manager=manager)

    @server.event
    async def news(_sid: str, data: object) -> None:
        await server.emit("news", data)

    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Future()


async def serve_rtpush_asgi(port: int) -> None:
    """rtpush behind uvicorn, with the settings of the one that has a port of its own."""
    import rtpush

    server = rtpush.Server(
        log="memory:", rate_messages=1_000_000, rate_bytes="1GiB", heartbeat="10m"
    )
    await _serve_uvicorn(rtpush.ASGIApp(server, prefix=""), port)


async def serve_socketio_asgi(port: int) -> None:
    """python-socketio behind uvicorn."""
    import socketio

    server = socketio.AsyncServer(async_mode="asgi", ping_interval=600)

    @server.event
    async def news(_sid: str, data: object) -> None:
        await server.emit("news", data)

    await _serve_uvicorn(socketio.ASGIApp(server), port)


async def _serve_uvicorn(app: Any, port: int) -> None:
    import uvicorn

    options = {"log_config": None, "access_log": False, "ws_ping_interval": None}
    await uvicorn.Server(uvicorn.Config(app, port=port, **options)).serve()


if __name__ == "__main__":
    import uvloop

    # The end of the run resets every connection; that is no news.
    logging.disable()
    serve_one = {
        "websockets": serve_websockets,
        "socketio": serve_socketio,
        "rtpush-asgi": serve_rtpush_asgi,
        "socketio-asgi": serve_socketio_asgi,
    }[sys.argv[1]]
    uvloop.run(serve_one(int(sys.argv[2]), *sys.argv[3:]))
