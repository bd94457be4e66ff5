"""The log's memory against a list, also beyond the size at which it cuts its slots."""

from __future__ import annotations

import random

import pytest

from rtpush.log.entry import Entry, new_entry
from rtpush.log.tail import Tail
from rtpush.protocol import Position


def held(tail: Tail, after: int, max_bytes: int) -> list[Entry]:
    page = tail.after(after, max_bytes)
    return [] if page is None else page.entries


def entry(seq: int, key: str | None = None, size: int = 1) -> Entry:
    return new_entry(Position("e", seq), float(seq), "x", None, key, b"1" * size, (), None)


@pytest.mark.parametrize("max_count", [1, 7, 900])
def test_it_holds_the_newest(max_count: int) -> None:
    tail, model = Tail(0, max_count, 1 << 30), list[Entry]()
    for seq in range(1, 4000):
        tail.append(entry(seq, random.choice([None, "k", "l"])))
        model += held(tail, seq - 1, 0)
        del model[:-max_count]
        assert (len(tail), tail.first, tail.last) == (len(model), model[0].seq, seq)
    assert tail.bytes == sum(one.size for one in model)
    assert tail.after(tail.first - 2, 1 << 30) is None
    assert held(tail, tail.first - 1, 1 << 30) == model
    newest = {one.key: one.seq for one in model}
    for one in model:
        assert tail.superseded(one) == (one.key is not None and newest[one.key] > one.seq)


def test_it_holds_no_more_bytes_than_it_may_but_always_the_newest() -> None:
    size = entry(1, size=1000).size
    assert (Tail(5, 1, 1).first, Tail(5, 1, 1).last) == (6, 5)
    tail = Tail(0, 1000, 3 * size)
    for seq in range(1, 10):
        tail.append(entry(seq, size=1000))
    assert (len(tail), tail.bytes) == (3, 3 * size)
    tail.append(entry(10, size=5000))
    assert (tail.first, tail.last) == (10, 10)


def test_it_lets_go_of_what_is_older_than_a_time() -> None:
    tail = Tail(0, 1000, 1 << 30)
    for seq in range(1, 10):
        tail.append(entry(seq))
    tail.drop_older_than(4.0)
    assert tail.first == 4
    tail.drop_older_than(100.0)
    assert (tail.first, tail.last) == (9, 9)


def test_a_read_ends_at_its_bytes_and_gives_at_least_one() -> None:
    tail = Tail(0, 1000, 1 << 30)
    for seq in range(1, 5):
        tail.append(entry(seq))
    one = len(entry(1).json)
    for max_bytes, count in ((0, 1), (one, 1), (2 * one - 1, 1), (2 * one, 2), (4 * one, 4)):
        assert [e.seq for e in held(tail, 0, max_bytes)] == list(range(1, count + 1))
    assert tail.after(4, 1 << 30) == ([], 4)
