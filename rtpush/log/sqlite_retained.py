"""Retained events in a log's file: a row for each value, written over by the next."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from .retained import Change, Name, RetainedRow

__all__ = ["SCHEMA", "read", "write"]

SCHEMA: Final = """
CREATE TABLE retained (
    room TEXT NOT NULL, event TEXT NOT NULL, key TEXT NOT NULL, place INTEGER NOT NULL,
    account TEXT NOT NULL, data BLOB NOT NULL, args INTEGER,
    PRIMARY KEY (room, event, key)) WITHOUT ROWID;
"""


def write(db: sqlite3.Connection, rows: Sequence[RetainedRow]) -> None:
    """Put values in place of what there was, and remove those that are gone."""
    db.executemany(
        "DELETE FROM retained WHERE room = ? AND event = ? AND key = ?",
        (_stored(row.change.name) for row in rows if row.change.removes),
    )
    db.executemany(
        "INSERT OR REPLACE INTO retained VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            (*_stored(change.name), place, account, change.data, change.args or None)
            for change, place, account in rows
            if not change.removes
        ),
    )


def read(db: sqlite3.Connection) -> list[RetainedRow]:
    """All values."""
    return [_row(*row) for row in db.execute("SELECT * FROM retained")]


def _stored(name: Name) -> tuple[str, str, str]:
    # Null is no part of a primary key.
    return name.room or "", name.event, name.key


def _row(
    room: str, event: str, key: str, place: int, account: str, data: bytes, args: int | None
) -> RetainedRow:
    return RetainedRow(Change(Name(room or None, event, key), data, bool(args)), place, account)
