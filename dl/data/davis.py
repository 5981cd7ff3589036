"""DAVIS 2017 at 480p on disk: which videos there are, in which order, and one frame after the other.

    ImageSets/2017/val.txt                       a name a line
    JPEGImages/480p/<video>/00000.jpg …          frames
    Annotations/480p/<video>/00000.png …         palette images whose pixel index is the object's id, 0 background

Pont-Tuset et al. 2017, "The 2017 DAVIS Challenge on Video Object Segmentation" (arXiv:1704.00675). The sample world's
videos lie in the same layout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dl import settings
from dl.files import numbered_files, read_lines

RESOLUTION, SPLIT = "480p", "validation"
VOID = 255  # a pixel that some annotations leave undecided; DAVIS 2017 has none


def in_course_order(names: list[str]) -> list[str]:
    """Names sorted by md5("validation" + name + "480p"): the order in which the course's data loader has them, so that
    number 7 of the real validation videos is "soapbox", and "playground" of the sample world's."""
    return sorted(names, key=lambda name: hashlib.md5(f"{SPLIT}{name}{RESOLUTION}".encode()).hexdigest())


def video_names(folder: Path) -> list[str]:
    """Validation videos of a DAVIS folder, in the course's order.

    Raises:
        FileNotFoundError: if the list is absent. ValueError: if it is empty.
    """
    listing = folder / "ImageSets" / "2017" / "val.txt"
    if not listing.is_file():
        raise FileNotFoundError(
            f"DavisDataset: {settings.shown(listing)} not found, wanted a folder with ImageSets/, JPEGImages/ "
            f"and Annotations/. {remedy(again=False)}"
        )
    try:
        names = [name for name in read_lines(listing) if name]
    except ValueError as error:
        raise ValueError(f"DavisDataset: {error}") from error
    if not names:
        raise ValueError(f"DavisDataset: {settings.shown(listing)} names no video, wanted one per line. {remedy()}")
    return in_course_order(names)


def video_problems(folder: Path, name: str) -> str:
    """What keeps a video from having a mask for each of at least one frame, "" if nothing does."""
    frames, masks = _pictures(folder, name)
    if frames and [path.stem for path in frames] == [path.stem for path in masks]:
        return ""
    return f"video {name!r} has {len(frames)} frames and {len(masks)} masks"


def frame_files(folder: Path, name: str) -> list[tuple[Path, Path]]:
    """(frame, mask) of every moment of a video, in order.

    Raises:
        ValueError: if there are no frames, or some have no mask.
    """
    problem = video_problems(folder, name)
    if problem:
        raise ValueError(f"DavisDataset: {problem}, wanted a mask for each of at least one frame. {remedy()}")
    return list(zip(*_pictures(folder, name)))


def read_moments(folder: Path, name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frame uint8 (H, W, 3), RGB, and mask uint8 (H, W, 1), object ids, of every moment; one moment in memory at a time.

    Raises:
        ValueError: naming the file that cannot be read, is no palette mask, has undecided pixels or another size.
    """
    size = None
    for frame_file, mask_file in frame_files(folder, name):
        frame, mask = _read(frame_file, ("RGB",)), _read(mask_file, ("P", "L"))[..., None]
        size = size or frame.shape[:2]
        if frame.shape[:2] != size or mask.shape[:2] != size:
            raise ValueError(
                f"DavisDataset: {settings.shown(frame_file)} is {frame.shape[:2]} and its mask {mask.shape[:2]}, wanted "
                f"all of the video at {size}. {remedy()}"
            )
        if mask.max() == VOID:
            raise ValueError(
                f"DavisDataset: {settings.shown(mask_file)} has pixels of {VOID}, wanted object ids that count from 0. "
                "Set undecided pixels to 0, or use the masks of DAVIS 2017."
            )
        yield frame, mask


def remedy(again: bool = True) -> str:
    """What to do about damaged videos, or absent ones (`again` False)."""
    if settings.data_mode() == settings.SAMPLE:
        return "Delete this folder if it is the sample world's: the next call makes it again."
    return f'Run "python -m dl data fetch{" --again" if again else ""} davis", or leave DL_DATA=sample.'


def _pictures(folder: Path, name: str) -> tuple[list[Path], list[Path]]:
    """Frames and masks of a video, each in order."""
    frames = numbered_files(folder / "JPEGImages" / RESOLUTION / name, ".jpg")
    masks = numbered_files(folder / "Annotations" / RESOLUTION / name, ".png")
    return frames, masks


def _read(file: Path, modes: tuple[str, ...]) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(file) as picture:
            mode = picture.mode
            pixels = np.array(picture)
    except (OSError, SyntaxError, ValueError) as error:  # PIL: cut, foreign or absent
        raise ValueError(f"DavisDataset: {settings.shown(file)} cannot be read ({error}). {remedy()}") from error
    if mode not in modes:
        raise ValueError(
            f"DavisDataset: {settings.shown(file)} has the mode {mode}, wanted {' or '.join(modes)}"
            f"{', whose pixels are object ids' if 'P' in modes else ''}. {remedy()}"
        )
    return pixels
