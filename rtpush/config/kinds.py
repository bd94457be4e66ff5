"""How a setting's value is written: durations, sizes, switches, names.

Rules that hold here:

- A kind of value is a `Kind`: how to parse it, how to show it, and the words
  that say what is allowed. `show` gives text that `parse` reads back.
- Durations are seconds (float) and sizes are bytes (int) once parsed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final, Generic, TypeVar
from urllib.parse import parse_qsl, urlsplit

__all__ = [
    "DIRECTORY",
    "FILE",
    "HASHES",
    "HOST",
    "LOG",
    "NAMES",
    "NETWORKS",
    "PATTERNS",
    "SECRET",
    "SWITCH",
    "TEXT",
    "Hint",
    "Kind",
    "choice",
    "count",
    "did_you_mean",
    "duration",
    "parse_duration",
    "parse_size",
    "show_clock",
    "show_duration",
    "show_size",
    "size",
]

T = TypeVar("T")


class Hint(ValueError):
    """A bad value of which we can guess what was meant."""


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """How a value is written: `parse` raises ValueError, `show` is its inverse.

    `allowed` completes the sentence "'x' is not …".
    """

    metavar: str
    allowed: str
    parse: Callable[[str], T]
    show: Callable[[T], str] = str


DURATIONS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
SIZES: Final = {"b": 1} | {
    letter + ending: base**power
    for power, letter in enumerate("kmgt", 1)
    for ending, base in (("b", 1000), ("ib", 1024))
}
SIZE_NAMES: Final = {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20, "KiB": 2**10}
FOREVER: Final = 3650 * 86400.0
HUGE: Final = 2**50


def parse_duration(text: str) -> float:
    """Seconds of "1.5h", "30s" or "30"; ValueError for anything else."""
    return _scaled(text, DURATIONS)


def show_duration(seconds: float) -> str:
    """Text that `parse_duration` reads back as the same number."""
    if seconds and seconds < 1:
        return f"{seconds * 1000:g}ms"
    for unit in ("d", "h", "m"):
        # From two on: a day reads better as 24h, and a minute as 60s.
        if seconds >= 2 * DURATIONS[unit] and seconds % DURATIONS[unit] == 0:
            return f"{int(seconds // DURATIONS[unit])}{unit}"
    return f"{int(seconds) if seconds == int(seconds) else seconds}s"


def show_clock(seconds: float) -> str:
    """Time that has passed, as it is read: 1:05, 1:00:00."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def parse_size(text: str) -> int:
    """Bytes of "64KiB", "256MB" or "4096"; ValueError for anything else."""
    return int(_scaled(text, SIZES))


def show_size(size: int) -> str:
    """Text that `parse_size` reads back as the same number."""
    for name, unit in SIZE_NAMES.items():
        if size and size % unit == 0:
            return f"{size // unit}{name}"
    return str(size)


def _scaled(text: str, units: Mapping[str, float]) -> float:
    match = re.fullmatch(r"([0-9]{1,18})(\.[0-9]{1,9})?\s*([a-z]*)", text.strip().lower())
    if match is None:
        raise ValueError(text)
    whole, fraction, unit = match.groups()
    scale = units.get(unit) if unit else 1
    if scale is None:
        raise ValueError(text)
    # Whole numbers stay integers: a float cannot hold every number of bytes.
    return float(whole + fraction) * scale if fraction else int(whole) * scale


def _ranged(parse: Callable[[str], T], low: Any, high: Any) -> Callable[[str], T]:
    def checked(text: str) -> T:
        value = parse(text)
        if not low <= value <= high:
            raise ValueError(text)
        return value

    return checked


def count(low: int, high: int = 10**12) -> Kind[int]:
    limits = f"from {low} to {high}" if high < 10**12 else f"of at least {low}"
    return Kind("N", f"a whole number {limits}", _ranged(int, low, high))


def duration(low: float, high: float = FOREVER) -> Kind[float]:
    limits = f"from {show_duration(low)} to {show_duration(high)}"
    parse = _ranged(lambda text: float(parse_duration(text)), low, high)
    return Kind("TIME", f"a duration {limits}, like 30s, 10m, 24h or 7d", parse, show_duration)


def size(low: int, high: int = HUGE) -> Kind[int]:
    limits = f"from {show_size(low)} to {show_size(high)}"
    parse = _ranged(parse_size, low, high)
    return Kind("SIZE", f"a size {limits}, like 4096, 64KiB or 256MB", parse, show_size)


def choice(*words: str) -> Kind[str]:
    def parse(text: str) -> str:
        if text not in words:
            raise Hint(did_you_mean(text, words))
        return text

    return Kind("|".join(words), f"{', '.join(words[:-1])} or {words[-1]}", parse)


def _parse_switch(text: str) -> bool:
    words = {"true": True, "1": True, "yes": True, "on": True}
    words |= {"false": False, "0": False, "no": False, "off": False}
    try:
        return words[text.strip().lower()]
    except KeyError:
        raise ValueError(text) from None


def _parse_host(text: str) -> str:
    if "://" in text or re.fullmatch(r"\[.*\]", text):
        raise Hint("write the bare name or address, without scheme or brackets")
    if not re.fullmatch(r"[^\s/]{1,253}", text):
        raise ValueError(text)
    text.encode("idna")  # what the resolver does; raises a ValueError of its own
    return text


def _parse_log(text: str) -> str:
    if text.startswith(("redis", "valkey")):
        return _parse_redis(text)
    if text in ("memory", ":memory:", "sqlite::memory:", "memory://"):
        raise Hint("did you mean memory:?")
    if text.startswith("sqlite://"):
        raise Hint("PATH is a plain path, as in sqlite:/var/lib/rtpush/rtpush.db")
    if re.fullmatch(r"[^:]+\.(db|sqlite3?)", text):
        raise Hint(f"did you mean sqlite:{text}?")
    if text != "memory:" and not re.fullmatch(r"sqlite:[^\0]*[^\0\s][^\0]*", text):
        raise ValueError(text)
    return text


def _parse_redis(text: str) -> str:
    if text.startswith("valkey"):
        raise Hint("Valkey speaks as Redis does: write redis://HOST")
    parts = urlsplit(text)
    known = re.fullmatch(r"rediss?(\+sentinel)?", parts.scheme)
    if not known or not parts.hostname:
        raise Hint("a log in Redis is redis://HOST:PORT/DB, rediss://… or redis+sentinel://…")
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name == "prefix" and not re.fullmatch(r"[\w.:-]{1,64}", value):
            raise Hint("prefix has 1 to 64 letters, digits, dots, colons, hyphens or underscores")
    service, _, db = parts.path.strip("/").partition("/") if known[1] else ("-", "", parts.path[1:])
    if not service:
        raise Hint("name the service: redis+sentinel://HOST:26379,HOST:26379/SERVICE")
    if not re.fullmatch(r"\d*", db):
        raise Hint("what comes last in the address is the number of a database: redis://HOST/0")
    return text


def _parse_patterns(text: str) -> tuple[str, ...]:
    patterns = tuple(part.strip() for part in text.split(",") if part.strip())
    if any(len(pattern) > 128 for pattern in patterns):
        raise ValueError(text)
    return patterns


def _parse_directory(text: str) -> Path:
    if not text:
        raise ValueError(text)
    return Path(text)


def _parse_text(text: str) -> str:
    if not text.isprintable():
        raise ValueError(text)
    return text


def _parse_networks(text: str) -> tuple[str, ...]:
    networks = tuple(part.strip() for part in text.split(",") if part.strip())
    for network in networks:
        ip_network(network, strict=False)  # raises a ValueError of its own
    return networks


def _parse_hashes(text: str) -> tuple[str, ...]:
    hashes = tuple(part.strip().lower() for part in text.split(",") if part.strip())
    if any(part.startswith("rtpk_") for part in hashes):
        raise Hint("this is a key itself; write its hash, which `rtpush token --api-key` prints")
    if not all(re.fullmatch(r"[0-9a-f]{64}", part) for part in hashes):
        raise ValueError(text)
    return hashes


def _parse_file(text: str) -> Path:
    if not text:
        raise ValueError(text)
    return Path(_parse_text(text))


SWITCH: Final = Kind("", "true or false", _parse_switch, lambda on: "true" if on else "false")
HOST: Final = Kind("HOST", "a host name or an IP address", _parse_host)
LOG: Final = Kind("LOG", "memory:, sqlite:PATH or redis://HOST", _parse_log)
PATTERNS: Final = Kind(
    "NAMES", "event names of up to 128 characters, separated by commas", _parse_patterns, ",".join
)
NAMES: Final = Kind(
    "NAMES", "names of up to 128 characters, separated by commas", _parse_patterns, ",".join
)
NETWORKS: Final = Kind(
    "NETS",
    "addresses or networks like 10.0.0.0/8, separated by commas",
    _parse_networks,
    ",".join,
)
HASHES: Final = Kind(
    "HASHES",
    "SHA-256 hashes of 64 hexadecimal digits, separated by commas",
    _parse_hashes,
    ",".join,
)
TEXT: Final = Kind("TEXT", "printable text", _parse_text)
# Shown nowhere: not in --help, not in an error line.
SECRET: Final = Kind("TEXT", "printable text", _parse_text, lambda text: "set" if text else "")
FILE: Final[Kind[Path | None]] = Kind(
    "FILE", "a file", _parse_file, lambda path: "" if path is None else str(path)
)
DIRECTORY: Final[Kind[Path | None]] = Kind(
    "DIR", "a directory", _parse_directory, lambda path: "" if path is None else str(path)
)


def did_you_mean(word: str, words: Iterable[str]) -> str:
    # The prefix of all variables would make any two of them look alike.
    by_tail = {other.removeprefix("RTPUSH_"): other for other in words}
    close = difflib.get_close_matches(word.removeprefix("RTPUSH_"), list(by_tail), n=1)
    return f"did you mean {by_tail[close[0]]}?" if close else ""
