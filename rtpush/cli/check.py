"""`rtpush check`: check whether the server would start here, and whether it is safe to expose."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..config.help import make_parser as make_settings_parser
from ..config.room_rules import NO_RULE, describe, first_rule
from ..config.settings import ConfigError, Settings
from .common import FAILED, fail
from .serve import add_target, read_target

__all__ = ["main", "make_parser"]

DESCRIPTION: Final = """\
Check whether the server would start with these settings: whether they are
valid, the log can be opened or reached, the port is free, certificate and keys
can be used, and a server of your own loads. With --production also whether the
server is safe on a public network. With --room NAME, print which rule of
`rooms` holds in that room, and what it says.

Exit code 0 without a problem, else 1; each problem is a line on stderr.
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line: as of `serve`, with `--production`."""
    parser = make_settings_parser(
        "rtpush check [module:server] [--room NAME] [options of serve]", DESCRIPTION
    )
    own = add_target(parser)
    own.add_argument(
        "--production", action="store_true", help="also check that it is safe on a public network"
    )
    own.add_argument(
        "--room",
        action="append",
        default=[],
        metavar="NAME",
        help="print which rule holds in this room; repeatable",
    )
    return parser


def main(argv: Sequence[str]) -> int:
    """Print the problems; returns the exit code."""
    try:
        given, found = read_target(make_parser(), argv)
    except ConfigError as exc:
        return fail(exc.problems, FAILED)
    problems = _problems(found, given)
    if not problems:
        print("rtpush: no problems found" + (" for production" if found.production else ""))
        return 0
    return fail(problems, FAILED)


def _problems(found: argparse.Namespace, given: Mapping[str, Any]) -> list[str]:
    # Imported here, because --help and usage errors need no server.
    from ..server import Server
    from .importer import ServerImportError, import_server
    from .preflight import exposure_problems, start_problems

    try:
        server = import_server(found.target, given) if found.target else Server(Settings(**given))
    except ServerImportError as exc:
        return [str(exc)]
    _explain_rooms(server.settings, found.room)
    problems = asyncio.run(start_problems(server))
    return [*problems, *exposure_problems(server)] if found.production else problems


def _explain_rooms(settings: Settings, rooms: Sequence[str]) -> None:
    for room in rooms:
        rule = first_rule(settings.rooms, room)
        if rule is NO_RULE:
            print(f"{room}: no rule")
        else:
            print(f'{room}: the rule "{rule.pattern}"')
            print("\n".join(describe(rule)))
