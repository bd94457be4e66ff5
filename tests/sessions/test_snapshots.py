"""Snapshots of the board: shared, and large ones in parts."""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from hubs import Connection, House, x

from rtpush.framing import JSON
from rtpush.protocol import Envelope, dumps
from rtpush.sessions import snapshots


def test_snapshots_are_shared_until_the_board_changes(house: House) -> None:
    house.publish(Envelope("task_created", {"id": 1, "text": "x" * 10_000}))
    wires = [house.open()[1] for _ in range(3)]
    assert len({id(connection.written[-1]) for connection in wires}) == 1
    house.publish(Envelope("task_progress", {"id": 1, "progress": 5}))
    (task,) = house.open()[1].events[-1]["data"]["tasks"]
    assert task["progress"] == 5


def test_snapshots_follow_the_time() -> None:
    house = House(finished_for=60)
    house.publish(Envelope("task_created", {"id": 1}), Envelope("task_completed", {"id": 1}))
    assert len(house.open()[1].events[-1]["data"]["finished"]) == 1
    house.turns.now += 61
    house.hub.tick()
    assert house.open()[1].events[-1]["data"]["finished"] == []


def test_the_names_of_rooms_count_among_the_small_snapshots_that_are_kept(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "MAX_SMALL_BYTES", 256 << 10)
    kept = snapshots.Snapshots(house.log)
    gc.collect()
    tracemalloc.start()
    try:
        for n in range(100):
            rooms = frozenset(f"{n}-{number}".ljust(128, "x") for number in range(100))
            assert kept.of_rooms(rooms, JSON)
        del rooms
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    # All 100 sets would hold 2.6 MB.
    assert 128 << 10 < held < 320 << 10


def task(id_: int, size: int, **fields: Any) -> Envelope:
    return Envelope("task_created", {"id": id_, "text": "x" * size}, **fields)


def tasks(connection: Connection) -> list[Any]:
    return [task["id"] for task in connection.events[-1]["data"]["tasks"]]


def test_a_large_board_is_encoded_once_for_readers_in_all_rooms(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.publish(*(task(n, 1000) for n in range(500)))
    encoded = 0

    def count(value: Any) -> bytes:
        nonlocal encoded
        data = dumps(value)
        encoded += len(data)
        return data

    monkeypatch.setattr(snapshots, "dumps", count)
    wires = [house.open(f"r{n}")[1] for n in range(50)]
    house.turns.settle()
    assert all(tasks(wire) == list(range(500)) for wire in wires)
    assert encoded < 600_000
    house.publish(Envelope("task_progress", {"id": 7, "progress": 1}))
    late = house.open("late")[1]
    house.turns.settle()
    assert tasks(late) == list(range(500))
    assert encoded < 700_000, "only the page that has changed is encoded again"


def test_who_does_not_read_a_large_board_holds_none_of_it(house: House) -> None:
    house.publish(*(task(n, 30_000) for n in range(100)))
    wires = [house.open(f"r{n}", room_for=40_000)[1] for n in range(20)]
    house.turns.settle()
    assert all(wire.held < 80_000 for wire in wires)
    house.publish(x(1))
    for wire in wires:
        while wire.held:
            wire.drain()
            house.turns.settle()
        # The board at one position, and then what came after it.
        board, after = wire.events[-2:]
        assert [task["id"] for task in board["data"]["tasks"]] == list(range(100))
        assert (board["id"], after["id"]) == (f"{house.log.epoch}-100", f"{house.log.epoch}-101")


def test_many_joins_of_a_room_are_answered_as_they_are_read(house: House) -> None:
    house.publish(*(task(n, 1000, room="a") for n in range(20)))
    session, wire = house.open(framing=replace(JSON, name="websocket"), room_for=40_000)
    for _ in range(1000):
        house.hub.join(session, "a")
    house.turns.settle()
    assert wire.held < 80_000
    wire.drain()
    house.turns.settle()
    boards = [event for event in wire.events if event.get("room") == "a"]
    assert [len(board["data"]["tasks"]) for board in boards] == [20] * len(boards)
    assert 2 <= len(boards) <= 4


def test_a_large_room_comes_whole_to_who_loses_its_connection_amid_it(house: House) -> None:
    house.publish(*(task(n, 30_000, room="a") for n in range(5)))
    session, wire = house.open(room_for=40_000)
    house.hub.join(session, "a")
    house.turns.settle()
    assert wire.parts
    house.hub.close(session)
    _, again = house.open(last=str(house.log.position), sid=session.sid)
    house.turns.settle()
    assert tasks(again) == list(range(5))
    assert again.events[-1]["room"] == "a"


def test_readers_cannot_hold_old_boards_without_end(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "MAX_OUTDATED_BYTES", 400_000)
    house.publish(*(task(n, 30_000) for n in range(10)))
    wires = []
    for _ in range(10):
        wires.append(house.open(room_for=10)[1])
        house.publish(
            *(Envelope("task_progress", {"id": n, "text": "y" * 30_000}) for n in range(10))
        )
    house.hub.tick()
    assert house.log.board.index.outdated.bytes <= 400_000
    closed = [wire.closed for wire in wires]
    assert closed[0] == (4508, "too_slow")
    assert closed[-1] is None


def test_a_large_board_that_was_cut_off_is_not_taken_for_a_room(house: House) -> None:
    house.publish(*(task(n, 30_000) for n in range(5)))
    session, wire = house.open(room_for=40_000)
    house.turns.settle()
    assert wire.parts
    house.hub.detach(session)
    again = Connection(house.hub)
    house.hub.reattach(session, again, str(house.log.position))
    house.turns.settle()
    assert again.events == []
