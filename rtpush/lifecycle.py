"""The life of a server: its parts, how they begin, what they do each second, how they end.

Rules that hold here:

- Stopping loses nothing: first nothing new comes in, then what was accepted
  is stored and delivered, then every client is told when to come back.
- One deadline bounds all that a stop waits for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from aiohttp import web

from .access.auth import Authenticator, AuthError
from .access.room_policy import RoomPolicy
from .application.admission import Admission
from .application.application import Application
from .application.claims import Claims
from .application.commands import Commands
from .application.deadline import Deadline
from .application.dispatcher import Dispatcher
from .application.estimates import Estimates
from .application.history import ClientHistory
from .application.leases import LeaseKeeper
from .application.presence import PresenceTeller
from .application.replies import PendingReplies
from .application.session_claims import SessionClaims
from .application.turns import Turns
from .application.worker import Worker
from .cluster.nodes import Nodes
from .cluster.worker_process import WorkerContext
from .config.settings import Settings
from .demo import do_task
from .errors import RtpushError
from .hooks.handlers import Hooks
from .hosting.hosted import HostedApplication
from .hub import Hub
from .log.base import Log, LogError
from .log.entry import Draft, cancelled
from .log.factory import make_bus, make_log
from .metrics import Metrics
from .payloads import JsonDefault
from .protocol import Envelope
from .sessions.runtime import Runtime
from .signals import StopSignals
from .transports.context import TransportContext
from .transports.door import Door
from .transports.routes import make_application
from .web.body import BodyReader
from .web.middleware import AccessControl
from .web.static import StaticFilesError, check_client_dir
from .work.task import Work

__all__ = ["Lifecycle", "StartError"]

logger = logging.getLogger("rtpush.server")

# Of `grace`, what is kept for closing the log and the last connections: the lesser of both.
_CLOSING: Final = 1.0
_CLOSING_SHARE: Final = 0.2


class StartError(Exception):
    """The server cannot start. The message is one sentence that says what to do."""


class Lifecycle(Application):
    """A server without its doors: builds the parts, starts and stops them."""

    _log: Log

    def __init__(
        self,
        settings: Settings,
        work: Work | None,
        concurrency: int,
        queues: Sequence[str],
        json_default: JsonDefault | None,
    ) -> None:
        super().__init__()
        self._json_default = json_default
        self.settings = settings
        self._work = work
        self._concurrency = concurrency
        self._queues = queues
        self._worker: Worker | None = None
        # Before the program's own handlers, which take their places.
        self._hooks = Hooks(settings.hooks, self) if settings.hooks else None
        # None as a part of an aiohttp application, which has its own.
        self._door: Door | None = None
        # The application that has the other paths of the port, while the server runs.
        self._hosted: HostedApplication | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._worker_context: WorkerContext | None = None
        self._signals: StopSignals | None = None
        # The stop that is under way.
        self._stopping: asyncio.Task[None] | None = None

    def _check_not_running(self) -> None:
        """Raises StartError."""
        if self._home.forked:
            raise StartError(
                "this server was started before the process was forked, and goes on in the other "
                "one: start it after the fork, or make a rtpush.Server in each process"
            )
        if self._home.runs:
            raise StartError("this server runs already: make another rtpush.Server")

    async def _begin(self) -> None:
        self._check_not_running()
        if self.settings.workers > 1 and self._worker_context is None:
            raise StartError("several workers are started by server.run() or the command line")
        try:
            if self.settings.client is not None:
                check_client_dir(self.settings.client, self.settings.log)
            await self._access.auth.begin()
            await self._log.open()
        except (AuthError, LogError, StaticFilesError) as exc:
            raise StartError(str(exc)) from exc
        self._stopping = None
        self._hub.begin()
        await self._bus.open()
        self._home.begin()
        await self._presence.begin()
        self._tick()
        work = self._work or (do_task if self.settings.demo else None)
        if work is not None:
            claims, leases, dispatcher = self._claims, self._leases, self._dispatcher
            self._worker = Worker(claims, leases, dispatcher, work, self._concurrency, self._queues)
            self._worker.start(self._bus.node if self._bus.shared else None)

    async def _start_behind_asgi(self) -> Door:
        """Start without a port, for connections that an ASGI server accepts; see ASGIApp.

        Raises:
            StartError: The server cannot start. Nothing is left open.
        """
        self._check_not_running()
        self._door = Door(self._build(), self.settings)
        await self._begin()
        await self._door.start()
        return self._door

    def _build(self) -> web.Application:
        """Put the parts together; nothing runs yet."""
        settings = self.settings
        try:
            self._log = make_log(settings)
        except LogError as exc:
            raise StartError(str(exc)) from exc
        runtime = Runtime(_call_soon, _call_later, self._spawn, time.monotonic, time.time)
        room_policy = RoomPolicy(settings, self._handlers)
        self._hub = Hub(self._log, settings, runtime, room_policy)
        self._bus = make_bus(self._log)
        self._nodes = Nodes(self._bus, self._hub)
        metrics = Metrics()
        self._access = AccessControl(Authenticator(settings), settings)
        turns = Turns(self._spawn)
        self._admission = Admission(self._hub, self._handlers, self._access.auth, turns)
        history = ClientHistory(self._hub)
        self._claims = Claims(self._log, time.time, settings)
        self._session_claims = SessionClaims(self._claims, self._hub)
        self._hub.on_grown = self._log_grew
        self._estimates = Estimates(self._log, self._hub, time.time)
        self._leases = LeaseKeeper(self._log, self._hub, self._bus, settings)
        self._dispatcher = Dispatcher(
            self._log,
            self._hub,
            self._nodes,
            self._handlers,
            Commands(self._admission, history, settings.max_message),
            turns,
            self._session_claims,
            self._spawn,
            metrics,
            settings,
            self._json_default,
        )
        self._replies = PendingReplies(self._hub, self._nodes)
        self._presence = PresenceTeller(self._hub, self._bus)
        self._dispatcher.on_stray_reply = self._replies.take_stray
        self._transport_context = TransportContext(
            self._hub,
            self._nodes,
            self._admission,
            self._dispatcher,
            self._claims,
            BodyReader(settings.max_body, settings.max_message, settings.request_timeout),
            metrics,
            self._access,
            settings,
        )
        return make_application(self._transport_context)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        # The loop itself holds tasks only weakly.
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ----------------------------------------------------------------- time

    def _tick(self) -> None:
        """The one timer, once a second."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(1.0, self._tick)
        if self._worker_context is not None:
            self._worker_context.beat()
        self._act()

    def _act(self) -> None:
        """Do what is due by now."""
        self._estimates.tick()
        self._hub.tick()
        self._log.tick()
        self._bus.tick()
        self._presence.tick()
        if self._door is not None:
            self._door.tick()
        now = self._log.now()
        self._fail_expired(now)
        self._end_cancelled(now)
        self._claims.offer()
        self._spawn(self._leases.tick(time.monotonic()))

    def _log_grew(self) -> None:
        """Give new tasks to workers, and tell those of cancelled ones: before any other reader."""
        self._claims.offer()
        for task in self._log.board.index.queues.take_cancelled():
            self._session_claims.cancelled(task)
            if self._worker is not None:
                self._worker.cancelled(task)

    def _fail_expired(self, now: float) -> None:
        expired = self._log.board.expired(now, self.settings.task_ttl)
        if not expired:
            return
        failed = (
            Envelope("task_failed", {"id": task.key, "error": "expired"}, task.room)
            for task in expired
        )
        self._log.append([Draft.of(envelope) for envelope in failed])

    def _end_cancelled(self, now: float) -> None:
        """End the tasks whose workers have had their time. What they say later is refused."""
        overdue = self._log.board.index.cancelled_before(now - self.settings.cancel_timeout)
        if overdue:
            self._log.append([cancelled(task.fields, task.room) for task in overdue])

    # ----------------------------------------------------------------- stop

    async def _stop(self) -> None:
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._end())
        await asyncio.shield(self._stopping)

    async def stop(self) -> None:
        """Let nothing new in, deliver what was accepted, say when to come back, close.

        All of it within the setting `grace`. A server that does not run has stopped already.
        """
        if not self._home.runs:
            return
        if self._home.is_here("stop"):
            await self._stop()
        else:
            # The end that it brings about must not cancel it.
            handed = self._home.hand_over("stop", self._stop, cancel=False)
            await asyncio.wrap_future(handed)

    async def _end(self) -> None:
        grace = self.settings.grace
        closing = min(_CLOSING, grace * _CLOSING_SHARE)
        until = Deadline(grace - closing)
        self._hub.stopping = True
        self._claims.stop()
        if self._signals is not None:
            self._signals.stop()
        await self._deliver(until)
        self._hub.disconnect_all(RtpushError("going_away", "The server is stopping; reconnect."))
        await self._transport_context.wait_closed(until.left)
        await self._finish(until)
        self._presence.stop()
        if self._timer is not None:
            self._timer.cancel()
        await self._close(Deadline(until.left + closing))

    async def _deliver(self, until: Deadline) -> None:
        """Take nothing new, and wait until what was accepted is stored and sent."""
        if self._worker is not None:
            await until.wait(self._worker.stop())
        if self._door is not None:
            await until.wait(self._door.stop_accepting())
        if not await until.wait(self._log.wait_idle()):
            logger.error("the log has not answered; what waits for it is not stored")
        await until.wait(self._hub.idle.wait())

    async def _finish(self, until: Deadline) -> None:
        """Let handlers end what they are at; cancel what takes longer, and background tasks."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=until.left)
        for task in (*self._tasks, *self._background):
            task.cancel()

    async def _close(self, until: Deadline) -> None:
        if self._door is not None:
            await self._door.close(until.left / 2)
        if self._hosted is not None:
            await self._hosted.close(until.left / 2)
        if self._hooks is not None:
            await until.wait(self._hooks.close())
        self._handlers.close()
        self._home.end()
        await until.wait(self._bus.close())
        if not await until.wait(self._log.close()):
            logger.error("the log cannot be closed in time; it is left as it is")


def _call_soon(act: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_soon(act)


def _call_later(seconds: float, act: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_later(seconds, act)
