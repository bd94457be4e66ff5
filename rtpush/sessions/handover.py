"""Handover: a session as one node gives it to another, in JSON."""

from __future__ import annotations

import logging
from typing import Any

import orjson

from ..access.auth import Grant
from ..access.room_policy import FOREVER
from .rewind import Rewind
from .session import Session

__all__ = ["dump_session", "load_session"]

logger = logging.getLogger("rtpush.nodes")


def dump_session(session: Session) -> dict[str, Any]:
    """What another node needs to go on with this session; its grant is not part of it.

    The client shows its token to the new node, which reads the grant from there.
    """
    return {
        "rooms": session.rooms,
        # JSON has no infinity.
        "kept_until": {
            room: None if until == FOREVER else until for room, until in session.kept_until.items()
        },
        "consented": sorted(session.consented),
        "conflate": session.conflate,
        "opened": session.opened,
        "pending_snapshots": session.pending_snapshots,
        "rewinds": [
            [one.room, one.upto, one.at, one.confirmed, one.times]
            for one in session.rewinds
            if one.at is not None
        ],
        "rewound": sorted(session.rewound),
        "began": session.began,
        "presence": session.presence,
        "unconfirmed": session.unconfirmed,
        "receipt": session.receipt,
        "notices": [notice.decode() for notice in session.notices],
        "claims": session.claims,
        "data": _as_json(session),
    }


def load_session(sid: str, moved: dict[str, Any], address: str, grant: Grant) -> Session:
    """The session that another node dumped, without a connection, with the client's grant."""
    session = Session(sid, moved["conflate"], address, moved["opened"])
    session.rooms = moved["rooms"]
    for room, until in moved["kept_until"].items():
        session.keep_in(room, FOREVER if until is None else until)
    session.consented = frozenset(moved["consented"])
    session.pending_snapshots = tuple(moved["pending_snapshots"])
    session.rewinds = tuple(Rewind(*one) for one in moved["rewinds"])
    session.rewound = frozenset(moved["rewound"])
    session.began = moved["began"]
    for room, info in moved["presence"].items():
        session.show(room, info)
    session.unconfirmed = moved["unconfirmed"]
    session.receipt = moved["receipt"]
    session.notices = tuple(notice.encode() for notice in moved["notices"])
    session.data = moved["data"]
    for task, attempt in moved["claims"].items():
        session.hold(task, attempt)
    session.grant = grant
    session.admitted = True
    return session


def _as_json(session: Session) -> dict[str, Any] | None:
    """What the application keeps with a session, if it can travel."""
    try:
        orjson.dumps(session.data)
    except TypeError:
        logger.warning("what is saved with a session is not JSON: it is lost on a change of node")
        return None
    return session.data
