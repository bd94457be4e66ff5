"""What tests of every kind of log share."""

from __future__ import annotations

import pytest
from logs import REDIS
from needs import has


@pytest.fixture(scope="session")
def _redis_for_logs(request: pytest.FixtureRequest) -> None:
    """The Redis of logs under test, where there is one."""
    if has("redis"):
        REDIS[:] = [request.getfixturevalue("redis_server")]
