"""The HTTP API, described for machines (OpenAPI 3.1).

Rules that hold here:

- One row for each operation. What a row does not say is the same for all.
- The tests hold this table against the routes that the server answers.
"""

from __future__ import annotations

from typing import Any, Final

from . import __version__
from .errors import CODES

__all__ = ["document"]

_ENVELOPE: Final = {
    "type": "object",
    "required": ["event"],
    "properties": {
        "event": {"type": "string", "minLength": 1, "maxLength": 128},
        "data": {},
        "room": {"type": "string", "minLength": 1, "maxLength": 128},
        "key": {"type": "string", "minLength": 1, "maxLength": 128},
        "volatile": {"type": "boolean"},
        "idempotency_key": {"type": "string", "minLength": 1, "maxLength": 128},
    },
}
_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string", "enum": sorted(CODES)},
                "message": {"type": "string"},
                "retry_after": {"type": "number"},
            },
        }
    },
}
_ENVELOPES: Final = {
    "oneOf": [
        {"$ref": "#/components/schemas/Envelope"},
        {"type": "array", "items": {"$ref": "#/components/schemas/Envelope"}},
    ]
}
_POSITION: Final = {"type": "string", "pattern": "^[A-Za-z0-9]{1,32}-(0|[1-9][0-9]{0,17})$"}
_NAME: Final = {"type": "string", "minLength": 1, "maxLength": 128}
_FLAG: Final = {"type": "string", "enum": ["0", "1"]}

# Query parameters by name.
_QUERY: Final[dict[str, Any]] = {
    "room": _NAME,
    "rooms": {"type": "array", "items": _NAME},
    "last": _POSITION,
    "after": _POSITION,
    "conflate": _FLAG,
    "sid": {"type": "string"},
    "timeout": {"type": "number", "minimum": 0, "maximum": 55},
    "limit": {"type": "integer", "minimum": 1, "maximum": 1000},
}

# Method, path, summary, query parameters, takes envelopes.
_OPERATIONS: Final = (
    ("get", "/sse", "Server-Sent Events", ("rooms", "last", "conflate"), False),
    ("get", "/poll", "One read of a long-poll", ("rooms", "last", "sid", "timeout"), False),
    ("post", "/poll", "Envelopes of a session", ("sid",), True),
    ("post", "/api/publish", "Publish events", (), True),
    ("get", "/api/tasks", "The task board", (), False),
    ("get", "/api/tasks/{id}", "One task", (), False),
    ("get", "/api/history", "Logged events", ("room", "after", "limit"), False),
    ("get", "/api/rooms", "Rooms that somebody is in", (), False),
    ("get", "/api/rooms/{room}", "Who is in a room", (), False),
    ("get", "/api/connections", "Open sessions", (), False),
    ("delete", "/api/connections/{sid}", "End a session", (), False),
    ("get", "/healthz", "Is the process alive?", (), False),
    ("get", "/readyz", "Should it be sent traffic?", (), False),
    ("get", "/metrics", "Counters for Prometheus", (), False),
)


def document() -> dict[str, Any]:
    """The OpenAPI document of this version."""
    paths: dict[str, dict[str, Any]] = {}
    for method, path, summary, query, takes_envelopes in _OPERATIONS:
        paths.setdefault(path, {})[method] = _operation(path, summary, query, takes_envelopes)
    return {
        "openapi": "3.1.0",
        "info": {"title": "rtpush", "version": __version__, "license": {"name": "MIT"}},
        "paths": paths,
        "components": {"schemas": {"Envelope": _ENVELOPE, "Error": _ERROR}},
    }


def _operation(
    path: str, summary: str, query: tuple[str, ...], takes_envelopes: bool
) -> dict[str, Any]:
    parameters = [
        {"name": part[1:-1], "in": "path", "required": True, "schema": {"type": "string"}}
        for part in path.split("/")
        if part.startswith("{")
    ]
    parameters += [
        {"name": "room" if name == "rooms" else name, "in": "query", "schema": _QUERY[name]}
        for name in query
    ]
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    operation: dict[str, Any] = {
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "As PROTOCOL.md says."},
            "default": {"description": "A refusal.", "content": error},
        },
    }
    if takes_envelopes:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _ENVELOPES}},
        }
    return operation
