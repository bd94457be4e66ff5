"""Real processes for tests: the server as people start it, and nginx in front of it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import forkserver
from needs import program

ROOT = Path(__file__).parents[2]
# aiohttp has OpenSSL read all certificates of this file at each start, a tenth of the time that a
# server takes to start. Only pip needs them.
CERTIFICATES = os.environ.get("SSL_CERT_FILE", ssl.get_default_verify_paths().openssl_cafile)
os.environ["SSL_CERT_FILE"] = os.devnull
# Seconds that a program gets to start or to end.
PATIENCE = 20.0
# And `make run` in a fresh checkout, which installs first.
INSTALL_PATIENCE = 180.0


async def pause() -> None:
    """Between two looks at what has no event of its own, and may need this processor."""
    await asyncio.sleep(0.005)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """`python -m rtpush` on a port of its own, with its data in `folder`.

    Or `make run`, in a folder that holds a checkout.
    """

    def __init__(self, folder: Path, *flags: str, make: bool = False) -> None:
        self.folder = folder
        self.flags = flags
        self.make = make
        self.port = 0
        self.banner = ""
        self._process: asyncio.subprocess.Process | forkserver.Program | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it, the second time on the same port; returns when it answers."""
        flags = [f"--port={self.port}", *self.flags]
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        if self.make:
            self._process = await asyncio.create_subprocess_exec(
                *("make", "run", f"ARGS={' '.join(flags)}"),
                cwd=self.folder,
                # Python compiles what it imports; pip would compile everything.
                env=environment | {"PIP_NO_COMPILE": "1", "SSL_CERT_FILE": CERTIFICATES},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        else:
            self._process = await forkserver.start(
                *flags,
                cwd=self.folder,
                env=environment | {"PYTHONPATH": str(ROOT)},
                session=True,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        patience = INSTALL_PATIENCE if self.make else PATIENCE
        self.banner = await asyncio.wait_for(self._read_banner(), patience)
        found = re.search(r"https?://127\.0\.0\.1:(\d+)/", self.banner)
        assert found is not None, self.banner
        self.port = int(found[1])

    async def _read_banner(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        lines: list[str] = []
        while not lines or not lines[-1].strip().startswith("Stop"):
            line = await self._process.stdout.readline()
            if not line:
                _, errors = await self._process.communicate()
                raise AssertionError(f"it did not start: {errors.decode()}")
            lines.append(line.decode())
        return "".join(lines)

    async def kill(self) -> None:
        """`kill -9`."""
        assert self._process is not None
        self._process.kill()
        await self._process.communicate()

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Tell it to stop."""
        with suppress(ProcessLookupError):
            # The whole group, as a terminal does with Ctrl+C: make has a child.
            os.killpg(self.pid, number)

    async def wait(self) -> tuple[int, str]:
        """Wait for its end; the exit code, and what it wrote to stderr."""
        assert self._process is not None
        _, errors = await asyncio.wait_for(self._process.communicate(), PATIENCE)
        assert self._process.returncode is not None
        return self._process.returncode, errors.decode()

    async def stop(self) -> tuple[int, str]:
        """SIGTERM; as `wait`."""
        self.signal()
        return await self.wait()


async def refusal(folder: Path, *flags: str) -> str:
    """What a server says that cannot start: one line on stderr, and exit code 1."""
    process = await forkserver.start(
        *flags,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    (line,) = errors.decode().splitlines()
    assert (process.returncode, out) == (1, b""), line
    assert line.startswith("rtpush: "), line
    return line.removeprefix("rtpush: ")


@asynccontextmanager
async def running(folder: Path, *flags: str) -> AsyncIterator[ServerProcess]:
    """A server for the length of a block."""
    server = ServerProcess(folder, *flags)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {http}
    server {{
        listen 127.0.0.1:{port};
        {server}
    }}
}}
"""


@asynccontextmanager
async def nginx(folder: Path, server: str, http: str = "") -> AsyncIterator[str]:
    """nginx with these directives; gives its address."""
    port = free_port()
    conf = folder / "nginx.conf"
    conf.write_text(NGINX.format(folder=folder, port=port, server=server, http=http))
    process = await asyncio.create_subprocess_exec(
        program("nginx"), "-e", "stderr", "-c", str(conf), stderr=asyncio.subprocess.PIPE
    )
    try:
        await asyncio.wait_for(_wait_listening(process, port), PATIENCE)
        yield f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


async def _wait_listening(process: asyncio.subprocess.Process, port: int) -> None:
    while process.returncode is None:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()
            return
        await pause()
    assert process.stderr is not None
    raise AssertionError((await process.stderr.read()).decode())
