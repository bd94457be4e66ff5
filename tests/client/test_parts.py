"""The parts of a Python client, without sockets: cursor, fallback, outbox, queues, SSE."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpush import Client
from rtpush.client import outbox as outbox_module
from rtpush.client import sse_parser
from rtpush.client.cursor import Cursor
from rtpush.client.fallback import Fallback
from rtpush.client.outbox import Outbox
from rtpush.client.presence import PresenceViews
from rtpush.client.receive_queue import Event, ReceiveQueues
from rtpush.client.retained import RetainedValues
from rtpush.client.send_queue import SendQueue
from rtpush.client.sse_parser import MessageTooLarge, SseParser
from rtpush.errors import RtpushError
from rtpush.publisher.backoff import Backoff
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


def test_a_snapshot_at_the_cursor_is_taken() -> None:
    cursor = Cursor("a-9")
    assert cursor.take({"event": "active_tasks", "id": "a-9"})
    assert not cursor.take({"event": "active_tasks", "id": "a-8"})
    assert cursor.take({"event": "active_tasks", "id": "a-12"})
    assert not cursor.take(logged(12))


def test_events_behind_a_rooms_snapshot_are_dropped() -> None:
    cursor = Cursor("a-1")
    assert cursor.take({"event": "active_tasks", "id": "a-5", "room": "r"})
    assert not cursor.take(logged(4, room="r"))
    assert cursor.take(logged(5))
    assert cursor.take(logged(6, room="r"))
    cursor.leave("r")
    assert cursor.take({"event": "active_tasks", "id": "a-7", "room": "r"})


def test_a_state_moves_no_position() -> None:
    cursor = Cursor("a-5")
    assert cursor.take({"event": "state", "id": "a-9", "data": {"entries": []}})
    assert cursor.last == "a-5"


def kept(key: str, data: Any, seq: int, room: str | None = None, **fields: Any) -> dict[str, Any]:
    where = {} if room is None else {"room": room}
    return {"event": "e", "key": key, "data": data, "id": f"a-{seq}", **where, **fields}


def test_a_state_is_handed_on_as_what_it_changes() -> None:
    values = RetainedValues()

    def take(envelope: dict[str, Any]) -> list[Any]:
        return [
            (one["key"], one["data"], one.get("retained"))
            for one in values.take(envelope)
            if one["event"] == "e"
        ]

    def state(seq: int, *entries: dict[str, Any], **where: Any) -> list[Any]:
        data = {"entries": [entry | {"retained": True} for entry in entries]}
        return take({"event": "state", "id": f"a-{seq}", "data": data, **where})

    def tasks(seq: int, **where: Any) -> list[Any]:
        return take({"event": "active_tasks", "id": f"a-{seq}", "data": {}, **where})

    assert state(2, kept("x", 1, 1), kept("y", 1, 2)) == [("x", 1, True), ("y", 1, True)]
    assert tasks(2) == []
    assert take(kept("x", 2, 3, retain=True)) == [("x", 2, None)]
    assert take(kept("x", 9, 3)) == [("x", 9, None)]
    assert take(kept("x", 0, 3, retain=True) | {"rewound": "a-1"}) == [("x", 0, None)]
    assert values.of("e", None) == {"y": 1, "x": 2}
    assert state(4, kept("r", 1, 4, "room"), room="room") == [("r", 1, True)]
    assert tasks(4, room="room") == []
    assert state(9, kept("x", 2, 3), kept("z", 1, 8)) == [
        ("y", None, True), ("r", None, True), ("z", 1, True)
    ]  # fmt: skip
    assert tasks(9) == []
    assert take(kept("z", None, 10, retain=True)) == [("z", None, None)]
    values.take(kept("r", 1, 11, "room", retain=True))
    values.leave("room")
    assert (values.of("e", None), values.of("e", "room")) == ({"x": 2}, {})
    assert tasks(12) == [("x", None, True)]


def member(id: str, subject: str | None = None, **info: Any) -> dict[str, Any]:
    return {"id": id, "info": info} | ({} if subject is None else {"subject": subject})


def present(seq: int, **told: Any) -> dict[str, Any]:
    return {"event": "presence", "room": "r", "id": f"a-{seq}", "data": told}


def there(seq: int, *members: tuple[int, dict[str, Any]]) -> dict[str, Any]:
    entries = [
        {"event": "presence", "room": "r", "key": one["id"], "data": one, "id": f"a-{at}"}
        for at, one in members
    ]
    return {"event": "state", "room": "r", "id": f"a-{seq}", "data": {"entries": entries}}


def test_a_state_tells_of_members_as_the_server_does() -> None:
    values = RetainedValues()
    ann, bob, cy = member("1", n=1), member("2"), member("3")
    values.take(present(1, joined=[ann, bob]))
    _, told = values.take(there(9, (8, member("1", n=2)), (7, cy)))
    assert told["data"] == {"left": [bob], "changed": [member("1", n=2)], "joined": [cy]}
    assert (told["event"], told["room"], told["retained"]) == ("presence", "r", True)
    assert list(values.of("presence", "r")) == ["1", "3"]


def test_the_tabs_of_one_person_count_as_one() -> None:
    values = RetainedValues()
    views = PresenceViews(values)
    told: list[Any] = []
    for by in ("id", "subject"):
        view = views.add("r", by)  # type: ignore[arg-type]
        for event in ("join", "change", "leave"):
            view.on(event, lambda one, by=by, event=event: told.append((by, event, one["id"])))

    def take(envelope: dict[str, Any]) -> list[Any]:
        values.take(envelope)
        views.update("r", lambda handler, one: handler(one))
        found, told[:] = list(told), []
        return found

    tabs = [member("1", "ann"), member("2", "ann"), member("3")]
    assert take(present(1, joined=tabs[:1])) == [("id", "join", "1"), ("subject", "join", "1")]
    assert take(present(2, joined=tabs[1:])) == [
        ("id", "join", "2"), ("id", "join", "3"), ("subject", "join", "3")
    ]  # fmt: skip
    assert take(present(3, left=tabs[1:2])) == [("id", "leave", "2")]
    assert [one["id"] for one in view.members] == ["1", "3"]
    assert take(present(4, left=tabs[:1])) == [("id", "leave", "1"), ("subject", "leave", "1")]
    changed = member("3", name="Cy")
    assert take(present(5, changed=[changed])) == [
        ("id", "change", "3"),
        ("subject", "change", "3"),
    ]
    with pytest.raises(ValueError, match="join, change, leave"):
        view.on("joined")


def test_resync_resets_the_cursor() -> None:
    cursor = Cursor("a-9")
    assert cursor.take({"event": "resync", "data": {"reason": "expired"}})
    assert cursor.last is None


@pytest.mark.parametrize("bad", ["", "a", "a-", "-1", "a-01", "a b-1", 7, None, ["a-1"], "é-1"])
def test_an_invalid_position_is_not_stored(bad: Any) -> None:
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
            st.sampled_from(["event", "id", "room", "key", "ack", "error", "data", "retain"]),
            ANYTHING | st.sampled_from(["n", "active_tasks", "state", "resync", "error"]),
        )
    )
)
def test_an_envelope_may_hold_anything(envelopes: list[dict[str, Any]]) -> None:
    cursor, client = Cursor(), Client()
    for envelope in envelopes:
        if cursor.take(envelope):
            client._session.receive(envelope)


# ---- fallback ------------------------------------------------------------------


def test_the_last_transport_comes_first_and_has_two_attempts_without_fallback() -> None:
    fallback = Fallback(["websocket", "sse", "poll"])
    assert fallback.order() == ["websocket", "sse", "poll"]
    assert not fallback.waits_for("websocket", timed_out=False)
    fallback.connected("sse")
    assert fallback.order() == ["sse", "websocket", "poll"]
    assert [fallback.waits_for("sse", timed_out=False) for _ in range(3)] == [True, True, False]
    fallback.connected("sse")
    # A proxy that swallows it now will swallow it again.
    assert not fallback.waits_for("sse", timed_out=True)


def test_delays_grow_to_a_limit_and_differ() -> None:
    backoff = Backoff(1.0, 5.0, 0.5)
    for attempt, middle in [(0, 1), (1, 2), (2, 4), (3, 5), (1000, 5)]:
        found = {backoff.delay(attempt) for _ in range(50)}
        assert len(found) > 1
        assert all(middle * 0.5 <= delay <= middle * 1.5 for delay in found)


# ---- outbox ------------------------------------------------------------------


class Told(list[Any]):
    def take(self, error: RtpushError | None, data: Any) -> None:
        self.append(error.code if error else data)


def said(box: Outbox) -> list[Any]:
    return [orjson.loads(text)["data"] for text, _ in box.take_due()]


def test_unanswered_events_are_sent_again_in_order() -> None:
    box, told = Outbox(), Told()
    acks = [box.add({"event": "n", "data": number}, told.take) for number in range(3)]
    texts = [orjson.loads(text) for text, _ in box.take_due()]
    assert [envelope["data"] for envelope in texts] == [0, 1, 2]
    assert len({envelope["idempotency_key"] for envelope in texts}) == 3
    assert said(box) == []
    box.settle(acks[1], None, "yes")
    box.settle(acks[1], None, "again")
    box.settle(["no ack"], None)
    box.resend()
    assert said(box) == [0, 2]
    box.give_up(RtpushError("unavailable", "gone"))
    assert told == ["yes", "unavailable", "unavailable"]
    assert len(box) == 0


def test_events_in_flight_are_limited_to_the_servers_result_cache() -> None:
    box = Outbox()
    acks = [box.add({"event": "n", "data": number}, Told().take) for number in range(100)]
    assert said(box) == list(range(MAX_RESULTS))
    for ack in acks[5:8]:
        box.settle(ack, None)
    assert said(box) == [64, 65, 66]
    box.resend()
    assert said(box) == [*range(5), *range(8, 67)]


def test_events_that_may_break_connections_are_given_up() -> None:
    box, told = Outbox(), Told()
    box.add({"event": "n", "data": 1}, told.take)
    while said(box):
        assert told == []
        box.resend()
    assert told == ["unavailable"]
    for data in (1, "x" * 100, "x" * 50):
        box.add({"event": "n", "data": data}, told.take)
    box.take_due()
    box.add({"event": "n", "data": "x" * 200}, told.take)
    # The largest of those that were said.
    box.refuse_largest()
    assert told == ["unavailable", "too_large"]
    box.resend()
    assert said(box) == [1, "x" * 50, "x" * 200]


def test_the_outbox_is_full_by_number_and_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "_MAX_ENTRIES", 2)
    box = Outbox()
    ack = box.add({"event": "n"}, Told().take)
    assert not box.full
    box.add({"event": "n"}, Told().take)
    assert box.full
    box.settle(ack, None)
    assert not box.full
    monkeypatch.setattr(outbox_module, "_MAX_BYTES", 100)
    box.add({"event": "n"}, Told().take)
    assert box.full


# ---- queues ----------------------------------------------------------


async def test_a_send_queue_keeps_the_order() -> None:
    queue = SendQueue()
    for number in range(100):
        queue.put(b"%d" % number)
    first = await queue.peek()
    assert first == await queue.peek()
    queue.remove(len(first))
    rest = await queue.peek()
    assert [*first, *rest] == [b"%d" % number for number in range(100)]
    assert len(queue) == len(rest)
    leaving = asyncio.create_task(queue.drain())
    await asyncio.sleep(0)
    assert not leaving.done()
    queue.remove(len(rest))
    await leaving


async def test_a_batch_fits_a_proxys_body_limit() -> None:
    queue = SendQueue()
    sizes = [300_000, 300_000, 100_000, 2_000_000, 1]
    for size in sizes:
        queue.put(bytes(size))
    batches = []
    while len(queue):
        batches.append([len(one) for one in await queue.peek()])
        queue.remove(len(batches[-1]))
    assert batches == [[300_000], [300_000, 100_000], [2_000_000], [1]]


async def test_events_by_pattern() -> None:
    queues = ReceiveQueues(lambda: False)
    tasks, everything = queues.new_events(("task_*", "n")), queues.new_events(())
    for name in ("task_created", "other", "n"):
        queues.deliver(Event(name))
    assert [(await tasks.get()).event for _ in range(2)] == ["task_created", "n"]
    assert len(everything) == 3
    queues.close(StopAsyncIteration())
    # What has come is still there to be taken.
    assert [event.event async for event in everything] == ["task_created", "other", "n"]
    assert [event async for event in tasks] == []


# ---- Server-Sent Events ------------------------------------------------------


@given(st.lists(st.integers(1, 20)))
def test_a_stream_may_be_cut_anywhere(sizes: list[int]) -> None:
    parser, found = SseParser(), []
    stream = b': hm\n\nid: a-1\ndata: {"event":\ndata: "a"}\n\nretry: 5\n\ndata: "b"\n\n'
    for size in [*sizes, len(stream)]:
        chunk, stream = stream[:size], stream[size:]
        found += parser.feed(chunk)
    assert found == [b' {"event":\n "a"}', b' "b"']


def test_a_message_of_a_stream_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse_parser, "MAX_MESSAGE", 100)
    parser = SseParser()
    assert parser.feed(b"data: " + b"x" * 90) == []
    with pytest.raises(MessageTooLarge):
        parser.feed(b"x" * 10)
