"""Connect requests: the query of /ws, /sse and /poll, read once for all transports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ..errors import RtpushError
from ..sessions.rewind import RewindSpec
from ..web.request_keys import CALLER

__all__ = ["ConnectRequest", "environ_of", "flag", "read_connect_request"]


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """What a client asks for when it connects. Query names as in PROTOCOL.md, section 4."""

    rooms: Sequence[str]
    last: str | None
    conflate: bool
    sid: str | None
    rewind: RewindSpec | None


def read_connect_request(request: web.Request) -> ConnectRequest:
    """The query of /ws, /sse and /poll; raises RtpushError (`bad_request`)."""
    query = request.query
    return ConnectRequest(
        query.getall("room", []),
        # A browser's EventSource repeats the newest id by itself; it is newer
        # than what stands in the address it was opened with.
        request.headers.get("Last-Event-ID") or query.get("last") or None,
        flag(request, "conflate", default=True),
        query.get("sid"),
        RewindSpec.parse(query["rewind"]) if query.get("rewind") else None,
    )


def flag(request: web.Request, name: str, *, default: bool) -> bool:
    """A query parameter that is 0 or 1; raises RtpushError (`bad_request`)."""
    given = request.query.get(name)
    if given is None:
        return default
    if given not in ("0", "1"):
        raise RtpushError("bad_request", f'"{name}" is 0 or 1 ({default:d} when it is left out).')
    return given == "1"


def environ_of(request: web.Request, subject: str | None) -> dict[str, Any]:
    """What a `connect` handler is told of a request, in WSGI's names (PEP 3333)."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "PATH_INFO": request.path,
        "QUERY_STRING": request.query_string,
        "REMOTE_ADDR": request[CALLER].address,
        "SERVER_PROTOCOL": "HTTP/{}.{}".format(*request.version),
        "wsgi.url_scheme": request[CALLER].scheme,
        "rtpush.subject": subject,
        "aiohttp.request": request,
    }
    scope = request.transport and request.transport.get_extra_info("asgi.scope")
    if scope:
        # Where middleware of the application has left its session and its user.
        environ["asgi.scope"] = scope
        environ["SCRIPT_NAME"] = scope["path"].removesuffix(request.path)
    for name, value in request.headers.items():
        key = "HTTP_" + name.upper().replace("-", "_")
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ
