"""Settings from the command line, the environment and the TOML file.

Rules that hold here:

- Precedence: flag, then environment, then TOML file, then default.
- A bad value is refused in any source, also one that a stronger source
  overrides. All problems of all sources are reported at once.
- Kubernetes gives every container variables about each Service of its namespace. Those of a
  Service whose name begins with `rtpush` look like ours; they are told by name and value.
"""

from __future__ import annotations

import argparse
import logging
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from .help import DEFAULT_FILE, make_parser
from .kinds import shorten
from .settings import BY_NAME, SETTINGS, ConfigError, Given, Settings, check, unknown

__all__ = ["load", "read"]

# Variables that share our prefix and are no settings.
NOT_SETTINGS: Final = ("RTPUSH_CONFIG", "RTPUSH_KEY", "RTPUSH_TEST_ALL", "RTPUSH_URL")


# Kubernetes documents them as "environment variables" of Services, made as Docker's links.
_SERVICE_LINKS: Final = (
    (r"_SERVICE_HOST", r"[0-9a-fA-F.:]+"),
    (r"_SERVICE_PORT(_[A-Z0-9_]+)?", r"\d+"),
    (r"_PORT(_\d+_(TCP|UDP|SCTP))?", r"(tcp|udp|sctp)://\S+"),
    (r"_PORT_\d+_(TCP|UDP|SCTP)_PROTO", r"tcp|udp|sctp"),
    (r"_PORT_\d+_(TCP|UDP|SCTP)_PORT", r"\d+"),
    (r"_PORT_\d+_(TCP|UDP|SCTP)_ADDR", r"[0-9a-fA-F.:]+"),
)

logger = logging.getLogger("rtpush.config")


def load(argv: Sequence[str] | None, environ: Mapping[str, str], cwd: Path) -> Settings:
    """Settings from `argv` (None: the process's), `environ` and the TOML file.

    Raises ConfigError with every problem of every source, and SystemExit(0)
    after `--help` and `--version`.
    """
    return Settings(**read(make_parser(), argv, environ, cwd)[0])


def read(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    environ: Mapping[str, str],
    cwd: Path,
) -> tuple[dict[str, Any], argparse.Namespace]:
    """The settings that are given, by name, and all that `parser` has found in `argv`.

    `parser` is one of `make_parser`, perhaps with options on top. Raises as `load`.
    """
    problems: list[str] = []
    found = _read_flags(parser, argv, problems)
    flags = [
        Given(setting, setting.flag, value)
        for setting in SETTINGS
        if (value := getattr(found, setting.name)) is not None
    ]
    env = _read_environ(environ, problems)
    toml = _read_file(found.config or environ.get("RTPUSH_CONFIG"), cwd, problems)
    # Later sources win.
    values = check(toml, problems) | check(env, problems) | check(flags, problems)
    if problems:
        raise ConfigError(problems)
    return values, found


def _read_flags(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None, problems: list[str]
) -> argparse.Namespace:
    known, rest = parser.parse_known_args(argv)
    options = [arg.partition("=")[0] for arg in rest if arg.startswith("-")]
    flags = [flag for action in parser._actions for flag in action.option_strings]
    problems += [unknown("option", option, flags) for option in options]
    if not options:
        # Beside an unknown option this would only be its value.
        problems += [f"unexpected argument {shorten(arg)}; see --help" for arg in rest]
    return known


def _read_environ(environ: Mapping[str, str], problems: list[str]) -> list[Given]:
    by_env = {setting.env: setting for setting in SETTINGS}
    ours = sorted(name for name in environ if name.startswith("RTPUSH_"))
    links = [name for name in ours if _is_service_link(name, environ[name])]
    if links:
        logger.warning("ignored, as variables of a Kubernetes Service: %s", ", ".join(links))
    names = [name for name in ours if name not in NOT_SETTINGS and name not in links]
    problems += [
        unknown("environment variable", name, [*by_env, "RTPUSH_CONFIG"])
        for name in names
        if name not in by_env
    ]
    return [Given(by_env[name], name, environ[name]) for name in names if name in by_env]


def _is_service_link(name: str, value: str) -> bool:
    return any(
        re.fullmatch(rf"RTPUSH(_[A-Z0-9_]+)?{suffix}", name) and re.fullmatch(shape, value)
        for suffix, shape in _SERVICE_LINKS
    )


def _read_file(named: str | None, cwd: Path, problems: list[str]) -> list[Given]:
    path = cwd / (named or DEFAULT_FILE)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named:
            problems.append(f"the configuration file {path} does not exist")
        return []
    except OSError as exc:
        problems.append(f"the configuration file {path} cannot be read: {exc.strerror}")
        return []
    except ValueError as exc:  # not TOML, or not UTF-8
        problems.append(f"{path} is not valid TOML: {exc}")
        return []
    return _read_table(table, path.name, problems)


def _read_table(table: Mapping[str, Any], file: str, problems: list[str]) -> list[Given]:
    problems += [f"{file}: {unknown('key', key, BY_NAME)}" for key in table if key not in BY_NAME]
    return [
        Given(BY_NAME[key], f"{file}: {key}", value)
        for key, value in table.items()
        if key in BY_NAME
    ]
