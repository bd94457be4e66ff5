"""Log messages on stderr."""

from __future__ import annotations

import logging
import sys

from aiohttp.http_exceptions import HttpProcessingError

__all__ = ["http_logger", "set_up_logging"]


def set_up_logging(level: str) -> None:
    """Print messages from `level` (of the setting `log_level`) on to stderr."""
    ours = logging.getLevelNamesMapping()[level.upper()]
    # Libraries are heard when something is wrong; "debug" is about rtpush.
    logging.basicConfig(
        level=max(ours, logging.WARNING),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("rtpush").setLevel(ours)


def http_logger() -> logging.Logger:
    """aiohttp's messages without a traceback for each request that is no HTTP.

    Anybody can send those, as fast as a disk can be filled.
    """
    http = logging.getLogger("rtpush.http")
    http.addFilter(_is_ours)
    return http


def _is_ours(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
