"""Values that each process makes for itself: state that must not cross a fork."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["PerProcess"]

T = TypeVar("T")


class PerProcess(Generic[T]):
    """A value of this process, made when it is first used.

    A lock that a thread holds during a fork stays locked in the child, and a
    connection would be shared with the parent. Hooks of `os.register_at_fork`
    do not help everywhere: a fork in C, as by uWSGI, runs none. So the process
    id is compared on each use. The parent's value is kept, not closed: closing
    it in the child could act on what the parent is using.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        """`make` gives the value of a process."""
        self._make = make
        # By process id.
        self._values: dict[int, T] = {os.getpid(): make()}

    @property
    def value(self) -> T:
        """The value of this process."""
        pid = os.getpid()
        if pid not in self._values:
            # Atomic: of two threads that come first, both get the same value.
            self._values.setdefault(pid, self._make())
        return self._values[pid]

    @property
    def inherited(self) -> Sequence[T]:
        """The values of this process's ancestors."""
        pid = os.getpid()
        return [value for owner, value in list(self._values.items()) if owner != pid]
