"""Chance, colours and shapes: what the pictures of the demo are made of.

Rules that hold here:

- All chance comes from one generator, seeded by the caller that makes the brush.
- Numbers are written as short as they can be: a picture has a thousand of them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import cos, pi, sin, sqrt, tau
from random import Random
from typing import Final

WIDTH: Final = 640
HEIGHT: Final = 400
_GOLDEN_ANGLE: Final = pi * (3 - sqrt(5))

Point = tuple[float, float]
Noise = Callable[[float], float]
# Frequency, phase, amplitude.
Wave = tuple[float, float, float]


# ------------------------------------------------------------------ colours


def oklch(light: float, chroma: float, hue: float) -> str:
    """`#rrggbb` of an OKLCH colour; hue in turns.

    Equal steps in OKLCH look equal, which HSL's do not: its yellow is bright
    and its blue dark at the same number.
    """
    a, b = chroma * cos(tau * hue), chroma * sin(tau * hue)
    l3 = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3
    m3 = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3
    s3 = (light - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * l3 - 3.3077115913 * m3 + 0.2309699292 * s3,
        -1.2684380046 * l3 + 2.6097574011 * m3 - 0.3413193965 * s3,
        -0.0041960863 * l3 - 0.7034186147 * m3 + 1.7076147010 * s3,
    )
    return "#" + "".join(f"{round(255 * _gamma(x)):02x}" for x in linear)


def _gamma(x: float) -> float:
    x = min(1.0, max(0.0, x))
    return 12.92 * x if x <= 0.0031308 else 1.055 * float(x ** (1 / 2.4)) - 0.055


class Brush:
    """Chance, colours and shapes for one picture.

    The palette is two hues: the second lies beside the first, across from it,
    or a third of the circle away.
    """

    def __init__(self, seed: str) -> None:
        self.random = Random(int(seed, 16))
        self.name = "a" + seed[:10]
        self.hue = self.random.random()
        self.turn = self.random.choice([0.09, -0.09, 0.14, -0.16, 0.33, -0.33, 0.42, 0.5])

    def colour(self, light: float, chroma: float, towards: float = 0.0) -> str:
        """From the first hue (0) to the second (1)."""
        return oklch(light, chroma, self.hue + self.turn * towards)

    def between(self, low: float, high: float) -> float:
        """A number from an interval."""
        return self.random.uniform(low, high)

    def gradient(
        self, id: str, *stops: tuple[float, str, float], kind: str = "linear", at: str = ""
    ) -> str:
        """A gradient from stops of offset, colour and opacity; linear ones run downwards."""
        where = at or ('x2="0" y2="1"' if kind == "linear" else "")
        inner = "".join(
            f'<stop offset="{number(o)}" stop-color="{c}" stop-opacity="{number(a, 2)}"/>'
            for o, c, a in stops
        )
        return f'<{kind}Gradient id="{self.name}{id}" {where}>{inner}</{kind}Gradient>'

    def ref(self, id: str) -> str:
        """The paint of a gradient."""
        return f"url(#{self.name}{id})"

    def backdrop(self, id: str, *colours: str, kind: str = "linear", at: str = "") -> str:
        """The whole canvas in one gradient."""
        last = len(colours) - 1
        stops = [(i / last, colour, 1.0) for i, colour in enumerate(colours)]
        paint = self.gradient(id, *stops, kind=kind, at=at)
        return f'{paint}<rect width="{WIDTH}" height="{HEIGHT}" fill="{self.ref(id)}"/>'

    def glow(self, id: str, centre: Point, radius: float, colour: str, strength: float) -> str:
        """Light that fades outwards."""
        stops = [(0.0, colour, strength), (0.4, colour, strength * 0.35), (1.0, colour, 0.0)]
        return self.gradient(id, *stops, kind="radial") + disc(centre, radius, self.ref(id))

    def noise(self, scale: float, octaves: int) -> Noise:
        """Value noise in 0..1 with details down to `scale / 2**octaves`."""
        knots = [self.random.random() for _ in range(256)]

        def single(x: float) -> float:
            i, t = int(x // 1), x % 1
            t = t * t * (3 - 2 * t)
            return knots[i % 256] * (1 - t) + knots[(i + 1) % 256] * t

        def layered(x: float) -> float:
            parts = (single(x / scale * 2.0**k + 31 * k) / 2.0**k for k in range(octaves))
            return sum(parts) / (2 - 2.0 ** (1 - octaves))

        return layered

    def scatter(self, count: int, apart: float, top: float, bottom: float) -> list[Point]:
        """At most `count` points, none nearer to another than `apart` (Poisson-disc)."""
        points: list[Point] = []
        for _ in range(count * 6):
            x, y = self.between(0, WIDTH), self.between(top, bottom)
            if all((x - a) ** 2 + (y - b) ** 2 > apart * apart for a, b in points):
                points.append((x, y))
        return points[:count]

    def stars(self, points: list[Point], colour: str) -> str:
        """Points of three sizes, few of them large."""
        groups: list[list[Point]] = [[], [], []]
        for point in points:
            groups[min(2, int(self.random.expovariate(1.1)))].append(point)
        widths, alphas = (0.9, 1.5, 2.4), (0.55, 0.75, 0.95)
        rows = zip(groups, widths, alphas, strict=True)
        return "".join(dots(group, colour, width, alpha) for group, width, alpha in rows)


# ------------------------------------------------------------------- shapes


def number(x: float, digits: int = 1) -> str:
    """The shortest decimal: a byte saved on each of a thousand coordinates."""
    text = f"{x:.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def pair(point: Point) -> str:
    """`x y`."""
    return f"{number(point[0])} {number(point[1])}"


def disc(centre: Point, radius: float, fill: str, extra: str = "") -> str:
    """A filled circle."""
    x, y = map(number, centre)
    return f'<circle cx="{x}" cy="{y}" r="{number(radius)}" fill="{fill}"{extra}/>'


def shape(path: str, fill: str, extra: str = "") -> str:
    """A filled path."""
    return f'<path d="{path}" fill="{fill}"{extra}/>'


def dots(points: list[Point], colour: str, width: float, alpha: float = 1.0) -> str:
    """Round points of one size as one path, a quarter of the bytes of circles."""
    path = "".join(f"M{pair(point)}h0" for point in points)
    return (
        f'<path d="{path}" stroke="{colour}" stroke-width="{number(width, 2)}"'
        f' stroke-linecap="round" opacity="{number(alpha, 2)}"/>'
        if points
        else ""
    )


def curve(points: list[Point]) -> str:
    """A smooth line: parabolas through the middles between the points."""
    middles = [((a + c) / 2, (b + d) / 2) for (a, b), (c, d) in pairwise(points)]
    bends = "".join(f"Q{pair(p)} {pair(m)}" for p, m in zip(points[1:-1], middles[1:], strict=True))
    return f"M{pair(points[0])}L{pair(middles[0])}{bends}L{pair(points[-1])}"


def around(centre: Point, radius: float, angle: float, flat: float = 1.0) -> Point:
    """A point of an ellipse whose height is `flat` times its width."""
    return centre[0] + radius * cos(angle), centre[1] + flat * radius * sin(angle)


def petal(centre: Point, start: float, end: float, angle: float, width: float) -> str:
    """A pointed leaf from one radius to another; `width` is an angle."""
    tip = pair(around(centre, end, angle))
    middle = start + (end - start) * 0.62
    left = pair(around(centre, middle, angle - width))
    right = pair(around(centre, middle, angle + width))
    root = pair(around(centre, start, angle))
    return f"M{root}Q{left} {tip}Q{right} {root}z"
