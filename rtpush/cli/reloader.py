"""Start again when a Python file changes.

Rules that hold here:

- What is compared with is taken before the application is loaded: no change
  falls between the two.
- The server stops as it does on SIGTERM, so that nothing is lost; then the
  process becomes a new one. Its id, its terminal and whoever watches it stay.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

__all__ = ["Reloader"]

# Seconds between two looks.
_INTERVAL: Final = 0.25
# What is below these is not what somebody is working on.
_NOT_OURS: Final = ("__pycache__", "node_modules", "site-packages")

_State = Mapping[str, tuple[int, int]]


class Reloader:
    """Watches the Python files below a directory. For Unix: elsewhere nothing becomes another."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before = _state_of(folder)
        # The file that has changed, from the directory on; empty as long as none has.
        self.changed = ""

    def start(self) -> None:
        """Watch in the background, and have this process stop by SIGTERM at the first change."""
        threading.Thread(target=self._watch, name="rtpush-reload", daemon=True).start()

    def _watch(self) -> None:
        self.wait()
        os.kill(os.getpid(), signal.SIGTERM)

    def wait(self) -> None:
        """Until a file has changed, come or gone."""
        while not (found := _difference(self._before, _state_of(self._folder))):
            time.sleep(_INTERVAL)
        self.changed = os.path.relpath(found, self._folder)

    def start_again(self) -> NoReturn:
        """Become what this process was when it began."""
        sys.stdout.flush()
        sys.stderr.flush()
        os.chdir(self._folder)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _difference(before: _State, now: _State) -> str:
    changed = before.items() ^ now.items()
    return min(changed)[0] if changed else ""


def _state_of(folder: Path) -> _State:
    """Time of change (ns) and size of each file."""
    return dict(_files(os.fspath(folder)))


def _files(folder: str) -> Iterator[tuple[str, tuple[int, int]]]:
    # Files and folders come and go while we look, and a link may lead nowhere.
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if _is_watched(entry):
                    yield from _files(entry.path)
            elif entry.name.endswith(".py"):
                with suppress(OSError):
                    stat = entry.stat()
                    yield entry.path, (stat.st_mtime_ns, stat.st_size)


def _is_watched(folder: os.DirEntry[str]) -> bool:
    if folder.name.startswith(".") or folder.name in _NOT_OURS:
        return False
    # A virtual environment by any name.
    return not os.path.exists(os.path.join(folder.path, "pyvenv.cfg"))
