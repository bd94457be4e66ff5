"""Room on the disk that a log needs in order to become smaller.

Rules that hold here:

- SQLite removes by writing: a log that has filled its disk could be neither opened nor trimmed,
  however little retention keeps. A file of nothing keeps room for that, and for nothing else:
  events would have used it up before an operator could lower retention.
- A log that is smaller than this file has not filled a disk: none is made for it.
"""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["RESERVE_BYTES", "DiskReserve"]

logger = logging.getLogger("rtpush.log")

# What the write-ahead log may take to fold, and the pages that one removal touches.
RESERVE_BYTES: Final = 16 << 20
# What opening takes: locks, and the memory that connections share.
OPENING_BYTES: Final = 64 << 10


class DiskReserve:
    """The file `LOG-reserve` beside a log."""

    def __init__(self, log: Path, size: int = RESERVE_BYTES) -> None:
        self._log = log
        self.path = Path(f"{log}-reserve")
        self._size = size

    @property
    def held(self) -> int:
        """Bytes that are kept now."""
        return self.path.stat().st_size if self.path.exists() else 0

    def keep(self) -> None:
        """Make the file whole, if the log is as large and the disk has twice the room.

        A disk that cannot have it goes without.
        """
        with suppress(OSError):
            if self.held < self._size <= self._log.stat().st_size and self.fits():
                self._allocate()

    def fits(self) -> bool:
        """Is the file whole, or has the disk twice the room for it?"""
        if self.held >= self._size:
            return True
        return shutil.disk_usage(self._log.absolute().parent).free >= 2 * self._size

    def _allocate(self) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, self._size)
            else:
                os.write(descriptor, bytes(self._size))
        except OSError:
            os.ftruncate(descriptor, 0)
            raise
        finally:
            os.close(descriptor)

    def lend(self) -> bool:
        """Give up what opening a log takes; was there any?"""
        left = self.held - OPENING_BYTES
        if left <= 0:
            return self.release()
        os.truncate(self.path, left)
        return True

    def release(self) -> bool:
        """Give all of it up; was there any?"""
        try:
            self.path.unlink()
        except OSError:
            return False
        logger.warning("the disk of the log is full: %s was given up to make room", self.path)
        return True
