"""The tables of a log in SQLite, and which files are such a log."""

from __future__ import annotations

import secrets
import sqlite3
import struct
from pathlib import Path
from typing import Final

from . import sqlite_retained
from . import sqlite_segments as segments
from .base import LogError

__all__ = ["SCHEMA_VERSION", "check_version", "create", "is_log"]

APPLICATION_ID: Final = 0x52545055  # "RTPU"
# Version 2 has the index by room; a file of version 1 gets it when it is opened.
SCHEMA_VERSION: Final = 2

SCHEMA: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY, time REAL NOT NULL, size INTEGER NOT NULL, event TEXT NOT NULL,
    room TEXT, key TEXT, data BLOB NOT NULL, skip TEXT, ack TEXT, args INTEGER,
    retain INTEGER);
CREATE INDEX entries_keyed ON entries (key, event, room, seq) WHERE key IS NOT NULL;
CREATE TABLE tasks (
    key TEXT NOT NULL, number INTEGER NOT NULL, ended REAL, task BLOB NOT NULL,
    PRIMARY KEY (key, number)) WITHOUT ROWID;
CREATE INDEX tasks_ended ON tasks (ended) WHERE ended IS NOT NULL;
CREATE TABLE idempotency (
    seq INTEGER PRIMARY KEY, key BLOB NOT NULL, account TEXT NOT NULL, time REAL NOT NULL);
"""


def is_log(path: Path) -> bool:
    """Is there a log already? Read as plain bytes (SQLite file format, section 1.3).

    Raises LogError for a file of something else.
    """
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise LogError(f"cannot read the log {path}: {exc.strerror}.") from exc
    if not header:
        return False
    if len(header) < 100 or not header.startswith(b"SQLite format 3\0"):
        raise LogError(
            f"{path} is not an rtpush log (not a database at all); it was left as it is. "
            "Choose another file with --log sqlite:PATH."
        )
    (application,) = struct.unpack_from(">I", header, 68)
    if application != APPLICATION_ID:
        raise LogError(
            f"{path} is a database of another program; it was left as it is. "
            "Choose another file with --log sqlite:PATH."
        )
    return True


def check_version(db: sqlite3.Connection, path: Path) -> None:
    """Raises LogError for a log of a newer rtpush, or of one before its first release."""
    # Asked of SQLite: the newest header may stand in the write-ahead log.
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise LogError(
            f"{path} was written by a newer rtpush; it was left as it is. "
            "Upgrade rtpush or choose another file with --log sqlite:PATH."
        )
    (has_retained,) = db.execute("SELECT count(*) FROM pragma_table_info('retained')").fetchone()
    if not has_retained:
        raise LogError(
            f"{path} was written by an rtpush from before its first release; it was left as "
            "it is. Move it away to start with an empty log, or choose another file."
        )


def create(db: sqlite3.Connection) -> None:
    """Make the tables of an empty log, with an epoch of its own."""
    epoch = secrets.token_hex(6)
    db.executescript(
        f"""BEGIN EXCLUSIVE;
        PRAGMA application_id = {APPLICATION_ID};
        PRAGMA user_version = {SCHEMA_VERSION};
        {SCHEMA}
        {segments.SCHEMA}
        {sqlite_retained.SCHEMA}
        INSERT INTO meta VALUES ('epoch', '{epoch}'), ('wall_ahead', '0');
        COMMIT;"""
    )
