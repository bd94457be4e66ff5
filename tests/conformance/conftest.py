"""What the conformance tests share: a server over every log, and clients over every transport.

`site` is a running server; `@pytest.mark.settings(max_rooms=3)` changes its settings.
`kind` runs a test over each transport.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from clients import KINDS, PATIENCE, Client
from needs import needs
from redisserver import RedisServer
from sites import Site

from rtpush.config.settings import Settings
from rtpush.log.redis import bus, connection, follower


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """No keep-alive limit, no environment: every test has connections of its own."""
    async with aiohttp.ClientSession(trust_env=False) as session:
        yield session


LOGS = ["memory", "sqlite", pytest.param("redis", marks=needs("redis"))]


@pytest.fixture(params=LOGS)
async def site(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    http: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Site]:
    """A running server."""
    if request.param == "redis":
        redis: RedisServer = request.getfixturevalue("redis_server")
        # On a busy machine an answer takes longer, and Redis is none the less there.
        for module in (bus, connection, follower):
            monkeypatch.setattr(module, "TIMEOUT", PATIENCE)
        log = redis.url(secrets.token_hex(8))
    else:
        log = {"memory": "memory:", "sqlite": f"sqlite:{tmp_path}/rtpush.db"}[request.param]
    mark = request.node.get_closest_marker("settings")
    # Three where there can be more than one, unless the test looks into the server.
    inside = request.node.get_closest_marker("one_node") is not None
    nodes = 3 if request.param == "redis" and not inside else 1
    site = Site(Settings(port=0, log=log, **(mark.kwargs if mark else {})), http, nodes)
    await site.start()
    yield site
    await site.stop()


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> type[Client]:
    """Each transport."""
    found: type[Client] = request.param
    return found
