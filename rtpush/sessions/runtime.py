"""Runtime: what the hub needs of an event loop."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

__all__ = ["Runtime"]


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the hub needs of an event loop; tests own it.

    `clock` is monotonic and `wall` counts since 1970, both in seconds; `call_later`
    takes seconds, too.
    """

    call_soon: Callable[[Callable[[], None]], object]
    call_later: Callable[[float, Callable[[], None]], object]
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    clock: Callable[[], float]
    wall: Callable[[], float]
