"""tqdm's bars on every screen: `from rtpush.contrib.tqdm import tqdm`.

Rules that hold here:

- It is tqdm's own class: every argument and habit is as ever. `url`, `key` and
  `room` come on top (see `rtpush.Publisher`).
- A bar is a task, and its message what tqdm writes beside the bar. It is told
  whenever tqdm draws, so tqdm's thinning is kept.
- A bar that is switched off (`disable`) is not told either.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from tqdm import std

from ..publisher.task_reporter import TaskReporter

__all__ = ["tqdm", "trange"]

T = TypeVar("T")

# What stands beside the bar.
_MESSAGE = "{n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
_MESSAGE_WITHOUT_TOTAL = "{n_fmt}{unit} [{elapsed}, {rate_fmt}{postfix}]"


# Generic in its stubs alone.
if TYPE_CHECKING:

    class _Tqdm(std.tqdm[T]): ...

else:

    class _Tqdm(std.tqdm, Generic[T]): ...


class tqdm(_Tqdm[T]):
    """See tqdm's documentation."""

    # Also for one whose arguments tqdm has refused: its `__del__` closes it.
    _reporter: TaskReporter | None = None
    _error: str | None = None

    def __init__(
        self,
        iterable: Iterable[T] | None = None,
        *args: Any,
        url: str | None = None,
        key: str | None = None,
        room: str | None = None,
        **options: Any,
    ) -> None:
        # Its stubs have an overload for no iterable, which cannot be said here.
        super().__init__(cast("Iterable[T]", iterable), *args, **options)
        if not self.disable:
            title = self.desc.removesuffix(": ") or "tqdm"
            self._reporter = TaskReporter(title, mode="tqdm", url=url, key=key, room=room)
            self._report()

    def display(self, *args: Any, **options: Any) -> Any:
        """Draw, and tell."""
        self._report()
        return super().display(*args, **options)

    def _report(self) -> None:
        if self._reporter is None:
            return
        form = _MESSAGE if self.total else _MESSAGE_WITHOUT_TOTAL
        beside = {"bar_format": form, "ncols": None, "prefix": ""}
        message = self.format_meter(**{**self.format_dict, **beside})
        share = min(1.0, self.n / self.total) if self.total else None
        self._reporter.update(None if share is None else round(100 * share, 1), message)

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if exc is not None:
            self._error = str(exc) or type(exc).__name__
        super().__exit__(kind, exc, tb)

    def close(self) -> None:
        """End the bar, and the task. Idempotent."""
        self._report()
        reporter, self._reporter = self._reporter, None
        super().close()
        if reporter is None:
            return
        if self._error is None and self.total and self.n < self.total:
            self._error = f"stopped at {self.n:,} of {self.total:,}"
        if self._error is None:
            reporter.complete({"steps": self.n})
        else:
            reporter.fail(self._error)


def trange(*args: int, **options: Any) -> tqdm[int]:
    """`tqdm(range(*args), **options)`."""
    return tqdm(range(*args), **options)
