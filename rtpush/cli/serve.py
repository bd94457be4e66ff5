"""`rtpush serve`: run the server until a signal stops it.

Flags, environment and rtpush.toml win over what a server of the user's own
(`module:server`) sets itself. stdout has the banner, once the server answers;
messages go to stderr.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from ..config.help import make_parser as make_settings_parser
from ..config.settings import ConfigError, Settings
from ..config.sources import read
from .common import FAILED, USAGE, fail, print_message

__all__ = ["add_target", "main", "make_parser", "read_target", "run_with_reload"]

EXAMPLES: Final = """\
Run the server: WebSocket, Server-Sent Events and long-poll, one port.

  rtpush --demo                        try it: a server with work to watch
  rtpush --host 0.0.0.0 --insecure     admit every client on the network
  rtpush --log memory:                 keep nothing when the server stops
  rtpush app:server --reload           `server` in app.py; restart on changes
  rtpush --app project.wsgi:application
                                       Django, Flask or FastAPI on the same port
  rtpush check --production            is this server safe to expose?

Flags, environment and rtpush.toml win over the settings that a server of your
own gives itself.
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line: all settings, the target and `--reload`."""
    parser = make_settings_parser("rtpush serve [module:server] [options]", EXAMPLES)
    own = add_target(parser)
    own.add_argument(
        "--app",
        metavar="module:application",
        help="an ASGI or WSGI application, which has every path that is not below /rtpush",
    )
    own.add_argument(
        "--reload", action="store_true", help="restart when a Python file in this directory changes"
    )
    return parser


def add_target(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the argument `module:server`; returns its group, for more options."""
    group = parser.add_argument_group("Your own server")
    group.add_argument(
        "target",
        nargs="?",
        metavar="module:server",
        help="a rtpush.Server in a module that can be imported from here",
    )
    return group


def read_target(
    parser: argparse.ArgumentParser, argv: Sequence[str]
) -> tuple[dict[str, Any], argparse.Namespace]:
    """As `config.sources.read`, and check the form of `target`. Raises ConfigError."""
    given, found = read(parser, argv, os.environ, Path.cwd())
    _check_name(found.target, "server")
    return given, found


def _check_name(given: str | None, kind: str) -> None:
    """Raises ConfigError for what is not `module:server` or the like."""
    name, _, attribute = (given or f"app:{kind}").partition(":")
    if not name or not attribute or name.endswith(".py"):
        hint = f"{Path(name).stem or 'app'}:{attribute or kind}"
        raise ConfigError([f"{given!r} is not module:{kind}; write for example {hint}"])


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    try:
        given, found = read_target(make_parser(), argv)
        _check_name(found.app, "application")
    except ConfigError as exc:
        return fail(exc.problems, USAGE)
    run = partial(_serve, found.target, found.app, given)
    if not found.reload:
        return run(lambda: None)
    problem = _not_reloadable(found, given)
    return fail([problem], USAGE) if problem else run_with_reload(run)


def _not_reloadable(found: argparse.Namespace, given: Mapping[str, Any]) -> str | None:
    if found.target is None and found.app is None:
        return "--reload needs a server of yours: rtpush app:server --reload"
    if given.get("workers", 1) > 1:
        return "--reload is for one worker: leave --workers out"
    return None if hasattr(os, "fork") else "--reload needs a Unix system"


def _serve(
    target: str | None, app: str | None, given: Mapping[str, Any], on_ready: Callable[[], None]
) -> int:
    # Imported here, because --help and usage errors need no server.
    from ..server import Server, StartError
    from .importer import ServerImportError, import_app, import_server

    try:
        server = Server(Settings(**given)) if target is None else import_server(target, given)
        if app is not None:
            server.host_app(import_app(app))
        server.run(on_ready)
    except ServerImportError as exc:
        exc.print_traceback()
        return fail([str(exc)], FAILED)
    except StartError as exc:
        return fail([str(exc)], FAILED)
    return 0


def run_with_reload(run: Callable[[Callable[[], None]], int]) -> int:
    """Run, and again when a source file changes. What runs is given what to call when it does."""
    from .reloader import Reloader

    # The bytecode of a module names its source by the second and the size: of two
    # versions saved within a second, Python could load the first.
    sys.dont_write_bytecode = True
    try:
        reloader = Reloader(Path.cwd())
    except OSError as exc:
        hint = "raise the system's limit of watched files, or set WATCHFILES_FORCE_POLLING=1"
        return fail([f"--reload cannot watch this directory: {exc}; {hint}"], FAILED)
    code = run(reloader.start)
    if code:
        print_message("waiting for a file to change")
        reloader.wait()
    reloader.stop()
    if reloader.changed:
        print_message(f"{reloader.changed} has changed; starting again")
        reloader.restart()
    return code
