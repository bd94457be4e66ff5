"""Every setting of the server, once.

Rules that hold here:

- A setting is one field of `Settings`: its name, default, kind and help stand
  there and nowhere else. Flags (`--max-rooms`), environment variables
  (`RTPUSH_MAX_ROOMS`), TOML keys (`max_rooms`), `--help` and the table of the
  documentation are derived from it.
- Nothing is ignored: an unknown name or a bad value is refused by name, in a
  program as in every other source. All problems are reported at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeVar, Unpack

from .hook_settings import HOOKS, HookSettings
from .kinds import (
    DIRECTORY,
    FILE,
    HASHES,
    HOST,
    LOG,
    NAMES,
    NETWORKS,
    ORIGINS,
    PATTERNS,
    SECRET,
    SWITCH,
    TEXT,
    Faults,
    Kind,
    choice,
    count,
    did_you_mean,
    duration,
    size,
)
from .options import Options
from .room_rules import ROOMS, RoomRule

__all__ = ["BY_NAME", "SETTINGS", "ConfigError", "Given", "Setting", "Settings", "check", "unknown"]

T = TypeVar("T")


class ConfigError(ValueError):
    """The settings are wrong; `problems` has one sentence for each reason."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


def _setting(default: T, kind: Kind[T], group: str, help: str) -> T:
    return field(default=default, metadata={"kind": kind, "group": group, "help": help})


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Settings:
    """The settings of a server, checked. Durations are seconds (float), sizes are bytes (int)."""

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
    content_security_policy: str = _setting(
        # Tasks are other people's text: the page runs our own files alone, and shows pictures
        # that tasks bring along as data.
        "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
        "frame-ancestors 'none'; form-action 'self'",
        TEXT,
        "Listening",
        "what a browser may load and run for the pages served; empty for no such header",
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
        "let every client in that can reach the server, to do everything",
    )
    allow_origins: tuple[str, ...] = _setting(
        (),
        ORIGINS,
        "Authentication",
        "origins whose pages may connect, like https://app.example.com; * for all",
    )
    allow_hosts: tuple[str, ...] = _setting(
        (), NAMES, "Authentication", "host names that this server is reached by"
    )
    trusted_proxies: tuple[str, ...] = _setting(
        (), NETWORKS, "Authentication", "proxies whose X-Forwarded headers are believed"
    )
    hooks: HookSettings | None = _setting(
        None, HOOKS, "Authentication", "an HTTP backend that decides who gets in, and more"
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
    cancel_timeout: float = _setting(
        10.0, duration(0), "Tasks", "time for a worker to end a task that is cancelled"
    )
    claim_lease: float = _setting(
        30.0,
        duration(1),
        "Tasks",
        "a claimed task whose worker is silent for this long is requeued",
    )
    max_attempts: int = _setting(
        3, count(1), "Tasks", "number of lost workers after which a task fails as worker_lost"
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
        25.0,
        duration(0.1, 60),
        "Connections",
        "how long a long-poll waits unless it asks otherwise",
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
    open_rooms: tuple[str, ...] = _setting(
        (),
        NAMES,
        "Limits",
        "rooms that every client may enter and send to, on a server with tokens or handlers: "
        "names or patterns like public_*; repeatable",
    )
    rooms: tuple[RoomRule, ...] = _setting(
        (),
        ROOMS,
        "Limits",
        "rooms with rules of their own, by name or pattern; the first that fits a room holds",
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
    max_retained: int = _setting(
        100_000, count(1, 10_000_000), "Limits", "most retained events at once"
    )
    max_state: int = _setting(
        64 * 2**20, size(2**10, 2**36), "Limits", "most bytes of all retained events together"
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
        "how long a connection may take to send a request",
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

    def __init__(self, **given: Unpack[Options]) -> None:
        """Take settings by name; the others have their defaults.

        Args:
            **given: A value of the setting's own type, or text as in a flag:
                `retention_age="30d"`, `max_body="64KiB"`, `relay="chat_*"`.
                docs/configuration.md lists all settings.

        Raises:
            ConfigError: A setting is unknown, or a value is not allowed. It
                names every one of them.
        """
        problems = [unknown("setting", name, BY_NAME) for name in given if name not in BY_NAME]
        values = check(
            (Given(BY_NAME[name], name, value) for name, value in given.items() if name in BY_NAME),
            problems,
        )
        if problems:
            raise ConfigError(problems)
        for setting in SETTINGS:
            object.__setattr__(self, setting.name, values.get(setting.name, setting.default))

    def __repr__(self) -> str:
        """What differs from the defaults, without what is secret: it may stand in a traceback."""
        values = [(setting, getattr(self, setting.name)) for setting in SETTINGS]
        given = [
            f"{setting.name}={setting.kind.quote(value)}"
            for setting, value in values
            if value != setting.default
        ]
        return f"Settings({', '.join(given)})"


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
BY_NAME: Final = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True)
class Given:
    """One value as it was given; `where` names its source in errors."""

    setting: Setting
    where: str
    value: object


def check(given: Iterable[Given], problems: list[str]) -> dict[str, Any]:
    """The checked values by name; a sentence for each bad one is added to `problems`."""
    values = {}
    for item in given:
        kind = item.setting.kind
        try:
            values[item.setting.name] = kind.take(item.value)
        except Faults as exc:
            problems += [f"{item.where}{fault}" for fault in exc.faults]
        except ValueError as exc:
            problems.append(f"{item.where}: {kind.refusal(item.value, exc)}")
    return values


def unknown(what: str, name: str, names: Iterable[str]) -> str:
    """A sentence about a name that is none of `names`."""
    guess = did_you_mean(name, names)
    return f"unknown {what} {name}; {guess or 'see rtpush serve --help for all of them'}"
