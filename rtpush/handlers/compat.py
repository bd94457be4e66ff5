"""What `Server` and `Client` have in common: registering handlers, and tasks beside them.

The names are those of python-socketio.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final, TypeVar, overload

from ..errors import Reason
from .registry import Handler

__all__ = ["SocketIOInterface"]

H = TypeVar("H", bound=Handler)


class SocketIOInterface(ABC):
    """What `Server` and `Client` have in common."""

    reason: Final = Reason

    def __init__(self) -> None:
        self._background: set[asyncio.Task[Any]] = set()

    @abstractmethod
    def _add_handler(self, event: str, handler: Handler) -> None:
        """Raises ValueError for a name that cannot have a handler."""

    @overload
    def on(self, event: str, handler: H) -> H: ...
    @overload
    def on(self, event: str, handler: None = None) -> Callable[[H], H]: ...
    def on(self, event: str, handler: H | None = None) -> H | Callable[[H], H]:
        """Register a handler, by a call or as a decorator.

        Args:
            event: The event's name; `*` is for events without a handler.
            handler: A function or a coroutine function. It may declare fewer
                arguments than it is called with. None makes a decorator.

        Returns:
            The handler, or the decorator.

        Raises:
            ValueError: The name is reserved.
        """

        def register(function: H) -> H:
            self._add_handler(event, function)
            return function

        return register if handler is None else register(handler)

    @overload
    def event(self, handler: H) -> H: ...
    @overload
    def event(self, handler: None = None) -> Callable[[H], H]: ...
    def event(self, handler: H | None = None) -> H | Callable[[H], H]:
        """Register a function as the handler of the event that it is named after.

        Args:
            handler: As of `on`. None makes a decorator: `@event()`.

        Returns:
            The handler, or the decorator.

        Raises:
            ValueError: The name is reserved.
        """

        def register(function: H) -> H:
            self._add_handler(function.__name__, function)
            return function

        return register if handler is None else register(handler)

    def start_background_task(
        self, target: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> asyncio.Task[Any]:
        """Run a coroutine function beside everything else, until it ends.

        Args:
            target: A coroutine function.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Returns:
            The task, which may be awaited or cancelled.
        """
        return self._keep(asyncio.ensure_future(target(*args, **kwargs)))

    def _keep(self, task: asyncio.Task[Any]) -> asyncio.Task[Any]:
        # The loop itself holds tasks only weakly.
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def sleep(self, seconds: float = 0) -> None:
        """`asyncio.sleep`.

        Args:
            seconds: How long; 0 lets other tasks have their turn.
        """
        await asyncio.sleep(seconds)
