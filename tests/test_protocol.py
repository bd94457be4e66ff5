"""The envelope, without a socket: parsing, encoding, and what it looks like on each wire."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

from rtpush.errors import CODES, RtpushError
from rtpush.framing import DEFLATE_FROM, FRAMINGS, JSON, SSE, WEBSOCKET, WEBSOCKET_DEFLATE
from rtpush.json_limits import MAX_DEPTH, count_containers, weigh
from rtpush.protocol import (
    MAX_NAME,
    Envelope,
    Reply,
    encode,
    encode_data,
    encode_error,
    encode_logged,
    encode_reply,
    parse,
)
from rtpush.web.batch import parse_many

# What `str.isprintable` says of a character.
PRINTABLE = st.characters(exclude_categories=["C", "Z"], include_characters=" ")
NAMES = st.text(PRINTABLE, min_size=1, max_size=MAX_NAME)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=20,
)
ENVELOPES = st.fixed_dictionaries(
    {"event": NAMES},
    optional={
        "data": VALUES,
        "room": NAMES,
        "key": NAMES,
        "ack": st.integers(-(2**53), 2**53) | st.text("abc", max_size=64),
        "volatile": st.booleans(),
        "idempotency_key": NAMES,
        "unknown": VALUES,
    },
)


def or_refusal(function: Any, raw: bytes) -> Any:
    try:
        return function(raw)
    except RtpushError as error:
        return error


# ---- parsing -----------------------------------------------------------------


@given(ENVELOPES)
def test_what_is_sent_is_what_is_parsed(sent: dict[str, Any]) -> None:
    envelope = parse(json.dumps(sent))
    assert isinstance(envelope, Envelope)
    for name, value in sent.items():
        if name != "unknown":
            assert getattr(envelope, name) == value


@given(st.binary(max_size=200))
@example(b"[" * 10_000)
@example(b'{"event":"\xff"}')
def test_any_bytes_are_an_envelope_or_a_refusal(raw: bytes) -> None:
    found = or_refusal(parse, raw)
    assert isinstance(found, Envelope | Reply) or found.code in CODES


@given(st.binary(max_size=200) | st.lists(VALUES).map(lambda v: json.dumps(v).encode()))
def test_any_body_is_a_list_of_them(raw: bytes) -> None:
    found = or_refusal(lambda raw: parse_many(raw, 1000, 2**20), raw)
    if isinstance(found, RtpushError):
        assert found.code == "bad_envelope"
    else:
        assert all(isinstance(one, Envelope | Reply | RtpushError) for one in found)


@given(st.lists(ENVELOPES, min_size=2, max_size=5))
def test_arrays_and_lines_are_the_same(sent: list[dict[str, Any]]) -> None:
    array = parse_many(json.dumps(sent).encode(), 5, 2**20)
    lines = parse_many("\n".join(map(json.dumps, sent)).encode(), 5, 2**20)
    assert list(array) == list(lines)
    assert array.many
    assert lines.many


def test_one_bad_line_does_not_hide_the_good_ones() -> None:
    found = parse_many(b'{"event":"a"}\n{bad\n\n{"event":"b"}', 3, 2**20)
    assert found.many
    assert [type(one) for one in found] == [Envelope, RtpushError, Envelope]


def test_a_null_field_counts_as_absent() -> None:
    fields = ("data", "room", "key", "ack", "volatile", "idempotency_key")
    assert parse(json.dumps({"event": "x"} | dict.fromkeys(fields))) == Envelope("x")


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ('{"ack": 1, "data": [2]}', Reply(1, [2])),
        ('{"ack": "a", "data": null}', Reply("a")),
        ('{"ack": 1, "error": {"code": "c"}}', Reply(1, None, {"code": "c"})),
    ],
)
def test_replies(text: str, reply: Reply) -> None:
    assert parse(text) == reply


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"ack": 1}', "bad_event"),
        ('{"ack": 1, "error": "text"}', "bad_envelope"),
        ('{"ack": [], "data": 1}', "bad_event"),
        ('{"event": null, "ack": 1, "data": 1}', "bad_event"),
    ],
)
def test_what_is_no_reply(text: str, code: str) -> None:
    with pytest.raises(RtpushError) as caught:
        parse(text)
    assert caught.value.code == code


def test_a_refusal_gives_the_ack_back() -> None:
    with pytest.raises(RtpushError) as caught:
        parse('{"event": "", "ack": "a"}')
    assert caught.value.ack == "a"
    with pytest.raises(RtpushError) as caught:
        parse('{"event": "x", "ack": []}')
    assert caught.value.ack is None


# ---- encoding ----------------------------------------------------------------


@given(VALUES)
def test_data_is_encoded_as_json(data: Any) -> None:
    assert json.loads(encode_data(data)) == data


@pytest.mark.parametrize("shape", [lambda inner: [inner], lambda inner: {"a": inner}])
def test_depth_has_a_limit(shape: Any) -> None:
    data: Any = 1
    for _ in range(MAX_DEPTH):
        data = shape(data)
    encode_data(data)
    with pytest.raises(RtpushError, match="nested"):
        encode_data(shape(data))
    # Wide is not deep.
    encode_data([[1]] * 1000)


@given(NAMES, VALUES, st.none() | NAMES, st.none() | NAMES, st.none() | st.text("ab"))
def test_a_logged_event(event: str, data: Any, room: Any, key: Any, ack: Any) -> None:
    raw = encode_logged(event, encode_data(data), room, key, "e-1", ack)
    fields = {"event": event, "data": data, "room": room, "key": key, "ack": ack, "id": "e-1"}
    optional = {name: fields[name] for name in ("room", "key", "ack") if fields[name] is None}
    assert json.loads(raw) == {k: v for k, v in fields.items() if k not in optional}


def test_the_servers_own_envelopes() -> None:
    assert json.loads(encode("e", [1])) == {"event": "e", "data": [1]}
    assert json.loads(encode("e", 1, "p", "r")) == {"event": "e", "data": 1, "id": "p", "room": "r"}
    assert json.loads(encode_reply("a", None)) == {"ack": "a", "data": None}
    error = RtpushError("unavailable", "Later.")
    wanted = {"code": "unavailable", "message": "Later.", "retry_after": 1.0}
    assert json.loads(encode_error(error, None)) == {"event": "error", "data": wanted}
    assert json.loads(encode_error(error, 0)) == {"ack": 0, "error": wanted}


# ---- on the wire -------------------------------------------------------------

SIZES = [0, 1, 125, 126, 127, 65535, 65536, 70000]


def unframe(data: bytes, *, deflate: bool) -> list[bytes]:
    """What another implementation makes of the frames."""
    client = Protocol(CLIENT, state=OPEN, max_size=None)
    if deflate:
        client.extensions = [PerMessageDeflate(True, True, 15, 15)]
    client.receive_data(data)
    frames = client.events_received()
    assert all(frame.opcode is Opcode.TEXT and frame.fin for frame in frames)
    return [bytes(frame.data) for frame in frames]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("framing", [WEBSOCKET, WEBSOCKET_DEFLATE], ids=["plain", "deflate"])
def test_frames_are_what_others_understand(framing: Any, size: int) -> None:
    payload = (b'{"a": 1}' * (size // 8 + 1))[:size]
    framed = framing.joiner.join([framing.frame(payload, "e-1"), framing.frame(b"{}", None)])
    assert unframe(framed, deflate=framing is WEBSOCKET_DEFLATE) == [payload, b"{}"]


@given(st.binary(max_size=3000))
def test_any_payload_survives_compression(payload: bytes) -> None:
    framed = WEBSOCKET_DEFLATE.frame(payload, None)
    assert unframe(framed * 2, deflate=True) == [payload, payload]


def test_small_frames_are_not_compressed() -> None:
    assert WEBSOCKET_DEFLATE.frame(b"a" * (DEFLATE_FROM - 1), None)[0] == 0x81
    assert WEBSOCKET_DEFLATE.frame(b"a" * DEFLATE_FROM, None)[0] == 0xC1


def read_stream(text: str) -> list[tuple[str | None, str]]:
    """Events as WHATWG HTML, section 9.2.6, has a browser read them: last id and data."""
    found, last, data = [], None, []
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                found.append((last, "\n".join(data)))
            data = []
        elif name == "data":
            data.append(value)
        elif name == "id":
            last = value
    return found


@given(st.lists(st.tuples(VALUES, st.none() | st.just("e-1")), max_size=4))
def test_event_streams_are_what_browsers_understand(sent: list[tuple[Any, str | None]]) -> None:
    stream = SSE.joiner.join(SSE.frame(encode("e", data), id_) for data, id_ in sent)
    found = read_stream(stream.decode())
    assert [json.loads(data)["data"] for _, data in found] == [data for data, _ in sent]
    ids = [id_ for _, id_ in sent]
    for index, (last, _) in enumerate(found):
        given_so_far = [id_ for id_ in ids[: index + 1] if id_ is not None]
        assert last == (given_so_far[-1] if given_so_far else None)


@given(st.lists(VALUES, max_size=4))
def test_poll_answers_are_an_array(sent: list[Any]) -> None:
    body = JSON.joiner.join(JSON.frame(encode("e", data), "e-1") for data in sent)
    assert [envelope["data"] for envelope in json.loads(b"[%b]" % body)] == sent


def test_every_form_has_a_place_of_its_own() -> None:
    assert [framing.index for framing in FRAMINGS] == list(range(len(FRAMINGS)))


@given(st.lists(st.sampled_from([b"[", b"{", b",", b"x" * 9]), max_size=300).map(b"".join))
def test_a_text_is_weighed_by_what_it_may_hold(raw: bytes) -> None:
    containers = raw.count(b"[") + raw.count(b"{")
    assert count_containers(raw) == containers
    dense = 8 * raw.count(b",") + 64 * containers
    assert weigh(raw, containers) == len(raw) + (dense if len(raw) > 512 else 0)


@pytest.mark.parametrize("kinds", ["[", "{", "[{"])
def test_nesting_of_each_kind_has_a_limit(kinds: str) -> None:
    def nested(depth: int) -> Any:
        data: Any = 1
        for level in range(depth):
            data = [data] if kinds[level % len(kinds)] == "[" else {"a": data}
        return data

    encode_data(nested(MAX_DEPTH))
    with pytest.raises(RtpushError, match="nested"):
        encode_data(nested(MAX_DEPTH + 1))
