"""The event loop of a thread, from its begin to its orderly end."""

from __future__ import annotations

import asyncio

__all__ = ["run_loop"]


def run_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, and then cancel the tasks that are left."""
    try:
        loop.run_forever()
        loop.run_until_complete(_cancel_all())
    finally:
        loop.close()


async def _cancel_all() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left)
    # The callbacks of a done task run in the next turn of the loop, also for a task
    # that was done in the turn that stopped the loop.
    await asyncio.sleep(0)
