"""A server of somebody's own, by its name: `module:server`.

Rules that hold here:

- The working directory can be imported from, as with `python -m`.
- What is wrong with the module is shown with its traceback, without our own
  frames, and told in one sentence.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from itertools import takewhile
from types import ModuleType, TracebackType
from typing import Any, Final

from ..config.kinds import did_you_mean
from ..server import Server

__all__ = ["LoadError", "load_server"]

_PACKAGE: Final = os.path.dirname(os.path.dirname(__file__)) + os.sep


class LoadError(Exception):
    """There is no such server. The message is one sentence that says what to do."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self._details = details

    def show(self) -> None:
        """Print the traceback, if there is one, to stderr."""
        print(self._details, end="", file=sys.stderr)


def load_server(target: str, given: Mapping[str, Any]) -> Server:
    """The server that `module:server` names, with the settings that are given.

    Raises LoadError.
    """
    name, _, attribute = target.partition(":")
    server = _look_up(_import(name), name, attribute)
    server.settings = replace(server.settings, **given)
    return server


def _import(name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and f"{name}.".startswith(f"{exc.name}."):
            raise LoadError(f"there is no module {exc.name} in {here}, or installed") from None
        raise _broken(name, exc) from exc
    except (Exception, SystemExit) as exc:
        # It may end the program that it is, but not this one, which may wait for a better one.
        raise _broken(name, exc) from exc


def _broken(name: str, exc: BaseException) -> LoadError:
    frames = _theirs(exc.__traceback__)
    details = "".join(traceback.format_exception(type(exc), exc, frames))
    return LoadError(f"{name} cannot be loaded: {_summary(exc)}{_place(exc, frames)}", details)


def _theirs(frames: TracebackType | None) -> TracebackType | None:
    """Without what leads from here into the module."""
    while frames is not None and _is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return frames


def _is_ours(file: str) -> bool:
    return file == __file__ or "importlib" in file


def _summary(exc: BaseException) -> str:
    text = exc.msg if isinstance(exc, SyntaxError) else str(exc)
    return f"{type(exc).__name__}: {text}"


def _place(exc: BaseException, frames: TracebackType | None) -> str:
    if isinstance(exc, SyntaxError):
        return f" ({exc.filename}, line {exc.lineno})"
    # The line of the module, not the one at which this package refuses it.
    steps = traceback.extract_tb(frames)
    found = list(takewhile(lambda step: not step.filename.startswith(_PACKAGE), steps))
    return f" ({found[-1].filename}, line {found[-1].lineno})" if found else ""


def _look_up(module: ModuleType, name: str, attribute: str) -> Server:
    found: Any = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if isinstance(found, Server):
        return found
    servers = [key for key, value in vars(module).items() if isinstance(value, Server)]
    if found is not None:
        problem = f"{name}:{attribute} is no rtpush.Server but of type {type(found).__name__}"
    else:
        problem = f"{name} has no {attribute}"
    guess = did_you_mean(attribute, servers) or (f"it has {servers[0]}" if servers else "")
    raise LoadError(f"{problem}; {guess}".rstrip("; "))
