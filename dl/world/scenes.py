"""What can be in a scene, and how scenes are drawn at random.

A scene is pure data: objects with class, colour, texture, size and place, and a background. It is
sampled from a numpy Generator, so a (seed, index) pair names the same scene on every machine.
Coordinates are relative to the image's side: x to the right, y downward, both in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CLASSES = ("star", "heart", "fish", "boat", "house", "tree", "car", "cup", "flower", "umbrella")
COLOURS = {  # name -> RGB in 0..255
    "red": (205, 35, 40),
    "orange": (243, 130, 20),
    "yellow": (247, 220, 45),
    "green": (45, 150, 55),
    "blue": (40, 85, 205),
    "purple": (120, 45, 150),
    "pink": (250, 145, 185),
    "white": (242, 242, 238),
}
TEXTURES = ("plain", "striped", "dotted")
EXTENTS = {"large": (0.40, 0.52), "small": (0.25, 0.31)}  # size -> range of an object's extent
BACKGROUNDS = ("sky", "sea", "grass", "sand", "snow", "bricks", "wood", "night")
RELATIONS = ("left of", "right of", "above", "below")

# One colour of each of eight classes never occurs in training: what a model says about these pairs shows whether it
# has learnt colour and class as two things.
HELD_OUT_PAIRS = frozenset(zip(COLOURS, CLASSES))

CLOSE_UP = (0.62, 0.88)  # extent of the only object of a close-up, as in CIFAR-10's images
AXIS_RATIO = 1.6  # how much farther apart two objects are along their relation's axis than across it


@dataclass(frozen=True)
class SceneObject:
    """One object: its names, then its geometry (centre, extent as a share of the side, turn in degrees, mirrored)."""

    category: str
    colour: str
    texture: str
    size: str
    x: float
    y: float
    extent: float
    angle: float
    mirrored: bool


@dataclass(frozen=True)
class Scene:
    """Objects in the order in which they are named (large before small, then left before right, top before bottom)."""

    objects: tuple[SceneObject, ...]
    background: str
    appearance: int  # seed of everything without a name: light, background detail, colour shade, noise, blur

    def relation(self) -> str | None:
        """How the first object stands to the second; None unless there are exactly two."""
        if len(self.objects) != 2:
            return None
        first, second = self.objects
        dx, dy = first.x - second.x, first.y - second.y
        if abs(dx) > abs(dy):
            return "left of" if dx < 0 else "right of"
        return "above" if dy < 0 else "below"


def generator(*key: int) -> np.random.Generator:
    """A random generator named by a tuple of non-negative integers: the same key gives the same stream everywhere."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def sample_scene(rng: np.random.Generator, count: int | None = None, held_out: bool = False, close_up: bool = False) -> Scene:
    """Draw one scene.

    Args:
        rng: numpy Generator; its stream is consumed.
        count: 1, 2 or 3 objects; None draws it (half of the scenes have one object, 0.35 two, 0.15 three).
        held_out: False avoids `HELD_OUT_PAIRS`; True makes every object one of them.
        close_up: one object that nearly fills the image.
    Raises:
        ValueError: for another count, or a close-up of several objects.
    """
    if count is None:
        count = 1 if close_up else int(rng.choice(3, p=(0.50, 0.35, 0.15))) + 1
    if count not in (1, 2, 3) or (close_up and count != 1):
        raise ValueError(
            f"sample_scene: got count={count}, close_up={close_up}; a scene has 1 to 3 objects, a close-up has 1."
        )
    names = _draw_names(rng, count, held_out)
    placed = _draw_places(rng, names, close_up)
    objects = tuple(sorted(placed, key=_naming_order(placed)))
    background = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
    return Scene(objects, background, int(rng.integers(2**31)))


def _draw_names(rng: np.random.Generator, count: int, held_out: bool) -> list[dict]:
    """Class, colour, texture and size of each object; classes differ within a scene, at most one object is large."""
    colours = list(COLOURS)
    while True:
        categories = rng.choice(len(CLASSES), size=count, replace=False)
        pairs = [(colours[rng.integers(len(colours))], CLASSES[category]) for category in categories]
        if held_out:
            pairs = [sorted(HELD_OUT_PAIRS)[rng.integers(len(HELD_OUT_PAIRS))] for _ in pairs]
        kept_out = [pair in HELD_OUT_PAIRS for pair in pairs]
        if (all(kept_out) if held_out else not any(kept_out)) and len({category for _, category in pairs}) == count:
            break
    large = rng.integers(count) if rng.random() < 0.7 else None
    return [
        {
            "category": category,
            "colour": colour,
            "texture": TEXTURES[rng.integers(len(TEXTURES))],
            "size": "large" if position == large else "small",
        }
        for position, (colour, category) in enumerate(pairs)
    ]


def _draw_places(rng: np.random.Generator, names: list[dict], close_up: bool) -> list[SceneObject]:
    """Centres such that objects lie inside the image, do not touch, and two of them have a clear relation."""
    while True:
        objects = []
        for name in names:
            low, high = CLOSE_UP if close_up else EXTENTS[name["size"]]
            extent = rng.uniform(low, high)
            x, y = rng.uniform(0.5 * extent + 0.01, 0.99 - 0.5 * extent, size=2)
            angle = rng.uniform(-14, 14)
            objects.append(SceneObject(**name, x=x, y=y, extent=extent, angle=angle, mirrored=bool(rng.integers(2))))
        if _well_placed(objects):
            return objects


def _well_placed(objects: list[SceneObject]) -> bool:
    for i, first in enumerate(objects):
        for second in objects[i + 1 :]:
            dx, dy = abs(first.x - second.x), abs(first.y - second.y)
            if max(dx, dy) < 0.5 * (first.extent + second.extent):
                return False
            if len(objects) == 2 and max(dx, dy) < AXIS_RATIO * min(dx, dy):
                return False
    return True


def _naming_order(objects: list[SceneObject]):
    """Key that puts the large object first, then sorts along the axis on which the objects spread the most."""
    spread_x = max(o.x for o in objects) - min(o.x for o in objects)
    spread_y = max(o.y for o in objects) - min(o.y for o in objects)
    return lambda o: (o.size != "large", o.x if spread_x >= spread_y else o.y)
