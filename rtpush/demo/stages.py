"""What the demo says: the name of each stage and refusal, and its English sentence.

The page knows the names in its own languages (`client/i18n.js`, `stage_…` and `error_…`).
"""

from __future__ import annotations

from typing import Final

__all__ = ["MESSAGES", "REFUSALS", "refusal"]

MESSAGES: Final = {
    "colours": "Mixing the colours",
    "sky": "Filling the sky",
    "stars": "Hanging out the stars",
    "clouds": "Drawing out clouds",
    "moon": "Lighting the moon",
    "sun": "Lighting the sun",
    "range": "Raising range {n} of {of}",
    "space": "Darkening space",
    "nebula": "Blowing gas clouds",
    "field": "Scattering stars",
    "star": "Lighting the star",
    "orbits": "Bending the orbits",
    "belt": "Sowing the asteroid belt",
    "inner": "Setting off the inner planets",
    "middle": "Setting off the middle planets",
    "giants": "Setting off the giants",
    "cloth": "Stretching the cloth",
    "ribbon": "Weaving ribbon {n} of {of}",
    "ground": "Preparing the ground",
    "bokeh": "Letting light through",
    "leaves": "Unfolding leaves",
    "blossoms": "Planting small blossoms",
    "ring": "Opening ring {n} of {of}",
    "seeds": "Setting the seeds by the golden angle",
    "pollen": "Shaking out pollen",
}

REFUSALS: Final = {
    "no_wish": "A task needs a prompt and a mode.",
    "unknown_mode": "Choose one of the modes {modes}.",
    "empty_prompt": "Say in a few words what to draw.",
    "long_prompt": "Keep the prompt to {most} characters; this one has {n}.",
}


def refusal(code: str, **values: str | int) -> ValueError:
    """Why a prompt is not drawn: its name, its sentence, and what stands in that."""
    return ValueError({"code": code, "message": REFUSALS[code].format(**values), **values})
