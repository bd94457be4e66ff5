"""`rtpush check`: would the server start here, and is it fit for others?

Rules that hold here:

- A module of the user's is loaded; nothing else is changed (see `preflight`).
- Each finding is one line that says what to do. Exit code 1 when there is one.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..config.help import make_parser as make_settings_parser
from ..config.settings import ConfigError, Settings
from .common import FAILED, complain
from .serve import add_target, read_target

__all__ = ["main", "make_parser"]

DESCRIPTION: Final = """\
Would the server start with these settings? Are they sound, can the log be
opened or reached, is the port free, can certificate and keys be used, does a
server of your own load? With --production also what strangers who reach it
should not find.

Exit code 0 when everything is fit, else 1; each finding is a line on stderr.
"""


def make_parser() -> argparse.ArgumentParser:
    """As of `serve`, with `--production`."""
    parser = make_settings_parser(
        "rtpush check [module:server] [--production] [options of serve]", DESCRIPTION
    )
    own = add_target(parser)
    own.add_argument(
        "--production", action="store_true", help="also what strangers should not find"
    )
    return parser


def main(argv: Sequence[str]) -> int:
    """Print what is wrong, or that nothing is."""
    try:
        given, found = read_target(make_parser(), argv)
    except ConfigError as exc:
        return complain(exc.problems, FAILED)
    problems = _problems(found, given)
    if not problems:
        print("rtpush: everything is fit" + (" for production" if found.production else ""))
        return 0
    return complain(problems, FAILED)


def _problems(found: argparse.Namespace, given: Mapping[str, Any]) -> list[str]:
    # Here and not above, so that --help and a typo are answered at once.
    from ..server import Server
    from .importer import LoadError, load_server
    from .preflight import not_fit_for_strangers, why_not

    try:
        server = load_server(found.target, given) if found.target else Server(Settings(**given))
    except LoadError as exc:
        return [str(exc)]
    problems = asyncio.run(why_not(server))
    return [*problems, *not_fit_for_strangers(server)] if found.production else problems
