"""The recorded experiments of the SimCLR notebook, and the figures that show them."""

import math

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch

from dl.figures import simclr as draw
from dl.simclr.contrastive_loss import simclr_loss_naive
from dl.training import simclr_experiments as experiments

matplotlib.use("Agg")


def test_recorded_runs_are_those_of_the_script():
    kept = experiments.read()
    assert set(kept) == {"views", "supervised"}
    assert set(kept["views"]) == set(experiments.VIEWS)
    assert set(kept["supervised"]) == {str(count) for count in experiments.PER_CLASS}
    for runs in kept.values():
        assert all(run["settings"] == experiments.settings_of(name) for name, run in runs.items())
    assert all(run["train_loss"] < 0.5 for run in kept["supervised"].values()), "the notebook says that it is small"
    for name, run in kept["views"].items():
        epochs = experiments.epochs_of(name)
        assert len(run["loss"]) == epochs and len(run["images"]) == len(run["knn"]) == len(run["probe_16"]) == epochs + 1
    assert len({run["knn"][0] for run in kept["views"].values()}) == 1, "all start from the same weights"


def test_scores_of_a_run_are_given_for_both_sizes_of_the_test_images():
    run = {"knn": [20, 30], "knn_16": [10, 40], "probe": [30, 60], "probe_16": [50, 20]}
    assert experiments.after(run, 0) == {"kNN, 16 px": 10, "kNN, 32 px": 20, "probe, 16 px": 50, "probe, 32 px": 30}
    assert experiments.after(run, 1) == {"kNN, 16 px": 40, "kNN, 32 px": 30, "probe, 16 px": 20, "probe, 32 px": 60}


def test_augmentations_differ_only_in_what_they_are_named_for():
    full = experiments.settings_of("all augmentations")
    changed = {
        name: {key for key, value in experiments.settings_of(name).items() if value != full[key]} for name in experiments.VIEWS
    }
    assert {name: keys - {"epochs"} for name, keys in changed.items()} == {
        "all augmentations": set(),
        "no colour changes": {"jitter", "grey"},
        "no crop": {"scale", "ratio"},
        "neither": {"jitter", "grey", "scale", "ratio"},
    }


def test_short_runs_report_a_curve_and_scores(monkeypatch):
    for name, few in {"KNOWN": 40, "ASKED": 20, "BATCH": 16, "LABELLED_BATCH": 8}.items():
        monkeypatch.setattr(experiments, name, few)
    curve = experiments.pretrained(experiments.BASE, epochs=2, count=40)
    assert curve["images"] == [0, 32, 64] and len(curve["loss"]) == 2
    assert all(0 <= score <= 100 for name in ("knn", "probe", "knn_16", "probe_16") for score in curve[name])
    assert 0.5 * math.log(31) < curve["loss"][0] < 2 * math.log(31)
    result = experiments.supervised(2, updates=2)
    assert 0 <= result["accuracy"] <= 100 and 0 < result["train_loss"] < 10


def test_a_probe_finds_classes_that_a_line_separates():
    labels = torch.arange(40) % 2
    rows = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)) + 20 * labels[:, None]
    assert experiments.probe_accuracy(rows[:20], labels[:20], rows[20:], labels[20:]) == 100
    assert experiments.probe_accuracy(rows[:20], labels[:20], rows[20:], 1 - labels[20:]) == 0


@pytest.mark.parametrize("tau", [0.005, 0.5, 5.0])
def test_drawn_probabilities_are_those_of_the_loss(tau):
    left, right = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    chosen = torch.from_numpy(draw.probabilities(draw.similarities(left, right), tau))
    loss = -chosen[torch.arange(8), torch.arange(8).roll(4)].log().mean()
    assert torch.isclose(loss, simclr_loss_naive(left, right, tau), rtol=1e-9)
    assert torch.allclose(chosen.sum(dim=1), torch.ones(8, dtype=torch.float64))


def test_figures_say_in_words_what_they_show():
    left, right = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(1))
    run = {"images": [0, 10], "knn": [20.0, 38.0]}
    figures = {
        "augmented twice": draw.method(),
        "frame": draw.loss_in_three_steps(left, right, 0.5),
        "0.5": draw.temperatures(left, right, (0.1, 0.5)),
        "shipped weights reach 92": draw.learning_curves({"a run": run}, 92.0),
        "no crop 30.0 (16 px), 40.0 (32 px)": draw.score_bars({"no crop": {"16 px": 30.0, "32 px": 40.0}}, "title", "label"),
        "ours: from 70 to 95": draw.label_curve((5, 20), {"ours": [70.0, 95.0]}),
    }
    for words, figure in figures.items():
        assert words in figure.alt_text
        plt.close(figure)
