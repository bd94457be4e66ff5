"""Text in a terminal.

Rules that hold here:

- What strangers wrote is shown as it is, but for what a terminal would obey:
  that is written out.
- Widths are in cells: a letter of Chinese takes two, an accent none.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from typing import Final

__all__ = [
    "BOLD",
    "CYAN",
    "DIM",
    "GREEN",
    "RED",
    "fit",
    "has_colours",
    "paint",
    "plain",
    "width_of",
]

BOLD: Final = "1"
DIM: Final = "2"
RED: Final = "31"
GREEN: Final = "32"
CYAN: Final = "36"


def has_colours() -> bool:
    """Is stdout a terminal whose owner wants them? See https://no-color.org."""
    dumb = os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not dumb and not os.environ.get("NO_COLOR")


def paint(text: str, colour: str, on: bool = True) -> str:
    """In a colour, if these are wanted."""
    return f"\033[{colour}m{text}\033[0m" if on and text else text


def plain(text: str) -> str:
    """On one line, without anything that a terminal obeys or hides."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _written_out(c) for c in text)


def _written_out(character: str) -> str:
    if character.isspace():
        return " "
    return character.encode("unicode_escape").decode()


def width_of(text: str) -> int:
    """In cells."""
    if text.isascii():
        return len(text)
    return sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fit(text: str, width: int) -> str:
    """Exactly so many cells: filled up with spaces, or cut."""
    room = width - width_of(text)
    if room >= 0:
        return text + " " * room
    kept, cells = "", 0
    for character in text:
        if cells + _cells(character) > width - 1:
            break
        kept, cells = kept + character, cells + _cells(character)
    return kept + "…" + " " * (width - 1 - cells) if width > 0 else ""
