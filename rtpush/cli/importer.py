"""Import what a user has written by its name: `module:server`, `module:function` and the like."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from itertools import takewhile
from types import ModuleType, TracebackType
from typing import Any, Final

from ..config.kinds import did_you_mean
from ..server import IGNORES_RUN, Server
from ..work.task import Work

__all__ = ["ServerImportError", "import_app", "import_server", "import_work"]

_PACKAGE: Final = os.path.dirname(os.path.dirname(__file__)) + os.sep


class ServerImportError(Exception):
    """It cannot be imported. The message is one sentence that says what to do."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        # The traceback, from the user's first frame on; empty when the module was not found.
        self._details = details

    def print_traceback(self) -> None:
        """Print the traceback, if there is one, to stderr."""
        print(self._details, end="", file=sys.stderr)


def import_server(target: str, settings: Mapping[str, Any]) -> Server:
    """Import a server, and give it the settings of the command line, environment and TOML file.

    The working directory can be imported from, as with `python -m`. Raises ServerImportError.
    """
    name, _, attribute = target.partition(":")
    server: Server = _resolve(
        _import(name), name, attribute, lambda one: isinstance(one, Server), "no rtpush.Server"
    )
    server.settings = replace(server.settings, **settings)
    return server


def import_work(target: str) -> Work:
    """Import the function of a worker. Raises ServerImportError."""
    name, _, attribute = target.partition(":")
    work: Work = _resolve(_import(name), name, attribute, _is_work, "no function")
    return work


def import_app(target: str) -> Callable[..., Any]:
    """Import an ASGI or WSGI application. Raises ServerImportError."""
    name, _, attribute = target.partition(":")
    app: Callable[..., Any] = _resolve(
        _import(name), name, attribute, callable, "no ASGI or WSGI application"
    )
    return app


def _is_work(found: Any) -> bool:
    return callable(found) and not isinstance(found, type)


def _import(name: str) -> ModuleType:
    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.insert(0, directory)
    # A module that ends with server.run() would serve on a port of its own, here and now.
    ignores_run = IGNORES_RUN.set(True)
    try:
        return import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and f"{name}.".startswith(f"{exc.name}."):
            where = f"in {directory}, or installed"
            raise ServerImportError(f"there is no module {exc.name} {where}") from None
        raise _failed(name, exc) from exc
    except (Exception, SystemExit) as exc:
        # A module that calls sys.exit() must not end --reload, which waits for a change.
        raise _failed(name, exc) from exc
    finally:
        IGNORES_RUN.reset(ignores_run)


def _failed(name: str, exc: BaseException) -> ServerImportError:
    frames = _user_frames(exc.__traceback__)
    details = "".join(traceback.format_exception(type(exc), exc, frames))
    reason = f"{_summary(exc)}{_location(exc, frames)}"
    return ServerImportError(f"{name} cannot be loaded: {reason}", details)


def _user_frames(frames: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames of this module and of importlib."""
    while frames is not None and _is_internal(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return frames


def _is_internal(file: str) -> bool:
    return file == __file__ or "importlib" in file


def _summary(exc: BaseException) -> str:
    text = exc.msg if isinstance(exc, SyntaxError) else str(exc)
    return f"{type(exc).__name__}: {text}"


def _location(exc: BaseException, frames: TracebackType | None) -> str:
    if isinstance(exc, SyntaxError):
        return f" ({exc.filename}, line {exc.lineno})"
    # The line of the module, not the one at which this package refuses it.
    steps = traceback.extract_tb(frames)
    found = list(takewhile(lambda step: not step.filename.startswith(_PACKAGE), steps))
    return f" ({found[-1].filename}, line {found[-1].lineno})" if found else ""


def _resolve(
    module: ModuleType, name: str, attribute: str, fits: Callable[[Any], bool], wrong: str
) -> Any:
    found: Any = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if fits(found):
        return found
    others = [key for key, value in vars(module).items() if fits(value)]
    if found is not None:
        problem = f"{name}:{attribute} is {wrong} but of type {type(found).__name__}"
    else:
        problem = f"{name} has no {attribute}"
    guess = did_you_mean(attribute, others) or (f"it has {others[0]}" if others else "")
    raise ServerImportError(f"{problem}; {guess}".rstrip("; "))
