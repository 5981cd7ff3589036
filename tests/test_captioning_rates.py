"""The recorded trainings of the captioning notebook at several learning rates, and their figure."""

import matplotlib.pyplot as plt
import pytest
import torch

from dl.figures import captioning as draw
from dl.training import captioning_rates as rates


def test_recorded_runs_are_those_of_the_script():
    runs = rates.read()
    recorded = {cell: sorted(run["learning_rate"] for run in runs if run["cell"] == cell) for cell in rates.LEARNING_RATES}
    assert recorded == {cell: sorted(tried) for cell, tried in rates.LEARNING_RATES.items()}
    assert all(rates.COMMON in tried for tried in recorded.values())
    assert all(run["settings"] == rates.SIZES | rates.TRAINING for run in runs)
    assert all(len(run["validation"]) == rates.TRAINING["num_epochs"] for run in runs)


def test_trials_are_the_runs_of_one_cell(monkeypatch):
    ends = {("rnn", 1e-3): (3.0, 0.4), ("rnn", 5e-4): (4.0, 0.3), ("lstm", 1e-3): (1.0, 0.6)}
    runs = [
        {"cell": cell, "learning_rate": rate, "validation": [9.0, loss], "content": right}
        for (cell, rate), (loss, right) in ends.items()
    ]
    monkeypatch.setattr(rates, "read", lambda: runs)
    assert rates.trials("rnn") == {1e-3: (3.0, 0.4), 5e-4: (4.0, 0.3)} and rates.trials("lstm") == {1e-3: (1.0, 0.6)}


@pytest.mark.parametrize("cell", ["rnn", "attn"])
def test_a_training_reports_its_validation_losses_and_scores(cell, monkeypatch):
    words = ("<NULL>", "<START>", "<END>", "<UNK>", "a", "red", "star")
    features = torch.randn(20, 400, 2, 2, generator=torch.Generator().manual_seed(0))
    captions = torch.tensor([[1, 4, 5, 6, 2, 0]] * 20)
    vocabulary = {"token_to_idx": {word: index for index, word in enumerate(words)}}
    data = {"vocab": vocabulary, "train_captions": captions, "val_captions": captions}
    monkeypatch.setattr(rates, "encoded_data", lambda: (data, features, features))
    for name, value in {"hidden_dim": 16, "image_encoder_pretrained": False}.items():
        monkeypatch.setitem(rates.SIZES, name, value)
    monkeypatch.setitem(rates.TRAINING, "num_epochs", 3)
    slow, fast = (rates.trained(cell, learning_rate) for learning_rate in (1e-3, 1e-2))
    assert len(fast["validation"]) == 3 and fast["validation"][2] < fast["validation"][0]
    assert fast["validation"][2] < slow["validation"][2] and fast["training"] < slow["training"]
    assert all(0 <= fast[score] <= 1 for score in rates.SCORES)


def test_the_figure_rings_the_lowest_loss_and_says_it():
    curves = {"RNN": {1e-3: (6.0, 0.4), 5e-4: (7.0, 0.3)}, "LSTM": {1e-3: (5.0, 0.5), 5e-4: (4.0, 0.6)}}
    figure = draw.learning_rate_curves(curves, 1e-3)
    assert "RNN 6.0 at 0.001, 6.0 at 0.001; LSTM 4.0 at 0.0005, 5.0 at 0.001" in figure.alt_text
    rings = [[line.get_xydata()[0].tolist() for line in axis.lines if line.get_markersize() == 15] for axis in figure.axes]
    assert rings == [[[1e-3, 6.0], [5e-4, 4.0]], [[1e-3, 0.4], [5e-4, 0.6]]]
    plt.close(figure)
