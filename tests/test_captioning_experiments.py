"""The recorded training runs of the captioning notebook, and their figure."""

import matplotlib.pyplot as plt
import pytest
import torch

from dl.figures import captioning as draw
from dl.models.captioning import mirrored
from dl.training import captioning_experiments as experiments


def test_recorded_runs_are_those_of_the_script():
    runs = experiments.read()
    assert [{key: run[key] for key in ("cell", "learning_rate", "changes")} for run in runs] == experiments.planned()
    assert all(experiments.COMMON in experiments.trials(cell) for cell in experiments.LEARNING_RATES)
    assert all(run["settings"] == experiments.SIZES | experiments.TRAINING for run in runs)
    assert all(len(run["validation"]) == experiments.TRAINING["num_epochs"] for run in runs)
    assert list(experiments.changed()) == ["position code", "every image twice", "position code and mirrored images"]


def test_trials_are_the_unchanged_runs_of_one_cell(monkeypatch):
    ends = {("rnn", 1e-3): (3.0, 0.4), ("rnn", 5e-4): (4.0, 0.3), ("lstm", 1e-3): (1.0, 0.6)}
    runs = [
        {"cell": cell, "learning_rate": rate, "changes": [], "validation": [9.0, loss], "content": right}
        for (cell, rate), (loss, right) in ends.items()
    ]
    runs.append({**runs[0], "changes": ["position code"], "content": 0.9})
    monkeypatch.setattr(experiments, "read", lambda: runs)
    assert experiments.trials("rnn") == {1e-3: (3.0, 0.4), 5e-4: (4.0, 0.3)}
    assert experiments.trials("lstm") == {1e-3: (1.0, 0.6)}
    assert experiments.changed() == {"position code": runs[-1]}


WORDS = ("<NULL>", "<START>", "<END>", "<UNK>", "a", "red", "star", "left", "right", "of")


def made_data(monkeypatch):
    """Twenty images of one caption, in which the star is left; mirrored features have the other sign."""
    features = torch.randn(20, 400, 2, 2, generator=torch.Generator().manual_seed(0))
    captions = torch.tensor([[1, 4, 5, 6, 7, 9, 2, 0]] * 20)
    vocabulary = {"token_to_idx": {word: index for index, word in enumerate(WORDS)}}
    data = {"vocab": vocabulary, "train_captions": captions, "val_captions": captions}
    by_split = dict.fromkeys(("train", "val", "held_out"), features) | {"mirrored": -features}
    monkeypatch.setattr(experiments, "encoded_data", lambda: (data, by_split))
    for name, value in {"hidden_dim": 16, "image_encoder_pretrained": False}.items():
        monkeypatch.setitem(experiments.SIZES, name, value)
    monkeypatch.setitem(experiments.TRAINING, "num_epochs", 3)
    return captions, features


@pytest.mark.parametrize("cell", ["rnn", "attn"])
def test_a_training_reports_its_validation_losses_and_scores(cell, monkeypatch):
    made_data(monkeypatch)
    slow, fast = (experiments.trained(cell, learning_rate) for learning_rate in (1e-3, 1e-2))
    assert len(fast["validation"]) == 3 and fast["validation"][2] < fast["validation"][0]
    assert fast["validation"][2] < slow["validation"][2] and fast["training"] < slow["training"]
    assert all(0 <= fast[score] <= 1 for score in ("content", "two_both", "two_misbound", "held_out_both"))


def test_a_change_reaches_the_training_data(monkeypatch):
    import a2_helper

    captions, features = made_data(monkeypatch)
    given = []
    train = a2_helper.train_captioner
    monkeypatch.setattr(a2_helper, "train_captioner", lambda m, x, y, **more: given.append((x, y)) or train(m, x, y, **more))
    experiments.trained("attn", 1e-3, ["position code", "mirrored images"])
    ((x, y),) = given
    code = x[0] - features[0]
    assert code.abs().max() > 0.1
    torch.testing.assert_close(x[:20], features + code)
    torch.testing.assert_close(x[20:], -features + code)
    assert torch.equal(y[:20], captions) and y[20:].tolist() == [[1, 4, 5, 6, 8, 9, 2, 0]] * 20


def test_mirrored_captions_exchange_left_and_right():
    words = {"left": 7, "right": 8}
    assert mirrored(torch.tensor([[7, 1, 8], [0, 9, 2]]), words).tolist() == [[8, 1, 7], [0, 9, 2]]


def test_the_figure_rings_the_lowest_loss_and_its_alt_text_has_all_points():
    curves = {"RNN": {1e-3: (6.0, 0.4), 5e-4: (7.0, 0.3)}, "LSTM": {1e-3: (5.0, 0.5), 5e-4: (4.0, 0.6)}}
    figure = draw.learning_rate_curves(curves, 1e-3)
    assert (
        "RNN 7.0 and 0.30 at 0.0005, 6.0 and 0.40 at 0.001; LSTM 4.0 and 0.60 at 0.0005, 5.0 and 0.50 at 0.001"
        in figure.alt_text
    )
    rings = [[line.get_xydata()[0].tolist() for line in axis.lines if line.get_markersize() == 15] for axis in figure.axes]
    assert rings == [[[1e-3, 6.0], [5e-4, 4.0]], [[1e-3, 0.4], [5e-4, 0.6]]]
    plt.close(figure)
