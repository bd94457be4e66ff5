"""Colours for a terminal, and text that is safe to print there."""

from __future__ import annotations

import os
import sys
from typing import Final

__all__ = ["BOLD", "CYAN", "DIM", "escape", "has_colours", "paint"]

# Parameters of the control sequence SGR (ECMA-48, 8.3.117).
BOLD: Final = "1"
DIM: Final = "2"
CYAN: Final = "36"


def has_colours() -> bool:
    """Whether stdout is a terminal whose user wants colours. See https://no-color.org."""
    dumb = os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not dumb and not os.environ.get("NO_COLOR")


def paint(text: str, style: str, on: bool = True) -> str:
    """The text in a style, or as it is when colours are off."""
    return f"\033[{style}m{text}\033[0m" if on and text else text


def escape(text: str) -> str:
    """The text on one line, with control, format and unassigned characters written out.

    A client chooses the texts of its events. Printed as they are, they could
    move the cursor, set the terminal's title, or show words in another order.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape_character(c) for c in text)


def _escape_character(character: str) -> str:
    if character.isspace():
        return " "
    return character.encode("unicode_escape").decode()
