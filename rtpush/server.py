"""The server: builds the parts and runs them.

Rules that hold here:

- One event loop, one port, one shared timer.
- Stopping loses nothing: first nothing new comes in, then what was accepted
  is stored and delivered, then everybody is told when to come back.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, Self, Unpack

from aiohttp import web

from .access.addresses import is_loopback
from .access.auth import Authenticator, AuthError, publishers_have_key
from .access.room_policy import RoomPolicy
from .access.tls import TlsError
from .application.admission import Admission
from .application.application import Application
from .application.commands import Commands
from .application.dispatcher import Dispatcher
from .application.replies import PendingReplies
from .application.turns import Turns
from .application.worker import Work, Worker
from .cluster.nodes import Nodes
from .cluster.supervisor import Supervisor, SupervisorError, WorkerContext
from .config.settings import Settings
from .demo import draw_picture
from .errors import RtpushError
from .handlers.options import ServerOptions, settings_of
from .hub import Hub
from .log.base import Log, LogError
from .log.entry import Draft
from .log.factory import make_bus, make_log
from .metrics import Metrics
from .protocol import Envelope
from .sessions.runtime import Runtime
from .signals import StopSignals
from .terminal.banner import banner, explain_bind_error, lan_address
from .terminal.logs import set_up_logging
from .terminal.text import has_colours
from .transports.context import TransportContext
from .transports.listener import BACKLOG, Listener
from .transports.routes import make_application
from .web.body import BodyReader
from .web.middleware import AccessControl
from .web.static import StaticFilesError, check_client_dir

__all__ = ["Server", "StartError", "authenticates_clients", "check_exposure"]

logger = logging.getLogger("rtpush.server")


class StartError(Exception):
    """The server cannot start. The message is one sentence that says what to do."""


class Server(Application):
    """An rtpush server and the application in it. Use it on one event loop, once.

    Three ways to run it: `server.run()`, `async with server:` in a loop that
    runs already, and `server.attach(app)` beside the routes of an aiohttp
    application.
    """

    _log: Log

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        work: Work | None = None,
        **options: Unpack[ServerOptions],
    ) -> None:
        """Take the settings; nothing runs yet.

        Args:
            settings: The settings; None for the defaults.
            work: A function that this server does tasks with. See
                docs/how-to/use-your-model.md.
            **options: Settings by name, which win over `settings`:
                `Server(port=8080, log="memory:")`. The options of
                python-socketio's `AsyncServer` are understood, too.

        Raises:
            ConfigError: An option is unknown, or a value is not allowed. It
                names every one of them.
        """
        super().__init__()
        self.settings = settings_of(settings or Settings(), options)
        self._work = work
        self._worker: Worker | None = None
        self._listener: Listener | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._worker_context: WorkerContext | None = None

    @property
    def port(self) -> int:
        """The port in use."""
        return self._listener.port if self._listener else self.settings.port

    @property
    def url(self) -> str:
        """Where the page is, e.g. `http://127.0.0.1:5000/`."""
        host = self.settings.host
        scheme = "http" if self.settings.tls_cert is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}/"

    # ---------------------------------------------------------------- start

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Run until SIGTERM or SIGINT, with a banner on stdout. Blocks.

        Args:
            on_ready: Called once the server answers.

        Raises:
            StartError: The server cannot start.
            SystemExit: A second signal came while the server stopped.
        """
        set_up_logging(self.settings.log_level)

        def ready(port: int) -> None:
            self._show_banner(port)
            on_ready()

        if self.settings.workers == 1:
            self._run(lambda: ready(self.port))
            return
        supervisor = Supervisor(self.settings, self._run_worker, BACKLOG, ready)
        try:
            supervisor.run()
        except SupervisorError as exc:
            raise StartError(str(exc)) from exc
        except OSError as exc:
            raise StartError(explain_bind_error(exc, self.settings)) from exc

    def _run(self, on_ready: Callable[[], None]) -> None:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self.serve(on_ready))

    def _run_worker(self, context: WorkerContext) -> None:
        """Be one of several workers. Raises SystemExit(1) when it cannot start."""
        self._worker_context = context
        try:
            self._run(context.ready)
        except StartError as exc:
            print("rtpush:", " ".join(str(exc).split()), file=sys.stderr, flush=True)
            raise SystemExit(1) from exc

    def _show_banner(self, port: int) -> None:
        lan = lan_address(self.settings.host)
        key = publishers_have_key(self.settings)
        print(banner(self.settings, port, lan=lan, key=key, colour=has_colours()), flush=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.stop()

    def attach(self, app: web.Application, prefix: str = "/rtpush") -> None:
        """Be part of an aiohttp application, and start and stop with it.

        Args:
            app: The application; the settings `host` and `port` are its affair.
            prefix: The path that everything of this server is below.

        Raises:
            StartError: The address of the log is wrong. Other reasons not to
                start are raised when the application starts.
        """

        async def begin(_app: web.Application) -> None:
            await self._begin()

        async def end(_app: web.Application) -> None:
            await self.stop()

        app.add_subapp(prefix, self._build())
        app.on_startup.append(begin)
        # Before aiohttp waits for requests to end: a long-poll would keep it.
        app.on_shutdown.append(end)

    async def start(self) -> None:
        """Open the log, then the port. `stop` ends it.

        Raises:
            StartError: The server cannot start. Nothing is left open.
        """
        sockets = self._worker_context.sockets if self._worker_context else None
        self._listener = Listener(self._build(), self.settings, sockets)
        check_exposure(self)
        await self._begin()
        try:
            await self._listener.start()
        except TlsError as exc:
            await self.stop()
            raise StartError(str(exc)) from exc
        except OSError as exc:
            await self.stop()
            raise StartError(explain_bind_error(exc, self.settings)) from exc

    async def _begin(self) -> None:
        if self.settings.workers > 1 and self._worker_context is None:
            raise StartError("several workers are started by server.run() or the command line")
        try:
            if self.settings.client is not None:
                check_client_dir(self.settings.client, self.settings.log)
            await self._access.auth.begin()
            await self._log.open()
        except (AuthError, LogError, StaticFilesError) as exc:
            raise StartError(str(exc)) from exc
        self._hub.begin()
        await self._bus.open()
        self._tick()
        work = self._work or (draw_picture if self.settings.demo else None)
        if work is not None:
            self._worker = Worker(self._hub, self._dispatcher, work)
            self._worker.start()
            await self._worker.tick()

    def _build(self) -> web.Application:
        """Put the parts together; nothing runs yet."""
        settings = self.settings
        try:
            self._log = make_log(settings)
        except LogError as exc:
            raise StartError(str(exc)) from exc
        runtime = Runtime(_call_soon, self._spawn, time.monotonic, time.time)
        room_policy = RoomPolicy(settings, self._handlers)
        self._hub = Hub(self._log, settings, runtime, room_policy)
        self._bus = make_bus(self._log)
        self._nodes = Nodes(self._bus, self._hub)
        metrics = Metrics()
        self._access = AccessControl(Authenticator(settings), settings)
        turns = Turns(self._spawn)
        self._admission = Admission(self._hub, self._handlers, self._access.auth, turns)
        self._dispatcher = Dispatcher(
            self._log,
            self._hub,
            self._nodes,
            self._handlers,
            Commands(self._admission, settings.max_message),
            turns,
            metrics,
            settings,
        )
        self._replies = PendingReplies(self._hub, self._nodes)
        self._dispatcher.on_stray_reply = self._replies.take_stray
        self._transport_context = TransportContext(
            self._hub,
            self._nodes,
            self._admission,
            self._dispatcher,
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
        now = time.time()
        self._hub.tick()
        self._log.tick(now)
        self._bus.tick()
        if self._listener is not None:
            self._listener.tick()
        self._fail_expired(now)
        if self._worker is not None:
            self._spawn(self._worker.tick())

    def _fail_expired(self, now: float) -> None:
        expired = self._log.board.expired(now, self.settings.task_ttl)
        if not expired:
            return
        failed = (
            Envelope("task_failed", {"id": task.key, "error": "expired"}, task.room)
            for task in expired
        )
        self._log.append([Draft.of(envelope) for envelope in failed])

    # ----------------------------------------------------------------- stop

    async def serve(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Start, run until SIGTERM or SIGINT, stop. A second signal stops at once.

        Args:
            on_ready: Called once the server answers.

        Raises:
            StartError: The server cannot start.
            SystemExit: A second signal came while the server stopped.
        """
        await self.start()
        assert self._listener is not None
        signals = StopSignals(self._transport_context.abort, self._listener.reload_certificate)
        context = self._worker_context
        signals.watch(None if context is None else context.supervisor_pipe)
        # What is here now stays; the collector need not look at it again.
        gc.freeze()
        on_ready()
        try:
            await signals.wait()
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Let nothing new in, deliver what was accepted, say when to come back, close."""
        self._hub.stopping = True
        if self._worker is not None:
            await self._worker.stop()
        if self._listener is not None:
            await self._listener.stop_accepting()
        await self._log.wait_idle()
        await self._hub.idle.wait()
        self._hub.disconnect_all(RtpushError("going_away", "The server is stopping; reconnect."))
        await self._transport_context.wait_closed(self.settings.grace)
        await self._finish()
        if self._timer is not None:
            self._timer.cancel()
        if self._listener is not None:
            await self._listener.close()
        self._handlers.close()
        await self._bus.close()
        await self._log.close()

    async def _finish(self) -> None:
        """Let handlers end what they are at; cancel what takes longer, and background tasks."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self.settings.grace)
        for task in (*self._tasks, *self._background):
            task.cancel()


def authenticates_clients(server: Server) -> bool:
    """Is a client that connects asked who it is, by a token or by a handler?"""
    settings = server.settings
    return bool(settings.auth_secret or settings.auth_keys) or server._handlers.has("connect")


def check_exposure(server: Server) -> None:
    """Raises StartError when other machines could come in and nothing asks who they are."""
    settings = server.settings
    if authenticates_clients(server) or settings.insecure or is_loopback(settings.host):
        return
    raise StartError(
        f"listening on {settings.host} lets other machines in, and nothing asks who they "
        "are: set auth_secret or auth_keys (docs/security.md), or say --insecure"
    )


def _call_soon(act: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_soon(act)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # Windows, and machines for which it is not built
        return None
    return uvloop.new_event_loop
