"""HTTP/1.1 in memory: what an ASGI server says, and what it is told."""

from __future__ import annotations

from typing import Any

import pytest

from rtpush.asgi.http1 import BadScope, ResponseReader, request_head


def scope(**fields: Any) -> dict[str, Any]:
    return {"type": "http", "method": "GET", "path": "/ws", "headers": []} | fields


def test_a_request_is_said_again() -> None:
    given = scope(
        method="POST",
        path="/push/api/tasks/a/b",
        raw_path=b"/push/api/tasks/a%2Fb",
        query_string=b"room=%20",
        headers=[(b"host", b"here"), (b"connection", b"keep-alive"), (b"te", b"trailers")],
    )
    assert request_head(given, "/api/tasks/a/b") == (
        b"POST /api/tasks/a%2Fb?room=%20 HTTP/1.1\r\nhost: here\r\n"
        b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    )


@pytest.mark.parametrize("raw", [{}, {"raw_path": b"/push/a%20b"}])
def test_a_path_that_is_told_only_decoded(raw: dict[str, bytes]) -> None:
    head = request_head(scope(path="/a b", **raw), "/a b")
    assert head.startswith(b"GET /a%20b HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "fields",
    [
        {"headers": [(b"a", b"b\r\nx-forwarded-for: 1.2.3.4")]},
        {"headers": [(b"a\r\nb", b"c")]},
        {"headers": [(b"a", b"b\0")]},
        {"method": "GET /admin HTTP/1.1\r\n\r\nGET"},
        {"query_string": b"a HTTP/1.1\r\n\r\n"},
        {"type": "websocket", "subprotocols": ["a\r\nb: c"]},
    ],
)
def test_what_would_end_a_line_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadScope):
        request_head(scope(**fields), "/ws")


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("content-length: 11", b"hello world"),
        ("Transfer-Encoding: chunked", b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"),
    ],
)
def test_a_response_is_taken_apart_however_it_is_written(
    encoding: str, body: bytes, size: int
) -> None:
    head = f"HTTP/1.1 201 Created\r\nX-One: 1\r\nDate: now\r\n{encoding}\r\n\r\n"
    data = head.encode() + body
    reader = ResponseReader()
    found = [reader.feed(data[at : at + size]) for at in range(0, len(data), size)]
    assert b"".join(found) == b"hello world"
    assert reader.head is not None
    assert reader.head.status == 201
    names = [name for name, _ in reader.head.end_to_end]
    assert names == [b"x-one"] + [b"content-length"] * encoding.startswith("content")
