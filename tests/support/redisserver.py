"""A real Redis for tests: on a port of its own, with its data in a folder of its own."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import redis
from needs import program
from processes import PATIENCE, free_port
from redis.backoff import ConstantBackoff
from redis.retry import Retry

__all__ = ["RedisServer"]


class RedisServer:
    """`redis-server`. When `kept`, it has its data on disk before it answers.

    With the configuration of a `sentinel` it is one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        kept: bool = False,
        flags: tuple[str, ...] = (),
        sentinel: Path | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.client = redis.Redis(
            port=self.port,
            socket_timeout=PATIENCE,
            # Until it listens, and has read its data.
            retry=Retry(ConstantBackoff(0.01), round(PATIENCE / 0.01)),
            retry_on_error=[redis.ConnectionError, redis.BusyLoadingError],
        )
        self._flags = [
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)),
            *("--save", "", "--appendonly", "yes" if kept else "no"),
            # By default it may answer up to two seconds before it writes.
            *("--appendfsync", "always"),
            *("--repl-diskless-sync-delay", "0", "--maxmemory-policy", "noeviction"),
            *flags,
        ]
        if sentinel is not None:
            self._flags = [str(sentinel), "--sentinel", "--port", str(self.port)]
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, prefix: str = "rtpush", port: int | None = None) -> str:
        """For `--log`."""
        return f"redis://127.0.0.1:{port or self.port}/0?prefix={prefix}"

    def start(self) -> RedisServer:
        """Start it; returns when it answers."""
        self._process = subprocess.Popen(
            [program("redis"), *self._flags],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self.client.ping()
        return self

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP and SIGCONT hold it and let it go on."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        """SIGTERM, in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """`kill -9`."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self.signal(signal.SIGCONT)
            self.signal(number)
            self._process.wait(PATIENCE)
            self._process = None
            self.client.connection_pool.disconnect()

    def configure(self, **values: Any) -> None:
        """CONFIG SET."""
        for name, value in values.items():
            self.client.config_set(name.replace("_", "-"), value)
