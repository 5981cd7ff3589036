"""The outline of every class: a short list of painted parts, later parts over earlier ones.

Coordinates run from -1 to 1 in both directions, y downward. A part is a filled polygon or a stroke
(an open line with a width). Its paint is "body" (the object's colour with its texture), "dark" or
"light" (shades of that colour), or a fixed RGB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BARK, LEAF, INK, GLASS, BUTTER = (104, 70, 44), (50, 118, 48), (34, 34, 40), (196, 222, 236), (250, 205, 70)


@dataclass(frozen=True)
class Part:
    points: np.ndarray  # (n, 2) float, in [-1, 1]
    paint: str | tuple[int, int, int] = "body"
    width: float = 0.0  # > 0: a stroke of this width instead of a filled polygon


def _part(points, paint="body", width=0.0) -> Part:
    return Part(np.asarray(points, dtype=np.float64), paint, width)


def _box(left, top, right, bottom):
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _arc(cx, cy, rx, ry=None, start=0.0, stop=360.0, n=28):
    """Points of an ellipse's arc, angles in degrees, clockwise on the screen from the right."""
    t = np.deg2rad(np.linspace(start, stop, n))
    return np.stack([cx + rx * np.cos(t), cy + (rx if ry is None else ry) * np.sin(t)], axis=1)


def _star():
    turn = np.deg2rad(np.arange(10) * 36.0 - 90.0)
    radius = np.where(np.arange(10) % 2 == 0, 1.05, 0.44)
    return [_part(np.stack([radius * np.cos(turn), radius * np.sin(turn) + 0.06], axis=1))]


def _heart():
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    x = np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 15.5
    return [_part(np.stack([x, y - 0.1], axis=1)), _part(_arc(-0.45, -0.4, 0.2, 0.14), "light")]


def _fish():
    return [
        _part([(0.40, 0.0), (1.0, -0.55), (0.86, 0.0), (1.0, 0.55)], "dark"),
        _part([(-0.25, -0.42), (0.18, -0.82), (0.38, -0.28)], "dark"),
        _part(_arc(-0.22, 0.0, 0.78, 0.52)),
        _part(_arc(-0.62, -0.1, 0.15), (250, 250, 250)),
        _part(_arc(-0.65, -0.1, 0.07), INK),
    ]


def _boat():
    return [
        _part(_box(-0.07, -1.0, 0.05, 0.4), BARK),
        _part([(0.12, -0.95), (0.12, 0.22), (0.88, 0.22)], "light"),
        _part([(-0.15, -0.7), (-0.15, 0.22), (-0.75, 0.22)], "dark"),
        _part([(-1.0, 0.35), (1.0, 0.35), (0.66, 0.95), (-0.66, 0.95)]),
    ]


def _house():
    return [
        _part(_box(0.36, -0.95, 0.6, -0.3), "dark"),
        _part(_box(-0.76, -0.15, 0.76, 0.95)),
        _part([(-1.0, -0.1), (0.0, -1.0), (1.0, -0.1)], "dark"),
        _part(_box(-0.5, 0.3, -0.08, 0.95), BARK),
        _part(_box(0.18, 0.18, 0.56, 0.54), GLASS),
    ]


def _tree():
    return [
        _part(_box(-0.15, 0.6, 0.15, 1.0), BARK),
        _part([(0.0, -0.25), (-0.86, 0.72), (0.86, 0.72)]),
        _part([(0.0, -0.65), (-0.68, 0.25), (0.68, 0.25)]),
        _part([(0.0, -1.0), (-0.48, -0.25), (0.48, -0.25)]),
    ]


def _car():
    return [
        _part([(-0.62, 0.05), (-0.36, -0.5), (0.36, -0.5), (0.68, 0.05)], "dark"),
        _part([(-0.42, 0.0), (-0.26, -0.36), (0.0, -0.36), (0.0, 0.0)], GLASS),
        _part([(0.1, 0.0), (0.1, -0.36), (0.3, -0.36), (0.48, 0.0)], GLASS),
        _part([(-1.0, 0.1), (-0.9, 0.0), (0.84, 0.0), (1.0, 0.2), (1.0, 0.52), (-1.0, 0.52)]),
        _part(_arc(-0.54, 0.52, 0.27), INK),
        _part(_arc(-0.54, 0.52, 0.11), (200, 200, 200)),
        _part(_arc(0.54, 0.52, 0.27), INK),
        _part(_arc(0.54, 0.52, 0.11), (200, 200, 200)),
    ]


def _cup():
    return [
        _part(_arc(0.42, 0.05, 0.46, 0.42, -80, 80), "dark", width=0.2),
        _part([(-0.8, -0.6), (0.5, -0.6), (0.36, 0.9), (-0.66, 0.9)]),
        _part(_arc(-0.15, -0.6, 0.65, 0.2), "light"),
        _part(_arc(-0.15, -0.57, 0.5, 0.12), BARK),
    ]


def _flower():
    petals = [(0.44 * np.cos(a), -0.36 + 0.44 * np.sin(a)) for a in np.deg2rad(np.arange(6) * 60.0)]
    return [
        _part([(0.0, 0.0), (0.04, 0.5), (0.0, 1.0)], LEAF, width=0.14),
        _part([(0.02, 0.8), (0.3, 0.42), (0.72, 0.4), (0.45, 0.75)], LEAF),
        *[_part(_arc(x, y, 0.29, n=18)) for x, y in petals],
        _part(_arc(0.0, -0.36, 0.24), BUTTER),
    ]


def _umbrella():
    scallops = [_arc(x, 0.08, 0.33, 0.16, 0, -180, n=9) for x in (0.67, 0.0, -0.67)]
    dome = _arc(0.0, 0.08, 1.0, 0.95, 180, 360)
    return [
        _part(np.concatenate([[(0.0, -0.85), (0.0, 0.75)], _arc(0.16, 0.75, 0.16, 0.2, 180, 0, n=9)]), INK, width=0.1),
        _part(np.concatenate([dome, *scallops])),
        _part([(0.0, -0.86), (-0.33, 0.0)], "dark", width=0.06),
        _part([(0.0, -0.86), (0.33, 0.0)], "dark", width=0.06),
    ]


SHAPES: dict[str, list[Part]] = {
    "star": _star(),
    "heart": _heart(),
    "fish": _fish(),
    "boat": _boat(),
    "house": _house(),
    "tree": _tree(),
    "car": _car(),
    "cup": _cup(),
    "flower": _flower(),
    "umbrella": _umbrella(),
}
