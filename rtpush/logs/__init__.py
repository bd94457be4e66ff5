"""The logs that `rtpush.log.Log` can be, and the one place that chooses.

`memory:` forgets when the server stops; `sqlite:PATH` keeps a file.
"""

from __future__ import annotations

from ..config import Settings
from ..log import Log
from .memory import MemoryLog
from .sqlite import SqliteLog

__all__ = ["make_log"]


def make_log(settings: Settings) -> Log:
    """The log that the settings name, not yet opened."""
    scheme, _, path = settings.log.partition(":")
    return MemoryLog(settings) if scheme == "memory" else SqliteLog(settings, path)
