"""The demo's work: a picture for each prompt, drawn before everybody's eyes.

Rules that hold here:

- `draw_picture` is all that a real model replaces (docs/how-to/use-your-model.md).
- It draws in stages and reports each; progress is the share that is done.
"""

from __future__ import annotations

import base64
import time
from typing import Any, Final

from ..work.task import Report
from .art import draw
from .stages import refusal

__all__ = ["draw_picture"]

# Seconds between stages. The drawing takes milliseconds; a person who watches
# it wants to see it grow.
PAUSE: Final = 0.4


def draw_picture(task: dict[str, Any], report: Report) -> dict[str, str]:
    """Draw the prompt of a task; a `Work`.

    Returns `{"image": data URL}`. Raises ValueError when the prompt cannot be
    served, as `art.draw` does.
    """
    prompt, mode = _wish(task)
    picture = ""
    for stage in draw(prompt, mode):
        if stage.svg is not None:
            picture = _data_url(stage.svg)
        if stage.progress < 100:
            said = {"name": stage.name, **stage.numbers}
            report(stage.progress, stage.message, stage=said, result={"image": picture})
            time.sleep(PAUSE)
    return {"image": picture}


def _wish(task: dict[str, Any]) -> tuple[str, str]:
    form = task.get("formData")
    form = form if isinstance(form, dict) else {}
    prompt, mode = form.get("prompt"), task.get("mode", form.get("mode"))
    if not isinstance(prompt, str) or not isinstance(mode, str):
        raise refusal("no_wish")
    return prompt, mode


def _data_url(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
