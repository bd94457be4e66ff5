"""The envelope: parse, validate, encode.

Rules that hold here:

- Pure: bytes in, values out. No asyncio, no sockets, no clock.
- PROTOCOL.md is the authority; this module is its sections 2, 3 and 5.
- What a client sends is checked once, here. Behind this module an `Envelope`
  is known to be sound.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from .errors import RtpushError
from .json_limits import MAX_CONTAINERS, MAX_DEPTH, has_too_many_containers, is_too_deep
from .payloads import JsonDefault, encode_payload, is_args

__all__ = [
    "COMMANDS",
    "LOGGED_ONLY",
    "PROTOCOL_VERSION",
    "RESERVED_EVENTS",
    "Envelope",
    "Incoming",
    "Position",
    "Reply",
    "check_name",
    "check_room",
    "check_size",
    "dumps",
    "encode",
    "encode_answer",
    "encode_data",
    "encode_error",
    "encode_logged",
    "encode_reply",
    "encode_retained",
    "load_json",
    "parse",
    "to_envelope",
    "with_ack",
]

PROTOCOL_VERSION: Final = 1
MAX_NAME: Final = 128
MAX_ACK: Final = 64
# More than event, room, key, ack and id can add to the data: 128 characters that are
# escaped take 768 bytes.
_MAX_FRAME: Final = 4096
# No position is longer.
_LONGEST_ID: Final = "e" * 32 + "-" + "9" * 18
_ID_SIZE: Final = len(_LONGEST_ID) + len(',"id":""')

_POSITION: Final = re.compile(r"([A-Za-z0-9]{1,32})-(0|[1-9][0-9]{0,17})")

# What a client asks of the server itself, whatever its application does.
COMMANDS: Final = frozenset({"ping", "join", "leave", "auth"})
# Only the server says these: a client that could send them would forge the
# server's own voice to other clients.
RESERVED_EVENTS: Final = frozenset(
    {
        *("connect", "connect_error", "disconnect", "resync"),
        *("active_tasks", "task_claimed", "task_estimates", "state", "presence"),
    }
)
# The server says these without an `id`; an application's have one, so they are logged.
LOGGED_ONLY: Final = frozenset({"error", "pong", "heartbeat"})


@dataclass(frozen=True, slots=True)
class Envelope:
    """One checked envelope from a client. Fields as in PROTOCOL.md, section 2.

    `data` is a tuple when it is several arguments (`args`), here and in all that follows.
    """

    event: str
    data: Any = None
    room: str | None = None
    key: str | None = None
    ack: int | float | str | None = None
    volatile: bool = False
    idempotency_key: str | None = None
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """A client's answer to an envelope that asked for one by `ack`.

    `error` is what the client says went wrong, checked to be an object.
    """

    ack: int | float | str
    data: Any = None
    error: dict[str, Any] | None = None


# What a client may send, and what became of it.
Incoming = Envelope | Reply | RtpushError


class Position(NamedTuple):
    """A point in the log: just behind entry `seq` of the life `epoch`."""

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """The inverse of str(); raises RtpushError (`bad_position`)."""
        match = _POSITION.fullmatch(text)
        if match is None:
            raise RtpushError(
                "bad_position",
                "A position looks like EPOCH-SEQ; use one that the server sent, or leave it out.",
            )
        return cls(match[1], int(match[2]))


# ----------------------------------------------------------------- parsing


def parse(raw: bytes | str, containers: int | None = None) -> Envelope | Reply:
    """One JSON text to an envelope; raises RtpushError (`bad_…`, `too_large`).

    `containers` are its `count_containers`, where they are known.
    """
    return to_envelope(load_json(raw, containers))


def load_json(raw: bytes | str, containers: int | None = None) -> Any:
    """Decode one JSON text; raises RtpushError (`bad_envelope`, `too_large`)."""
    if has_too_many_containers(raw, containers):
        raise RtpushError(
            "too_large", f"An envelope may have {MAX_CONTAINERS} objects and arrays; send less."
        )
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise RtpushError("bad_envelope", f"An envelope is one JSON object; {exc}.") from exc


def to_envelope(value: Any) -> Envelope | Reply:
    """Check one decoded JSON value. Fields this version does not know are ignored."""
    try:
        return _checked(value)
    except RtpushError as exc:
        # The ack is given back even when the rest is wrong, so that the
        # caller that waits for it hears of it.
        if type(value) is dict and _is_ack(value):
            exc.ack = value["ack"]
        raise


def _checked(value: Any) -> Envelope | Reply:
    if type(value) is not dict:
        raise RtpushError("bad_envelope", 'An envelope is a JSON object such as {"event": "ping"}.')
    get = value.get
    if "event" not in value and _is_ack(value) and ("data" in value or "error" in value):
        return _reply(value)
    event = check_name("event", get("event"), "bad_event")
    if len(value) <= 2 and "data" in value:
        return Envelope(event, value["data"])
    return Envelope(
        event,
        _data(value),
        None if (room := get("room")) is None else check_room(room),
        _optional_name("key", get("key")),
        _check_ack(value),
        _check_flag("volatile", get("volatile")),
        _optional_name("idempotency_key", get("idempotency_key")),
        _check_flag("retain", get("retain")),
    )


def _reply(value: dict[str, Any]) -> Reply:
    error = value.get("error")
    if error is not None and type(error) is not dict:
        raise RtpushError("bad_envelope", 'The "error" of a reply is an object with a "code".')
    return Reply(value["ack"], _data(value), error)


def _data(value: dict[str, Any]) -> Any:
    data = value.get("data")
    if not _check_flag("args", value.get("args")):
        return data
    if type(data) is not list:
        raise RtpushError("bad_envelope", 'With "args", "data" is an array of the arguments.')
    return tuple(data)


def check_name(field: str, value: Any, code: str = "bad_envelope") -> str:
    """A string of 1 to 128 characters; raises RtpushError with `code` otherwise."""
    if type(value) is not str or not 0 < len(value) <= MAX_NAME:
        raise RtpushError(code, f'"{field}" must be a string of 1 to {MAX_NAME} characters.')
    return value


def check_room(value: Any) -> str:
    """A room's name; raises RtpushError (`bad_room`)."""
    return check_name("room", value, "bad_room")


def _optional_name(field: str, value: Any) -> str | None:
    return None if value is None else check_name(field, value)


def _check_flag(field: str, value: Any) -> bool:
    if value is None or type(value) is bool:
        return bool(value)
    raise RtpushError("bad_envelope", f'"{field}" must be true or false.')


def _is_ack(value: dict[str, Any]) -> bool:
    ack = value.get("ack")
    if type(ack) is str:
        return len(ack) <= MAX_ACK
    return type(ack) is int or (type(ack) is float and math.isfinite(ack))


def _check_ack(value: dict[str, Any]) -> int | float | str | None:
    if value.get("ack") is None:
        return None
    if not _is_ack(value):
        raise RtpushError(
            "bad_envelope", f'"ack" must be a number or a string of at most {MAX_ACK} characters.'
        )
    ack: int | float | str = value["ack"]
    return ack


# ---------------------------------------------------------------- encoding


def dumps(value: Any) -> bytes:
    """JSON in a buffer of its own length.

    orjson gives out the buffer that it wrote into, of 4 KiB or more: an event of
    40 bytes that is kept would hold 100 times as much. Raises JSONEncodeError.
    """
    return bytes(memoryview(orjson.dumps(value)))


def encode(
    event: str,
    data: Any,
    position: str | None = None,
    room: str | None = None,
    *,
    args: bool = False,
) -> bytes:
    """An envelope of the server's own. `position` makes it carry `id`, `args` several arguments."""
    envelope = {"event": event, "data": data}
    if args:
        envelope["args"] = True
    if room is not None:
        envelope["room"] = room
    if position is not None:
        envelope["id"] = position
    return dumps(envelope)


def _fields(data: Any) -> dict[str, Any]:
    return {"data": data, "args": True} if is_args(data) else {"data": data}


def encode_logged(
    event: str,
    data: bytes,
    room: str | None,
    key: str | None,
    id_: str,
    ack: str | None = None,
    *,
    args: bool = False,
    retain: bool = False,
) -> bytes:
    """The envelope of a log entry; `data` is JSON already, of several arguments with `args`."""
    envelope: dict[str, Any] = {"event": event, "data": orjson.Fragment(data)}
    if args:
        envelope["args"] = True
    if room is not None:
        envelope["room"] = room
    if key is not None:
        envelope["key"] = key
    if ack is not None:
        envelope["ack"] = ack
    if retain:
        envelope["retain"] = True
    envelope["id"] = id_
    return dumps(envelope)


def encode_retained(
    event: str, data: bytes, room: str | None, key: str, id_: str, *, args: bool = False
) -> bytes:
    """An entry of `state`; `data` is JSON already."""
    envelope: dict[str, Any] = {"event": event, "data": orjson.Fragment(data), "key": key}
    if args:
        envelope["args"] = True
    if room is not None:
        envelope["room"] = room
    return dumps(envelope | {"retained": True, "id": id_})


def encode_data(data: Any, default: JsonDefault | None = None) -> bytes:
    """JSON of an envelope's data, as `encode_payload`; raises RtpushError (`bad_envelope`).

    orjson decodes deeper nesting than it encodes, so depth is measured where
    it can be refused, before anything is stored.
    """
    # In a buffer of its own length: see `dumps`.
    encoded = bytes(memoryview(encode_payload(data, default)))
    if is_too_deep(encoded):
        raise RtpushError("bad_envelope", f"The data is nested deeper than {MAX_DEPTH} levels.")
    return encoded


def check_size(
    max_message: int,
    event: str,
    data: bytes,
    room: str | None = None,
    key: str | None = None,
    ack: str | None = None,
    *,
    args: bool = False,
    logged: bool = True,
) -> None:
    """Would the envelope come out larger than clients accept? Raises RtpushError (`too_large`).

    A logged one comes out with an id, and numbers may grow: `1e9` becomes 1000000000.0.
    """
    if len(data) + _MAX_FRAME <= max_message:
        return
    size = len(encode_logged(event, data, room, key, _LONGEST_ID, ack, args=args))
    if size - (0 if logged else _ID_SIZE) > max_message:
        raise RtpushError(
            "too_large",
            f"The envelope would come out with more than {max_message} bytes; send less data.",
        )


def encode_reply(ack: int | float | str, data: Any) -> bytes:
    """`{"ack": …, "data": …}`."""
    return dumps({"ack": ack, **_fields(data)})


def encode_answer(data: Any, default: JsonDefault | None = None) -> bytes:
    """A reply that can be kept: the same without its `ack`. Raises as `encode_payload`."""
    return bytes(memoryview(encode_payload(_fields(data), default)))


def with_ack(answer: bytes, ack: int | float | str) -> bytes:
    """The reply that an answer becomes for one `ack`."""
    return b'{"ack":%b,%b' % (orjson.dumps(ack), answer[1:])


def encode_error(error: RtpushError, ack: int | float | str | None) -> bytes:
    """The reply to `ack`, or the event `error` when nobody asked for one."""
    if ack is None:
        return encode("error", error.as_data())
    return dumps({"ack": ack, "error": error.as_data()})
