"""Short videos with object masks: easy ones, and hard ones in which colour and place do not give the object away.

Easy: two or three objects in colours of their own drift over a still background. Hard: objects, background and plain
distractors share one two-colour palette; objects travel, turn and change size; the hue of everything drifts. There a
class is told by its outline and by the pattern that it always wears.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from dl.world.render import background_window, cloud_window, expose, paint_object, part_colours
from dl.world.scenes import CLASSES, COLOURS, TEXTURES, SceneObject, generator
from dl.world.shapes import SHAPES

HARD_PATTERNS = {  # class -> the pattern it wears in every hard video, and marks per half extent
    "star": ("bars", 2.5),
    "heart": ("dots", 2.5),
    "fish": ("stripes", 3.0),
    "boat": ("checks", 3.0),
    "house": ("net", 2.5),
    "tree": ("rings", 3.0),
    "car": ("bars", 4.5),
    "cup": ("checks", 1.6),
}
HUE_DRIFT = 60.0  # degrees from the first frame of a hard video to its last


@dataclass(frozen=True)
class Track:
    """One moving object: where it is in the middle of the video, and how far it gets from there by either end."""

    item: SceneObject
    colours: tuple[np.ndarray, np.ndarray]
    pattern: tuple[str, float] | None
    travel: tuple[float, float]  # in shares of the height
    spin: float  # degrees
    growth: float  # factor of the extent at the last frame; its inverse at the first
    phase: int  # seed of the pattern's phase and the object's own light
    label: int  # in the mask; 0 for distractors

    def at(self, moment: float) -> SceneObject:
        """The object at a moment in [-1, 1]."""
        dx, dy = self.travel
        return replace(
            self.item,
            x=self.item.x + dx * moment,
            y=self.item.y + dy * moment,
            angle=self.item.angle + self.spin * moment,
            extent=self.item.extent * self.growth**moment,
        )


@dataclass(frozen=True)
class Video:
    """A video as a recipe; `frame` paints any moment of it at any size."""

    tracks: tuple[Track, ...]
    background: np.ndarray  # float32 (H, W, 3) in 0..255
    hue_drift: float  # degrees over the whole video
    appearance: int

    def frame(self, moment: float) -> tuple[np.ndarray, np.ndarray]:
        """The frame at a moment in [-1, 1]: image uint8 (H, W, 3) RGB, and mask uint8 (H, W)."""
        canvas = self.background.copy()
        mask = np.zeros(canvas.shape[:2], dtype=np.uint8)
        for track in self.tracks:
            rng = generator(track.phase)
            paint_object(canvas, mask, track.label, track.at(moment), track.colours, track.pattern, rng)
        if self.hue_drift:
            canvas = turn_hue(canvas, 0.5 * self.hue_drift * moment)
        noise_seed = int((moment + 1) * 10_000)
        return expose(canvas, generator(self.appearance), generator(self.appearance, noise_seed)), mask


def easy_video(rng: np.random.Generator, height: int, width: int, count: int = 3) -> Video:
    """`count` objects in colours of their own, each in its own part of a still background."""
    categories = rng.choice(len(CLASSES), size=count, replace=False)
    colours = rng.choice(len(COLOURS), size=count, replace=False)
    tracks = []
    for position in range(count):
        category, colour = CLASSES[categories[position]], list(COLOURS)[colours[position]]
        texture = TEXTURES[rng.integers(len(TEXTURES))]
        extent = rng.uniform(0.36, 0.46)
        column = (position + 0.5) * width / height / count
        row, mirrored = rng.uniform(0.4, 0.6), bool(rng.integers(2))
        item = SceneObject(category, colour, texture, "large", column, row, extent, 0.0, mirrored)
        pattern = {"striped": ("stripes", 2.6), "dotted": ("dots", 2.2), "plain": None}[texture]
        tracks.append(
            Track(
                item,
                part_colours(SHAPES[category], np.array(COLOURS[colour], dtype=np.float64)),
                pattern,
                tuple(rng.uniform(-0.13, 0.13, size=2)),
                rng.uniform(-15, 15),
                rng.uniform(0.9, 1.15),
                int(rng.integers(2**31)),
                position + 1,
            )
        )
    kind = ("sky", "sea", "grass", "sand", "snow")[rng.integers(5)]
    return Video(tuple(tracks), background_window(kind, height, width, rng), 0.0, int(rng.integers(2**31)))


def hard_video(rng: np.random.Generator, height: int, width: int, hue_drift: float = HUE_DRIFT) -> Video:
    """Two or three patterned objects among plain distractors, all in one two-colour palette."""
    palette = two_colours(rng)
    count = int(rng.integers(2, 4))
    categories = rng.choice(len(HARD_PATTERNS), size=count, replace=False)
    lanes = rng.permutation(count)
    tracks = [
        _hard_track(rng, list(HARD_PATTERNS)[category], palette, width / height, (lane + 0.5) / count, label)
        for label, (category, lane) in enumerate(zip(categories, lanes), start=1)
    ]
    distractors = [_distractor(rng, palette, width / height) for _ in range(5)]
    clouds = cloud_window(height, width, rng)  # float32 (H, W) in [0, 1]
    background = (1 - clouds[..., None]) * palette[0] + clouds[..., None] * palette[1]
    drift = hue_drift * rng.choice((-1, 1))
    return Video((*distractors, *tracks), background.astype(np.float32), drift, int(rng.integers(2**31)))


def two_colours(rng: np.random.Generator) -> np.ndarray:
    """A palette (2, 3) in 0..255: two random colours, one at least 70 grey levels lighter than the other."""
    while True:
        palette = rng.uniform(25, 235, size=(2, 3))
        luminance = palette @ (0.299, 0.587, 0.114)
        if abs(luminance[0] - luminance[1]) > 70:
            return palette.astype(np.float32)


def turn_hue(canvas: np.ndarray, degrees: float) -> np.ndarray:
    """Turn every colour around the grey axis: (H, W, 3) float32, luminance kept (a rotation in the YIQ plane)."""
    to_yiq = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.linalg.inv(to_yiq) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ to_yiq
    return cv2.transform(canvas, turn.astype(np.float32)).clip(0, 255)


def _hard_track(rng, category: str, palette: np.ndarray, aspect: float, lane: float, label: int) -> Track:
    """An object that crosses the frame in its own lane, turning and growing or shrinking on its way."""
    base, marks = palette[rng.permutation(2)]
    shades = {"body": base, "dark": 0.5 * (base + marks), "light": marks}
    plain = [marks] + [
        shades.get(p.paint, marks) if isinstance(p.paint, str) else 0.3 * base + 0.7 * marks for p in SHAPES[category]
    ]
    patterned = [marks] + [marks if p.paint == "body" else colour for p, colour in zip(SHAPES[category], plain[1:])]
    item = SceneObject(
        category,
        "",
        "",
        "",
        0.5 * aspect + rng.uniform(-0.15, 0.15),
        0.12 + 0.76 * lane + rng.uniform(-0.05, 0.05),
        rng.uniform(0.36, 0.46),
        rng.uniform(-180, 180),
        bool(rng.integers(2)),
    )
    direction = rng.choice((-1, 1))
    travel = (direction * rng.uniform(0.35, 0.6) * (aspect / 1.78), rng.uniform(-0.1, 0.1))
    tables = (np.array(plain, dtype=np.float32), np.array(patterned, dtype=np.float32))
    return Track(
        item,
        tables,
        HARD_PATTERNS[category],
        travel,
        rng.uniform(-70, 70),
        rng.uniform(0.8, 1.25),
        int(rng.integers(2**31)),
        label,
    )


def _distractor(rng, palette: np.ndarray, aspect: float) -> Track:
    """A plain silhouette of no class of the hard videos, in a colour of the palette; it counts as background."""
    colour = palette[rng.integers(2)] * rng.uniform(0.85, 1.1)
    table = np.array([colour] * 12, dtype=np.float32)
    silhouette = ("flower", "umbrella")[rng.integers(2)]
    x, y, extent, angle = rng.uniform(0, aspect), rng.uniform(0, 1), rng.uniform(0.15, 0.4), rng.uniform(-180, 180)
    item = SceneObject(silhouette, "", "", "", x, y, extent, angle, False)
    return Track(
        item,
        (table, table),
        None,
        tuple(rng.uniform(-0.3, 0.3, size=2)),
        rng.uniform(-60, 60),
        1.0,
        int(rng.integers(2**31)),
        0,
    )
