"""Pages: things in order, as snapshots share them.

Rules that hold here:

- A page holds at most PAGE_BYTES, or one thing. Pages keep their things in order, each by
  a number of its own.
- A page that a reader has seen is never changed: a change puts a copy in its
  place. So readers of a large snapshot share its pages, and each has it as
  it was when it began, at the cost of the pages that changed since.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, Generic, Protocol, TypeVar

__all__ = ["PAGE_BYTES", "Outdated", "Page", "Pages", "Sized"]

# Half a default high-water mark: a reader that keeps up is never taken for a slow one.
PAGE_BYTES: Final = 32 << 10


class Outdated:
    """Counts the bytes of pages that readers hold and that are no longer true."""

    def __init__(self) -> None:
        self.bytes = 0


class Sized(Protocol):
    """What pages hold; `size` is the length of its JSON."""

    @property
    def size(self) -> int: ...


T = TypeVar("T", bound=Sized)


class Page(Generic[T]):
    """Things in order; `size` is the length of their JSON."""

    __slots__ = ("_counter", "_readers", "_replaced", "items", "seen", "size")

    def __init__(self, counter: Outdated, items: dict[int, T], size: int) -> None:
        self.items = items
        self.size = size
        # A reader has seen it: it stays as it is.
        self.seen = False
        self._counter = counter
        self._readers = 0
        self._replaced = False

    @property
    def first(self) -> int:
        """The number by which the first thing is ordered."""
        first: int = next(iter(self.items))
        return first

    def __iter__(self) -> Iterator[T]:
        return iter(self.items.values())

    def acquire(self) -> None:
        """One more reader is going to read it."""
        self.seen = True
        self._readers += 1
        if self._replaced and self._readers == 1:
            self._counter.bytes += self.size

    def release(self) -> None:
        """A reader has read it, or will not."""
        self._readers -= 1
        if self._replaced and not self._readers:
            self._counter.bytes -= self.size

    def replace(self) -> None:
        """It is no longer true."""
        self._replaced = True
        if self._readers:
            self._counter.bytes += self.size

    def copy(self) -> Page[T]:
        """A page of the same things, which may be changed."""
        return Page(self._counter, dict(self.items), self.size)


class Pages(Generic[T]):
    """Pages in order."""

    def __init__(self, counter: Outdated) -> None:
        self.pages: list[Page[T]] = []
        self.size = 0
        self._counter = counter

    def put(self, number: int, thing: T) -> None:
        """Add what is ordered by a number, or replace it."""
        if not self.pages:
            self.pages.append(Page[T](self._counter, {}, 0))
            page = self.pages[index := 0]
        else:
            page = self._writable(index := self._find(number))
        old = page.items.get(number)
        page.items[number] = thing
        growth = thing.size - (0 if old is None else old.size)
        page.size += growth
        self.size += growth
        if page.size > PAGE_BYTES and len(page.items) > 1:
            self._split(index)

    def remove(self, number: int) -> None:
        """Take what is ordered by a number out."""
        page = self._writable(index := self._find(number))
        size: int = page.items.pop(number).size
        page.size -= size
        self.size -= size
        if not page.items:
            del self.pages[index]
        elif index and self.pages[index - 1].size + page.size <= PAGE_BYTES // 2:
            self._merge(index - 1, index)

    def _find(self, number: int) -> int:
        return max(0, bisect_right(self.pages, number, key=lambda page: page.first) - 1)

    def _writable(self, index: int) -> Page[T]:
        page = self.pages[index]
        if page.seen:
            page.replace()
            page = self.pages[index] = page.copy()
        return page

    def _split(self, index: int) -> None:
        pages = [Page[T](self._counter, {}, 0)]
        for number, thing in self.pages[index].items.items():
            if pages[-1].items and pages[-1].size + thing.size > PAGE_BYTES:
                pages.append(Page[T](self._counter, {}, 0))
            pages[-1].items[number] = thing
            pages[-1].size += thing.size
        self.pages[index : index + 1] = pages

    def _merge(self, index: int, other: int) -> None:
        page, gone = self._writable(index), self.pages.pop(other)
        page.items.update(gone.items)
        page.size += gone.size
