"""How far a command is, read from what it prints.

Rules that hold here:

- Pure: bytes come in as a pipe or a terminal hands them out, cut anywhere, and
  what is known by then stands in a `Meter`.
- A line ends where a program goes on writing elsewhere: at a newline, at a
  carriage return, or where the cursor is moved. The line that is being written
  counts, too: a bar never ends before the work does.
- What is kept is bounded, whatever is printed.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Meter", "Stream", "progress_of"]

# Characters of a line that are looked at, and of a message.
_LINE: Final = 2_000
_MESSAGE: Final = 200
# Characters of an escape sequence. One that is longer is text.
_ESCAPE: Final = 1_000
# Bytes of what comes at once. Of more, the last lines are what counts.
_AT_ONCE: Final = 4_096

_TOKEN: Final = re.compile(
    r"""
      \x1b\[ [0-?]* [ -/]* (?P<moves>[ABCDEFGHf]) # the cursor goes elsewhere
    | \x1b\[ [0-?]* [ -/]* [@-~]                  # colours, erasing
    | \x1b\] [^\x07\x1b]* (?: \x07 | \x1b\\ )     # a title
    | \x1b [ -/]* [0-~]                           # character sets and the like
    | (?P<ends>[\r\n])
    | (?P<back>\x08)
    | (?P<text>[^\x1b\r\n\x08]+)
    | .
    """,
    re.VERBOSE | re.DOTALL,
)
_CUT_OFF: Final = re.compile(r"\x1b(?:[ -/]*|\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?)\Z")


@dataclass(slots=True)
class Meter:
    """How far a command is: 0 to 100, or None as long as it does not say; its last line."""

    progress: float | None = None
    _line: str = ""

    @property
    def message(self) -> str:
        """The last line that has words, as it can be shown."""
        shown = (c if c.isprintable() else " " for c in self._line)
        words = " ".join("".join(shown).split())
        return words if len(words) <= _MESSAGE else words[: _MESSAGE - 1] + "…"

    def look(self, line: str) -> None:
        """Take note of a line."""
        if not line or line.isspace():
            return
        self._line = line
        found = progress_of(line)
        if found is not None:
            self.progress = found


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("replace")


@dataclass(slots=True)
class Stream:
    """What one stream of the command prints."""

    meter: Meter
    _decoder: codecs.IncrementalDecoder = field(default_factory=_decoder)
    _line: str = ""
    # An escape sequence whose end has not come yet.
    _rest: str = ""
    # Seconds of the film that ffmpeg works on.
    _duration: float = 0.0

    def feed(self, data: bytes) -> None:
        """Take in what was printed."""
        if len(data) > _AT_ONCE:
            self._find_duration(data)
            data = _last_lines(data)
            self._decoder, self._line, self._rest = _decoder(), "", ""
        text = self._rest + self._decoder.decode(data)
        cut = _CUT_OFF.search(text)
        self._rest = cut[0] if cut and len(cut[0]) <= _ESCAPE else ""
        self._write(text.removesuffix(self._rest))
        self._look()

    def _write(self, text: str) -> None:
        for token in _TOKEN.finditer(text):
            if token["text"]:
                self._line = (self._line + token["text"])[-_LINE:]
            elif token["back"]:
                self._line = self._line[:-1]
            elif token["ends"]:
                self._look()
                self._line = ""
            elif token["moves"]:
                # Up: it was a line below the one that counts, an inner bar of tqdm.
                if token["moves"] not in "AF":
                    self._look()
                self._line = ""

    def _look(self) -> None:
        self.meter.look(self._line)
        if "time=" in self._line and self._duration:
            time = _TIME.search(self._line)
            if time is not None:
                self.meter.progress = min(100.0, 100 * _seconds(time) / self._duration)
        elif "Duration: " in self._line:
            self._find_duration(self._line.encode())

    def _find_duration(self, data: bytes) -> None:
        if b"Duration: " in data:
            for match in _DURATION.finditer(data.decode(errors="replace")):
                self._duration = max(self._duration, _seconds(match))


def _last_lines(data: bytes) -> bytes:
    data = data[-_AT_ONCE:]
    # What is left of a line that was cut could read as another number.
    found = re.search(rb"[\r\n]", data)
    return data[found.end() :] if found else data


# ---- what programs print -----------------------------------------------------


def progress_of(line: str) -> float | None:
    """The per cent, 0 to 100, that a line tells; None when it tells nothing."""
    for mark, pattern, read in _PATTERNS:
        match = pattern.search(line) if mark in line else None
        value = None if match is None else read(match)
        if value is not None and 0 <= value <= 100:
            return value
    return None


def _percent(match: re.Match[str]) -> float:
    return float(match[1].replace(",", "."))


def _share(match: re.Match[str]) -> float | None:
    done, total = float(match[1]), float(match[2])
    return 100 * done / total if total else None


def _share_of_bytes(match: re.Match[str]) -> float | None:
    done, unit, total, of = match.groups()
    whole = float(total) * _scale(of)
    return 100 * float(done) * _scale(unit or of) / whole if whole else None


def _scale(unit: str) -> float:
    base = 1024 if "i" in unit else 1000
    return float(base ** " kmgt".index(unit[0].lower() if unit[0] != "B" else " "))


def _seconds(match: re.Match[str]) -> float:
    hours, minutes, seconds = match.groups()
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


_UNIT: Final = r"(?:[kKMGT]i?)?B"
_COLUMN: Final = r"\s+\S+"
_CLOCK: Final = r"(\d{1,6}):(\d\d):(\d\d(?:\.\d+)?)"
# ffmpeg tells first how long the film is, then where it is.
_DURATION: Final = re.compile(rf"\bDuration: {_CLOCK}")
_TIME: Final = re.compile(rf"\b(?:out_)?time={_CLOCK}")

_Pattern = tuple[str, re.Pattern[str], Callable[[re.Match[str]], float | None]]

# The first that fits counts: a bar's own figure before one in a message. Each
# with what a line must have before it is worth a closer look.
_PATTERNS: Final[list[_Pattern]] = [
    # make, cmake, pytest: [ 12%]
    ("%]", re.compile(r"\[\s*(\d{1,3})%\]"), _percent),
    # tqdm: 12%|███
    ("%|", re.compile(r"(\d{1,3})%\|"), _percent),
    # rsync, git, wget, yt-dlp and most others
    ("%", re.compile(r"(?<![\w.,+-])(\d{1,3}(?:[.,]\d+)?) ?%(?!\w)"), _percent),
    # ninja, docker build: [3/20]
    ("/", re.compile(r"^\s*(?:#\d+\s*)?\[\s*(?:[\w-]+\s+)?(\d+)\s*/\s*(\d+)\s*\]"), _share),
    # pip, uv: 1.2/5.0 MB, 1.2 MiB/5.0 MiB
    (
        "/",
        re.compile(rf"(?<![\w./])(\d+(?:\.\d+)?) ?({_UNIT})?/(\d+(?:\.\d+)?) ?({_UNIT})\b"),
        _share_of_bytes,
    ),
    # pip --progress-bar raw
    ("Progress ", re.compile(r"^Progress (\d+) of (\d+)"), _share),
    # curl's table, which has its per cents without a sign
    (":", re.compile(rf"^\s*(\d{{1,3}}){_COLUMN * 7}(?:\s+[-\d:]*:[-\d:]*){{3}}"), _percent),
]
