"""Payloads: what programs send, as JSON.

Rules that hold here:

- One encoder for everything that a program gives away: events, answers, reports, over the
  server, the publishers and the clients. It writes what FastAPI would: dataclasses and models
  as objects, dates as ISO 8601, enumerations by value, arrays as lists.
- What it does not know it refuses, by name: an object that was sent by its attributes could
  hold a password.
- Bytes are refused, too. Readers could not tell their text from any other; base64 that the
  program makes itself, or an address, says what it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import PurePath
from typing import Any, Final

import orjson

from .errors import RtpushError

__all__ = ["JsonDefault", "default_of", "encode_payload", "is_args", "plain_value"]

# Turns a value that JSON does not know into one that it knows; raises TypeError for others.
JsonDefault = Callable[[Any], Any]

_TEXTS: Final = (PurePath, IPv4Address, IPv6Address, IPv4Network, IPv6Network)
# Of datetime, orjson knows the class itself; of tuple, too.
_LISTS: Final = (tuple, set, frozenset, deque)


def is_args(data: object) -> bool:
    """Is it several arguments of one event? A named tuple is one value."""
    return type(data) is tuple


def encode_payload(value: Any, default: JsonDefault | None = None) -> bytes:
    """JSON of what a program sends; raises RtpushError (`bad_envelope`).

    `default` is one that `default_of` has made.
    """
    default = default or plain_value
    try:
        return orjson.dumps(value, default, orjson.OPT_SERIALIZE_NUMPY)
    except (orjson.JSONEncodeError, RecursionError) as exc:
        if not str(exc).startswith("Dict key must be str"):
            raise _refusal(exc) from exc
    # Only now: with this option, every dictionary takes longer.
    try:
        options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
        return orjson.dumps(value, default, options)
    except (orjson.JSONEncodeError, RecursionError) as exc:
        raise _refusal(exc) from exc


def _refusal(exc: BaseException) -> RtpushError:
    # What a `default` has raised says more than that it has raised.
    why = str(exc.__cause__ or exc).rstrip(".")
    return RtpushError("bad_envelope", f"The data cannot be encoded as JSON: {why}.")


def default_of(json_default: JsonDefault | None) -> JsonDefault:
    """What turns values into plain ones: first the program's own function, then ours."""
    if json_default is None:
        return plain_value
    own = json_default

    def first_own(value: Any) -> Any:
        try:
            return own(value)
        except TypeError:
            return plain_value(value)

    return first_own


def plain_value(value: Any) -> Any:
    """A value that orjson does not know, by values that it knows. Raises TypeError."""
    match value:
        case _ if callable(dump := getattr(type(value), "model_dump", None)):
            return dump(value, mode="json", by_alias=True)
        case bytes() | bytearray() | memoryview():
            raise TypeError(f"{type(value).__name__} is no JSON; send base64 text, or an address")
        case Decimal():
            return _number(value)
        case date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Mapping():
            return dict(value)
        case _ if isinstance(value, _LISTS):
            return list(value)
        case _ if isinstance(value, _TEXTS):
            return str(value)
        case _ if callable(tolist := getattr(value, "tolist", None)):
            # Arrays and scalars of numpy that orjson does not take, pandas, PyTorch.
            return tolist()
    raise TypeError(
        f"{type(value).__name__} is no JSON; send its fields, or say by json_default what it is"
    )


def _number(value: Decimal) -> int | float:
    exponent = value.as_tuple().exponent
    return int(value) if isinstance(exponent, int) and exponent >= 0 else float(value)
