"""The demo's stories: the same for the same prompt, in its language, letter by letter."""

from __future__ import annotations

from threading import Event
from typing import Any

import pytest

from rtpush import TaskCancelled, WorkTask, demo
from rtpush.demo.story import story


def test_a_prompt_has_its_story() -> None:
    assert story("two moons") == story("two moons")
    assert len({story(f"moon {n}") for n in range(20)}) == 20
    assert "two moons" in story("two  moons.")
    assert "{who}" in story("{who}")
    assert f"{'x' * 60}…" in story("x" * 61)
    assert {"的", "。"} < set(story("海边的灯塔"))


def test_it_is_written_letter_by_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "LETTER_PAUSE", 0)
    said: list[tuple[float, dict[str, Any]]] = []

    def report(progress: float, message: str, **fields: Any) -> None:
        said.append((progress, fields["append"]))

    task = WorkTask({"id": 1, "formData": {"prompt": "a fox"}, "mode": "story"}, 1, Event())
    result = demo.do_task(task, report)
    text = "".join(append["text"] for _, append in said)
    assert text == story("a fox")
    assert result == {"characters": len(text)}
    assert all(len(append["text"]) == 1 for _, append in said)
    assert [progress for progress, _ in said] == sorted(progress for progress, _ in said)


def test_without_a_prompt_there_is_none() -> None:
    task = WorkTask({"id": 1, "formData": {"prompt": " "}, "mode": "story"}, 1, Event())
    with pytest.raises(ValueError, match="empty_prompt"):
        demo.do_task(task, lambda *_, **__: None)


@pytest.mark.parametrize("mode", ["story", "bloom"])
def test_a_cancel_does_not_wait_for_the_next_stage(mode: str) -> None:
    cancelled = Event()
    said: list[float] = []

    def report(progress: float, message: str, **fields: Any) -> None:
        said.append(progress)
        cancelled.set()

    task = WorkTask({"id": 1, "formData": {"prompt": "a fox"}, "mode": mode}, 1, cancelled)
    with pytest.raises(TaskCancelled):
        demo.do_task(task, report)
    assert len(said) == 1
