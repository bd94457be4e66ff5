"""A subclass of tqdm that reports each bar as a task: `from rtpush.contrib.tqdm import tqdm`.

Rules that hold here:

- It takes every argument of tqdm, and `url`, `key` and `room` as `rtpush.Publisher`.
- The task's message is the text beside the bar. It is reported whenever tqdm draws,
  so tqdm's own limit on drawing holds for the reports, too.
- A bar with `disable=True` is no task.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from tqdm import std

from ..publisher.task_reporter import TaskReporter

__all__ = ["tqdm", "trange"]

T = TypeVar("T")

# The text beside the bar, in tqdm's format.
_MESSAGE = "{n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
_MESSAGE_WITHOUT_TOTAL = "{n_fmt}{unit} [{elapsed}, {rate_fmt}{postfix}]"


# tqdm is generic in its stubs only.
if TYPE_CHECKING:

    class _Tqdm(std.tqdm[T]): ...

else:

    class _Tqdm(std.tqdm, Generic[T]): ...


class tqdm(_Tqdm[T]):
    """tqdm's progress bar, which is also a task on the server."""

    # None for a disabled bar. A class attribute, because tqdm's `__del__` closes also a
    # bar whose arguments it has refused.
    _reporter: TaskReporter | None = None
    # Why the task failed; None when it did not.
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
        # tqdm's stubs take no iterable only in an overload.
        super().__init__(cast("Iterable[T]", iterable), *args, **options)
        if not self.disable:
            title = self.desc.removesuffix(": ") or "tqdm"
            self._reporter = TaskReporter(title, mode="tqdm", url=url, key=key, room=room)
            self._report()

    def display(self, *args: Any, **options: Any) -> Any:
        """Draw the bar, and report it."""
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
