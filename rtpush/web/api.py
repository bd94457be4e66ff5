"""The HTTP API: publish, look, steer.

Rules that hold here:

- Every refusal is `{"error": {"code", "message"}}` with the status that the
  code has in `rtpush.errors`, and `Retry-After` when trying again can help.
- Nothing here has state: it asks the hub, the other nodes, the log and the board.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ..access.charges import charge_publisher
from ..access.rate_limits import owners_of
from ..application.claims import Ask, Claims
from ..application.dispatcher import Dispatcher, position_of
from ..application.history import API_LIMITS, HistoryQuery, read_history
from ..application.presence import members_of
from ..cluster.nodes import Nodes
from ..config.settings import Settings
from ..errors import RtpushError
from ..hub import Hub
from ..log.base import Log, Outcome
from ..metrics import CONTENT_TYPE, Metrics
from ..protocol import check_room, load_json
from .batch import parse_many
from .body import TURN_BYTES, BodyReader, checked
from .openapi import document
from .request_keys import CALLER, KEY_SCOPE

__all__ = ["PROBES", "Api", "answer_errors", "error_response"]

# Returns the scope of the publisher's idempotency keys; raises RtpushError when the sender
# of a request may not use the API.
Guard = Callable[[web.Request], Awaitable[str]]

logger = logging.getLogger("rtpush.api")

# The routes that tell how the server is: they are open to everybody.
PROBES: Final = ("healthz", "readyz")


_JSON_HEADERS: Final = {"Content-Type": "application/json", "Cache-Control": "no-store"}


def _json(data: Any, status: int = 200) -> web.Response:
    return web.Response(
        # A shell's prompt comes on a line of its own.
        body=orjson.dumps(data, option=orjson.OPT_APPEND_NEWLINE),
        status=status,
        headers=_JSON_HEADERS,
    )


def error_response(error: RtpushError) -> web.Response:
    """The one shape of every refusal over HTTP."""
    response = _json({"error": error.as_data()}, error.meaning.status)
    if error.code in ("request_timeout", "going_away"):
        # The rest of the body would be taken for the next request; and a server that
        # stops leaves its clients to the next one, which takes new connections.
        response.force_close()
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(math.ceil(error.retry_after))
    return response


def answer_errors(metrics: Metrics) -> Middleware:
    """Middleware: exceptions of any handler become refusals."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        allowed = ""
        try:
            return await handler(request)
        except RtpushError as error:
            # Its traceback holds this frame: a cycle, which would keep the body for a while.
            refusal = error.with_traceback(None)
        except web.HTTPMethodNotAllowed as exc:
            allowed = ", ".join(sorted(exc.allowed_methods))
            refusal = RtpushError("method_not_allowed", f"{request.path} takes {allowed}.")
        except web.HTTPNotFound:
            refusal = RtpushError("not_found", f"There is nothing at {request.path}.")
        except web.HTTPException:
            raise
        except Exception as exc:
            if isinstance(exc, ConnectionError) and _is_gone(request):
                return web.Response()
            logger.exception("%s %s failed", request.method, request.path)
            refusal = RtpushError("internal", "The server failed; its log says more.")
        metrics.refusals[refusal.code] += 1
        response = error_response(refusal)
        if allowed:
            response.headers["Allow"] = allowed
        return response

    return middleware


def _is_gone(request: web.Request) -> bool:
    """Has the client left? It reads no answer, and is nothing to log."""
    return request.transport is None or request.transport.is_closing()


class Api:
    """Handlers of everything but the transports."""

    def __init__(
        self,
        log: Log,
        hub: Hub,
        nodes: Nodes,
        dispatcher: Dispatcher,
        claims: Claims,
        body_reader: BodyReader,
        guard: Guard,
        metrics: Metrics,
        settings: Settings,
    ) -> None:
        self._log = log
        self._hub = hub
        self._nodes = nodes
        self._intake = dispatcher
        self._claims = claims
        self._body_reader = body_reader
        self._guard = guard
        self._metrics = metrics
        self._settings = settings

    def routes(self) -> list[web.RouteDef]:
        """Everything that this API answers."""
        guarded = self._guarded
        return [
            web.post("/api/publish", guarded(self.publish)),
            web.post("/api/tasks/claim", guarded(self.claim)),
            web.get("/api/tasks", guarded(self.tasks)),
            web.get("/api/tasks/{id}", guarded(self.task)),
            web.get("/api/history", guarded(self.history)),
            web.get("/api/state", guarded(self.state)),
            web.get("/api/presence", guarded(self.presence)),
            web.get("/api/rooms", guarded(self.rooms)),
            web.get("/api/rooms/{room}", guarded(self.room)),
            web.get("/api/connections", guarded(self.connections)),
            web.delete("/api/connections/{sid}", guarded(self.disconnect)),
            web.get("/metrics", guarded(self.metrics)),
            web.get("/api/openapi.json", self.openapi),
            web.get("/healthz", self.healthz, name=PROBES[0]),
            web.get("/readyz", self.readyz, name=PROBES[1]),
        ]

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            request[KEY_SCOPE] = await self._guard(request)
            return await handler(request)

        return guarded

    # -------------------------------------------------------------- publish

    async def publish(self, request: web.Request) -> web.Response:
        """One envelope, an array or NDJSON. See PROTOCOL.md, section 8."""
        settings, bodies = self._settings, self._body_reader
        owners = owners_of(request[CALLER].address, request[KEY_SCOPE])
        async with bodies.read(request, bodies.publishers, owners) as body:
            batch = parse_many(body, settings.max_batch, settings.max_message)
            if len(body) <= TURN_BYTES:
                envelopes = list(batch)
            else:
                envelopes = [envelope async for envelope in checked(batch)]
            # A publisher that hangs up now undoes nothing: the log goes on with what it has.
            outcomes = await self._intake.publish(envelopes, request[KEY_SCOPE])
        self._metrics.published += sum(not isinstance(o, RtpushError) for o in outcomes)
        if batch.many:
            return self._many(outcomes)
        if isinstance(outcomes[0], RtpushError):
            raise outcomes[0]
        return _json(self._result(outcomes[0]))

    def _many(self, outcomes: Sequence[Outcome | None]) -> web.Response:
        errors = [outcome for outcome in outcomes if isinstance(outcome, RtpushError)]
        self._metrics.refusals.update(error.code for error in errors)
        if not errors:
            status = 200
        else:
            status = 207 if len(errors) < len(outcomes) else errors[0].meaning.status
        response = _json([self._result(outcome) for outcome in outcomes], status)
        waits = [error.retry_after for error in errors if error.retry_after is not None]
        if waits:
            response.headers["Retry-After"] = str(math.ceil(max(waits)))
        return response

    def _result(self, outcome: Outcome | None) -> dict[str, Any]:
        if isinstance(outcome, RtpushError):
            return {"error": outcome.as_data()}
        return {"id": None if outcome is None else position_of(self._log, outcome)}

    async def claim(self, request: web.Request) -> web.Response:
        """A task for a worker. See PROTOCOL.md, section 6."""
        if self._hub.stopping:
            raise RtpushError("going_away", "The server is stopping; ask the next one.")
        bodies = self._body_reader
        owners = owners_of(request[CALLER].address, request[KEY_SCOPE])
        async with bodies.read(request, bodies.publishers, owners) as body:
            ask = Ask.parse(load_json(body) if body.strip() else None)
        account = charge_publisher(request[KEY_SCOPE])
        ask = ask._replace(account=account, gone=lambda: _is_gone(request))
        return _json(await self._claims.claim(ask))

    # ----------------------------------------------------------------- look

    async def tasks(self, _request: web.Request) -> web.Response:
        """The whole board, all rooms."""
        await self._log.sync()
        board = self._log.board
        return _json(
            {
                "tasks": [task.data for task in board.all_active()],
                "finished": [task.data for task in board.all_finished(self._log.now())],
                "position": str(self._log.position),
            }
        )

    async def task(self, request: web.Request) -> web.Response:
        """One task, active or lately finished."""
        await self._log.sync()
        task = self._log.board.get(request.match_info["id"])
        if task is None:
            raise RtpushError("not_found", "No such task: it never began, or it ended a while ago.")
        return _json(task.data)

    async def history(self, request: web.Request) -> web.Response:
        """Logged events in either order; all rooms or one."""
        default, most, max_bytes = API_LIMITS
        query = HistoryQuery.parse(request.query, default, most)
        return _json(await read_history(self._log, self._hub.history_bounds, query, max_bytes))

    async def state(self, request: web.Request) -> web.Response:
        """The retained events; all rooms or one."""
        room = request.query.get("room")
        rooms = None if room is None else [check_room(room)]
        if not await self._log.sync():
            raise RtpushError("unavailable", "The log cannot be read now; try again.")
        entries = [orjson.Fragment(value.json) for value in self._log.retained.values(rooms)]
        return _json({"entries": entries, "position": str(self._log.position)})

    async def presence(self, request: web.Request) -> web.Response:
        """The members of a room."""
        room = check_room(request.query.get("room"))
        await self._log.sync()
        position = str(self._log.position)
        return _json({"room": room, "members": members_of(self._hub, room), "position": position})

    async def rooms(self, _request: web.Request) -> web.Response:
        """Every room that somebody is in."""
        rooms = sorted((await self._nodes.rooms()).items())
        return _json({"rooms": [{"room": room, "members": n} for room, n in rooms]})

    async def room(self, request: web.Request) -> web.Response:
        """Who is in a room; an empty list when nobody is."""
        room = check_room(request.match_info["room"])
        return _json({"room": room, "members": await self._nodes.members(room)})

    async def connections(self, _request: web.Request) -> web.Response:
        """Every session."""
        return _json({"connections": await self._nodes.connections()})

    async def disconnect(self, request: web.Request) -> web.Response:
        """End a session; its client is told not to come back by itself."""
        sid = request.match_info["sid"]
        if not await self._nodes.disconnect(sid, "The connection was ended by the operator."):
            raise RtpushError("not_found", "No such connection; it may have closed by itself.")
        return _json({"sid": sid})

    # ----------------------------------------------------------- operations

    async def healthz(self, _request: web.Request) -> web.Response:
        """Is the process alive?"""
        return _json({"status": "ok"})

    async def readyz(self, _request: web.Request) -> web.Response:
        """Should it be sent traffic?"""
        if self._hub.stopping:
            raise RtpushError("going_away", "The server is stopping; use another or come back.")
        if self._log.failing:
            raise RtpushError("unavailable", "The log cannot be written; see the server's log.")
        return _json({"status": "ready", "position": str(self._log.position)})

    async def metrics(self, _request: web.Request) -> web.Response:
        """Counters for Prometheus."""
        body = self._metrics.render(self._hub)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    async def openapi(self, _request: web.Request) -> web.Response:
        """This API, described for machines."""
        return _json(document())
