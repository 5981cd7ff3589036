"""A video file gives the same frames, whichever package reads it."""

import numpy as np
import pytest

from dl.clip_dino import write_video_from_array
from dl.video import reader
from dl.video.reader import open_video

READERS = pytest.mark.parametrize(
    "found", [pytest.param(True, marks=pytest.mark.skipif(not reader.has_decord(), reason="needs decord")), False]
)


def moving(height: int, width: int, count: int = 8) -> np.ndarray:
    """(count, height, width, 3): gradients that travel, another one per channel."""
    t, y, x = np.ogrid[:count, :height, :width]
    return np.stack(np.broadcast_arrays(2 * x + 5 * t, 3 * y + 4 * t + 0 * x, x + y + 9 * t), axis=-1).astype(np.uint8)


@pytest.fixture
def film(tmp_path):
    write_video_from_array(moving(64, 96), tmp_path / "film.mp4", fps=10)
    return tmp_path / "film.mp4"


@READERS
def test_frames_come_in_order_with_their_colours_and_their_rate(film, monkeypatch, found):
    monkeypatch.setattr(reader, "has_decord", lambda: found)
    video = open_video(film)
    assert video.reader == ("decord" if found else "OpenCV") and video.fps == 10
    frames, wanted = np.stack(list(video.frames)), moving(64, 96)
    assert frames.shape == wanted.shape and frames.dtype == np.uint8
    error = np.abs(frames.astype(int) - wanted).mean()
    assert (
        error < 8 < np.abs(frames[..., ::-1].astype(int) - wanted).mean()
        and error < np.abs(frames[::-1].astype(int) - wanted).mean()
    )


@pytest.mark.skipif(not reader.has_decord(), reason="needs decord")
@pytest.mark.parametrize("size, apart", [((64, 96), 0), ((32, 48), 0), ((65, 97), 2)])
def test_both_readers_give_the_same_frames(tmp_path, monkeypatch, size, apart):
    write_video_from_array(moving(*size), tmp_path / "film.mp4")
    both = []
    for found in (True, False):
        monkeypatch.setattr(reader, "has_decord", lambda found=found: found)
        both.append(np.stack(list(open_video(tmp_path / "film.mp4").frames)).astype(int))
    assert np.abs(both[0] - both[1]).mean() <= apart


@READERS
def test_what_is_no_video_is_an_error_in_words(tmp_path, film, monkeypatch, found):
    monkeypatch.setattr(reader, "has_decord", lambda: found)
    with pytest.raises(FileNotFoundError, match="open_video: .*none.mp4 not found"):
        open_video(tmp_path / "none.mp4")
    film.write_bytes(film.read_bytes()[:100])
    with pytest.raises(ValueError, match="holds no video that can be read"):
        open_video(film)
