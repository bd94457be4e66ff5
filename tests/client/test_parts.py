"""What a Python client is made of, without sockets: cursor, ladder, outbox, inbox."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpush import Client
from rtpush.client import outbox as outbox_module
from rtpush.client.cursor import Cursor
from rtpush.client.fallback import Ladder, Pauses
from rtpush.client.outbox import Outbox
from rtpush.client.receive_queue import Event, Inbox
from rtpush.client.send_queue import Lane
from rtpush.errors import RtpushError
from rtpush.sessions.session import MAX_RESULTS


def logged(seq: int, epoch: str = "a", **fields: Any) -> dict[str, Any]:
    return {"event": "n", "id": f"{epoch}-{seq}", **fields}


# ---- cursor ------------------------------------------------------------------


@given(st.lists(st.integers(1, 30)))
def test_each_position_is_taken_once_and_in_order(seqs: list[int]) -> None:
    cursor = Cursor()
    taken = [seq for seq in seqs if cursor.take(logged(seq))]
    assert taken == sorted(set(taken))
    assert cursor.last == (f"a-{max(seqs)}" if seqs else None)
    # What was not taken lay behind.
    assert all(any(other >= seq for other in taken) for seq in seqs)


def test_another_epoch_cannot_be_compared() -> None:
    cursor = Cursor("a-9")
    assert cursor.take(logged(2, "b"))
    assert cursor.last == "b-2"


def test_a_snapshot_counts_once_more_where_it_was() -> None:
    cursor = Cursor("a-9")
    assert cursor.take({"event": "active_tasks", "id": "a-9"})
    assert not cursor.take({"event": "active_tasks", "id": "a-8"})
    assert cursor.take({"event": "active_tasks", "id": "a-12"})
    assert not cursor.take(logged(12))


def test_what_a_rooms_snapshot_says_is_not_said_again() -> None:
    cursor = Cursor("a-1")
    assert cursor.take({"event": "active_tasks", "id": "a-5", "room": "r"})
    assert not cursor.take(logged(4, room="r"))
    assert cursor.take(logged(5))
    assert cursor.take(logged(6, room="r"))
    cursor.leave("r")
    assert cursor.take({"event": "active_tasks", "id": "a-7", "room": "r"})


def test_resync_begins_anew() -> None:
    cursor = Cursor("a-9")
    assert cursor.take({"event": "resync", "data": {"reason": "expired"}})
    assert cursor.last is None


@pytest.mark.parametrize("bad", ["", "a", "a-", "-1", "a-01", "a b-1", 7, None, ["a-1"], "é-1"])
def test_what_is_no_position_is_not_remembered(bad: Any) -> None:
    cursor = Cursor("a-1")
    assert cursor.take({"event": "n", "id": bad})
    assert cursor.last == "a-1"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("a-3"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["event", "id", "room", "key", "ack", "error", "data"]),
            ANYTHING | st.sampled_from(["n", "active_tasks", "resync", "connect", "error"]),
        )
    )
)
def test_an_envelope_may_hold_anything(envelopes: list[dict[str, Any]]) -> None:
    cursor, client = Cursor(), Client()
    for envelope in envelopes:
        if cursor.take(envelope):
            client._take(envelope)


# ---- ladder ------------------------------------------------------------------


def test_what_worked_comes_first_and_has_two_attempts_to_itself() -> None:
    ladder = Ladder(["websocket", "sse", "poll"])
    assert ladder.next() == ["websocket", "sse", "poll"]
    assert not ladder.waits_for("websocket", silent=False)
    ladder.succeeded("sse")
    assert ladder.next() == ["sse", "websocket", "poll"]
    assert [ladder.waits_for("sse", silent=False) for _ in range(3)] == [True, True, False]
    ladder.succeeded("sse")
    # What swallows it now would swallow it again.
    assert not ladder.waits_for("sse", silent=True)


def test_pauses_grow_to_a_limit_and_differ() -> None:
    pauses = Pauses(1.0, 5.0, 0.5)
    for attempt, middle in [(0, 1), (1, 2), (2, 4), (3, 5), (1000, 5)]:
        found = {pauses.before(attempt) for _ in range(50)}
        assert len(found) > 1
        assert all(middle * 0.5 <= pause <= middle * 1.5 for pause in found)


# ---- outbox ------------------------------------------------------------------


class Told(list[Any]):
    def take(self, error: RtpushError | None, data: Any) -> None:
        self.append(error.code if error else data)


def said(box: Outbox) -> list[Any]:
    return [orjson.loads(text)["data"] for text in box.due()]


def test_what_is_not_answered_is_said_again_in_order() -> None:
    box, told = Outbox(), Told()
    acks = [box.add({"event": "n", "data": number}, told.take) for number in range(3)]
    texts = [orjson.loads(text) for text in box.due()]
    assert [envelope["data"] for envelope in texts] == [0, 1, 2]
    assert len({envelope["idempotency_key"] for envelope in texts}) == 3
    assert said(box) == []
    box.settle(acks[1], None, "yes")
    box.settle(acks[1], None, "again")
    box.settle(["no ack"], None)
    box.renew()
    assert said(box) == [0, 2]
    box.give_up(RtpushError("unavailable", "gone"))
    assert told == ["yes", "unavailable", "unavailable"]
    assert len(box) == 0


def test_no_more_is_on_its_way_than_a_server_remembers() -> None:
    box = Outbox()
    acks = [box.add({"event": "n", "data": number}, Told().take) for number in range(100)]
    assert said(box) == list(range(MAX_RESULTS))
    for ack in acks[5:8]:
        box.settle(ack, None)
    assert said(box) == [64, 65, 66]
    box.renew()
    assert said(box) == [*range(5), *range(8, 67)]


def test_what_connections_may_die_of_is_given_up() -> None:
    box, told = Outbox(), Told()
    box.add({"event": "n", "data": 1}, told.take)
    while said(box):
        assert told == []
        box.renew()
    assert told == ["unavailable"]
    for data in (1, "x" * 100, "x" * 50):
        box.add({"event": "n", "data": data}, told.take)
    box.due()
    box.add({"event": "n", "data": "x" * 200}, told.take)
    # The largest of those that were said.
    box.blame_largest()
    assert told == ["unavailable", "too_large"]
    box.renew()
    assert said(box) == [1, "x" * 50, "x" * 200]


def test_the_box_is_full_by_number_and_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "_MOST_ENTRIES", 2)
    box = Outbox()
    ack = box.add({"event": "n"}, Told().take)
    assert not box.full
    box.add({"event": "n"}, Told().take)
    assert box.full
    box.settle(ack, None)
    assert not box.full
    monkeypatch.setattr(outbox_module, "_MOST_BYTES", 100)
    box.add({"event": "n"}, Told().take)
    assert box.full


# ---- lane and inbox ----------------------------------------------------------


async def test_a_lane_is_left_in_order() -> None:
    lane = Lane()
    for number in range(100):
        lane.put(b"%d" % number)
    first = await lane.waiting()
    assert first == await lane.waiting()
    lane.drop(len(first))
    rest = await lane.waiting()
    assert [*first, *rest] == [b"%d" % number for number in range(100)]
    assert len(lane) == len(rest)
    leaving = asyncio.create_task(lane.empty())
    await asyncio.sleep(0)
    assert not leaving.done()
    lane.drop(len(rest))
    await leaving


async def test_what_leaves_at_once_is_no_larger_than_a_proxy_takes() -> None:
    lane = Lane()
    sizes = [300_000, 300_000, 100_000, 2_000_000, 1]
    for size in sizes:
        lane.put(bytes(size))
    batches = []
    while len(lane):
        batches.append([len(one) for one in await lane.waiting()])
        lane.drop(len(batches[-1]))
    assert batches == [[300_000], [300_000, 100_000], [2_000_000], [1]]


async def test_events_are_for_those_who_want_them() -> None:
    inbox = Inbox(lambda: False)
    tasks, everything = inbox.events(("task_*", "n")), inbox.events(())
    for name in ("task_created", "other", "n"):
        inbox.offer(Event(name))
    assert [(await tasks.get()).event for _ in range(2)] == ["task_created", "n"]
    assert len(everything) == 3
    inbox.end(StopAsyncIteration())
    # What has come is still there to be taken.
    assert [event.event async for event in everything] == ["task_created", "other", "n"]
    assert [event async for event in tasks] == []
