"""Patterns of names: `*` stands for any characters, and nothing else is special.

A shell's `?` and `[…]` are not: a room called `chat[42]` is listed as it is written, and
lets nobody into `chat4`.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["matches", "matches_any"]


def matches(pattern: str, name: str) -> bool:
    """Compare a whole name with a pattern, in time that grows with the name's length alone.

    A regular expression would try every way to share the name among several `*`.
    """
    head, *rest = pattern.split("*")
    if not rest:
        return name == pattern
    if not name.startswith(head):
        return False
    *middle, tail = rest
    at = len(head)
    for part in middle:
        # The first place is as good as any: what follows can only be further right.
        found = name.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(name) - at >= len(tail) and name.endswith(tail)


def matches_any(patterns: Iterable[str], name: str) -> bool:
    """Compare a whole name with each pattern."""
    return any(matches(pattern, name) for pattern in patterns)
