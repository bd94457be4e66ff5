"""Every setting of the server, once.

Rules that hold here:

- A setting is one field of `Settings`: its name, default, kind and help stand
  there and nowhere else. Flags (`--max-rooms`), environment variables
  (`RTPUSH_MAX_ROOMS`), TOML keys (`max_rooms`), `--help` and the table of the
  documentation are derived from it.
- Precedence: flag, then environment, then TOML file, then default.
- Nothing is ignored: an unknown name or a bad value is refused by name in any
  source, also one that a stronger source overrides. All problems are reported
  at once.
- Every source speaks text. A TOML value is turned into the text that the
  environment would hold, so a value means the same wherever it stands.
- Building `Settings` directly checks nothing: that is for programs and tests.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from .. import __version__
from .kinds import (
    DIRECTORY,
    FILE,
    HASHES,
    HOST,
    LOG,
    NAMES,
    NETWORKS,
    PATTERNS,
    SECRET,
    SWITCH,
    TEXT,
    Hint,
    Kind,
    choice,
    count,
    did_you_mean,
    duration,
    size,
)

__all__ = [
    "SETTINGS",
    "ConfigError",
    "Setting",
    "Settings",
    "client_dir",
    "load",
    "make_parser",
    "markdown_table",
    "read",
]

T = TypeVar("T")

# Variables that share our prefix and are no settings.
NOT_SETTINGS: Final = ("RTPUSH_CONFIG", "RTPUSH_KEY", "RTPUSH_TEST_ALL", "RTPUSH_URL")

DEFAULT_FILE: Final = "rtpush.toml"


POINTER: Final = """\
Each setting is also an environment variable (its name is in the brackets) and
a line of rtpush.toml (max_rooms = 50). A flag wins over the environment, and
the environment over the file.
Durations are written 30s, 10m, 24h or 7d, and sizes 4096, 64KiB or 256MB.

Documentation: docs/configuration.md.
"""


class ConfigError(Exception):
    """The settings are wrong; `problems` has one sentence for each reason."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


# ---- the settings ------------------------------------------------------------


def _setting(default: T, kind: Kind[T], group: str, help: str) -> T:
    # A secret must not stand in a traceback.
    metadata = {"kind": kind, "group": group, "help": help}
    return field(default=default, repr=kind is not SECRET, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a server is told. Durations are seconds, sizes are bytes."""

    host: str = _setting(
        "127.0.0.1",
        HOST,
        "Listening",
        "address to listen on; 0.0.0.0 (IPv4) or :: (IPv6) for every network",
    )
    port: int = _setting(
        5000, count(0, 65535), "Listening", "port to listen on; 0 takes any free one"
    )
    client: Path | None = _setting(
        None,
        DIRECTORY,
        "Listening",
        "directory to serve at / in place of the page that comes along",
    )

    workers: int = _setting(
        1,
        count(1, 256),
        "Listening",
        "processes that share the port; more than one need a log in Redis",
    )
    tls_cert: Path | None = _setting(
        None, FILE, "Listening", "certificate chain (PEM) for https and wss; read again on SIGHUP"
    )
    tls_key: Path | None = _setting(
        None, FILE, "Listening", "the certificate's private key (PEM), unless it is in tls_cert"
    )

    auth_secret: str = _setting(
        "",
        SECRET,
        "Authentication",
        "secret of tokens that are signed with HS256; better in the environment than in a flag",
    )
    auth_keys: str = _setting(
        "", TEXT, "Authentication", "keys of tokens: a JWKS file, or the https address of one"
    )
    auth_audience: str = _setting("", TEXT, "Authentication", "`aud` that tokens must have")
    auth_leeway: float = _setting(
        10.0, duration(0, 3600), "Authentication", "how far the clocks of others may be off"
    )
    token_in_query: bool = _setting(
        False,
        SWITCH,
        "Authentication",
        "take tokens from ?token=, too; addresses end up in logs of proxies",
    )
    api_keys: tuple[str, ...] = _setting(
        (), HASHES, "Authentication", "hashes of keys that may use the HTTP API"
    )
    insecure: bool = _setting(
        False,
        SWITCH,
        "Authentication",
        "let everybody in who can reach the server, and do everything",
    )
    allow_origins: tuple[str, ...] = _setting(
        (),
        NAMES,
        "Authentication",
        "origins whose pages may connect, like https://app.example.com; * for all",
    )
    allow_hosts: tuple[str, ...] = _setting(
        (), NAMES, "Authentication", "host names that this server is reached by"
    )
    trusted_proxies: tuple[str, ...] = _setting(
        (), NETWORKS, "Authentication", "proxies whose X-Forwarded headers are believed"
    )

    log: str = _setting(
        "sqlite:rtpush.db",
        LOG,
        "Log",
        "where events are kept: memory: (until the server stops), sqlite:PATH, or redis://HOST, "
        "which many nodes can share",
    )
    retention_count: int = _setting(
        1_000_000, count(1), "Log", "number of events to keep; the oldest go first"
    )
    retention_bytes: int = _setting(
        256 * 2**20, size(2**10), "Log", "bytes of events to keep; the oldest go first"
    )
    retention_age: float = _setting(7 * 86400.0, duration(1), "Log", "how long to keep an event")

    task_ttl: float = _setting(
        24 * 3600.0, duration(1), "Tasks", "a task without news for this long fails as expired"
    )
    finished_for: float = _setting(
        600.0, duration(0), "Tasks", "how long latecomers are told of a task that has ended"
    )

    heartbeat: float = _setting(25.0, duration(1, 3600), "Connections", "time between heartbeats")
    write_timeout: float = _setting(
        60.0,
        duration(1, 3600),
        "Connections",
        "close a connection that took nothing for this long",
    )
    poll_timeout: float = _setting(
        25.0, duration(1, 60), "Connections", "how long a long-poll waits unless it asks otherwise"
    )
    session_lease: float = _setting(
        60.0, duration(1, 86400), "Connections", "forget a long-poll session idle for this long"
    )
    high_water: int = _setting(
        64 * 2**10,
        size(2**10, 2**30),
        "Connections",
        "unsent bytes from which a connection counts as slow and is fed no more",
    )
    grace: float = _setting(
        10.0, duration(0, 3600), "Connections", "time to deliver what was accepted when stopping"
    )
    compress: bool = _setting(
        True, SWITCH, "Connections", "compress WebSocket messages (permessage-deflate)"
    )

    relay: tuple[str, ...] = _setting(
        ("*",),
        PATTERNS,
        "Limits",
        "events that clients may send to each other: names or patterns like chat_*; "
        "repeatable; empty for none",
    )
    max_message: int = _setting(2**20, size(2**10, 2**30), "Limits", "largest envelope")
    max_batch: int = _setting(1000, count(1, 1_000_000), "Limits", "most envelopes in one POST")
    max_body: int = _setting(16 * 2**20, size(2**10, 2**30), "Limits", "largest body of a POST")
    max_rooms: int = _setting(
        100, count(1, 1_000_000), "Limits", "most rooms that one session is in"
    )
    max_connections: int = _setting(
        100_000, count(1, 10_000_000), "Limits", "most connections at once"
    )

    max_per_address: int = _setting(
        1000,
        count(1, 10_000_000),
        "Limits",
        "most connections of one address; this machine's own are not counted",
    )
    max_per_subject: int = _setting(
        100, count(1, 10_000_000), "Limits", "most connections of one token's subject"
    )
    max_tasks: int = _setting(
        10_000, count(1, 1_000_000), "Limits", "most tasks that are active at once"
    )
    max_task: int = _setting(2**20, size(2**10, 2**26), "Limits", "largest task, all its fields")
    max_board: int = _setting(
        64 * 2**20, size(2**10, 2**32), "Limits", "most bytes of all active tasks together"
    )
    rate_messages: int = _setting(
        500,
        count(1, 1_000_000),
        "Limits",
        "messages a second from one connection; ten seconds' worth may come at once",
    )
    rate_bytes: int = _setting(
        4 * 2**20, size(2**10, 2**40), "Limits", "bytes a second from one connection; likewise"
    )
    request_timeout: float = _setting(
        20.0,
        duration(1, 3600),
        "Limits",
        "how long a connection may take to send a request, and stay open without one",
    )

    demo: bool = _setting(
        False, SWITCH, "Demo", "start a worker that draws the pictures asked for on the page"
    )
    log_level: str = _setting(
        "info",
        choice("debug", "info", "warning", "error"),
        "Other",
        "least severe messages to print",
    )


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of `Settings`, and its name in each source."""

    name: str
    default: Any
    kind: Kind[Any]
    group: str
    help: str

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def env(self) -> str:
        return "RTPUSH_" + self.name.upper()

    @property
    def shown_default(self) -> str:
        return self.kind.show(self.default) or "none"


SETTINGS: Final = tuple(Setting(f.name, f.default, **f.metadata) for f in fields(Settings))


# ---- the sources -------------------------------------------------------------


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
        _Given(setting, setting.flag, _text(value))
        for setting in SETTINGS
        if (value := getattr(found, setting.name)) is not None
    ]
    env = _read_environ(environ, problems)
    toml = _read_file(found.config or environ.get("RTPUSH_CONFIG"), cwd, problems)
    # Later sources win.
    values = _parse(toml, problems) | _parse(env, problems) | _parse(flags, problems)
    client = values.get("client")
    if client is not None and not (cwd / client).is_dir():
        problems.append(f"client: there is no directory {cwd / client}")
    if problems:
        raise ConfigError(problems)
    return values, found


@dataclass(frozen=True, slots=True)
class _Given:
    """One value as it was written: `where` names it to the person who wrote it."""

    setting: Setting
    where: str
    text: str


def _parse(given: Iterable[_Given], problems: list[str]) -> dict[str, Any]:
    values = {}
    for item in given:
        kind = item.setting.kind
        try:
            values[item.setting.name] = kind.parse(item.text)
        except ValueError as exc:
            hint = f"; {exc}" if isinstance(exc, Hint) and str(exc) else ""
            problems.append(f"{item.where}: {_shorten(item.text)} is not {kind.allowed}{hint}")
    return values


def _read_flags(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None, problems: list[str]
) -> argparse.Namespace:
    known, unknown = parser.parse_known_args(argv)
    options = [arg.partition("=")[0] for arg in unknown if arg.startswith("-")]
    flags = [flag for action in parser._actions for flag in action.option_strings]
    problems += [_unknown("option", option, flags) for option in options]
    if not options:
        # Beside an unknown option this would only be its value.
        problems += [f"unexpected argument {_shorten(arg)}; see --help" for arg in unknown]
    return known


def _read_environ(environ: Mapping[str, str], problems: list[str]) -> list[_Given]:
    by_env = {setting.env: setting for setting in SETTINGS}
    ours = sorted(name for name in environ if name.startswith("RTPUSH_"))
    names = [name for name in ours if name not in NOT_SETTINGS]
    problems += [
        _unknown("environment variable", name, [*by_env, "RTPUSH_CONFIG"])
        for name in names
        if name not in by_env
    ]
    return [_Given(by_env[name], name, environ[name]) for name in names if name in by_env]


def _read_file(named: str | None, cwd: Path, problems: list[str]) -> list[_Given]:
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


def _read_table(table: Mapping[str, Any], file: str, problems: list[str]) -> list[_Given]:
    by_name = {setting.name: setting for setting in SETTINGS}
    given = []
    for key, value in table.items():
        if key not in by_name:
            problems.append(f"{file}: {_unknown('key', key, by_name)}")
        elif not _fits(value, by_name[key]):
            allowed = by_name[key].kind.allowed
            problems.append(f"{file}: {key}: {_shorten(str(value))} is not {allowed}")
        else:
            given.append(_Given(by_name[key], f"{file}: {key}", _text(value)))
    return given


def _fits(value: object, setting: Setting) -> bool:
    if isinstance(value, list):
        return setting.kind is PATTERNS and all(isinstance(item, str) for item in value)
    return isinstance(value, str | int | float)


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unknown(what: str, name: str, names: Iterable[str]) -> str:
    return f"unknown {what} {name}; {did_you_mean(name, names) or 'see --help for all of them'}"


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


# ---- help and documentation --------------------------------------------------


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
        epilog=POINTER,
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
        action = "append" if setting.kind is PATTERNS else "store"
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


# ---- files that come along ---------------------------------------------------


def client_dir() -> Path:
    """The directory of the browser client: in the wheel, else of the checkout."""
    here = Path(__file__).resolve().parent.parent
    packaged = here / "_client"
    return packaged if packaged.is_dir() else here.parent / "client"
