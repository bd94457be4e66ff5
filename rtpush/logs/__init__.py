"""The logs that `rtpush.log.Log` can be, and the one place that chooses.

`memory:` forgets when the server stops; `sqlite:PATH` keeps a file;
`redis://HOST` is shared by all nodes that name it.
"""

from __future__ import annotations

from ..config import Settings
from ..log import Log, LogError
from .memory import MemoryLog
from .sqlite import SqliteLog

__all__ = ["make_log"]


def make_log(settings: Settings) -> Log:
    """The log that the settings name, not yet opened. Raises LogError."""
    scheme, _, path = settings.log.partition(":")
    if scheme == "memory":
        return MemoryLog(settings)
    if scheme == "sqlite":
        return SqliteLog(settings, path)
    try:
        from .redis import RedisLog
    except ImportError as exc:
        raise LogError("a log in Redis needs its client: pip install 'rtpush[redis]'") from exc
    return RedisLog(settings, settings.log)
