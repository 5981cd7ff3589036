"""Exams of the sample world for CLIP and DINO, and how their results are drawn."""

import numpy as np
import pytest
import torch

from dl.figures import clip_dino as draw
from dl.models import dino, dino_toy, exams
from dl.models.vit import load_dino
from dl.video import class_colours, open_video, outline_objects, write_video_from_array
from dl.world.scenes import HELD_OUT_PAIRS, Scene


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


def test_outlines_leave_objects_their_colours():
    image = np.full((20, 20, 3), (200, 40, 40), np.uint8)
    mask = np.zeros((20, 20), int)
    mask[5:15, 5:15] = 2
    before = image.copy()
    drawn = outline_objects(mask, image)
    assert np.array_equal(image, before) and (drawn[8:12, 8:12] == image[0, 0]).all()
    assert (drawn[5, 5:15] == class_colours(3)[2]).all() and (drawn[4, 6] == 0).all()
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
    assert figure.alt_text == "words" and [text.get_text() for text in figure.legends[0].texts][-1] == "background: grey"
