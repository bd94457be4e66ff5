"""Estimates of when tasks end: from what others took, from their own pace, or none."""

from __future__ import annotations

from typing import Any

import pytest

from rtpush.log.board import TaskBoard
from rtpush.log.estimates import MAX_PLACES, Estimate, estimate

NOW = 1_700_000_000.0


class Desk:
    """A board, and what is estimated of it."""

    def __init__(self) -> None:
        self.board = TaskBoard()

    def put(self, event: str, id: Any, time: float, **fields: Any) -> None:
        data = {"id": id, **fields}
        self.board.check(event, data, None)
        assert self.board.apply(event, data, None, NOW + time) is not None

    def took(self, *seconds: float, **fields: Any) -> None:
        """Tasks that took so long have ended just now."""
        for number, time in enumerate(seconds):
            self.put("task_created", f"{fields} {number}", -time, **fields)
            self.put("task_progress", f"{fields} {number}", -time)
        for number, _ in enumerate(seconds):
            self.put("task_completed", f"{fields} {number}", 0)

    def runs(self, id: str, since: float, **fields: Any) -> None:
        mode = {"mode": fields.pop("mode")} if "mode" in fields else {}
        self.put("task_created", id, since, **mode)
        self.put("task_progress", id, since, **fields)

    def estimates(self) -> dict[str, Estimate]:
        queues = self.board.index.queues
        waiting = {queue: queues.waiting([queue], rooms=True) for queue in queues.names}
        return estimate(queues.running.values(), waiting, self.board.all_finished(NOW), NOW)


def after(seconds: float) -> int:
    return round(NOW + seconds) * 1000


def test_without_ground_there_is_a_place_and_no_time() -> None:
    desk = Desk()
    desk.took(10, 12)
    desk.runs("running", -5, progress=4)
    desk.put("task_created", "first", 0)
    desk.put("task_created", "second", 0)
    desk.put("task_created", "elsewhere", 0, queue="big")
    places = {"first": 1, "second": 2, "elsewhere": 1}
    assert desk.estimates() == {key: Estimate(place) for key, place in places.items()}


def test_a_queue_is_worked_off_by_those_that_run() -> None:
    desk = Desk()
    desk.took(8, 10, 60)
    desk.runs("a", -4)
    desk.runs("b", -9)
    for number in range(3):
        desk.put("task_created", number, 0)
    # Ten seconds each, by two workers that are free after 1 and after 6 seconds.
    assert desk.estimates() == {
        "a": Estimate(None, after(6)),
        "b": Estimate(None, after(1)),
        "0": Estimate(1, after(11)),
        "1": Estimate(2, after(16)),
        "2": Estimate(3, after(21)),
    }


def test_what_others_took_counts_by_mode_and_ends_with_what_is_not_known() -> None:
    desk = Desk()
    desk.took(10, 10, 10, mode="draw")
    desk.runs("a", -4, mode="draw")
    for key, mode in (("draw", "draw"), ("write", "write"), ("behind", "draw")):
        desk.put("task_created", key, 0, mode=mode)
    found = desk.estimates()
    assert found["draw"] == Estimate(1, after(16))
    assert (found["write"], found["behind"]) == (Estimate(2), Estimate(3))


@pytest.mark.parametrize(
    ("since", "progress", "left"),
    [
        (-10, 50, 10),
        (-10, 80, 2.5),
        # Too early to tell, or longer than any that is known.
        (-10, 4, None),
        (-1, 50, None),
        (-10, None, None),
    ],
)
def test_a_tasks_own_pace(since: float, progress: float | None, left: float | None) -> None:
    desk = Desk()
    fields = {} if progress is None else {"progress": progress}
    desk.runs("a", since, **fields)
    wanted = {} if left is None else {"a": Estimate(None, after(left))}
    assert desk.estimates() == wanted


def test_its_own_pace_counts_the_more_the_further_it_is() -> None:
    desk = Desk()
    desk.took(20, 20, 20)
    desk.runs("a", -10, progress=25)
    # 10 seconds by what others took, 30 by its pace.
    assert desk.estimates() == {"a": Estimate(None, after(15))}
    desk.put("task_cancel", "a", 0)
    assert desk.estimates() == {}


def test_places_are_given_to_the_first() -> None:
    desk = Desk()
    for number in range(MAX_PLACES + 5):
        desk.put("task_created", number, 0)
    assert len(desk.estimates()) == MAX_PLACES
