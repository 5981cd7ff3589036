"""Exams of the sample world for CLIP and DINO, and how their results are drawn."""

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from dl.figures import clip_dino as draw
from dl.models import dino, dino_toy, exams
from dl.models.vit import load_dino
from dl.video import class_colours, open_video, outline_objects, write_video_from_array
from dl.world.scenes import COLOURS, HELD_OUT_PAIRS, Scene


def test_single_objects_keep_to_their_split():
    usual, images = exams.single_objects("val", 12)
    kept_out, _ = exams.single_objects("held_out", 12)
    assert len(usual) == len(images) == 12 and images[0].shape == (112, 112, 3)
    assert all((thing.colour, thing.category) in HELD_OUT_PAIRS for thing in kept_out)
    assert not any((thing.colour, thing.category) in HELD_OUT_PAIRS for thing in usual)


def test_right_names_are_counted_per_pair():
    objects, _ = exams.single_objects("val", 3)
    texts = [f"something {thing.colour}" for thing in objects]
    texts[1] = "something else"
    right = exams.named_rightly(texts, objects, "colour")
    assert right.tolist() == [True, False, True]
    rows = exams.right_by_pair(right, objects)
    assert sum(row["class right"] for row in rows) == 2 and sum(row["of"] for row in rows) == 3
    scene = Scene(tuple(objects), "sand", 0)
    assert exams.shows(scene, objects[2].colour, objects[2].category) and not exams.shows(scene, "blue", "bicycle")


def test_a_swap_exchanges_the_colours_and_nothing_else():
    (left, right), texts = exams.swap(("blue", "orange"), ("boat", "umbrella"))
    assert texts == ["a blue boat and an orange umbrella", "an orange boat and a blue umbrella"]
    grey = [image.mean(axis=2) for image in (left, right)]
    assert np.abs(left.astype(int) - right).max() > 100 and np.array_equal(*(image[:8] for image in grey))
    again = [texts for _, texts in exams.random_swaps(5, seed=3)]
    assert len(again) == 5 and again == [texts for _, texts in exams.random_swaps(5, seed=3)]
    for pair in HELD_OUT_PAIRS:
        assert not any(" ".join(pair) in text for texts in again for text in texts)


def test_last_layer_gives_what_the_network_gives():
    network = load_dino("cpu")
    frames = [np.full((40, 60, 3), 50 * n, np.uint8) for n in range(2)]
    attention, tokens = exams.last_layer(network, frames, "cpu", at_once=1)
    whole_attention, whole = exams.last_layer(network, frames, "cpu")
    assert attention.shape[::2] == (2, 400) and tokens.shape == (2, 400, network.width)
    torch.testing.assert_close(attention, whole_attention)
    torch.testing.assert_close(tokens, whole, rtol=1e-3, atol=1e-4)


def test_hand_made_features_have_their_sizes():
    features = exams.hand_made_features(np.full((2, 90, 160, 3), 120, np.uint8), 8)
    assert {name: tuple(rows.shape) for name, rows in features.items()} == {
        "colour and position": (2, 400, 5),
        "colour, contrast and position": (2, 400, 8),
        "edges (HOG)": (2, 400, 81),
    }
    assert features["colour and position"][..., :3].unique().tolist() == pytest.approx([120 / 255])
    assert features["colour and position"][0, 0, 3:].tolist() == [-1, -1]  # the upper left corner


def distances(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """CIELAB distance of each colour (n, 3) in 0..255 from each of the others (m, 3): (n, m)."""
    lab = [cv2.cvtColor(np.float32(colours)[None] / 255, cv2.COLOR_RGB2LAB)[0] for colours in (some, others)]
    return np.linalg.norm(lab[0][:, None] - lab[1][None], axis=2)


def without_green(colours: np.ndarray) -> np.ndarray:
    """What a person with deuteranopia sees of colours (n, 3) in 0..255 (Machado et al. 2009, severity 1)."""
    x = np.asarray(colours) / 255
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    machado = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    seen = np.clip(linear @ np.array(machado).T, 0, 1)
    return 255 * np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)


def test_no_colour_of_a_label_is_near_that_of_an_object():
    labels = class_colours(8)[1:]
    assert distances(labels, np.array(list(COLOURS.values()))).min() > 35
    assert distances(labels, np.arange(0, 141)[:, None].repeat(3, axis=1)).min() > 40  # grey, dimmed backgrounds
    assert (distances(labels, labels) + 100 * np.eye(7)).min() > 35
    three = without_green(labels[:3])  # no video of the sample world has more objects
    assert (distances(three, three) + 100 * np.eye(3)).min() > 25


def test_outlines_leave_objects_their_colours():
    image = np.full((20, 20, 3), (200, 40, 40), np.uint8)
    mask = np.zeros((20, 20), int)
    mask[5:15, 5:15] = 2
    before = image.copy()
    drawn = outline_objects(mask, image)
    assert np.array_equal(image, before) and (drawn[8:12, 8:12] == image[0, 0]).all()
    assert (drawn[5, 5:15] == class_colours(3)[2]).all() and (drawn[4, 6] == 0).all()
    assert (drawn[7, 7:13] == 0).all()  # dark between the outline, two pixels wide, and the object
    assert len(set(drawn[0, 0].tolist())) == 1 and drawn[0, 0, 0] < image.mean()  # grey and dim
    full = outline_objects(np.ones((20, 20), int), image)
    assert np.array_equal(full, image)  # the frame's own border is no outline
    with pytest.raises(ValueError, match="outline_objects: wanted a mask of the image's size"):
        outline_objects(mask[:5], image)
    with pytest.raises(TypeError, match="outline_objects: wanted classes as integers"):
        outline_objects(mask / 1.0, image)


def test_a_written_video_is_read_back_in_order_and_colour(tmp_path):
    frames = [np.full((32, 48, 3), colour, np.uint8) for colour in ((200, 30, 30), (30, 30, 200))]
    write_video_from_array(frames, tmp_path / "two.mp4")
    read = list(open_video(tmp_path / "two.mp4").frames)
    assert [frame.shape for frame in read] == [(32, 48, 3)] * 2
    assert all(np.abs(got.astype(int) - frame).mean() < 12 for got, frame in zip(read, frames))


def test_the_toy_takes_another_rule_for_the_centre():
    assert dino_toy.entropies(steps=2, new_center=dino.update_center) == dino_toy.entropies(steps=2)
    still = dino_toy.entropies(steps=2, new_center=lambda center, scores: center)
    assert still == dino_toy.entropies(steps=2, centring=False)


def test_a_number_on_a_bar_is_not_crossed_by_the_line_of_guessing():
    figure = draw.scores_beside(["a", "b"], {"x": [0.33, 0.9], "y": [0.3, 0.2]}, "?", [1 / 3, 0.1])
    (axis,) = figure.axes
    bottoms = {text.get_text(): text.get_position()[1] for text in axis.texts}
    assert bottoms["0.33"] > 1 / 3 and bottoms["0.30"] > 1 / 3 and bottoms["0.90"] < 0.93
    assert "x: a 0.33, b 0.90" in figure.alt_text


def test_frames_of_a_sheet_are_at_least_300_pixels_wide():
    frame = np.zeros((180, 320, 3), np.uint8)
    figure = draw.sheet({"one": [frame] * 3, "two": [frame] * 3}, ["a", "b", "c"], "?", "words", classes=3)
    figure.canvas.draw()
    assert min(axis.get_window_extent().width for axis in figure.axes) * 96 / figure.dpi >= 300
    assert figure.alt_text == "words Rows: one, two. Columns: a, b, c."
    assert [text.get_text() for text in figure.legends[0].texts][-1] == "background: grey"


def test_attention_is_drawn_as_a_filmstrip_or_frame_by_frame(monkeypatch):
    """Without a reader six frames from first to last; with one, a slider from the first frame to the last."""
    maps = np.random.default_rng(0).random((21, 4, 4))
    frames = np.zeros((21, 9, 16, 3), np.uint8)
    monkeypatch.setenv("DL_UNATTENDED", "1")
    film = draw.watch_attention(frames, {"trained": maps, "untrained": maps / 2}, "title")
    row, column = np.unravel_index(maps[4].argmax(), maps[4].shape)
    assert "frame 0, 4, 8, 12, 16, 20" in film.alt_text and "untrained: row" in film.alt_text
    assert f"row {row + 1} of {maps.shape[1]} and column {column + 1} of {maps.shape[2]}" in film.alt_text
    shown = [axis.images[0] for axis in film.axes]
    assert np.array_equal(shown[6 + 1].get_array(), maps[4])
    assert {image.get_clim() for image in shown[6:12]} == {(0, maps.max())}  # one scale for a row
    assert {image.get_clim() for image in shown[12:]} == {(0, maps.max() / 2)}
    plt.close(film)
    monkeypatch.delenv("DL_UNATTENDED")
    sliders = []
    monkeypatch.setattr("ipywidgets.interact", lambda show, frame: sliders.append((show, frame)))
    assert draw.watch_attention(frames, {"trained": maps}, "title") is None
    ((show, slider),) = sliders
    assert (slider.min, slider.max) == (0, 20)
    show(20)
    assert "frame 20" in plt.gcf().alt_text and np.array_equal(plt.gcf().axes[1].images[0].get_array(), maps[20])
    plt.close("all")
