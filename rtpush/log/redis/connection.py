"""Connections to Redis, and what can go wrong with them.

Rules that hold here:

- A `RedisConnection` is opened when it is needed. It is dropped at the first
  error, and never retries by itself: the caller decides when.
- Every answer has a deadline. What was sent and got no answer may have been
  done all the same: `RedisUnavailable.unsure`.
- A connection knows which process of Redis it talks to (`run_id`). Another one
  may have lost what the one before it had.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from inspect import signature
from typing import Any, Final, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from ...config.documentation import page
from ..base import LogError

__all__ = [
    "TIMEOUT",
    "Address",
    "BackgroundTasks",
    "RedisConnection",
    "RedisUnavailable",
    "backoff",
]

logger = logging.getLogger("rtpush.log")

# Seconds that Redis has for an answer. Beyond, it is taken for away.
TIMEOUT: Final = 3.0
# The wait between two attempts: from the first to the longest, in seconds.
BACKOFF: Final = (0.05, 3.0)

# What keeps redis-py from reading its own version from its package's files for
# each connection, 2 ms of the event loop; older ones do not.
_UNNAMED: Final[dict[str, Any]] = (
    {"driver_info": None}
    if "driver_info" in signature(AbstractConnection.__init__).parameters
    else {}
)

# The files of the script, in order: Redis loads it as one.
SCRIPT_FILES: Final = (
    *("common", "room_index", "retention", "idempotency"),
    *("append", "look", "read", "commands"),
)
SCRIPT: Final = b"".join(
    files(__package__).joinpath("script", f"{name}.lua").read_bytes() for name in SCRIPT_FILES
)
SHA: Final = sha1(SCRIPT, usedforsecurity=False).hexdigest()

# Refusals after which another connection may do better: it is no longer the
# one that is written to, it still loads its data, or it has lost the script.
_ELSEWHERE: Final = ("LOADING", "MASTERDOWN", "NOSCRIPT")


class RedisUnavailable(Exception):
    """Redis did not do it, and why; `unsure` when it may have."""

    def __init__(self, why: str, *, unsure: bool = False) -> None:
        super().__init__(why)
        self.unsure = unsure


def backoff(attempt: int) -> float:
    """Seconds to wait after so many failed attempts: longer each time, and by chance."""
    first, longest = BACKOFF
    return min(longest, first * 2.0 ** min(attempt, 20)) * random.uniform(0.5, 1.0)


class BackgroundTasks:
    """What runs in the background until it is ended. What fails is logged."""

    def __init__(self) -> None:
        # The loop itself holds tasks only weakly.
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run it beside everything else."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a part of the log in Redis has failed", exc_info=error)

    async def end(self) -> None:
        """End all that still runs."""
        running = [*self._running]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Address:
    """Where Redis is: the parts of `--log redis://…`.

    With `sentinels`, whose addresses these are, `url` lacks the host: they
    know it, as that of the master of `service`.
    """

    url: str
    prefix: str
    sentinels: tuple[str, ...] = ()
    service: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of `redis://[user:password@]host[:port][/db][?prefix=…]`, `rediss://…`,
        `redis+sentinel://[user:password@]host[:port],host[:port]…/service[/db]`, where
        `sentinel_username` and `sentinel_password` are what the sentinels ask for.

        Raises LogError.
        """
        parts = urlsplit(text)
        scheme, _, sentinel = parts.scheme.partition("+")
        query = dict(parse_qsl(parts.query))
        prefix = query.pop("prefix", "rtpush")
        user, password = (query.pop(f"sentinel_{name}", "") for name in ("username", "password"))
        parts = parts._replace(scheme=scheme, query=urlencode(query))
        if not sentinel:
            return cls(urlunsplit(parts), prefix)._checked()
        credentials, at, hosts = parts.netloc.rpartition("@")
        service, _, db = parts.path.strip("/").partition("/")
        own = f"{quote(user, '')}:{quote(password, '')}@" if user or password else ""
        asked = (
            parts._replace(netloc=own + _with_port(host), path="") for host in hosts.split(",")
        )
        url = urlunsplit(parts._replace(netloc=credentials + at, path=f"/{db or 0}"))
        return cls(url, prefix, tuple(map(urlunsplit, asked)), unquote(service))._checked()

    def _checked(self) -> Self:
        try:
            for url in (self._at("localhost"), *self.sentinels):
                _pool(url).make_connection()
        except (TypeError, ValueError) as exc:
            raise LogError(f"{self} cannot be used: its address is wrong ({exc})") from exc
        return self

    def _at(self, host: str) -> str:
        """The address of Redis, if it is on this host: with its port."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=parts.netloc + host)) if self.service else self.url

    def __str__(self) -> str:
        """Without credentials: this is printed."""
        if self.service:
            return f"Redis {self.service} of {len(self.sentinels)} sentinels"
        return f"Redis at {urlsplit(self.url).netloc.rpartition('@')[2] or 'localhost'}"

    async def connection(self) -> Any:
        """A connection, not yet opened. Any: what redis-py says of its types differs by version."""
        return _pool(self._at(await self._master() if self.service else "")).make_connection()

    async def _master(self) -> str:
        """Which host the first sentinel names that answers."""
        # One that is dead must leave time for those behind it.
        timeout = TIMEOUT / (len(self.sentinels) + 1)
        make: Any = Sentinel
        asked = make([])
        asked.sentinels = [Redis(connection_pool=_pool(url, timeout)) for url in self.sentinels]
        try:
            host, port = await asked.discover_master(self.service)
        finally:
            for client in asked.sentinels:
                await client.connection_pool.disconnect()
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _pool(url: str, timeout: float | None = None) -> Any:
    """Connections that never try again by themselves."""
    make: Any = ConnectionPool.from_url
    return make(
        url,
        protocol=2,
        socket_timeout=timeout,
        socket_connect_timeout=timeout or TIMEOUT,
        retry=Retry(NoBackoff(), 0),
        **_UNNAMED,
    )


def _with_port(host: str) -> str:
    return host if re.search(r":[^:\]]*$", host) else f"{host}:26379"


class RedisConnection:
    """One connection, for one request at a time; see the module's rules."""

    def __init__(self, address: Address) -> None:
        self.run_id = ""
        self.version = ""
        self.address = address
        self._connection: Any = None
        self._lock = asyncio.Lock()

    async def call(self, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run the script; its answer. Raises RedisUnavailable."""
        return await self.request(TIMEOUT, "EVALSHA", SHA, len(keys), *keys, *args)

    async def request(self, timeout: float, *command: Any) -> Any:
        """Send a command; its answer within so many seconds. Raises RedisUnavailable."""
        async with self._lock:
            await self._drop_if_closed()
            await self._open()
            return await self._exchange(timeout, command)

    async def open(self, run_id: str | None = None) -> None:
        """Connect to Redis, or to this process of it. Raises RedisUnavailable."""
        async with self._lock:
            await self._open()
            if run_id in (None, self.run_id):
                return
            # It may still hang on the one before, which is no longer written to.
            await self._drop()
            await self._open()
            if self.run_id != run_id:
                # Or on the next one: what that holds need not be what was read.
                await self._drop()
                raise RedisUnavailable("Redis was started anew")

    @property
    def is_open(self) -> bool:
        """Is there a connection?"""
        return self._connection is not None

    async def send(self, *command: Any) -> None:
        """Send a command whose answer comes elsewhere. Raises RedisUnavailable."""
        if self._connection is None:
            raise RedisUnavailable("it is not connected")
        try:
            await self._connection.send_command(*command)
        except (RedisError, OSError) as exc:
            await self._drop()
            raise RedisUnavailable(_reason(exc)) from exc

    async def receive(self, timeout: float) -> Any:
        """What comes next, within so many seconds. Raises RedisUnavailable."""
        async with self._lock:
            if self._connection is None:
                raise RedisUnavailable("it is not connected")
            return await self._exchange(timeout, ())

    async def close(self) -> None:
        """Let go of the connection."""
        await self._drop()

    async def _exchange(self, timeout: float, command: Sequence[Any]) -> Any:
        try:
            async with asyncio.timeout(timeout):
                if command:
                    await self._connection.send_command(*command)
                return await self._connection.read_response()
        except ResponseError as exc:
            if _is_demotion(exc) or str(exc).startswith(_ELSEWHERE):
                await self._drop()
            raise RedisUnavailable(_reason(exc)) from exc
        except (RedisError, OSError, TimeoutError) as exc:
            await self._drop()
            raise RedisUnavailable(_reason(exc), unsure=True) from exc
        except asyncio.CancelledError:
            # An answer that nobody waits for would be taken for the next one's.
            await self._drop()
            raise

    async def _drop_if_closed(self) -> None:
        """Notice that Redis has closed the connection while it was idle (its `timeout`).

        Before anything is sent: afterwards it would not be known whether it was done.
        """
        # redis-py has no public way that is the same in its versions 5 to 8.
        reader = None if self._connection is None else self._connection._reader
        if reader is not None and reader.at_eof():
            await self._drop()

    async def _open(self) -> None:
        if self._connection is not None:
            return
        connection: Any = None
        try:
            async with asyncio.timeout(TIMEOUT):
                connection = await self.address.connection()
                await connection.connect()
                self.run_id, self.version = await _greet(connection)
        except BaseException as exc:
            if connection is not None:
                await connection.disconnect(nowait=True)
            if isinstance(exc, RedisError | OSError | TimeoutError):
                raise RedisUnavailable(_reason(exc)) from exc
            raise
        # Not before: `send` waits for no turn, and would speak in between.
        self._connection = connection

    async def _drop(self) -> None:
        connection, self._connection, self.run_id = self._connection, None, ""
        if connection is not None:
            await connection.disconnect(nowait=True)


async def _greet(connection: Any) -> tuple[str, str]:
    """Which process of Redis it is, and its version; the script is there afterwards."""
    await connection.send_command("INFO", "server")
    info = await connection.read_response()
    await connection.send_command("SCRIPT", "LOAD", SCRIPT)
    await connection.read_response()
    found = dict(re.findall(r"^(\w+):(.*?)\r?$", info.decode(), re.M))
    return found["run_id"], found["redis_version"]


def _is_demotion(exc: BaseException) -> bool:
    """Redis has become a replica: it refuses writes, and has ended the blocking read.

    Before version 7 the refusal of a script's write names READONLY in the middle.
    """
    text = str(exc)
    return isinstance(exc, ReadOnlyError) or "READONLY" in text or text.startswith("UNBLOCKED")


def _reason(exc: BaseException) -> str:
    if isinstance(exc, TimeoutError) and not str(exc):
        return f"Redis did not answer within {TIMEOUT:g} s"
    if _is_demotion(exc):
        return "Redis is read-only: it has become a replica"
    if isinstance(exc, MovedError | AskError):
        return (
            f"this node of a Redis Cluster does not hold the log; name {exc.host}:{exc.port}, or "
            "the cluster's address that follows the log's slot"
        )
    if isinstance(exc, NoPermissionError):
        return f"its user may not do all that rtpush does ({exc}); see {page('scaling.md')}"
    return " ".join(str(exc).split()) or type(exc).__name__
