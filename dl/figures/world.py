"""A page of the sample world, for README.md: `python -m dl.figures.world` writes datasets/sample_world.jpg."""

from __future__ import annotations

import cv2
import numpy as np

from dl import settings
from dl.world.export import SPLIT_KEYS, VIDEO_SIZE, scenes
from dl.world.render import render
from dl.world.scenes import generator, sample_scene
from dl.world.videos import easy_video, hard_video

SIDE, GAP = 112, 4


def sample_page() -> np.ndarray:
    """uint8 RGB: two rows of captioned scenes, one of close-ups, then frames and masks of an easy and a hard video."""
    captioned = [render(scene, SIDE)[0] for scene in scenes("train", 20)]
    close_ups = [render(sample_scene(generator(SPLIT_KEYS["cifar_test"], n), close_up=True), SIDE)[0] for n in range(10)]
    rows = [_row(captioned[:10]), _row(captioned[10:]), _row(close_ups)]
    for kind, make in (("easy", easy_video), ("hard", hard_video)):
        video = make(generator(SPLIT_KEYS[kind], 0), *VIDEO_SIZE)
        cells = []
        for moment in (-0.9, 0.0, 0.9):
            picture, mask = video.frame(moment)
            cells += [picture, np.array([(20, 20, 20), (0, 114, 178), (213, 94, 0), (0, 158, 115)], np.uint8)[mask]]
        width = (rows[0].shape[1] - 5 * GAP) // 6
        height = round(width * VIDEO_SIZE[0] / VIDEO_SIZE[1])
        strip = _row([cv2.resize(cell, (width, height), interpolation=cv2.INTER_AREA) for cell in cells])
        missing = rows[0].shape[1] - strip.shape[1]  # lost in rounding
        rows.append(cv2.copyMakeBorder(strip, 0, 0, 0, missing, cv2.BORDER_CONSTANT, value=(255, 255, 255)))
    return np.concatenate([part for row in rows for part in (row, np.full((GAP, row.shape[1], 3), 255, np.uint8))])


def _row(pictures: list[np.ndarray]) -> np.ndarray:
    gap = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, gap)][:-1], axis=1)


if __name__ == "__main__":
    path = settings.project_root() / "datasets" / "sample_world.jpg"
    path.write_bytes(cv2.imencode(".jpg", sample_page()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    print(f"Wrote {path.name}, {path.stat().st_size / 1e3:.0f} kB")
