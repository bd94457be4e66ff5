"""Whether the files of a log still are where they were opened."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["FilePlace", "MisplacedError"]


class MisplacedError(Exception):
    """A file was removed or replaced. The message says which, and what to do."""


class FilePlace:
    """The files that were opened at some paths.

    SQLite goes on with files that have no name any more: what is written to them is gone
    with the process. Nothing but a look at the paths tells that.
    """

    def __init__(self) -> None:
        self._files: dict[Path, tuple[int, int]] = {}

    def remember(self, *paths: Path) -> None:
        """These were opened just now. Raises OSError."""
        # Absolute: the application may change the working directory.
        for path in paths:
            self._files[path.absolute()] = _identity(path)

    def check(self) -> None:
        """Raises MisplacedError when one of them is not where it was."""
        for path, identity in self._files.items():
            try:
                found = _identity(path)
            except OSError as exc:
                raise MisplacedError(
                    f"{path} is gone ({exc.strerror}): put it back, or start the server again"
                ) from exc
            if found != identity:
                raise MisplacedError(f"{path} was replaced by another file: start the server again")


def _identity(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
