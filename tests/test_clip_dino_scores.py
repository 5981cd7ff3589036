"""The scores against cases that can be worked out by hand or by a plain loop."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from dl.models import scores


def test_recall_counts_texts_whose_own_picture_is_nearest():
    images = torch.eye(6)
    texts = 5.0 * torch.eye(6)  # length must not matter
    texts[0] = torch.tensor([0.1, 1.0, 0, 0, 0, 0])  # text 0 points at picture 1
    rng = np.random.default_rng(0)
    assert scores.recall_at_1(texts, images, among=6, draws=3, rng=rng) == pytest.approx(5 / 6)
    assert scores.recall_at_1(texts.flip(0), images, among=6, draws=1, rng=rng) == 0
    many = [scores.recall_at_1(texts, images, among=2, draws=1, rng=np.random.default_rng(n)) for n in range(400)]
    assert np.mean(many) == pytest.approx(1 - (1 / 3) * (1 / 5) / 2, abs=0.02)  # wrong only if 0 and 1 are drawn together
    wide = torch.cat([images, -100 * images[:, :1]], dim=1)
    assert scores.recall_at_1(torch.cat([texts, torch.zeros(6, 1)], 1), wide, 6, 1, rng) == pytest.approx(5 / 6)


def test_zero_shot_takes_the_nearest_text_by_angle():
    texts = torch.tensor([[10.0, 0.0], [0.0, 0.1]])
    images = torch.tensor([[1.0, 0.2], [0.4, 0.5], [0.5, 0.4]])
    assert scores.zero_shot_score(texts, images, [0, 1, 0]) == 1
    assert scores.zero_shot_score(texts, images, [0, 0, 1]) == pytest.approx(1 / 3)


def test_coverage_is_the_share_of_a_patch_that_objects_take():
    mask = torch.zeros(1, 4, 8, dtype=torch.uint8)
    mask[0, :2, 4:7] = 3  # another object number
    assert scores.patch_coverage(mask, 4).tolist() == [[0.0, 6 / 16]]


def test_attention_scores_take_the_best_head():
    coverage = torch.tensor([[1.0, 1.0, 0.6, 0.0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0.2, 1.0, 0.8]])
    even = torch.full((2, 8), 0.05)  # does not sum to 1: what [CLS] keeps for itself is left out
    good = torch.tensor([[0.5, 0.3, 0.0, 0.2, 0, 0, 0, 0], [0.1, 0, 0, 0, 0, 0, 0.7, 0.2]])
    got = scores.attention_scores(torch.stack([even, good], dim=1), coverage)
    gain = np.mean([(0.5 + 0.3) / (2.6 / 8), (0.7 + 0.8 * 0.2) / (2.0 / 8)])
    iou = np.mean([2 / 4, 2 / 2])  # of {0, 1, 2} with {0, 1, 3}, and of {6, 7} with {6, 7}
    assert (got["gain"], got["iou"]) == (pytest.approx(gain), pytest.approx(iou))
    assert (got["gain_head"], got["iou_head"]) == (1, 1)
    assert got["gains"] == pytest.approx([1, gain]) and got["ious"][1] == pytest.approx(iou)
    assert scores.attention_scores(even[:, None], coverage)["gain"] == pytest.approx(1)


def test_the_most_attended_patches_are_as_many_as_asked_for():
    attention = torch.tensor([[0.1, 0.4, 0.2, 0.3], [0.7, 0.1, 0.15, 0.05]])
    marked = scores.most_attended(attention, torch.tensor([2, 1]))
    assert marked.tolist() == [[False, True, False, True], [True, False, False, False]]


def test_principal_components_are_sklearns_up_to_sign():
    tokens = torch.randn(30, 8, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 9)
    got, expected = scores.principal_components(tokens).numpy(), PCA(3).fit_transform(tokens.numpy())
    assert np.abs(np.abs(got) - np.abs(expected)).max() < 1e-3


def test_silhouette_is_high_where_objects_form_their_own_cluster_and_outlines_do_not_count():
    rng = torch.Generator().manual_seed(0)
    coverage = torch.cat([torch.zeros(60), torch.ones(30), torch.full((10,), 0.3)])[None]
    apart = 0.1 * torch.randn(1, 100, 5, generator=rng)
    apart[0, 60:90] += 3
    apart[0, 90:] = 50 * torch.randn(10, 5, generator=rng)
    mixed = torch.randn(1, 100, 5, generator=rng)
    assert scores.object_silhouette(mixed, coverage) < 0.1
    clear = apart.clone()
    clear[0, 90:] = 0
    assert scores.object_silhouette(clear, coverage) > 0.9
    flipped = torch.cat([apart, clear]), torch.cat([coverage, coverage])
    assert scores.object_silhouette(*flipped) == pytest.approx(
        (scores.object_silhouette(apart, coverage) + scores.object_silhouette(clear, coverage)) / 2
    )


def test_iou_skips_classes_that_are_nowhere():
    pred, truth = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 1, 1, 1, 2, 0])
    assert scores.iou_of_present(pred, truth, 3) == pytest.approx(0.5)
    assert scores.iou_of_present(pred, truth, 5) == pytest.approx(0.5)
    assert scores.iou_of_present(pred, torch.where(truth == 2, 0, truth), 4) == pytest.approx((1 / 4 + 2 / 3 + 0) / 3)


class Nearest:
    """A head that answers with the label of the nearest training patch."""

    seen = []

    def __init__(self, num_classes, width):
        self.num_classes, self.width = num_classes, width

    def train(self, x, y):
        self.x, self.y = x, y
        Nearest.seen.append(x)

    def inference(self, x):
        return self.y[torch.cdist(x, self.x).argmin(dim=1)]


def test_one_shot_iou_trains_on_one_frame_and_scores_the_others():
    labels = torch.tensor([[0, 0, 1, 2], [0, 1, 1, 2], [0, 0, 1, 1]])
    features = torch.stack([labels.float() * 100 + 7, torch.zeros(3, 4)], dim=2)
    features[2, 3, 0] = 207  # looks like class 2, is 1
    Nearest.seen = []
    got = scores.one_shot_iou(features, labels, 0, Nearest)
    assert got == pytest.approx((1 + np.mean([1, 1 / 2, 0])) / 2)
    (shown,) = Nearest.seen
    assert shown[:, 0].mean().abs() < 1e-5 and shown[:, 0].std() == pytest.approx(1, abs=1e-4) and shown.isfinite().all()
    assert scores.one_shot_iou(features, labels, 2, Nearest) < 1


def test_colour_and_position_tell_colour_contrast_and_place():
    frames = torch.zeros(2, 4, 8, 3, dtype=torch.uint8)
    frames[1, 2:, 4:, 0] = 255
    features = scores.colour_and_position(frames, 4)
    assert features.shape == (2, 2, 8)
    assert features[1, 1].tolist() == pytest.approx([0.5, 0, 0, 0.5, 0, 0, -1, 1])
    assert features[0, 0].tolist() == pytest.approx([0, 0, 0, 0, 0, 0, -1, -1])
    tall = scores.colour_and_position(torch.zeros(1, 8, 4, 3, dtype=torch.uint8), 4)
    assert tall[0, :, 6:].tolist() == [[-1, -1], [1, -1]]


def test_oriented_edges_tell_directions_whatever_the_colour_and_contrast():
    upright = torch.zeros(1, 24, 24, 3, dtype=torch.uint8)
    upright[:, :, 12:] = 100
    lying = upright.transpose(1, 2)
    green = upright * torch.tensor([0, 1, 0], dtype=torch.uint8) * 2
    features = [scores.oriented_edges(frames, 8)[0, 4].reshape(9, 9).sum(dim=1) for frames in (upright, lying, green)]
    assert features[0].argmax() == 0 and features[1].argmax() == 4  # a step along x points at 0, one along y at 90 degrees
    torch.testing.assert_close(features[2], features[0], rtol=1e-3, atol=1e-3)
    whole = scores.oriented_edges(upright, 8)
    assert whole.shape == (1, 9, 81) and whole[0, 4].norm() == pytest.approx(1)
