"""Restart the server when a Python source file changes."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Final, NoReturn

from watchfiles import Change, watch

__all__ = ["Reloader"]

# Milliseconds that watchfiles waits before it asks whether to stop. One step of its own loop.
_POLL: Final = 50
# Directories of code that the user has installed and does not edit.
_INSTALLED: Final = frozenset({"__pycache__", "node_modules", "site-packages"})


class Reloader:
    """Watches the source files below a directory, and replaces this process when one changes.

    Watching begins in the constructor, before the application is imported: a
    change that is saved during the import is not missed. The server stops as
    on SIGTERM and drains its connections; then `exec` starts the new one in
    the same process, so that its id, its terminal and its supervisor stay.
    `exec` needs a Unix system.

    Raises OSError when the system cannot watch the directory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        # The first file that changed, relative to the directory; empty until then.
        self.changed = ""
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._changes = watch(
            self._folder,
            watch_filter=self._is_source,
            stop_event=self._stopping,
            rust_timeout=_POLL,
            yield_on_timeout=True,
        )
        # `watch` begins to watch at the first step.
        self._note(next(self._changes))

    def _note(self, changes: set[tuple[Change, str]]) -> None:
        if changes and not self.changed:
            self.changed = min(os.path.relpath(path, self._folder) for _, path in changes)

    def start(self) -> None:
        """Watch in a thread, and send SIGTERM to this process at the first change."""
        self._thread = threading.Thread(target=self._watch, name="rtpush-reload", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        self.wait()
        if self.changed:
            os.kill(os.getpid(), signal.SIGTERM)

    def wait(self) -> None:
        """Wait until a file changes, or for `stop`."""
        while not self.changed and not self._stopping.is_set():
            self._note(next(self._changes, set()))

    def stop(self) -> None:
        """End the thread: a thread in Rust code may abort an interpreter that exits."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def restart(self) -> NoReturn:
        """Replace this process by one with the same command line."""
        sys.stdout.flush()
        sys.stderr.flush()
        os.chdir(self._folder)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

    def _is_source(self, _change: Change, path: str) -> bool:
        file = Path(path).relative_to(self._folder)
        return file.suffix == ".py" and not any(map(self._is_excluded, [file, *file.parents[:-1]]))

    def _is_excluded(self, path: Path) -> bool:
        # A virtual environment has this file, whatever its name.
        is_environment = (self._folder / path / "pyvenv.cfg").exists()
        return path.name.startswith(".") or path.name in _INSTALLED or is_environment
