"""Shipped weights fit a Transformer whose parts have other names."""

import re

import pytest
import torch

from dl import weights
from dl.checks.library import Library
from dl.models.transformer_roles import load_shipped
from tests.variants import ROOT

SIZES = {"num_heads": 4, "emb_dim": 64, "feedforward_dim": 256, "dropout": 0.1, "vocab_len": 16}
OTHER_NAMES = {
    "q": "to_queries", "k": "to_keys", "v": "to_values", "merge": "linear", "expand": "fc1", "contract": "fc2",
    "gamma": "scale", "beta": "shift", "norm1": "ln_1", "norm2": "ln_2", "norm3": "ln_3", "feed_forward": "mlp",
}  # fmt: skip


def transformer(root, layers=4):
    return Library(root, "transformers").Transformer(**SIZES, num_enc_layers=layers, num_dec_layers=layers).eval()


def renamed(folder, names):
    text = (ROOT / "transformers.py").read_text()
    for old, new in names.items():
        text = re.sub(rf"\bself\.{old}\b", f"self.{new}", text)
    (folder / "transformers.py").write_text(text)
    return folder


def outputs(model):
    generator = torch.Generator().manual_seed(0)
    question = torch.randint(0, 16, (3, 8), generator=generator)
    answer = torch.randint(0, 16, (3, 5), generator=generator)
    return model(question, torch.randn(1, 8, 64, generator=generator), answer, torch.randn(1, 5, 64, generator=generator))


@pytest.mark.parametrize("names", [{}, OTHER_NAMES], ids=["our names", "other names"])
@pytest.mark.parametrize("is_trained", [False, True])
def test_shipped_weights_give_the_same_model(tmp_path, names, is_trained):
    state = weights.load("transformer")
    ours = transformer(ROOT)
    ours.load_state_dict(state)
    theirs = transformer(renamed(tmp_path, names))
    if is_trained:
        with torch.no_grad():
            for parameter in theirs.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    load_shipped(theirs, state)
    assert torch.equal(outputs(ours), outputs(theirs))


def test_a_model_of_other_sizes_is_refused_and_left_as_it_was():
    model = transformer(ROOT, layers=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="load_shipped: 192 of .* parts do not fit"):
        load_shipped(model, weights.load("transformer"))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
