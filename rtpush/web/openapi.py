"""The HTTP API, described for machines (OpenAPI 3.1).

Rules that hold here:

- One row for each operation. What a row does not say is the same for all.
- The tests hold this table against the routes that the server answers.
"""

from __future__ import annotations

from typing import Any, Final

from ..errors import CODES
from ..version import __version__

__all__ = ["document"]

_ENVELOPE: Final = {
    "type": "object",
    "required": ["event"],
    "properties": {
        "event": {"type": "string", "minLength": 1, "maxLength": 128},
        "data": {},
        # Null counts as absent.
        "room": {"type": ["string", "null"], "minLength": 1, "maxLength": 128},
        "key": {"type": ["string", "null"], "minLength": 1, "maxLength": 128},
        "volatile": {"type": ["boolean", "null"]},
        "retain": {"type": ["boolean", "null"]},
        "idempotency_key": {"type": ["string", "null"], "minLength": 1, "maxLength": 128},
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
_RESULT: Final = {
    "anyOf": [
        {"type": "object", "required": ["id"], "properties": {"id": {"type": ["string", "null"]}}},
        {"$ref": "#/components/schemas/Error"},
    ]
}
_POSITION: Final = {"type": "string", "pattern": "^[A-Za-z0-9]{1,32}-(0|[1-9][0-9]{0,17})$"}
_NAME: Final = {"type": "string", "minLength": 1, "maxLength": 128}
_CLAIM: Final = {
    "type": "object",
    "properties": {
        "worker": {**_NAME, "type": ["string", "null"]},
        "queues": {"type": ["array", "null"], "items": _NAME, "maxItems": 100},
        "wait": {"type": ["number", "null"], "minimum": 0, "maximum": 25},
    },
}
_FLAG: Final = {"type": "string", "enum": ["0", "1"]}

# What a client asks for when it connects, ahead of it.
_SESSION: Final = {
    "type": "object",
    "properties": {
        "rooms": {"type": "array", "items": _NAME},
        "last": _POSITION,
        "sid": {"type": "string"},
        "rewind": {"type": ["string", "integer"]},
        "conflate": {"type": "boolean"},
    },
}
# The schemas of bodies that are not envelopes alone.
_BODIES: Final[dict[str, Any]] = {"/poll": {}, "/session": _SESSION}

# Query parameters by name.
_QUERY: Final[dict[str, Any]] = {
    "room": _NAME,
    "rooms": {"type": "array", "items": _NAME},
    # An empty one counts as absent.
    "last": {"anyOf": [_POSITION, {"const": ""}]},
    "after": _POSITION,
    "before": _POSITION,
    "order": {"type": "string", "enum": ["oldest", "newest"]},
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
    ("post", "/session", "Prepare a session", (), True),
    ("post", "/api/publish", "Publish events", (), True),
    ("post", "/api/tasks/claim", "Claim a task to work on", (), False),
    ("get", "/api/tasks", "The task board", (), False),
    ("get", "/api/tasks/{id}", "One task", (), False),
    ("get", "/api/history", "Logged events", ("room", "after", "before", "order", "limit"), False),
    ("get", "/api/state", "Retained events", ("room",), False),
    ("get", "/api/presence", "The members of a room", ("room",), False),
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
        {"name": part[1:-1], "in": "path", "required": True, "schema": _NAME}
        for part in path.split("/")
        if part.startswith("{")
    ]
    parameters += [
        {"name": "room" if name == "rooms" else name, "in": "query", "schema": _QUERY[name]}
        for name in query
    ]
    operation: dict[str, Any] = {
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "As PROTOCOL.md says."},
            "default": _refusal({"$ref": "#/components/schemas/Error"}),
        },
    }
    if path == "/api/publish":
        many = {"anyOf": [_RESULT, {"type": "array", "items": _RESULT}]}
        operation["responses"] = {
            "200": _answer("Everything is stored.", many),
            "207": _answer("Some of it is stored.", {"type": "array", "items": _RESULT}),
            "default": _refusal(many),
        }
    if path == "/api/tasks/claim":
        operation["requestBody"] = {"content": {"application/json": {"schema": _CLAIM}}}
    if takes_envelopes:
        operation["requestBody"] = {
            "required": True,
            # What is no envelope is answered in its place, by an `error` event.
            "content": {"application/json": {"schema": _BODIES.get(path, _ENVELOPES)}},
        }
    return operation


def _refusal(schema: dict[str, Any]) -> dict[str, Any]:
    answer = _answer("A refusal; in plain text when it is no HTTP.", schema)
    answer["content"]["text/plain"] = {"schema": {"type": "string"}}
    return answer


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
