"""Kinds of setting values: durations, sizes, switches, lists of names.

Rules that hold here:

- A kind says how a value is written as text, which Python values it takes
  beside text, how a value is shown, and the words for what is allowed. `show`
  gives text that `parse` reads back.
- Text is parsed in the same way whatever source it comes from. A Python value
  (of a TOML file or a program) is checked against the same limits.
- Durations are seconds (float) and sizes are bytes (int) once parsed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final, Generic, NoReturn, TypeVar
from urllib.parse import parse_qsl, urlsplit

__all__ = [
    "DIRECTORY",
    "FILE",
    "HASHES",
    "HOST",
    "LOG",
    "NAMES",
    "NETWORKS",
    "ORIGINS",
    "PATTERNS",
    "SECRET",
    "SWITCH",
    "TEXT",
    "Faults",
    "Hint",
    "Kind",
    "choice",
    "count",
    "did_you_mean",
    "duration",
    "parse_duration",
    "parse_size",
    "shorten",
    "show_clock",
    "show_duration",
    "show_size",
    "size",
]

T = TypeVar("T")


class Hint(ValueError):
    """A bad value of which we can guess what was meant."""


class Faults(ValueError):
    """Several faults of one value: each begins with the path into the value, like `."a": `."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = list(faults)


def shorten(value: object) -> str:
    """A value as an error message quotes it: text in quotation marks, 80 characters at most."""
    text = str(value)
    text = text if len(text) <= 80 else text[:77] + "..."
    return repr(text) if isinstance(value, str) else text


def _only_text(value: object) -> NoReturn:
    raise ValueError(value)


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """How a value is written, checked and shown."""

    # What --help calls a value; empty for a switch, which takes none.
    metavar: str
    # Completes the sentence "'x' is not ...".
    allowed: str
    # From text. Raises ValueError; a Hint when we can guess what was meant.
    parse: Callable[[str], T]
    # From any other Python value. Raises likewise.
    accept: Callable[[object], T] = _only_text
    # To text that `parse` reads back.
    show: Callable[[T], str] = str
    # To text for an error message, without what must stay secret.
    quote: Callable[[object], str] = shorten
    # Does the value hold several items? The flag can then be repeated.
    many: bool = False

    def take(self, value: object) -> T:
        """The checked value. Raises as `parse` does."""
        return self.parse(value) if isinstance(value, str) else self.accept(value)

    def refusal(self, value: object, reason: ValueError) -> str:
        """A sentence about a value that `take` has refused."""
        hint = f"; {reason}" if isinstance(reason, Hint) and str(reason) else ""
        return f"{self.quote(value)} is not {self.allowed}{hint}"


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


def _number(types: Any, low: float, high: float) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        # A bool is an int to Python, but no number to a person.
        if isinstance(value, bool) or not isinstance(value, types) or not low <= value <= high:
            raise ValueError(value)
        return value

    return check


def count(low: int, high: int = 10**12) -> Kind[int]:
    limits = f"from {low} to {high}" if high < 10**12 else f"of at least {low}"
    check = _number(int, low, high)
    return Kind("N", f"a whole number {limits}", lambda text: check(int(text)), check)


def duration(low: float, high: float = FOREVER) -> Kind[float]:
    limits = f"from {show_duration(low)} to {show_duration(high)}"
    check = _number((int, float), low, high)
    return Kind(
        "TIME",
        f"a duration {limits}, like 30s, 10m, 24h or 7d",
        lambda text: float(check(parse_duration(text))),
        lambda value: float(check(value)),
        show_duration,
    )


def size(low: int, high: int = HUGE) -> Kind[int]:
    limits = f"from {show_size(low)} to {show_size(high)}"
    check = _number(int, low, high)
    return Kind(
        "SIZE",
        f"a size {limits}, like 4096, 64KiB or 256MB",
        lambda text: check(parse_size(text)),
        check,
        show_size,
    )


def several(metavar: str, allowed: str, check: Callable[[str], str]) -> Kind[tuple[str, ...]]:
    """Items that `check` takes one by one: text with commas, or a collection of such text."""

    def parse(text: str) -> tuple[str, ...]:
        return tuple(check(part.strip()) for part in text.split(",") if part.strip())

    def accept(value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple | set | frozenset):
            raise ValueError(value)
        if not all(isinstance(item, str) for item in value):
            raise ValueError(value)
        return parse(",".join(value))

    return Kind(metavar, f"{allowed}, separated by commas", parse, accept, ",".join, many=True)


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


def _parse_text(text: str) -> str:
    if not text.isprintable():
        raise ValueError(text)
    return text


def _check_name(name: str) -> str:
    if len(name) > 128:
        raise ValueError(name)
    return name


def _check_network(network: str) -> str:
    ip_network(network, strict=False)  # raises a ValueError of its own
    return network


def _check_origin(text: str) -> str:
    """An origin as browsers write it: lower case, no slash behind, no default port."""
    origin = text.lower().removesuffix("/")
    if origin == "*":
        return origin
    match = re.fullmatch(r"([a-z][a-z0-9+.*-]*)://([^/@?#\s]+)", origin)
    if match is None:
        raise Hint("an origin has a scheme, a host and no path, like https://app.example.com")
    return origin.removesuffix({"http": ":80", "https": ":443"}.get(match[1], "/"))


def _check_hash(text: str) -> str:
    if text.startswith("rtpk_"):
        raise Hint("this is a key itself; write its hash, which `rtpush token --api-key` prints")
    if not re.fullmatch(r"[0-9a-f]{64}", text.lower()):
        raise ValueError(text)
    return text.lower()


def _accept_switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(value)
    return value


def _parse_path(text: str) -> Path:
    if not text:
        raise ValueError(text)
    return Path(_parse_text(text))


def _parse_directory(text: str) -> Path:
    path = _parse_path(text)
    if not path.is_dir():
        raise Hint(f"there is no {path.absolute()}")
    return path


def _path(metavar: str, allowed: str, parse: Callable[[str], Path]) -> Kind[Path | None]:
    def accept(value: object) -> Path | None:
        if value is not None and not isinstance(value, Path):
            raise ValueError(value)
        return None if value is None else parse(str(value))

    return Kind(metavar, allowed, parse, accept, lambda path: "" if path is None else str(path))


def _hide(value: object) -> str:
    return f"the value ({type(value).__name__}, not shown)"


def _hide_credentials(value: object) -> str:
    return shorten(re.sub(r"//.*@", "//***@", value) if isinstance(value, str) else value)


SWITCH: Final = Kind(
    "", "true or false", _parse_switch, _accept_switch, lambda on: "true" if on else "false"
)
HOST: Final = Kind("HOST", "a host name or an IP address", _parse_host)
LOG: Final = Kind(
    "LOG", "memory:, sqlite:PATH or redis://HOST", _parse_log, quote=_hide_credentials
)
PATTERNS: Final = several("NAMES", "event names of up to 128 characters", _check_name)
NAMES: Final = several("NAMES", "names of up to 128 characters", _check_name)
ORIGINS: Final = several("ORIGINS", "origins like https://app.example.com, or *", _check_origin)
NETWORKS: Final = several("NETS", "addresses or networks like 10.0.0.0/8", _check_network)
HASHES: Final = replace(
    several("HASHES", "SHA-256 hashes of 64 hexadecimal digits", _check_hash), quote=_hide
)
TEXT: Final = Kind("TEXT", "printable text", _parse_text)
# Shown nowhere: not in --help, not in an error message.
SECRET: Final = Kind(
    "TEXT", "printable text", _parse_text, show=lambda text: "set" if text else "", quote=_hide
)
FILE: Final = _path("FILE", "a file", _parse_path)
DIRECTORY: Final = _path("DIR", "a directory", _parse_directory)


def did_you_mean(word: str, words: Iterable[str]) -> str:
    # The prefix of all variables would make any two of them look alike.
    by_tail = {other.removeprefix("RTPUSH_"): other for other in words}
    close = difflib.get_close_matches(word.removeprefix("RTPUSH_"), list(by_tail), n=1)
    return f"did you mean {by_tail[close[0]]}?" if close else ""
