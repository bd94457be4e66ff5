"""Middleware: the checks that every request passes, for all transports and the API.

Rules that hold here:

- Host, origin and credentials are checked once, here. Behind the middleware a request
  has a `Caller`.
- A balancer may ask for the server's health by any host name, or none, over HTTP/1.0.
  The answer tells nothing else.
- The HTTP API is for publishers and operators: it asks for an API key or a
  token with the right to publish. Where neither is configured, and no setting lets
  others in, it serves programs of this machine.
"""

from __future__ import annotations

import logging
import re
from base64 import urlsafe_b64decode
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ..access.auth import Authenticator, Grant
from ..access.callers import Callers, is_private
from ..access.key_scope import PUBLISHERS, scope_of_api_key
from ..access.origins import Origins
from ..config.kinds import shorten
from ..config.settings import Settings
from ..errors import RtpushError
from ..protocol import load_json
from .api import PROBES, error_response
from .request_keys import CALLER

__all__ = ["AccessControl"]

# How a browser sends a token with a WebSocket: as a second subprotocol.
IN_PROTOCOL: Final = "bearer."
# And what else its application is told.
AUTH_IN_PROTOCOL: Final = "auth."
AUTH_HEADER: Final = "Rtpush-Auth"
# Bytes of its JSON: with a token of the longest kind it fits into one header.
MAX_AUTH: Final = 2048
# Origins of which the log is told that their pages were refused.
MAX_LOGGED_ORIGINS: Final = 100

_PLAIN_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]{0,20}://[a-z0-9.:\[\]-]{1,80}")

logger = logging.getLogger("rtpush.origins")


class AccessControl:
    """Lets requests in, or refuses them."""

    def __init__(self, auth: Authenticator, settings: Settings) -> None:
        self.auth = auth
        self.origins = Origins(settings)
        self._callers = Callers(settings)
        self._settings = settings
        # Those that the log has been told of.
        self._refused_origins: set[str] = set()

    def middleware(self) -> Middleware:
        """Checks host and origin, answers preflights, adds what CORS asks for."""

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            origin = request.headers.get("Origin")
            try:
                self._check(request, origin)
            except RtpushError as error:
                return error_response(error)
            if origin is None and not self._settings.allow_origins:
                return await handler(request)
            if request.method == "OPTIONS" and origin is not None:
                return web.Response(status=204, headers=self.origins.preflight(origin))
            response = await handler(request)
            if not response.prepared:
                response.headers.update(self.origins.cors(origin))
            return response

        return middleware

    def _check(self, request: web.Request, origin: str | None) -> None:
        caller = self._callers.of(
            request.remote or "",
            request.scheme,
            request.raw_path,
            (request.version.major, request.version.minor),
            request.headers,
        )
        request[CALLER] = caller
        if request.match_info.route.name not in PROBES:
            self.origins.check_host(caller)
        try:
            self.origins.check_origin(origin, caller)
        except RtpushError:
            self._log_refused(str(origin))
            raise

    def _log_refused(self, origin: str) -> None:
        """Tell once of each origin, since a browser shows its user no reason."""
        # Any client can name any origin: what it costs has a bound.
        if origin in self._refused_origins or len(self._refused_origins) >= MAX_LOGGED_ORIGINS:
            return
        self._refused_origins.add(origin)
        logger.warning(
            "a page of %s was refused; if it is yours, list it: --allow-origins %s",
            shorten(origin),
            origin if _PLAIN_ORIGIN.fullmatch(origin) else "ORIGIN",
        )

    async def grant(self, request: web.Request) -> tuple[Grant, str | None]:
        """What the sender of a request may do, and its token. Raises RtpushError."""
        token = self._token(request)
        return await self.auth.grant(token), token

    def _token(self, request: web.Request) -> str | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token:
            return token.strip()
        offered = _offered(request, IN_PROTOCOL)
        if offered is not None:
            return offered
        if "token" not in request.query:
            return None
        if not self._settings.token_in_query:
            raise RtpushError(
                "bad_request",
                "Tokens are not taken from the address: send `Authorization: Bearer`, or turn "
                "`token_in_query` on.",
            )
        return request.query["token"]

    def auth_of(self, request: web.Request, token: str | None) -> dict[str, Any] | None:
        """What a `connect` handler is told as `auth`. Raises RtpushError (`bad_request`)."""
        encoded = request.headers.get(AUTH_HEADER) or _offered(request, AUTH_IN_PROTOCOL)
        auth = {} if encoded is None else _decode_auth(encoded)
        return (auth if token is None else auth | {"token": token}) or None

    async def check_api(self, request: web.Request) -> str:
        """Check that the sender may publish and operate. Raises RtpushError.

        Returns the scope of its idempotency keys.
        """
        if self._settings.insecure:
            return PUBLISHERS
        if not self.auth.guards_api:
            if is_private(self._settings) and request[CALLER].is_local:
                return PUBLISHERS
            raise RtpushError(
                "not_authenticated",
                "The HTTP API serves programs of its own machine only, until there is an API key: "
                "make one there with `rtpush token --api-key --save`.",
            )
        token = self._token(request)
        if token is not None and self.auth.is_api_key(token):
            return scope_of_api_key(token)
        if not self.auth.wants_tokens:
            raise RtpushError(
                "not_authenticated", "An API key is needed: send it as `Authorization: Bearer`."
            )
        grant = await self.auth.grant(token)
        if not grant.publish:
            raise RtpushError("forbidden", "The token has no right to publish.")
        return PUBLISHERS if grant.subject is None else grant.key_scope


def _offered(request: web.Request, prefix: str) -> str | None:
    """The rest of the subprotocol that begins like this; None when none does."""
    for offered in ",".join(request.headers.getall("Sec-WebSocket-Protocol", ())).split(","):
        if offered.strip().startswith(prefix):
            return offered.strip().removeprefix(prefix)
    return None


def _decode_auth(encoded: str) -> dict[str, Any]:
    try:
        text = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        auth = load_json(text) if len(text) <= MAX_AUTH else None
    except (ValueError, RtpushError):
        auth = None
    if not isinstance(auth, dict):
        raise RtpushError(
            "bad_request",
            f"What a client tells of itself is a JSON object of at most {MAX_AUTH} bytes, as "
            "base64url.",
        )
    return auth
