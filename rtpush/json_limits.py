"""What a JSON text costs: its containers, its depth, its weight against a client's rate.

The functions look at the bytes first: most texts are small or flat, and need no more.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "LIGHT",
    "MAX_CONTAINERS",
    "MAX_DEPTH",
    "count_containers",
    "has_too_many_containers",
    "is_too_deep",
    "weigh",
]

# orjson refuses to encode deeper than 254; 128 leaves room for the envelope,
# the array around it and what an application wraps it in.
MAX_DEPTH: Final = 128
# Objects and arrays of one JSON text. As many take 10 ms to read and check; without a
# limit, a mebibyte of them takes 300 ms.
MAX_CONTAINERS: Final = 20_000
# A text of at most this many bytes weighs what it is long: it cannot hold much.
LIGHT: Final = 512
# Bytes of one kind that are looked for one after the other before the rest is counted.
FEW: Final = 16


def has_too_many_containers(raw: bytes | str, containers: int | None = None) -> bool:
    """Does a JSON text hold more objects and arrays than allowed? Asked before they are built.

    `containers` are its `count_containers`, where they are known.
    """
    if len(raw) <= MAX_CONTAINERS or (containers is not None and containers <= MAX_CONTAINERS):
        return False
    encoded = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    if count_containers(encoded) <= MAX_CONTAINERS:
        return False
    # Brackets in strings build nothing.
    return count_containers(_outside_strings(encoded)) > MAX_CONTAINERS


def _outside_strings(encoded: bytes) -> bytes:
    # Without escaped quotes, every other piece between quotes is outside of a string.
    pieces = encoded.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
    return b"".join(pieces[::2])


def count_containers(raw: bytes) -> int:
    """The objects and arrays that a JSON text may hold: brackets in strings count, too."""
    return _count(raw, b"[") + _count(raw, b"{")


def weigh(raw: bytes, containers: int) -> int:
    """What a JSON text counts against `rate_bytes`: its bytes, and what its values take besides.

    Reading `[[],[],…` takes a hundred times as long as a string of the same size.
    `containers` are its `count_containers`.
    """
    size = len(raw)
    return size if size <= LIGHT else size + 8 * _count(raw, b",") + 64 * containers


def _count(raw: bytes, byte: bytes) -> int:
    """`raw.count(byte)`, ten times as fast where there are few.

    `find` looks at many bytes in one step, `count` at one.
    """
    at = -1
    for found in range(FEW):
        at = raw.find(byte, at + 1)
        if at < 0:
            return found
    return FEW + raw.count(byte, at + 1)


def _has_more(raw: bytes, byte: bytes, limit: int) -> bool:
    """Is the byte there more than `limit` times?"""
    at = -1
    for _ in range(limit + 1):
        at = raw.find(byte, at + 1)
        if at < 0:
            return False
    return True


def is_too_deep(encoded: bytes) -> bool:
    """Is a JSON text, which orjson has written, nested deeper than allowed?"""
    # Most texts have fewer brackets than the limit has levels: no need to look at them.
    return _may_be_deep(encoded) and _depth(encoded) > MAX_DEPTH


def _may_be_deep(encoded: bytes) -> bool:
    return any(_has_more(encoded, byte, MAX_DEPTH // 2) for byte in (b"[", b"{"))


# Braces become brackets, and everything else is left out.
_AS_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKET: Final = bytes(set(range(256)) - set(b"[]{}"))


def _depth(encoded: bytes) -> int:
    """Objects and arrays within each other; one more than the limit for all that is deeper.

    Half as long as a walk through the values, which may be a program's own objects.
    """
    brackets, depth = _outside_strings(encoded).translate(_AS_BRACKETS, _NO_BRACKET), 0
    while brackets and depth <= MAX_DEPTH:
        # The innermost level goes.
        brackets, depth = brackets.replace(b"[]", b""), depth + 1
    return depth
