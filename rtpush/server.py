"""The server: builds the parts and runs them.

Rules that hold here:

- One event loop, one port, one shared timer.
- Stopping loses nothing: first nothing new comes in, then what was accepted
  is stored and delivered, then everybody is told when to come back.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from aiohttp import web

from .api import Api, answer_errors
from .config import Settings, client_dir
from .demo import draw_picture
from .errors import RtpushError
from .hub import Hub, Runtime
from .intake import Intake
from .log import Draft, Log, LogError
from .logs import open_log
from .metrics import Metrics
from .protocol import Envelope
from .transports import Front
from .transports.longpoll import LongPollTransport
from .transports.sse import SseTransport
from .transports.websocket import WebSocketTransport
from .worker import Work, Worker

__all__ = ["LogError", "Server"]

logger = logging.getLogger("rtpush.server")

# Connections that the kernel holds while the loop is busy: a crowd that
# reconnects at once must not be turned away.
BACKLOG: Final = 4096
# At most so many clients are asked to come back in each second after a stop.
RETURNS_PER_SECOND: Final = 500


class Server:
    """An rtpush server with the given settings. Use it on one event loop, once."""

    log: Log
    hub: Hub

    def __init__(self, settings: Settings | None = None, *, work: Work | None = None) -> None:
        """With `work`, or the demo's when the settings ask for it, tasks are done here."""
        self.settings = settings or Settings()
        if work is None and self.settings.demo:
            work = draw_picture
        self._work = work
        self._worker: Worker | None = None
        self.port = self.settings.port
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = asyncio.Event()

    @property
    def url(self) -> str:
        """Where the page is, e.g. `http://127.0.0.1:5000/`."""
        host = self.settings.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    async def start(self) -> None:
        """Open the log, then the port. Raises LogError or OSError and leaves nothing open."""
        self.log = await open_log(self.settings)
        self._build()
        try:
            await self._listen()
        except OSError:
            await self._runner.cleanup()
            await self.log.close()
            raise
        self._tick()
        if self._work is not None:
            self._worker = Worker(self.hub, self.intake, self._work)
            self._worker.start()

    def _build(self) -> None:
        loop = asyncio.get_running_loop()
        settings = self.settings
        runtime = Runtime(loop.call_soon, self._spawn, loop.time, time.time)
        metrics = Metrics()
        self.hub = Hub(self.log, settings, runtime)
        self.intake = Intake(self.log, self.hub, settings)
        self._api = Api(
            self.log, self.hub, self.intake, metrics, settings, settings.client or client_dir()
        )
        self._front = Front(self.hub, self.intake, settings)
        websocket = WebSocketTransport(self._front)
        sse = SseTransport(self._front)
        poll = LongPollTransport(self._front)
        app = web.Application(middlewares=[answer_errors(metrics)])
        app.router.add_get("/ws", websocket.handle, allow_head=False)
        app.router.add_get("/sse", sse.handle, allow_head=False)
        app.router.add_get("/poll", poll.read, allow_head=False)
        app.router.add_post("/poll", poll.post)
        app.router.add_routes(self._api.routes())
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=settings.grace
        )

    async def _listen(self) -> None:
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.settings.host, self.settings.port, backlog=BACKLOG)
        await site.start()
        self.port = self._runner.addresses[0][1]

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
        now = time.time()
        self.hub.tick()
        self.log.tick(now)
        self._fail_expired(now)

    def _fail_expired(self, now: float) -> None:
        expired = self.log.board.expired(now, self.settings.task_ttl)
        if not expired:
            return
        failed = (
            Envelope("task_failed", {"id": task.key, "error": "expired"}, task.room)
            for task in expired
        )
        self.log.append([Draft.of(envelope) for envelope in failed])

    # ----------------------------------------------------------------- stop

    async def serve(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Start, run until SIGTERM or SIGINT, stop. A second signal stops at once."""
        await self.start()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._signalled)
        on_ready()
        await self._stopping.wait()
        await self.stop()

    def _signalled(self) -> None:
        if self._stopping.is_set():
            logger.warning("stopped at once; connections were cut")
            for wire in list(self._front.wires):
                wire.abort()
            raise SystemExit(1)
        self._stopping.set()

    async def stop(self) -> None:
        """Let nothing new in, deliver what was accepted, say when to come back, close."""
        self.hub.stopping = True
        if self._worker is not None:
            self._worker.stop()
        for site in list(self._runner.sites):
            await site.stop()
        await self.log.wait_idle()
        await self.hub.idle.wait()
        self._send_away()
        await self._front.wait_closed(self.settings.grace)
        if self._timer is not None:
            self._timer.cancel()
        await self._runner.cleanup()
        await self.log.close()

    def _send_away(self) -> None:
        sessions = list(self.hub.sessions.values())
        spread = 1.0 + len(sessions) / RETURNS_PER_SECOND
        for session in sessions:
            # Random, so that they do not come back as one crowd.
            self.hub.disconnect(
                session,
                RtpushError("going_away", "The server is stopping; reconnect."),
                retry_after=round(random.uniform(0.0, spread), 2),
            )
