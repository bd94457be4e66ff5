"""What tasks append, merged for a reader that is behind."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from rtpush.log.board import TaskBoard
from rtpush.log.entry import Draft, Entry, new_entry
from rtpush.protocol import Envelope, Position
from rtpush.sessions.merging import merge_appends

LARGE = 1 << 20


def entries(*events: tuple[Any, ...]) -> list[Entry]:
    """Entries of (event, data[, room]), numbered from 1."""
    found = []
    for seq, (event, data, *room) in enumerate(events, 1):
        draft = Draft.of(Envelope(event, data, *room))
        position = Position("e", seq)
        found.append(new_entry(position, 0.0, draft.event, draft.room, draft.key, draft.encoded))
    return found


def append(id_: Any, **fields: str) -> tuple[str, dict[str, Any]]:
    return "task_progress", {"id": id_, "append": fields}


def envelopes(found: Sequence[Entry]) -> list[dict[str, Any]]:
    return [orjson.loads(entry.json) for entry in found]


def test_a_row_of_appends_is_one_at_the_position_of_the_last() -> None:
    given = entries(append(1, text="a"), append("1", text="b"), append(1, other="c"))
    (merged,) = merge_appends(given, LARGE)
    assert orjson.loads(merged.json) == {
        "event": "task_progress",
        "data": {"id": 1, "append": {"text": "ab", "other": "c"}},
        "id": "e-3",
    }
    assert (merged.seq, merged.id) == (3, "e-3")


def test_only_neighbours_of_one_task_in_one_room_are_merged() -> None:
    given = entries(
        append(1, text="a"),
        append(2, text="b"),
        append(2, text="c"),
        ("chat", "x"),
        append(2, text="d"),
        (*append(2, text="e"), "room"),
        ("task_progress", {"id": 2, "progress": 5}),
        append(2, text="f"),
    )
    found = [*merge_appends(given, LARGE)]
    assert [entry.seq for entry in found] == [1, 3, 4, 5, 6, 7, 8]
    assert [entry for entry in found if entry.seq != 3] == [e for e in given if e.seq not in (2, 3)]


def test_no_merged_envelope_is_larger_than_allowed() -> None:
    given = entries(*(append(1, text="x" * 100) for _ in range(100)))
    found = [*merge_appends(given, 1000)]
    assert max(len(entry.json) for entry in found) <= 1000
    assert len(found) < 30
    assert "".join(e["data"]["append"]["text"] for e in envelopes(found)) == "x" * 10_000


def test_one_that_asks_for_a_reply_stays_as_it_is() -> None:
    asked = new_entry(
        Position("e", 2), 0.0, "task_progress", "sid", None, b'{"id":1,"append":{"t":"b"}}', ack="a"
    )
    around = entries((*append(1, t="a"), "sid"), ("x", 0), (*append(1, t="c"), "sid"))
    given = [around[0], asked, around[2]]
    assert [*merge_appends(given, LARGE)] == given


fields = st.dictionaries(st.sampled_from("ab"), st.sampled_from(["", "x", "yz"]), max_size=2)
datas = st.builds(
    lambda id_, sets, appends: {
        "id": id_,
        **{name: value for name, value in sets.items() if name not in appends},
        "append": appends,
    },
    st.sampled_from([1, "1", 2]),
    fields,
    fields,
)


@given(st.lists(datas, max_size=20), st.randoms(use_true_random=False))
def test_wherever_the_connection_is_lost_the_tasks_are_the_same(
    given: list[dict[str, Any]], rng: random.Random
) -> None:
    """A client that comes back reads on at the position of the last envelope it was given."""
    log = entries(*(("task_progress", data) for data in given))
    truth, client = TaskBoard(), TaskBoard()
    for data in given:
        truth.apply("task_progress", data, None, 0.0)
    position = 0
    while position < len(log):
        for entry in merge_appends(log[position:], LARGE):
            client.apply("task_progress", orjson.loads(entry.json)["data"], None, 0.0)
            position = entry.seq
            if rng.random() < 0.3:
                break
    assert [t.data for t in client.all_active()] == [t.data for t in truth.all_active()]
