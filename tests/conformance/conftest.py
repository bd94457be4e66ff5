"""What the conformance tests share: a server over every log, and clients over every transport.

`site` is a running server: with the memory log behind uvicorn, else with a port of its own.
`@pytest.mark.settings(max_rooms=3)` changes its settings. `kind` runs a test over each transport.

Not every triple of log, transport and case is run; the random order says which:

- A test without cases of its own runs over each transport and each log at least once, and over
  two transports with Redis: there a client's requests go to several nodes.
- A test with cases runs each case over each transport and each log once.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest
from clients import KINDS, PATIENCE, Client
from doors import AsgiServer
from needs import needs
from redisserver import RedisServer
from sites import Site

from rtpush.config.settings import Settings
from rtpush.log.redis import bus, connection, follower
from rtpush.server import Server

HERE = Path(__file__).parent


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the triples of log, transport and case that repeat pairs."""
    if any("[" in argument for argument in config.args):
        return
    functions = defaultdict(list)
    for item in items:
        # pytest gives a folder's hook the items of the whole run.
        here = item.path.is_relative_to(HERE)
        if here and isinstance(item, pytest.Function) and "site" in item.fixturenames:
            functions[item.nodeid.partition("[")[0]].append(item)
    repeated = {item for found in functions.values() for item in _repeated(found)}
    if repeated:
        config.hook.pytest_deselected(items=list(repeated))
        items[:] = [item for item in items if item not in repeated]


class Place(NamedTuple):
    """Which of a test function's items one is."""

    log: int
    transport: int
    case: str


def _place(item: pytest.Function) -> Place:
    log, _, case = item.callspec.id.partition("-")
    transport = KINDS.index(item.callspec.params["kind"]) if "kind" in item.fixturenames else 0
    if "kind" in item.fixturenames:
        case = case.partition("-")[2]
    return Place(["memory", "sqlite", "redis"].index(log), transport, case)


def _repeated(items: list[pytest.Function]) -> list[pytest.Function]:
    """Of the items of one test function; the random order says which triples are tried."""
    places = {item: _place(item) for item in items}
    if len({place.log for place in places.values()}) < 3:
        # Some were chosen with `-k`.
        return []
    cases = list(dict.fromkeys(place.case for place in places.values()))
    if len(cases) == 1:
        return _repeated_without_cases(places)
    if len(cases) == 2 and not any(place.transport for place in places.values()):
        return []
    return [
        item
        for item, place in places.items()
        if (cases.index(place.case) + place.transport) % 3 != place.log
    ]


def _repeated_without_cases(places: dict[pytest.Function, Place]) -> list[pytest.Function]:
    memory, sqlite, redis = range(3)
    transports = list(dict.fromkeys(place.transport for place in places.values()))
    if len(transports) < 3:
        return []
    first, second, third = transports
    tried = {(redis, first), (redis, second), (sqlite, third), (memory, first)}
    return [item for item, place in places.items() if (place.log, place.transport) not in tried]


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
    settings = Settings(port=0, log=log, **(mark.kwargs if mark else {}))
    make = AsgiServer if request.param == "memory" else Server
    site = Site(settings, http, nodes, make)
    await site.start()
    yield site
    await site.stop()


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> type[Client]:
    """Each transport."""
    found: type[Client] = request.param
    return found
