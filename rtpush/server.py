"""The server that a program runs: on a port, until a signal, with a banner.

One event loop, one port, one shared timer.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, Final, Self, Unpack

from aiohttp import web

from .access.addresses import is_loopback
from .access.auth import publishers_have_key
from .access.tls import TlsError
from .cluster.supervisor import Supervisor, SupervisorError
from .cluster.worker_process import WorkerContext, inherited
from .config.documentation import page
from .config.settings import Settings
from .handlers.options import ServerOptions, settings_of
from .hosting.hosted import PREFIX, HostedApplication, HostingError
from .lifecycle import Lifecycle, StartError
from .log.task_claims import DEFAULT_QUEUE
from .payloads import JsonDefault
from .signals import StopSignals
from .terminal.banner import banner, explain_bind_error, lan_address
from .terminal.logs import set_up_logging
from .terminal.text import has_colours
from .threads import DaemonExecutor
from .transports.listener import BACKLOG, Listener
from .unix import raise_file_limit
from .work.task import Work

__all__ = ["IGNORES_RUN", "Server", "StartError", "authenticates_clients", "check_exposure"]

logger = logging.getLogger("rtpush.server")


# Whether `run` does nothing, since the command line imports the server and runs it itself.
IGNORES_RUN: Final = ContextVar("IGNORES_RUN", default=False)

# As many threads as Python's own default executor has at most.
_DEFAULT_THREADS: Final = 32


class Server(Lifecycle):
    """An rtpush server and the application in it. Use it on one event loop, once.

    Four ways to run it: `server.run()`, `async with server:` in a loop that
    runs already, `server.attach(app)` beside the routes of an aiohttp
    application, and `rtpush.ASGIApp(server, app)` under any ASGI server.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        work: Work | None = None,
        concurrency: int = 2,
        queues: Sequence[str] = (DEFAULT_QUEUE,),
        json_default: JsonDefault | None = None,
        **options: Unpack[ServerOptions],
    ) -> None:
        """Take the settings; nothing runs yet.

        Args:
            settings: The settings; None for the defaults.
            work: A function, or a coroutine function, that this server does tasks with. See
                docs/how-to/use-your-model.md.
            concurrency: How many tasks it does at the same time; the others wait.
            queues: The queues whose tasks it does.
            json_default: Turns a value that JSON does not know, of an event or an answer,
                into one that it knows; raises TypeError for others.
            **options: Settings by name, which win over `settings`:
                `Server(port=8080, log="memory:")`. The options of
                python-socketio's `AsyncServer` are understood, too.

        Raises:
            ConfigError: An option is unknown, or a value is not allowed. It
                names every one of them.
        """
        settings = settings_of(settings or Settings(), options)
        super().__init__(settings, work, concurrency, queues, json_default)
        # What `host_app` was given.
        self._app: Callable[..., Any] | None = None

    @property
    def port(self) -> int:
        """The port in use."""
        return self._door.port if self._door else self.settings.port

    @property
    def url(self) -> str:
        """Where the page is, e.g. `http://127.0.0.1:5000/`."""
        host = self.settings.host
        scheme = "http" if self.settings.tls_cert is None else "https"
        path = "/" if self._app is None else f"{PREFIX}/"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}{path}"

    # ---------------------------------------------------------------- start

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Run until SIGTERM or SIGINT, with a banner on stdout. Blocks.

        In a thread other than the main one, signals are not handled: `stop` ends it.
        It does nothing while the command line imports the server, which runs it then.

        Args:
            on_ready: Called once the server answers.

        Raises:
            StartError: The server cannot start.
            SystemExit: A second signal came while the server stopped.
        """
        if IGNORES_RUN.get():
            logger.warning(
                "server.run() is ignored while its module is imported: the command line runs the "
                'server; write `if __name__ == "__main__":` above it'
            )
            return
        set_up_logging(self.settings.log_level)
        if context := inherited():
            self._run_worker(context)
            return

        def ready(port: int) -> None:
            self._show_banner(port)
            on_ready()

        if self.settings.workers == 1:
            self._run(lambda: ready(self.port))
            return
        if threading.current_thread() is not threading.main_thread():
            raise StartError("several workers need the main thread: leave `workers` out")
        supervisor = Supervisor(self.settings, BACKLOG, ready)
        try:
            supervisor.run()
        except SupervisorError as exc:
            raise StartError(str(exc)) from exc
        except OSError as exc:
            raise StartError(explain_bind_error(exc, self.settings)) from exc

    def _run(self, on_ready: Callable[[], None]) -> None:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            # A thread of the application that never ends must not keep a stopped server.
            threads = DaemonExecutor(_DEFAULT_THREADS, "rtpush-default", patient=False)
            runner.get_loop().set_default_executor(threads)
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
        prefix = "" if self._app is None else PREFIX
        shown = banner(self.settings, port, prefix, lan=lan, key=key, colour=has_colours())
        print(shown, flush=True)

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

    def host_app(self, app: Callable[..., Any]) -> None:
        """Have an application on this server's port: every path that is not below `/rtpush`.

        Everything of this server is below `/rtpush` then. The application starts after it and
        stops before it.

        Args:
            app: An ASGI application, or one of WSGI, which is called in threads.

        Raises:
            StartError: The server runs already.
        """
        self._check_not_running()
        self._app = app

    async def start(self) -> None:
        """Open the log, then the port. `stop` ends it.

        Raises:
            StartError: The server cannot start. Nothing is left open.
        """
        self._check_not_running()
        sockets = self._worker_context.sockets if self._worker_context else None
        self._door = Listener(self._build_all(), self.settings, sockets)
        check_exposure(self)
        await self._begin()
        try:
            if self._hosted is not None:
                await self._hosted.start()
            await self._door.start()
        except (HostingError, TlsError) as exc:
            await self.stop()
            raise StartError(str(exc)) from exc
        except OSError as exc:
            await self.stop()
            raise StartError(explain_bind_error(exc, self.settings)) from exc

    def _build_all(self) -> web.Application:
        own = self._build()
        if self._app is None:
            return own
        try:
            self._hosted = HostedApplication(self._app, self.settings)
        except HostingError as exc:
            raise StartError(str(exc)) from exc
        return self._hosted.beside(own)

    async def serve(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Start, run until SIGTERM or SIGINT, stop. A second signal stops at once.

        Args:
            on_ready: Called once the server answers.

        Raises:
            StartError: The server cannot start.
            SystemExit: A second signal came while the server stopped.
        """
        raise_file_limit()
        await self.start()
        assert isinstance(self._door, Listener)
        signals = StopSignals(self._transport_context.abort, self._door.reload_certificate)
        self._signals = signals
        context = self._worker_context
        signals.watch(None if context is None else context.supervisor_pipe)
        # What is here now stays; the collector need not look at it again.
        gc.freeze()
        on_ready()
        try:
            await signals.wait()
        finally:
            await self.stop()


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
        f"are: set auth_secret or auth_keys ({page('how-to/authenticate.md')}), or say --insecure"
    )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # Windows, and machines for which it is not built
        return None
    return uvloop.new_event_loop
