"""Hooks: the setting that names an HTTP backend, and what the backend is asked.

Rules that hold here:

- A key is one field of `HookSettings`: its name, default, kind and help stand there, and the
  table of the documentation is made from them. `HookOptions` has the types for programs.
- The address is https, or http on this machine: cookies of clients travel to it.
- The secret is shown nowhere. `secret_file` is read when the settings are, so that a file
  that is missing stops the start like any other bad setting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypedDict, TypeVar, cast
from urllib.parse import urlsplit

from .kinds import (
    NAMES,
    SECRET,
    TEXT,
    Faults,
    Hint,
    Kind,
    count,
    did_you_mean,
    duration,
    several,
)

__all__ = ["HOOKS", "HookOptions", "HookSettings", "hooks_table"]

T = TypeVar("T")

# RFC 2104, section 3: a key shorter than the hash weakens the signature.
SHORTEST_SECRET: Final = 32

# Headers that say how a request travels, and who signed it.
_OWN_HEADERS: Final = (
    *("host", "connection", "upgrade", "content-length", "content-type", "content-encoding"),
    *("transfer-encoding", "expect", "te", "trailer", "rtpush-signature"),
)
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class HookOptions(TypedDict, total=False):
    """Hooks as programs give them. Durations are seconds or text like "5s"."""

    url: str
    ask: str | Sequence[str]
    secret: str
    secret_file: str
    headers: str | Sequence[str]
    timeout: float | str
    max_requests: int


def _parse_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise Hint("use https: cookies of clients travel to it; http is for this machine alone")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
        raise ValueError(text)
    if parts.username is not None:
        raise Hint("leave user and password out: the requests are signed")
    return text


def _check_header(name: str) -> str:
    if name.lower() in _OWN_HEADERS:
        raise Hint("the request to the backend has its own")
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", name):
        raise ValueError(name)
    return name


HEADERS: Final = several("NAMES", "names of headers like Cookie", _check_header)
URL: Final = Kind("URL", "an address like https://app.example.com/rtpush", _parse_url)


def _key(default: T, kind: Kind[Any], help: str, *, shown: bool = True) -> T:
    return field(default=default, repr=shown, metadata={"kind": kind, "help": help})


@dataclass(frozen=True, slots=True)
class HookSettings:
    """The backend that is asked, and how; checked."""

    url: str = _key("", URL, "where requests are posted to: https, or http on this machine")
    ask: tuple[str, ...] = _key(
        ("connect",),
        NAMES,
        "which hooks there are: connect, join, leave, disconnect, and names of clients' events; "
        "* for events without a handler",
    )
    secret: str = _key(
        "", SECRET, f"signs each request; {SHORTEST_SECRET} characters or more", shown=False
    )
    secret_file: str = _key("", TEXT, "path of a file that holds the secret, in its place")
    headers: tuple[str, ...] = _key(
        ("Cookie",), HEADERS, "headers of the client that are passed on when it connects"
    )
    timeout: float = _key(
        5.0, duration(0.1, 60), "how long an answer may take, the wait for a turn included"
    )
    max_requests: int = _key(
        100, count(1, 10_000), "requests under way at once; more wait for their turn"
    )


_KEYS: Final = {f.name: f for f in fields(HookSettings) if f.metadata}


def _accept(value: object) -> HookSettings | None:
    """Hooks of a table. Raises Faults with all that is wrong in it."""
    if value is None or isinstance(value, HookSettings):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(value)
    faults: list[str] = []
    values = {
        name: taken for name in value if (taken := _take(name, value[name], faults)) is not None
    }
    if "url" not in value:
        faults.append(".url: missing; it says where the requests are posted to")
    if not faults:
        values["secret"] = _secret(values, faults)
    if faults:
        raise Faults(faults)
    return HookSettings(**values)


def _take(name: object, value: object, faults: list[str]) -> Any:
    if name not in _KEYS:
        guess = did_you_mean(str(name), _KEYS) or "hooks have " + ", ".join(_KEYS)
        faults.append(f": unknown key {name}; {guess}")
        return None
    kind: Kind[Any] = _KEYS[str(name)].metadata["kind"]
    try:
        return kind.take(value)
    except ValueError as exc:
        faults.append(f".{name}: {kind.refusal(value, exc)}")
        return None


def _secret(values: Mapping[str, Any], faults: list[str]) -> str:
    secret: str = values.get("secret", "")
    path: str = values.get("secret_file", "")
    if secret and path:
        faults.append(": secret and secret_file are both given; leave one of them out")
    elif path:
        try:
            secret = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as exc:
            reason = getattr(exc, "strerror", None) or "it is no text"
            faults.append(f".secret_file: {path} cannot be read: {reason}")
            return secret
    if len(secret) < SHORTEST_SECRET:
        faults.append(
            f".secret: it has fewer than {SHORTEST_SECRET} characters; make one with "
            "`openssl rand -hex 32`, and give it to the backend, too"
        )
    return secret


def _parse(text: str) -> HookSettings | None:
    return _accept(json.loads(text)) if text.strip() else None


HOOKS: Final = cast(
    "Kind[HookSettings | None]",
    Kind(
        "JSON",
        "hooks: a table in rtpush.toml, else the same as JSON",
        _parse,
        _accept,
        lambda hooks: "" if hooks is None else hooks.url,
        quote=lambda value: f"the value ({type(value).__name__}, not shown)",
    ),
)


def hooks_table() -> str:
    """The keys of `hooks` as Markdown."""
    rows = ["| key | default | allowed | meaning |", "|---|---|---|---|"]
    for name, key in _KEYS.items():
        kind: Kind[Any] = key.metadata["kind"]
        default = kind.show(key.default) or "none"
        rows.append(f"| `{name}` | `{default}` | {kind.allowed} | {key.metadata['help']} |")
    return "\n".join(rows)
