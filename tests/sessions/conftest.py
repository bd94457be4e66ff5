"""What the tests of sessions share."""

from __future__ import annotations

import pytest
from hubs import House


@pytest.fixture
def house() -> House:
    return House()
