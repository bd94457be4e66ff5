"""The board of tasks, as a server tells it over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
from clients import PATIENCE
from processes import pause


async def board(url: str) -> dict[str, Any]:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/api/tasks") as answer:
        found: dict[str, Any] = await answer.json()
        return found


async def active(url: str, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait for an active task."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for task in (await board(url))["tasks"]:
                if fits(task):
                    return dict(task)
            await pause()


async def ended(url: str) -> dict[str, Any]:
    """The task that has ended; there must be one."""
    found = await board(url)
    assert found["tasks"] == []
    (task,) = found["finished"]
    return dict(task)
