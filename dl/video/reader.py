"""Frames read from a video file, by decord where it is installed, else by OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dl.files import user_path


@dataclass
class Video:
    """A video that is being read. `frames` gives each frame once, uint8 (H, W, 3), RGB, one in memory at a time."""

    frames: Iterator[np.ndarray]
    fps: float  # frames per second
    reader: str  # "decord" or "OpenCV"


def open_video(path: str | Path) -> Video:
    """Open a video file to read its frames from first to last.

    Both readers give the same frames; at odd sizes, where they interpolate colours differently, nearly the same.

    Raises:
        FileNotFoundError: if there is no such file. ValueError: if it holds no video that can be read.
    """
    path = user_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"open_video: {path} not found; wanted a video file, such as dino_res.mp4. Check the path.")
    video = _by_decord(path) if has_decord() else _by_opencv(path)
    if video is None:
        raise ValueError(
            f"open_video: {path} holds no video that can be read; it is cut or another kind of file. Write it anew."
        )
    return video


def has_decord() -> bool:
    """Whether decord can be used here; it has no package for some systems."""
    try:
        import decord  # noqa: F401
    except (ImportError, OSError):  # OSError: a library of the system that it needs is missing
        return False
    return True


def _by_decord(path: Path) -> Video | None:
    import decord

    try:
        reader = decord.VideoReader(str(path))
    except (decord.DECORDError, RuntimeError):
        return None
    frames = (_without_padding(reader[number].asnumpy()) for number in range(len(reader)))
    return Video(frames, float(reader.get_avg_fps()), "decord")


def _without_padding(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) of a frame that decord gives with more channels where its padded rows are a multiple of the width."""
    height, width, _ = frame.shape
    return frame.reshape(height, -1)[:, : 3 * width].reshape(height, width, 3)


def _by_opencv(path: Path) -> Video | None:
    import cv2

    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        return None

    def frames() -> Iterator[np.ndarray]:
        while (read := capture.read())[0]:
            yield read[1][..., ::-1]  # OpenCV gives blue first

    return Video(frames(), float(capture.get(cv2.CAP_PROP_FPS)), "OpenCV")
