"""The toy of DINO's safeguards: each one alone fails in its own way, both together find the kinds."""

import math

import pytest
import torch

from dl.models.dino_toy import KINDS, OUTPUTS, entropies


@pytest.fixture(scope="module")
def ends():
    switches = {"both": {}, "no centring": {"centring": False}, "no sharpening": {"sharpening": False}}
    return {name: [curve[-1] for curve in entropies(**switch)] for name, switch in switches.items()}


def test_with_both_the_answers_are_clear_and_differ(ends):
    of_one, of_all = ends["both"]
    assert of_one < 0.1 and 0.8 * math.log(KINDS) < of_all < 1.05 * math.log(KINDS)


def test_without_centring_nearly_all_answers_are_the_same(ends):
    of_one, of_all = ends["no centring"]
    assert of_one < 0.1 and of_all < 0.7


def test_without_sharpening_no_answer_is_clear(ends):
    assert min(ends["no sharpening"]) > 0.9 * math.log(OUTPUTS)


def test_it_repeats_and_leaves_the_global_stream_alone():
    torch.manual_seed(4)
    state = torch.get_rng_state()
    first = entropies(steps=3)
    assert torch.equal(torch.get_rng_state(), state) and entropies(steps=3) == first
    assert entropies(steps=3, seed=2) != first and [len(curve) for curve in first] == [3, 3]
