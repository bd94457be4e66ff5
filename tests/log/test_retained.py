"""Retained events: the newest value of each key, the same in every log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from logs import KINDS, Desk, LogMachine, each, memory, try_sequences

from rtpush.errors import RtpushError
from rtpush.log.accounts import APPLICATION, account_of_client
from rtpush.log.base import Log
from rtpush.log.entry import Draft
from rtpush.log.pages import PAGE_BYTES
from rtpush.log.retained import VALUE_BYTES
from rtpush.protocol import Envelope

pytestmark = pytest.mark.usefixtures("_redis_for_logs")

ANN, BOB = map(account_of_client, ("ann", "bob"))
KIB = 1 << 10
# A client may have 2 values; all clients 18.
LIMITS: dict[str, Any] = {"max_retained": 20, "max_state": 60 * KIB, "max_message": 4 * KIB}


@pytest.fixture(params=each(["memory", "sqlite", "redis"]))
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    mark = request.node.get_closest_marker("settings")
    desk = Desk(KINDS[request.param], tmp_path, **(mark.kwargs if mark else LIMITS))
    await desk.open()
    yield desk
    await desk.log.close()


def value(
    key: str,
    data: Any,
    room: str | None = None,
    event: str = "e",
    account: str = APPLICATION,
    retain: bool = True,
) -> Draft:

    return Draft.of(Envelope(event, data, room, key, retain=retain), account=account)


def shown(log: Log) -> list[dict[str, Any]]:
    """The entries of `state` of all rooms."""
    return [orjson.loads(value.json) for value in log.retained.values()]


def values(log: Log) -> dict[tuple[str | None, str], Any]:
    return {(entry.get("room"), entry["key"]): entry["data"] for entry in shown(log)}


async def codes(desk: Desk, *drafts: Draft) -> list[int | str]:
    return [o.code if isinstance(o, RtpushError) else o for o in await desk.append(*drafts)]


async def test_the_newest_of_each_key_is_kept_until_it_is_removed(desk: Desk) -> None:
    await desk.append(value("a", 1), value("b", 1), value("a", 1, "room"))
    await desk.append(value("a", 2), value("a", 3, retain=False), value("b", None))
    assert values(desk.log) == {("room", "a"): 1, (None, "a"): 2}
    assert next(entry for entry in shown(desk.log) if "room" not in entry) == {
        "event": "e",
        "data": 2,
        "key": "a",
        "retained": True,
        "id": f"{desk.log.epoch}-4",
    }


async def test_what_is_retained_outlives_its_entry_and_its_process(desk: Desk) -> None:
    await desk.append(
        value("a", {"deep": [1.5, "é"]}, "room"),
        Draft.of(Envelope("several", (1, 2), None, "k", retain=True), account=ANN),
    )
    before = shown(desk.log)
    desk.clock.now += 30 * 86400
    await desk.append(value("x", 1, retain=False))
    await desk.trimmed(3)
    assert shown(desk.log) == before
    assert desk.log.retained.shares.of(ANN).number == 1
    if desk.log.epoch == (await desk.reopen()).epoch:
        assert shown(desk.log) == before
        assert desk.log.retained.shares.of(ANN).number == 1


async def test_each_is_refused_beyond_its_share_and_may_still_remove(desk: Desk) -> None:
    mine = [value(str(i), i, account=ANN) for i in range(4)]
    assert await codes(desk, *mine) == [1, 2, "retained_full", "retained_full"]
    assert await codes(desk, value("1", 9, account=ANN), value("x", 1, account=BOB)) == [3, 4]
    gone = value("0", None, account=ANN)
    assert await codes(desk, gone, value("2", 2, account=ANN)) == [5, 6]
    fill = [value(f"app{i}", i) for i in range(18)]
    assert (await codes(desk, *fill)).count("retained_full") == 1
    large = value("app0", "*" * 60 * KIB)
    assert await codes(desk, large) == ["retained_full"]
    assert len(desk.log.retained) == 20


async def test_a_reader_that_skips_superseded_events_misses_no_retained_one(desk: Desk) -> None:
    await desk.append(value("a", 1), value("a", 2, retain=False), value("a", 3, retain=False))
    page = await desk.log.read(0, 10, conflate_after=0)
    assert [entry.seq for entry in page.entries] == [1, 3]
    assert not desk.log.superseded(page.entries[0])


@pytest.mark.settings
async def test_pages_are_of_their_size_and_in_order(desk: Desk) -> None:
    await desk.append(*(value(str(i), "*" * KIB, "room") for i in range(100)))
    await desk.append(*(value(str(i), i, "room") for i in range(0, 100, 2)))
    pages = desk.log.retained.pages("room")
    assert all(page.size <= PAGE_BYTES for page in pages)
    assert len(pages) > 1
    places = [one.place for page in pages for one in page]
    assert places == sorted(places)
    assert desk.log.retained.size("room") == sum(len(v.json) for v in desk.log.retained.values())
    assert desk.log.retained.size("other") == 0


class AnyEvents(LogMachine):
    """Any events, in batches; a dictionary says what is retained of them."""

    options: ClassVar = LIMITS

    def prepare(self) -> None:
        # For each value its data, its entry's number and the account.
        self.model: dict[tuple[str | None, str], tuple[Any, int, str]] = {}

    @rule(
        events=st.lists(
            st.tuples(
                st.sampled_from("abcd"),
                st.sampled_from([None, None, 1, "x", "*" * 3000]),
                st.sampled_from([None, "r", "s"]),
                st.just("e"),
                st.sampled_from([APPLICATION, ANN, BOB]),
                st.booleans(),
            ),
            max_size=6,
        )
    )
    def emit(self, events: list[tuple[str, Any, str | None, str, str, bool]]) -> None:
        outcomes = self.run(self.desk.append(*(value(*event) for event in events)))
        for (key, data, room, _, account, retain), outcome in zip(events, outcomes, strict=True):
            if isinstance(outcome, RtpushError) or not retain:
                continue
            self.model.pop((room, key), None)
            if data is not None:
                self.model[room, key] = data, outcome, account

    @precondition(lambda self: type(self).make is not memory)
    @rule()
    def reopen(self) -> None:
        self.run(self.desk.reopen())

    @invariant()
    def they_agree(self) -> None:
        if not hasattr(self, "desk"):
            return
        log, retained = self.desk.log, self.desk.log.retained
        assert values(log) == {name: data for name, (data, _, _) in self.model.items()}
        numbers = {(one.name.room, one.name.key): one.place >> 20 for one in retained.values()}
        assert numbers == {name: seq for name, (_, seq, _) in self.model.items()}
        for account in (ANN, BOB):
            mine = [data for data, _, payer in self.model.values() if payer == account]
            held = retained.shares.of(account)
            assert held.number == len(mine) <= 2
            assert held.size >= len(mine) * VALUE_BYTES


@pytest.mark.parametrize("name", each(["memory", "sqlite", "redis"]))
def test_any_sequence_of_events(name: str, tmp_path: Path) -> None:
    try_sequences(AnyEvents, name, tmp_path, steps=15)
