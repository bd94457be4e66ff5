"""The logs that `rtpush.log.Log` can be, and the one place that chooses.

`memory:` forgets when the server stops; `sqlite:PATH` keeps a file;
`redis://HOST` is shared by all nodes that name it.
"""

from __future__ import annotations

from ..config.settings import Settings
from .base import Log, LogError
from .bus import Bus
from .memory import MemoryLog
from .sqlite import SqliteLog

__all__ = ["make_bus", "make_log"]


def make_log(settings: Settings) -> Log:
    """The log that the settings name, not yet opened. Raises LogError."""
    scheme, _, path = settings.log.partition(":")
    if scheme == "memory":
        return MemoryLog(settings)
    if scheme == "sqlite":
        return SqliteLog(settings, path)
    try:
        from .redis.log import RedisLog
    except ImportError as exc:
        raise LogError("a log in Redis needs its client: pip install 'rtpush[redis]'") from exc
    return RedisLog(settings, settings.log)


def make_bus(log: Log) -> Bus:
    """How this node hears of the others that share the log, if any can."""
    if isinstance(log, MemoryLog | SqliteLog):
        return Bus()
    from .redis.bus import RedisBus
    from .redis.log import RedisLog

    assert isinstance(log, RedisLog)
    return RedisBus(log)
