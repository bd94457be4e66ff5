"""The demo's work: a picture or a story for each prompt, made before everybody's eyes.

Rules that hold here:

- `do_task` is all that a real model replaces (docs/how-to/use-your-model.md).
- A picture is drawn in stages, a story is written letter by letter; each is reported, and
  progress is the share that is done.
- Whoever cancels does not wait for the next stage.
"""

from __future__ import annotations

import base64
from typing import Any, Final

from ..work.task import Report, TaskCancelled, WorkTask
from .art import draw
from .stages import refusal
from .story import story

__all__ = ["do_task"]

# Seconds between stages, and between letters. The work takes milliseconds; a person who watches
# it wants to see it grow.
PAUSE: Final = 0.4
LETTER_PAUSE: Final = 0.03


def do_task(task: WorkTask, report: Report) -> dict[str, Any]:
    """Draw the prompt of a task, or write of it; a `Work`.

    Returns `{"image": data URL}` or `{"characters": count}`. Raises ValueError when the prompt
    cannot be served, as `art.draw` does.
    """
    prompt, mode = _wish(task)
    if mode == "story":
        return _write(task, prompt, report)
    return _draw(task, prompt, mode, report)


def _draw(task: WorkTask, prompt: str, mode: str, report: Report) -> dict[str, Any]:
    picture = ""
    for stage in draw(prompt, mode):
        if stage.svg is not None:
            picture = _data_url(stage.svg)
        if stage.progress < 100:
            said = {"name": stage.name, **stage.numbers}
            report(stage.progress, stage.message, stage=said, result={"image": picture})
            _pause(task, PAUSE)
    return {"image": picture}


def _write(task: WorkTask, prompt: str, report: Report) -> dict[str, Any]:
    if not prompt.strip():
        raise refusal("empty_prompt")
    text = story(prompt)
    for number, letter in enumerate(text):
        said = {"stage": {"name": "writing"}, "append": {"text": letter}}
        report(round(100 * number / len(text), 1), "writing", **said)
        _pause(task, LETTER_PAUSE)
    return {"characters": len(text)}


def _pause(task: WorkTask, seconds: float) -> None:
    if task.wait_cancelled(seconds):
        raise TaskCancelled


def _wish(task: dict[str, Any]) -> tuple[str, str]:
    form = task.get("formData")
    form = form if isinstance(form, dict) else {}
    prompt, mode = form.get("prompt"), task.get("mode", form.get("mode"))
    if not isinstance(prompt, str) or not isinstance(mode, str):
        raise refusal("no_wish")
    return prompt, mode


def _data_url(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
