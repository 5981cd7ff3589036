"""From a scene to an image and its object mask, at any size.

Objects are painted at twice the size as index maps (which part covers which pixel), coloured through a
table and averaged down, which is fast and smooth. Then come light, shadow, blur and noise, so that no
two images share a colour exactly.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from dl.world.scenes import BACKGROUNDS, COLOURS, Scene, SceneObject, generator
from dl.world.shapes import INK, SHAPES, Part

SUPERSAMPLING = 2
OUTLINE_WIDTH = 0.05  # of the object's half extent
TILE, TILES = 288, 3  # side of a background tile in pixels, and how many different ones each background has
_TILE_SEED = 20


def render(scene: Scene, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Paint a scene.

    Args:
        scene: what to paint. size: side of the square image in pixels, >= 16.
    Returns:
        image: uint8 (size, size, 3), RGB. mask: uint8 (size, size), 0 background, i + 1 where object i is seen.
    """
    rng = generator(scene.appearance)
    canvas = background_window(scene.background, size, size, rng)  # float32 (size, size, 3)
    mask = np.zeros((size, size), dtype=np.uint8)
    for position, item in enumerate(scene.objects):
        shade = np.array(COLOURS[item.colour]) * rng.uniform(0.88, 1.1) + rng.uniform(-10, 10, size=3)
        colours = part_colours(SHAPES[item.category], shade.clip(0, 255))
        pattern = {"striped": ("stripes", 2.6), "dotted": ("dots", 2.2), "plain": None}[item.texture]
        paint_object(canvas, mask, position + 1, item, colours, pattern, rng)
    return expose(canvas, rng, rng), mask


def part_colours(parts: list[Part], rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour tables (n + 1, 3) of an index map: row 0 is the outline, row i + 1 part i; the second has the pattern on."""
    luminance = rgb @ (0.299, 0.587, 0.114)
    marked = rgb * 0.55 if luminance > 110 else rgb + 0.5 * (255 - rgb)
    shades = {"body": rgb, "dark": rgb * 0.62, "light": rgb + 0.65 * (255 - rgb)}
    plain = [np.array(INK) * 0.6 + rgb * 0.2] + [
        shades.get(p.paint, p.paint) if isinstance(p.paint, str) else p.paint for p in parts
    ]
    patterned = list(plain)
    for row, part in enumerate(parts, start=1):
        if part.paint == "body":
            patterned[row] = marked
    return np.array(plain, dtype=np.float32), np.array(patterned, dtype=np.float32)


def paint_object(
    canvas: np.ndarray,
    mask: np.ndarray,
    label: int,
    item: SceneObject,
    colours: tuple[np.ndarray, np.ndarray],
    pattern: tuple[str, float] | None,
    rng: np.random.Generator,
) -> None:
    """Paint one object and its shadow onto `canvas` and `mask`, both changed in place.

    Args:
        canvas: float32 (H, W, 3) in 0..255; x, y and extent of `item` are relative to H.
        mask: uint8 (H, W), set to `label` where the object covers more than half of a pixel.
        colours: the two tables of `part_colours`.
        pattern: (kind, marks per half extent) of `pattern_at`, or None.
        rng: draws the pattern's phase and the object's own light.
    """
    height, width = mask.shape
    half = 0.5 * item.extent * height
    reach = int(np.ceil(1.25 * half)) + 2
    left, top = int(item.x * height) - reach, int(item.y * height) - reach
    side = 2 * reach
    index, u, v = _index_map(item, side, half, (item.x * height - left, item.y * height - top))
    covered = (index > 0).astype(np.float32)
    row = np.maximum(index, 1) - 1
    rgb = colours[0][row]
    if pattern is not None:
        marks = pattern_at(pattern[0], u * pattern[1] + rng.random(), v * pattern[1] + rng.random())
        rgb = np.where(marks[..., None], colours[1][row], rgb)
    rgb = cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(covered, (side, side), interpolation=cv2.INTER_AREA)
    light = rng.uniform(-0.22, 0.22, size=2)
    ramp = np.linspace(-1, 1, side, dtype=np.float32)
    rgb *= (1 + light[0] * ramp[None, :] + light[1] * ramp[:, None]).astype(np.float32)[..., None]

    drop = max(1, round(0.14 * half))
    shadow = 1 - 0.4 * cv2.GaussianBlur(np.roll(alpha, (drop, drop), axis=(0, 1)), (0, 0), 0.08 * half + 0.3)
    rows, columns = slice(max(top, 0), min(top + side, height)), slice(max(left, 0), min(left + side, width))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return  # wholly outside the image
    inner = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    alpha, rgb, shadow = alpha[inner][..., None], rgb[inner], shadow[inner][..., None]
    canvas[rows, columns] = canvas[rows, columns] * shadow * (1 - alpha) + rgb * alpha
    mask[rows, columns][alpha[..., 0] > 0.5] = label


def _index_map(
    item: SceneObject, side: int, half: float, centre: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Index map at SUPERSAMPLING x side (0 nothing, 1 outline, i + 2 part i) and the object's own coordinates u, v."""
    s = SUPERSAMPLING
    angle = np.deg2rad(item.angle)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if item.mirrored:
        turn = turn @ np.diag([-1.0, 1.0])
    index = np.zeros((side * s, side * s), dtype=np.uint8)
    outline = max(1, round(OUTLINE_WIDTH * half * s))
    for number, part in enumerate(SHAPES[item.category], start=2):
        points = ((part.points @ turn.T) * half + centre) * s
        points = np.round(points * 16).astype(np.int32)  # 4 binary digits below the pixel
        if part.width:
            stroke = max(1, round(part.width * half * s))
            cv2.polylines(index, [points], False, 1, stroke + 2 * outline, shift=4)
            cv2.polylines(index, [points], False, number, stroke, shift=4)
        else:
            cv2.polylines(index, [points], True, 1, 2 * outline, shift=4)
            cv2.fillPoly(index, [points], number, shift=4)
    axis = (np.arange(side * s, dtype=np.float32) + 0.5) / s
    x, y = (axis - centre[0]) / half, (axis - centre[1]) / half
    inverse = turn.T  # orthogonal, mirrored or not
    u = (inverse[0, 0] * x[None, :] + inverse[0, 1] * y[:, None]).astype(np.float32)
    v = (inverse[1, 0] * x[None, :] + inverse[1, 1] * y[:, None]).astype(np.float32)
    return index, u, v


def pattern_at(kind: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Boolean pattern at coordinates counted in marks: one stripe, dot or square per unit."""
    if kind == "stripes":
        return (v - np.floor(v)) < 0.45
    if kind == "bars":
        return (u - np.floor(u)) < 0.45
    if kind == "dots":
        return (u - np.floor(u) - 0.5) ** 2 + (v - np.floor(v) - 0.5) ** 2 < 0.09
    if kind == "checks":
        return (np.floor(u) + np.floor(v)) % 2 == 0
    if kind == "rings":
        radius = np.sqrt(u**2 + v**2)
        return (radius - np.floor(radius)) < 0.45
    if kind == "net":
        return ((u - np.floor(u)) < 0.22) | ((v - np.floor(v)) < 0.22)
    raise ValueError(f"pattern_at: got kind {kind!r}; known are stripes, bars, dots, checks, rings, net.")


def expose(canvas: np.ndarray, rng: np.random.Generator, noise_rng: np.random.Generator) -> np.ndarray:
    """Light from one side, its colour, blur (from `rng`) and noise (from `noise_rng`): float32 canvas to uint8 image."""
    height, width, _ = canvas.shape
    gain = rng.uniform(0.78, 1.12) * rng.uniform(0.94, 1.06, size=3)
    slope = rng.uniform(-0.22, 0.22, size=2)
    across = slope[0] * np.linspace(-1, 1, width) + 1
    down = slope[1] * np.linspace(-1, 1, height)
    light = (across[None, :] + down[:, None]).astype(np.float32)
    canvas = canvas * light[..., None] * gain.astype(np.float32)
    blur = rng.uniform(0, 0.9) * height / 112
    if blur > 0.3:
        canvas = cv2.GaussianBlur(canvas, (0, 0), blur)
    strength = np.float32(rng.uniform(2, 8))
    noise = noise_rng.standard_normal(canvas.shape, dtype=np.float32) * strength
    return np.clip(canvas + noise, 0, 255).round().astype(np.uint8)


def background_window(kind: str, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A random window of a background, enlarged to (height, width): float32 (height, width, 3) in 0..255."""
    tile = _tiles(kind)[rng.integers(TILES)]
    window_w = int(rng.uniform(0.45, 0.95) * TILE)
    window_h = min(TILE, int(window_w * height / width))
    top, left = rng.integers(TILE - window_h + 1), rng.integers(TILE - window_w + 1)
    window = tile[top : top + window_h, left : left + window_w]
    if rng.integers(2):
        window = window[:, ::-1]
    window = cv2.resize(window, (width, height), interpolation=cv2.INTER_AREA)
    tint = rng.uniform(0.8, 1.15) * rng.uniform(0.85, 1.15, size=3)
    return window.astype(np.float32) * tint.astype(np.float32)


def cloud_window(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Fresh smooth noise in [0, 1], float32 (height, width)."""
    clouds = _clouds(rng, (int(rng.integers(3, 9)), int(rng.integers(3, 9))))
    return cv2.resize(clouds, (width, height), interpolation=cv2.INTER_LINEAR)


@cache
def _tiles(kind: str) -> list[np.ndarray]:
    return [_TILE_PAINTERS[kind](generator(_TILE_SEED, BACKGROUNDS.index(kind), n)) for n in range(TILES)]


def _clouds(rng: np.random.Generator, cells: tuple[int, int], octaves: int = 4) -> np.ndarray:
    """Smooth noise in [0, 1], float32 (TILE, TILE): random grids of ever more cells, each half as strong."""
    total = np.zeros((TILE, TILE), dtype=np.float32)
    for octave in range(octaves):
        grid = rng.random((cells[0] * 2**octave + 2, cells[1] * 2**octave + 2), dtype=np.float32)
        total += cv2.resize(grid, (TILE, TILE), interpolation=cv2.INTER_CUBIC) * 0.5**octave
    low, high = total.min(), total.max()
    return (total - low) / (high - low)


def _mix(amount: np.ndarray, first: tuple, second: tuple) -> np.ndarray:
    return (1 - amount[..., None]) * np.asarray(first, dtype=np.float32) + amount[..., None] * np.asarray(
        second, dtype=np.float32
    )


def _sky(rng):
    cover = np.clip((_clouds(rng, (3, 2)) - 0.45) * 3, 0, 1)
    height = np.linspace(0, 1, TILE, dtype=np.float32)[:, None].repeat(TILE, axis=1)
    return _mix(height, (92, 150, 214), (176, 210, 236)) * (1 - cover[..., None]) + 238 * cover[..., None]


def _sea(rng):
    waves = _clouds(rng, (14, 3), 3)
    foam = (waves > 0.78).astype(np.float32)
    return _mix(waves, (18, 70, 110), (60, 140, 160)) + 60 * foam[..., None]


def _grass(rng):
    blades, patches = _clouds(rng, (5, 40), 3), _clouds(rng, (3, 3))
    return _mix(blades, (44, 84, 26), (128, 166, 66)) * (0.75 + 0.5 * patches[..., None])


def _sand(rng):
    ripples = 0.5 + 0.5 * np.sin(np.linspace(0, 60, TILE, dtype=np.float32)[:, None] + 9 * _clouds(rng, (2, 2)))
    grain = rng.random((TILE, TILE), dtype=np.float32)
    return _mix(0.6 * ripples + 0.4 * grain, (190, 160, 112), (232, 208, 164))


def _snow(rng):
    return _mix(_clouds(rng, (3, 3)), (176, 190, 212), (246, 248, 252))


def _bricks(rng):
    rows, columns = 12, 7
    wall = np.empty((TILE, TILE, 3), dtype=np.float32)
    wall[:] = (172, 164, 154)
    brick_h, brick_w = TILE / rows, TILE / columns
    for row in range(rows):
        for column in range(-1, columns):
            left = (column + 0.5 * (row % 2)) * brick_w
            colour = np.float32((150, 74, 56)) * rng.uniform(0.75, 1.15) + rng.uniform(-8, 8)
            y0, x0 = int(row * brick_h) + 2, max(int(left) + 2, 0)
            wall[y0 : int((row + 1) * brick_h) - 1, x0 : max(int(left + brick_w) - 1, 0)] = colour
    return wall * (0.85 + 0.3 * _clouds(rng, (20, 20), 2)[..., None])


def _wood(rng):
    grain = _clouds(rng, (50, 3), 3)
    planks = np.repeat(rng.uniform(0.78, 1.1, size=6), TILE // 6).astype(np.float32)[:, None, None]
    wood = _mix(grain, (110, 72, 40), (190, 140, 88)) * planks
    wood[:: TILE // 6] *= 0.5
    return wood


def _night(rng):
    sky = _mix(_clouds(rng, (2, 2)), (12, 14, 38), (44, 40, 84))
    for _ in range(90):
        y, x = rng.integers(TILE, size=2)
        sky[y : y + 2, x : x + 2] = rng.uniform(150, 250)
    return sky


_TILE_PAINTERS = {
    "sky": _sky,
    "sea": _sea,
    "grass": _grass,
    "sand": _sand,
    "snow": _snow,
    "bricks": _bricks,
    "wood": _wood,
    "night": _night,
}
