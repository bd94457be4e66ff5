"""Log messages on stderr."""

from __future__ import annotations

import logging
import sys

__all__ = ["set_up_logging"]


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
