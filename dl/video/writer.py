"""Frames written as an MP4, and read back."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dl.files import user_path
from dl.guards import want_iterable
from dl.guards.images import check_images
from dl.video.mp4 import state_size

if TYPE_CHECKING:
    import cv2

LARGEST_VIDEO = 8190  # pixels per side: MPEG-4 has 13 bits, and OpenCV writes even sizes


def write_video_from_array(array: Iterable[np.ndarray], output_path: str | Path, fps: float = 12) -> None:
    """Write frames as an MP4 (codec mp4v), one after another: `array` may be a generator, and is never held as a whole.

    The file gets its name when it is complete; a failure leaves what was there before. Prints where it is.

    Args:
        array: uint8 frames (H, W, 3), RGB, all of one size, at most 8190 a side. output_path: ends with .mp4. fps: frames
            per second, 1 to 240.
    Raises:
        ValueError: without frames, for frames of other shapes or sizes, another rate.
        TypeError: for frames that are not uint8.
        OSError: if OpenCV cannot write such a file.
    """
    fps = _checked_rate(fps)
    output_path = user_path(output_path)
    want_iterable("write_video_from_array", "a list of frames", array=array)
    if not output_path.name:
        raise ValueError(
            f"write_video_from_array: got {str(output_path)!r}, wanted a file's name. Pass one that ends with .mp4."
        )
    temporary = output_path.with_name(f".{output_path.stem}.{os.getpid()}{output_path.suffix}")
    writer, size = None, None
    try:
        for frame in array:
            (frame,) = check_images("write_video_from_array", [frame], grey=False)
            if writer is None:
                size = frame.shape
                output_path.parent.mkdir(parents=True, exist_ok=True)
                odd = size[0] % 2, size[1] % 2  # OpenCV leaves out what is more than an even size
                whole = size[0] + odd[0], size[1] + odd[1]
                writer = _opened(temporary, output_path.name, fps, whole)
            if frame.shape != size:
                raise ValueError(
                    f"write_video_from_array: wanted frames of one size {size}, got {frame.shape}. Resize them before."
                )
            frame = np.pad(frame, ((0, odd[0]), (0, odd[1]), (0, 0)), mode="edge")
            writer.write(np.ascontiguousarray(frame[..., ::-1]))  # OpenCV wants blue first
        if writer is None:
            raise ValueError(
                "write_video_from_array: got no frame, wanted at least one. A used generator is empty: make it anew."
            )
        writer.release()
        if size is not None and any(odd):
            state_size(temporary, whole, size[:2])
        os.replace(temporary, output_path)
    finally:
        if writer is not None:
            writer.release()
        temporary.unlink(missing_ok=True)
    print(f"Video saved to {output_path.name}")


def _opened(path: Path, name: str, fps: float, size: tuple[int, int]) -> cv2.VideoWriter:
    """OpenCV's writer for frames of this height and width, both even."""
    import cv2

    if max(size) > LARGEST_VIDEO:
        raise ValueError(
            f"write_video_from_array: got frames of {size[0]} x {size[1]} pixels, wanted at most "
            f"{LARGEST_VIDEO} per side, which is all that MPEG-4 has room for. Make them smaller."
        )
    codec = cv2.VideoWriter_fourcc(*"mp4v")  # type: ignore[attr-defined]
    writer = cv2.VideoWriter(str(path), codec, fps, size[::-1])
    if not writer.isOpened():
        raise OSError(
            f"write_video_from_array: OpenCV cannot write {name} with the codec mp4v at "
            f"{size[1]} x {size[0]}. Choose a name that ends with .mp4, in a folder you can write to."
        )
    return writer


def _checked_rate(fps: float) -> float:
    if isinstance(fps, bool) or not isinstance(fps, (int, float, np.integer, np.floating)) or not 1 <= fps <= 240:
        raise ValueError(f"write_video_from_array: wanted fps from 1 to 240, got {fps!r}. The course uses 12.")
    return float(fps)
