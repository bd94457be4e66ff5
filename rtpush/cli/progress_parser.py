"""Parse progress bars and percentages in the output of other programs."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

__all__ = ["OutputParser", "Progress", "parse_percent"]

# Characters kept of a line: several times the width of a terminal.
_MAX_LINE: Final = 2_000
# Characters of a message: about one line on a screen.
_MAX_MESSAGE: Final = 200
# Characters of an escape sequence; a longer one is taken for text. Titles are the longest.
_MAX_ESCAPE: Final = 1_000
# Bytes parsed of each read. Of more, only the last lines can still be on the screen.
_MAX_READ: Final = 4_096

_TOKEN: Final = re.compile(
    r"""
      \x1b\[ [0-?]* [ -/]* (?P<moves>[ABCDEFGHf]) # CSI: moves the cursor
    | \x1b\[ [0-?]* [ -/]* [@-~]                  # CSI: colours, erasing
    | \x1b\] [^\x07\x1b]* (?: \x07 | \x1b\\ )     # OSC: a title
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
class Progress:
    """The progress that a command has printed so far, on all its outputs."""

    # From 0 to 100; None until the command prints one.
    percent: float | None = None
    # The last line with words.
    _line: str = ""

    @property
    def message(self) -> str:
        """The last line with words, without control characters, cut to a screen's line."""
        shown = (c if c.isprintable() else " " for c in self._line)
        words = " ".join("".join(shown).split())
        return words if len(words) <= _MAX_MESSAGE else words[: _MAX_MESSAGE - 1] + "…"

    def read_line(self, line: str) -> None:
        """Update from a line, which may not be complete yet."""
        if not line or line.isspace():
            return
        self._line = line
        found = parse_percent(line)
        if found is not None:
            self.percent = found


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("replace")


@dataclass(slots=True)
class OutputParser:
    """Parses one output of a command, stdout or stderr, into a `Progress`.

    Pure: bytes come in as a pipe or a terminal hands them out, cut anywhere. A
    line ends where the program goes on to write elsewhere: at a newline, at a
    carriage return, or where it moves the cursor. The unfinished line counts,
    too: a bar prints no newline before the work is done. What is kept is
    bounded, whatever the program prints.
    """

    progress: Progress
    _decoder: codecs.IncrementalDecoder = field(default_factory=_decoder)
    # The unfinished line.
    _line: str = ""
    # An unfinished escape sequence.
    _rest: str = ""
    # Seconds of media that ffmpeg has announced; 0 without.
    _duration: float = 0.0

    def feed(self, data: bytes) -> None:
        """Parse what the command has printed."""
        if len(data) > _MAX_READ:
            self._find_duration(data)
            data = _last_lines(data)
            self._decoder, self._line, self._rest = _decoder(), "", ""
        text = self._rest + self._decoder.decode(data)
        cut = _CUT_OFF.search(text)
        self._rest = cut[0] if cut and len(cut[0]) <= _MAX_ESCAPE else ""
        self._write(text.removesuffix(self._rest))
        self._read_line()

    def _write(self, text: str) -> None:
        for token in _TOKEN.finditer(text):
            if token["text"]:
                self._line = (self._line + token["text"])[-_MAX_LINE:]
            elif token["back"]:
                self._line = self._line[:-1]
            elif token["ends"]:
                self._read_line()
                self._line = ""
            elif token["moves"]:
                # Up: the line is an inner bar of tqdm, below the one that counts.
                if token["moves"] not in "AF":
                    self._read_line()
                self._line = ""

    def _read_line(self) -> None:
        self.progress.read_line(self._line)
        if "time=" in self._line and self._duration:
            time = _TIME.search(self._line)
            if time is not None:
                self.progress.percent = min(100.0, 100 * _seconds(time) / self._duration)
        elif "Duration: " in self._line:
            self._find_duration(self._line.encode())

    def _find_duration(self, data: bytes) -> None:
        if b"Duration: " in data:
            for match in _DURATION.finditer(data.decode(errors="replace")):
                self._duration = max(self._duration, _seconds(match))


def _last_lines(data: bytes) -> bytes:
    data = data[-_MAX_READ:]
    # The first line is cut: 3% could be the end of 93%.
    found = re.search(rb"[\r\n]", data)
    return data[found.end() :] if found else data


# ---- formats -----------------------------------------------------------------


def parse_percent(line: str) -> float | None:
    """The progress in a line, from 0 to 100; None when there is none."""
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
# ffmpeg prints the length of its input first, then the position.
_DURATION: Final = re.compile(rf"\bDuration: {_CLOCK}")
_TIME: Final = re.compile(rf"\b(?:out_)?time={_CLOCK}")

_Pattern = tuple[str, re.Pattern[str], Callable[[re.Match[str]], float | None]]

# In order of precedence: a bar's own figure before one in a message. Each with a substring that
# the line must have, which is cheaper to search than the pattern.
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
    # curl's table, whose percentages have no sign
    (":", re.compile(rf"^\s*(\d{{1,3}}){_COLUMN * 7}(?:\s+[-\d:]*:[-\d:]*){{3}}"), _percent),
]
