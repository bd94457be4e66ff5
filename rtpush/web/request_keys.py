"""What the middleware and the API's guard keep with a request."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from ..access.callers import Caller

__all__ = ["CALLER", "KEY_SCOPE"]

# Where it comes from.
CALLER: Final = web.RequestKey("caller", Caller)
# Whose the idempotency keys of a publisher are.
KEY_SCOPE: Final = web.RequestKey("key_scope", str)
