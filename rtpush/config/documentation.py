"""Where the documentation lies on this machine, for messages and the page."""

from __future__ import annotations

from pathlib import Path

__all__ = ["documentation_dir", "page"]


def documentation_dir() -> Path:
    """The directory with README.md and docs/: in the wheel, else the checkout."""
    package = Path(__file__).resolve().parent.parent
    packaged = package / "_documentation"
    return packaged if packaged.is_dir() else package.parent


def page(name: str) -> str:
    """Where a page of docs/ lies on this machine, for a message that names it."""
    return str(documentation_dir() / "docs" / name)
