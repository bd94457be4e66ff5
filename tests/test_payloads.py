"""What programs send, as JSON: as FastAPI encodes it, and refused by name where it is none."""

from __future__ import annotations

import array
import asyncio
import json
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from ipaddress import ip_address
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pydantic
import pytest
from fastapi.encoders import jsonable_encoder

from rtpush.client.async_client import Client
from rtpush.errors import RtpushError
from rtpush.payloads import default_of, encode_payload
from rtpush.publisher.async_publisher import AsyncPublisher
from rtpush.publisher.request import encode_envelope
from rtpush.server import Server


class Colour(Enum):
    RED = "red"


class Size(IntEnum):
    SMALL = 1


@dataclass
class Point:
    x: float
    at: datetime


class Pair(NamedTuple):
    left: int
    right: int


class Model(pydantic.BaseModel):
    price: Decimal
    made: date
    shown_as: str = pydantic.Field(serialization_alias="shownAs")


class Moment(datetime):
    """As pandas has one."""


NOW = datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC)
AS_FASTAPI = [
    Point(1.5, NOW),
    NOW,
    NOW.replace(tzinfo=None),
    Moment(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    date(2026, 1, 2),
    time(3, 4, 5),
    timedelta(minutes=1.5),
    uuid.UUID(int=7),
    Decimal("1.5"),
    Decimal("2"),
    Decimal("1E+3"),
    Colour.RED,
    Size.SMALL,
    Pair(1, 2),
    Model(price=Decimal("1.5"), made=date(2026, 1, 2), shown_as="a"),
    {1: "a", Size.SMALL: "b", uuid.UUID(int=1): [Point(1, NOW)]},
    {"a": {"b": Pair(1, 2)}, "c": (1, 2)},
    {1},
    frozenset("a"),
    deque([1, 2]),
    OrderedDict(a=1),
    PurePosixPath("/a"),
    ip_address("::1"),
]


@pytest.mark.parametrize("value", AS_FASTAPI, ids=lambda value: type(value).__name__)
def test_values_go_out_as_fastapi_encodes_them(value: Any) -> None:
    # The text may differ where FastAPI keeps an integer as a key.
    expected = json.loads(json.dumps(jsonable_encoder({"v": value})))
    assert json.loads(encode_payload({"v": value})) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(1.5), 1.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.arange(6).reshape(2, 3), [[0, 1, 2], [3, 4, 5]]),
        (np.arange(6).reshape(2, 3).T, [[0, 3], [1, 4], [2, 5]]),
        (np.array([1, "a"], dtype=object), [1, "a"]),
        ({"a": np.float64("nan")}, {"a": None}),
        (array.array("i", [1, 2]), [1, 2]),
        (MappingProxyType({"a": 1}), {"a": 1}),
    ],
    ids=str,
)
def test_arrays_and_what_else_fastapi_does_not_know(value: Any, expected: Any) -> None:
    assert json.loads(encode_payload(value)) == expected


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (b"png", "bytes is no JSON; send base64 text, or an address."),
        (bytearray(b"png"), "bytearray is no JSON; send base64 text, or an address."),
        (memoryview(b"png"), "memoryview is no JSON; send base64 text"),
        (object(), "object is no JSON; send its fields, or say by json_default what it is."),
        (np.array([1j]), "complex is no JSON; send its fields"),
        ({(1, 2): 3}, "Dict key must a type serializable with OPT_NON_STR_KEYS"),
        (1 << 64, "Integer exceeds 64-bit range"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_json_is_refused_by_name(value: Any, sentence: str) -> None:
    with pytest.raises(RtpushError) as caught:
        encode_payload({"deep": [value]})
    assert caught.value.code == "bad_envelope"
    assert sentence in caught.value.message


def test_a_program_says_what_its_values_are() -> None:
    class Money:
        pass

    def own(value: Any) -> Any:
        match value:
            case Money():
                return {"money": Decimal("1.5")}
            case Decimal():
                return str(value)
        raise TypeError

    value = [Money(), {1}]
    assert encode_payload(value, default_of(own)) == b'[{"money":"1.5"},[1]]'
    with pytest.raises(RtpushError, match="object is no JSON"):
        encode_payload(object(), default_of(own))


def test_a_named_tuple_is_one_value_and_a_tuple_several_arguments() -> None:
    assert encode_envelope({"event": "e", "data": Pair(1, 2)}) == b'{"event":"e","data":[1,2]}'
    assert encode_envelope({"event": "e", "data": (1, 2)}).endswith(b'"args":true}')


class Tag:
    def __init__(self, name: str) -> None:
        self.name = name


def tag_name(value: Any) -> Any:
    if isinstance(value, Tag):
        return value.name
    raise TypeError


async def test_everything_that_sends_encodes_alike() -> None:
    """Events, volatile ones, answers, tasks and their reports, of server, publisher and client."""
    given = {"tag": Tag("new"), "at": NOW, 1: Decimal("2"), "pair": Pair(1, 2)}
    wanted = {"tag": "new", "at": NOW.isoformat(), "1": 2, "pair": [1, 2]}

    async def work(_task: dict[str, Any], report: Callable[..., Any]) -> Any:
        await report(np.float32(50), "half", given=given)
        return given

    server = Server(port=0, log="memory:", json_default=tag_name, work=work)  # type: ignore[arg-type]
    server.on("ask", lambda _sid, data: (data, given))
    async with (
        server,
        Client(json_default=tag_name) as client,
        AsyncPublisher(server.url, json_default=tag_name) as publisher,
    ):
        await client.connect(server.url)
        events = client.events()
        assert await client.call("ask", given) == (wanted, wanted)
        await server.emit("a", given)
        await server.emit("b", (given, given), volatile=True)
        await publisher.publish("c", given)
        await publisher.publish("task_created", {"id": uuid.UUID(int=7)})
        heard = {}
        async with asyncio.timeout(10):
            async for event in events:
                heard[event.event] = event.data
                if event.event == "task_completed":
                    break
    assert (heard["a"], heard["b"], heard["c"]) == (wanted, (wanted, wanted), wanted)
    assert heard["task_progress"]["given"] == wanted
    assert (heard["task_progress"]["progress"], heard["task_completed"]["result"]) == (50, wanted)
