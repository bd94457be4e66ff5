"""Pictures for the demo: a job that takes a while, done in stages that can be watched.

Rules that hold here:

- The same prompt and mode give the same bytes, on every machine and in every
  process: the only chance is a generator seeded with a SHA-256.
- Nothing of the prompt but its hash reaches the picture. What a user typed is
  never markup.
- A picture refers to nothing outside itself, and its ids begin with a part of
  the hash, so that several can stand in one page.
- Progress is the share of the work done. A step's work is the number of
  marks that it sets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import pi, sin, sqrt, tau
from types import MappingProxyType
from typing import Final, NamedTuple

from .brush import (
    HEIGHT,
    WIDTH,
    Brush,
    Point,
    Wave,
    around,
    curve,
    disc,
    dots,
    number,
    oklch,
    pair,
    petal,
    shape,
)
from .stages import MESSAGES, refusal

__all__ = ["MODES", "Stage", "draw"]

MAX_PROMPT: Final = 500
_GOLDEN_ANGLE: Final = pi * (3 - sqrt(5))


@dataclass(frozen=True)
class Stage:
    """One step of a picture.

    `progress` is from 0 to 100; `name` (one of `MESSAGES`) says what was just done and
    `numbers` which of how many; `svg` is the picture so far, None while there is nothing
    to see.
    """

    progress: float
    name: str
    numbers: Mapping[str, int]
    svg: str | None

    @property
    def message(self) -> str:
        """What was just done, in English."""
        return MESSAGES[self.name].format(**self.numbers)


class Step(NamedTuple):
    """A part of a picture: its name, how many marks it sets, how it is drawn, its numbers."""

    name: str
    work: int
    draw: Callable[[], str]
    numbers: Mapping[str, int] = MappingProxyType({})


def draw(prompt: str, mode: str) -> Iterator[Stage]:
    """Draw a picture for a prompt, in one of `MODES`; the last stage is the whole of it.

    Raises ValueError (`refusal`) for a prompt that is empty or longer than 500 characters
    and for an unknown mode.
    """
    if mode not in MODES:
        raise refusal("unknown_mode", modes=", ".join(MODES))
    if not prompt.strip():
        raise refusal("empty_prompt")
    if len(prompt) > MAX_PROMPT:
        raise refusal("long_prompt", most=MAX_PROMPT, n=len(prompt))
    # A lone surrogate cannot be encoded, and is no reason to fail.
    seed = hashlib.sha256(f"{mode}\n{prompt}".encode(errors="surrogatepass"))
    return _stages(MODES[mode](Brush(seed.hexdigest())))


def _stages(steps: list[Step]) -> Iterator[Stage]:
    total = 1 + sum(step.work for step in steps)
    yield Stage(round(100 / total, 1), "colours", {}, None)
    done, body = 1, ""
    for step in steps:
        body += step.draw()
        done += step.work
        yield Stage(round(100 * done / total, 1), step.name, step.numbers, _svg(body))


def _svg(body: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        f' width="{WIDTH}" height="{HEIGHT}">{body}</svg>'
    )


def landscape(b: Brush) -> list[Step]:
    """Ranges in haze behind each other, under a sun or a moon."""
    night = b.random.random() < 0.35
    # From teal by blue and rose to orange: no sky is green.
    b.hue, b.turn = b.between(0.54, 1.12), b.random.choice([-0.14, -0.1, 0.1, 0.14])
    sun = (b.between(120, 520), b.between(70, 170))
    far, near = (0.42, 0.12) if night else (0.8, 0.2)
    sky = [(0.2, 0.06, 0.0), (0.32, 0.08, 0.4), (0.5, 0.09, 1.0)]
    if not night:
        sky = [(0.62, 0.1, 0.0), (0.82, 0.08, 0.6), (0.93, 0.07, 1.0)]

    def air() -> str:
        return b.backdrop("sky", *(b.colour(*step) for step in sky))

    def light() -> str:
        core = oklch(0.97, 0.02 if night else 0.06, 0.25)
        glow = b.glow("sun", sun, 200, core, 0.5 if night else 0.95)
        return glow + disc(sun, b.between(16, 34), core)

    def clouds() -> str:
        path = ""
        for at in b.scatter(9, 60, 30, 190):
            w, h = b.between(100, 300), b.between(8, 22)
            path += f"M{pair(at)}q{pair((w / 2, -h))} {pair((w, 0))}q{pair((-w / 2, h / 2))} "
            path += pair((-w, 0))
        return shape(path, b.colour(0.5 if night else 0.98, 0.03, 1), ' opacity=".35"')

    def ridge(i: int) -> str:
        depth, noise = i / 5, b.noise(190 - 12 * i, 5)
        level, height = 235 + 30 * i, 150 - 16 * i
        xs = range(-8, WIDTH + 9, 8)
        points = [(float(x), level - height * (noise(x) - 0.35)) for x in xs]
        light = far + (near - far) * depth
        top = b.colour(light, 0.05 + 0.03 * depth, 1 - depth)
        haze = b.colour(min(0.95, light + 0.14), 0.06, 1 - depth * 0.7)
        paint = b.gradient(f"r{i}", (0, top, 1), (0.9, haze, 1))
        hill = shape(f"{curve(points)}V{HEIGHT}H0z", b.ref(f"r{i}"))
        return paint + hill + (forest(points, i) if i > 3 else "")

    def forest(points: list[Point], i: int) -> str:
        trees = []
        for x, y in b.random.sample(points, 52):
            h, x = b.between(6, 13) * (i - 2.6), x + b.between(-4, 4)
            half = number(h * 0.2)
            trees.append(f"M{pair((x, y - h))}l{half} {number(h * 1.25)}h-{number(h * 0.4)}z")
        return shape("".join(trees), b.colour(near + 0.05 * (5 - i), 0.05, 0.1))

    high = Step("stars", 90, lambda: b.stars(b.scatter(90, 12, 0, 240), "#fff"))
    ranges = [Step("range", 82, partial(ridge, i), {"n": i + 1, "of": 6}) for i in range(6)]
    return [
        Step("sky", 20, air),
        *([high] if night else []),
        Step("clouds", 27, clouds),
        Step("moon" if night else "sun", 20, light),
        *ranges,
    ]


def orbits(b: Brush) -> list[Step]:
    """A star, its planets on tilted orbits, and what drifts between them."""
    sun = (b.between(250, 390), b.between(180, 220))
    flat, tilt = b.between(0.28, 0.5), b.between(-24, 24)
    radii = [58 + 42 * i + b.between(-8, 8) for i in range(6)]
    angles = [_GOLDEN_ANGLE * i + b.between(0, 1) for i in range(6)]

    def tilted(body: str) -> str:
        return f'<g transform="rotate({number(tilt)} {pair(sun)})">{body}</g>'

    def space() -> str:
        at = f'cx="{number(sun[0] / WIDTH, 2)}" cy=".5" r=".8"'
        dark = [b.colour(0.27, 0.09, 1), b.colour(0.18, 0.06), b.colour(0.1, 0.03)]
        return b.backdrop("space", *dark, kind="radial", at=at)

    def nebula() -> str:
        clouds = enumerate(b.scatter(12, 70, 20, 380))
        return "".join(
            b.glow(f"n{i}", p, b.between(70, 190), b.colour(0.55, 0.16, b.between(0, 1)), 0.28)
            for i, p in clouds
        )

    def star() -> str:
        glow = b.glow("g", sun, 150, b.colour(0.85, 0.13, 1), 0.8)
        core = b.gradient("s", (0, "#fff", 1), (1, b.colour(0.88, 0.13, 1), 1), kind="radial")
        return glow + core + disc(sun, 25, b.ref("s"))

    def tracks() -> str:
        rings = "".join(
            f'<ellipse cx="{number(sun[0])}" cy="{number(sun[1])}" rx="{number(r)}"'
            f' ry="{number(r * flat)}"/>'
            for r in radii
        )
        ink = b.colour(0.85, 0.06, 1)
        return tilted(f'<g fill="none" stroke="{ink}" stroke-opacity=".25">{rings}</g>')

    def belt() -> str:
        where = radii[3] + 21
        rocks = [around(sun, b.random.gauss(where, 5), b.between(0, tau), flat) for _ in range(260)]
        return tilted(dots(rocks, b.colour(0.8, 0.07, 0.7), 1.1, 0.6))

    def trail(i: int) -> str:
        ink, parts = b.colour(0.85, 0.12, i / 5), ""
        for k in range(8):
            arc = [around(sun, radii[i], angles[i] - 0.11 * (k + j / 3), flat) for j in range(4)]
            parts += f'<path d="{curve(arc)}" stroke-opacity="{number(0.85 - k / 10, 2)}"/>'
        return f'<g fill="none" stroke="{ink}" stroke-width="1.8">{parts}</g>'

    def planets(*which: int) -> str:
        return tilted("".join(trail(i) + planet(i) for i in which))

    def planet(i: int) -> str:
        centre = around(sun, radii[i], angles[i], flat)
        size, hue = b.between(5, 9) + 1.6 * i, b.between(0, 1)
        # The bright side looks at the star.
        fx, fy = around((0.5, 0.5), -0.32, angles[i])
        at = f'cx="{number(fx, 2)}" cy="{number(fy, 2)}" r=".8"'
        stops = [(0.0, b.colour(0.93, 0.06, hue), 1.0), (0.45, b.colour(0.66, 0.15, hue), 1.0)]
        body = b.gradient(f"p{i}", *stops, (1, b.colour(0.2, 0.06, hue), 1), kind="radial", at=at)
        body += disc(centre, size, b.ref(f"p{i}"))
        if i > 2 and b.random.random() < 0.6:
            # Only the near half, so that the ring goes round behind.
            arc = curve([around(centre, 1.8 * size, 0.3 * k - 0.4, 0.35) for k in range(14)])
            ink = b.colour(0.9, 0.08, 1 - hue)
            body += shape(arc, "none", f' stroke="{ink}" stroke-width="2.2"')
        moons = [around(centre, size + 6, b.between(0, tau)) for _ in range(i // 2)]
        return body + dots(moons, b.colour(0.92, 0.03, hue), 2.6)

    return [
        Step("space", 20, space),
        Step("nebula", 48, nebula),
        Step("field", 220, lambda: b.stars(b.scatter(220, 10, 0, HEIGHT), "#fff")),
        Step("star", 20, star),
        Step("orbits", 24, tracks),
        Step("belt", 130, belt),
        Step("inner", 60, lambda: planets(0, 1)),
        Step("middle", 70, lambda: planets(2, 3)),
        Step("giants", 80, lambda: planets(4, 5)),
    ]


def weave(b: Brush) -> list[Step]:
    """Ribbons of harmonic curves that swing through each other."""
    dark = b.random.random() < 0.7

    def cloth() -> str:
        light = 0.16 if dark else 0.96
        step = 0.07 if dark else -0.06
        ends = (b.colour(light + step, 0.05, 0.6), b.colour(light, 0.03))
        return b.backdrop("cloth", *ends, kind="radial", at='r=".8"')

    def ribbon(i: int) -> str:
        waves = [(b.between(0.6, 2.4), b.between(0, tau), b.between(20, 62)) for _ in range(3)]
        base, drift = 45 + 52 * i + b.between(-15, 15), b.between(0.04, 0.1)
        return "".join(thread(base, waves, k, k * drift, (i + k / 10) / 7) for k in range(10))

    def thread(base: float, waves: list[Wave], k: int, shift: float, t: float) -> str:
        # Each thread swings wider than the one before: ribbons open like fans.
        swing, line = 0.55 + 0.09 * k, 0.62 if dark else 0.55
        points: list[Point] = [
            (x, base + swing * sum(a * sin(f * (tau * x / WIDTH + shift) + p) for f, p, a in waves))
            for x in range(-24, WIDTH + 60, 52)
        ]
        ink = b.colour(line + (0.22 if dark else 0.13) * sin(t * tau), 0.14, t)
        return shape(curve(points), "none", f' stroke="{ink}"')

    def laid(i: int) -> str:
        width = number(b.between(1.0, 2.6))
        return f'<g stroke-width="{width}" stroke-opacity=".8">{ribbon(i)}</g>'

    ribbons = [Step("ribbon", 60, partial(laid, i), {"n": i + 1, "of": 7}) for i in range(7)]
    return [Step("cloth", 20, cloth), *ribbons]


def bloom(b: Brush) -> list[Step]:
    """One large flower, its seeds set by the golden angle, among small ones."""
    # From blue by rose to yellow: petals are never as green as leaves.
    b.hue = b.between(0.68, 1.28)
    heart = (b.between(230, 410), b.between(180, 215))
    dark, count = b.random.random() < 0.5, b.random.choice([9, 11, 13, 16])
    reach = b.between(135, 165)

    def ground() -> str:
        light = (0.42, 0.26, 0.16) if dark else (0.98, 0.93, 0.84)
        colours = [b.colour(x, 0.06, 0.9) for x in light]
        return b.backdrop("g", *colours, kind="radial", at='r=".75"')

    def bokeh() -> str:
        lights = enumerate(b.scatter(14, 60, 0, HEIGHT))
        return "".join(
            disc(p, b.between(10, 46), b.colour(0.8, 0.12, i / 14), ' opacity=".13"')
            for i, p in lights
        )

    def leaves() -> str:
        angles = [_GOLDEN_ANGLE * i + b.between(0, 0.3) for i in range(9)]
        path = "".join(petal(heart, 40, reach * b.between(1.1, 1.45), a, 0.22) for a in angles)
        edge = f' stroke="{oklch(0.32, 0.07, 0.38)}"'
        return shape(path, oklch(0.45 if dark else 0.6, 0.1, 0.38), edge)

    def blossoms() -> str:
        free = [p for p in b.scatter(16, 80, 10, 390) if abs(p[0] - heart[0]) > reach + 20]
        return "".join(blossom(p, b.between(14, 30), i / len(free)) for i, p in enumerate(free))

    def blossom(centre: Point, size: float, t: float) -> str:
        turn = b.between(0, tau)
        path = "".join(petal(centre, 2, size, turn + tau * k / 6, 0.5) for k in range(6))
        centre_dot = disc(centre, size / 6, b.colour(0.9, 0.13, 1 - t))
        return shape(path, b.colour(0.74, 0.13, t), ' opacity=".9"') + centre_dot

    def layer(i: int) -> str:
        outer, turn, sway = reach * (1 - 0.17 * i), pi / count * i, b.noise(1.7, 2)
        lengths = [outer * (0.9 + 0.2 * sway(k)) for k in range(count)]
        path = "".join(
            petal(heart, 12, end, turn + tau * k / count, 2.6 / count)
            for k, end in enumerate(lengths)
        )
        x, y = map(number, heart)
        at = f'cx="{x}" cy="{y}" r="{number(outer)}" gradientUnits="userSpaceOnUse"'
        deep, tip = b.colour(0.42 + 0.05 * i, 0.16, i / 8), b.colour(0.74 + 0.04 * i, 0.14, i / 5)
        paint = b.gradient(f"l{i}", (0.15, deep, 1), (1, tip, 1), kind="radial", at=at)
        edge = f' stroke="{b.colour(0.9, 0.06, i / 5)}" stroke-opacity=".5" stroke-width=".8"'
        return paint + shape(path, b.ref(f"l{i}"), edge)

    def seeds() -> str:
        points = [around(heart, 2.75 * sqrt(i), i * _GOLDEN_ANGLE) for i in range(240)]
        bed = disc(heart, 46, b.colour(0.28, 0.07, 1))
        rings = [points[:60], points[60:130], points[130:190], points[190:]]
        return bed + "".join(
            dots(ring, b.colour(0.55 + 0.11 * k, 0.14, 1), 2.6 + 0.45 * k)
            for k, ring in enumerate(rings)
        )

    def pollen() -> str:
        return b.stars(b.scatter(90, 16, 0, HEIGHT), b.colour(0.95 if dark else 0.75, 0.1, 1))

    rings = [Step("ring", 5 * count, partial(layer, i), {"n": i + 1, "of": 5}) for i in range(5)]
    return [
        Step("ground", 20, ground),
        Step("bokeh", 28, bokeh),
        Step("leaves", 36, leaves),
        Step("blossoms", 60, blossoms),
        *rings,
        Step("seeds", 120, seeds),
        Step("pollen", 90, pollen),
    ]


MODES: Final[dict[str, Callable[[Brush], list[Step]]]] = {
    "landscape": landscape,
    "orbits": orbits,
    "weave": weave,
    "bloom": bloom,
}
