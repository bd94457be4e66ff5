"""A Redis of a benchmark's own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class OwnRedis(NamedTuple):
    """Where it answers, and its process."""

    url: str
    pid: int


@contextmanager
def own_redis(folder: str) -> Iterator[OwnRedis | None]:
    """A Redis that keeps nothing, until the end of the block; None where it is not installed."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [program, "--port", str(port), "--save", "", "--dir", folder], stdout=subprocess.DEVNULL
    )
    try:
        _wait_listening(process, port)
        yield OwnRedis(f"redis://127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        process.wait()


def _wait_listening(process: subprocess.Popen[bytes], port: int) -> None:
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            # Nothing says when it listens.
            time.sleep(0.05)
        else:
            return
