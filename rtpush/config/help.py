"""Help and tables of the settings, and the parser of their flags."""

from __future__ import annotations

import argparse
from typing import Any, Final, NoReturn

from ..version import __version__
from .documentation import documentation_dir
from .kinds import SWITCH
from .settings import SETTINGS, ConfigError, Setting

__all__ = ["DEFAULT_FILE", "make_parser", "markdown_table"]

DEFAULT_FILE: Final = "rtpush.toml"

POINTER: Final = """\
Each setting is also an environment variable (its name is in the brackets) and
a line of rtpush.toml (max_rooms = 50). A flag wins over the environment, and
the environment over the file.
Durations are written 30s, 10m, 24h or 7d, and sizes 4096, 64KiB or 256MB.

Documentation: {directory}
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError([f"{message}; see --help"])


def make_parser(
    usage: str = "rtpush serve [options]", description: str | None = None
) -> argparse.ArgumentParser:
    """A parser that knows every setting as a flag, `--config`, `--help` and `--version`."""
    parser = _Parser(
        prog="rtpush",
        usage=usage,
        description=description,
        epilog=POINTER.format(directory=documentation_dir() / "docs"),
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
            prog, max_help_position=28
        ),
        allow_abbrev=False,
        add_help=False,
    )
    for group in _groups():
        section = parser.add_argument_group(group)
        for setting in _in_group(group):
            _add_flag(section, setting)
    _add_others(section)
    return parser


def _add_flag(section: argparse._ArgumentGroup, setting: Setting) -> None:
    text = f"{setting.help} [{setting.shown_default}; {setting.env}]".replace("%", "%%")
    common: dict[str, Any] = {"dest": setting.name, "help": text, "default": None}
    if setting.kind is SWITCH:
        section.add_argument(setting.flag, action=argparse.BooleanOptionalAction, **common)
    else:
        action = "append" if setting.kind.many else "store"
        section.add_argument(setting.flag, action=action, metavar=setting.kind.metavar, **common)


def _add_others(section: argparse._ArgumentGroup) -> None:
    section.add_argument(
        "--config",
        metavar="FILE",
        help=f"TOML file of settings [./{DEFAULT_FILE} if it exists; RTPUSH_CONFIG]",
    )
    section.add_argument(
        "--version",
        action="version",
        version=f"rtpush {__version__}",
        help="show the version and exit",
    )
    section.add_argument("-h", "--help", action="help", help="show this and exit")


def markdown_table() -> str:
    """The settings as Markdown: a heading and a table for each group."""
    parts = []
    for group in _groups():
        parts += [
            f"### {group}",
            "",
            "| setting | default | allowed | meaning |",
            "|---|---|---|---|",
        ]
        parts += [_markdown_row(setting) for setting in _in_group(group)]
        parts.append("")
    return "\n".join(parts)


def _markdown_row(setting: Setting) -> str:
    names = f"`{setting.flag}`<br>`{setting.env}`<br>`{setting.name}`"
    return f"| {names} | `{setting.shown_default}` | {setting.kind.allowed} | {setting.help} |"


def _groups() -> list[str]:
    return list(dict.fromkeys(setting.group for setting in SETTINGS))


def _in_group(group: str) -> list[Setting]:
    return [setting for setting in SETTINGS if setting.group == group]
