"""Frames written as an MP4."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dl.guards.images import check_images


def write_video_from_array(array: Iterable[np.ndarray], output_path: str | Path, fps: float = 12) -> None:
    """Write frames as an MP4 (codec mp4v), one after another: `array` may be a generator, and is never held as a whole.

    The file gets its name when it is complete; a failure leaves what was there before. Prints where it is.

    Args:
        array: uint8 frames (H, W, 3), RGB, all of one size. output_path: ends with .mp4. fps: frames per second.
    Raises:
        ValueError: without frames, for frames of other shapes or sizes. TypeError: for frames that are not uint8.
        OSError: if OpenCV cannot write such a file.
    """
    import cv2

    output_path = Path(output_path)
    temporary = output_path.with_name(f".{output_path.stem}.{os.getpid()}{output_path.suffix}")
    writer, size = None, None
    try:
        for frame in array:
            (frame,) = check_images("write_video_from_array", [frame], grey=False)
            if writer is None:
                size = frame.shape
                output_path.parent.mkdir(parents=True, exist_ok=True)
                codec = cv2.VideoWriter_fourcc(*"mp4v")  # type: ignore[attr-defined]
                writer = cv2.VideoWriter(str(temporary), codec, fps, (size[1], size[0]))
                if not writer.isOpened():
                    raise OSError(
                        f"write_video_from_array: OpenCV cannot write {output_path.name} with the codec mp4v at "
                        f"{size[1]} x {size[0]}. Choose a name that ends with .mp4, in a folder you can write to."
                    )
            if frame.shape != size:
                raise ValueError(
                    f"write_video_from_array: wanted frames of one size {size}, got {frame.shape}. Resize them before."
                )
            writer.write(np.ascontiguousarray(frame[..., ::-1]))  # OpenCV wants blue first
        if writer is None:
            raise ValueError("write_video_from_array: got no frame, wanted at least one. Is the generator used up?")
        writer.release()
        os.replace(temporary, output_path)
    finally:
        if writer is not None:
            writer.release()
        temporary.unlink(missing_ok=True)
    print(f"Video saved to {output_path.name}")
