"""A worker that runs anywhere: it claims a server's tasks over a lasting connection.

Rules that hold here:

- The worker keeps its tasks while its connection is lost and comes back, on whatever node and
  transport; the server's lease says for how long.
- It asks for a task only when it can begin it, and gives back what it has when it stops.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from ..errors import ConnectError, Reason, RtpushError
from ..log.task import task_key
from ..log.task_claims import DEFAULT_QUEUE
from ..work.crew import Crew
from ..work.task import Work, WorkTask
from .async_client import Client
from .endpoint import Auth

__all__ = ["Worker"]

logger = logging.getLogger("rtpush.worker")

# Seconds that the server may take when there is no task.
_CLAIM_WAIT: Final = 20.0
# Seconds for the answer to a claim, beyond that.
_CLAIM_MARGIN: Final = 30.0
# Seconds to give back what the worker has, and to say goodbye.
_STOP_TIMEOUT: Final = 5.0


class Worker:
    """Does the tasks of a server with a function, from any machine.

    The function is the same as of `Server(work=…)`: it takes a task and a report.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: Auth | None = None,
        queues: Iterable[str] = (DEFAULT_QUEUE,),
        concurrency: int = 1,
        name: str | None = None,
        transports: Iterable[str] | str | None = None,
    ) -> None:
        """Nothing is connected yet.

        Args:
            url: The server's address; None takes RTPUSH_URL of the environment, else
                port 5000 of this machine.
            token: A token with the right to publish, or a function that returns one; None
                takes RTPUSH_KEY, if it is set.
            queues: The queues whose tasks it does.
            concurrency: How many tasks it does at the same time.
            name: What people are told does a task; None: this machine and process.
            transports: Those that may be used; None: all.
        """
        self._url, self._token = url, token
        self._queues, self._concurrency = list(queues), concurrency
        self._name = name or f"{socket.gethostname()}:{os.getpid()}"[:128]
        self._transports = transports

    def run(self, work: Work, on_ready: Callable[[], None] = lambda: None) -> None:
        """Work until SIGINT or SIGTERM, then give back what is not done. Blocks.

        Args:
            work: A function, which runs in threads, or a coroutine function. See
                docs/how-to/workers.md.
            on_ready: Called once signals are handled.

        Raises:
            ConnectError: The server refuses the worker.
            RtpushError: The server refuses its claims (`forbidden`).
        """
        asyncio.run(self._run(work, on_ready))

    async def _run(self, work: Work, on_ready: Callable[[], None]) -> None:
        serving = asyncio.create_task(self.serve(work))
        loop = asyncio.get_running_loop()
        # Windows, and threads other than the main one, have no such handlers.
        with suppress(NotImplementedError, RuntimeError, ValueError):
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, serving.cancel)
        on_ready()
        with suppress(asyncio.CancelledError):
            await serving

    async def serve(self, work: Work) -> None:
        """`run` for a program with an event loop: work until it is cancelled.

        Args:
            work: As for `run`.

        Raises:
            ConnectError: As `run`.
            RtpushError: As `run`.
        """
        async with Client() as client:
            await _Shift(client, self._queues, self._name).work(self, work)

    async def _connect(self, client: Client) -> None:
        url, token, transports = self._url, self._token, self._transports
        await client.connect(url, auth=token, transports=transports, retry=True)


class _Shift:
    """One connection of a worker, as the workplace of its crew."""

    def __init__(self, client: Client, queues: list[str], name: str) -> None:
        self._client = client
        self._ask = {"worker": name, "queues": queues, "wait": _CLAIM_WAIT}
        self._name, self._queues = name, queues
        self._refused: ConnectError | None = None
        self._affirming: asyncio.Task[None] | None = None

    async def work(self, worker: Worker, work: Work) -> None:
        crew = Crew(self, work, worker._concurrency)
        crew.on_end = _log_end
        self._client.on("connect_error", self._note)
        await worker._connect(self._client)
        self._client.on("task_cancel", lambda data: _cancel(crew, data))
        self._client.on("disconnect", _note_disconnect)
        self._client.on("connect", lambda: self._came_back(crew))
        logger.info("%s takes tasks of %s", self._name, ", ".join(self._queues))
        working, ended = asyncio.create_task(crew.run()), asyncio.create_task(self._client.wait())
        try:
            await asyncio.wait([working, ended], return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
            raise self._refused or ConnectError("unavailable", "The connection has ended.")
        finally:
            for task in (working, ended):
                task.cancel()
            await asyncio.gather(working, ended, return_exceptions=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_TIMEOUT):
                    await crew.stop()

    def _note(self, error: dict[str, Any]) -> None:
        self._refused = ConnectError(error["code"], error["message"])
        logger.warning("not connected: %s", error["message"])

    def _came_back(self, crew: Crew) -> None:
        # The session may be a new one, which has reported nothing yet.
        logger.info("the connection is back")
        self._affirming = asyncio.create_task(crew.affirm())

    # --------------------------------------------------------------- Workplace

    async def claim(self) -> dict[str, Any] | None:
        """See Workplace."""
        envelope = {"event": "task_claim", "data": self._ask}
        sender = self._client._session.sender
        try:
            answer = await sender.call(envelope, _CLAIM_WAIT + _CLAIM_MARGIN, waits=True)
        except TimeoutError:
            return None
        found: dict[str, Any] = answer
        return None if found["task"] is None else found

    async def withdraw(self) -> None:
        """See Workplace."""
        envelope = {"event": "task_claim", "data": {"queues": []}}
        await self._client._session.sender.call(envelope, _STOP_TIMEOUT)

    async def tell(self, envelope: dict[str, Any]) -> None:
        """See Workplace. Waits for a connection: what is told late may be refused."""
        await self._client._session.sender.call(envelope, None)

    async def began(self, task: WorkTask) -> None:
        """See Workplace. By this the server knows whose connection renews the claim."""
        data = {"id": task["id"], "attempt": task.attempt}
        await self.tell({"event": "task_progress", "data": data, "room": task.get("room")})

    def ended(self, key: str) -> None:
        """See Workplace. The server knows by what was told."""


def _note_disconnect(reason: str) -> None:
    if reason != Reason.CLIENT_DISCONNECT:
        logger.warning("disconnected: %s", reason)


def _cancel(crew: Crew, data: Any) -> None:
    with suppress(RtpushError):
        crew.cancel(task_key(data))


def _log_end(task: WorkTask, how: str, seconds: float) -> None:
    logger.info("task %s: %s after %.1f s", task["id"], how, seconds)
