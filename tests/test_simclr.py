"""SimCLR: the loss, the augmentations, the network, training and evaluation."""

import dataclasses
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset
from torchvision.datasets import CIFAR10

from dl.grad import compute_numeric_gradient
from dl.simclr import pretrain
from dl.simclr.batch_augment import BatchAugmentation, PairBatches
from dl.simclr.contrastive_loss import (
    compute_sim_matrix,
    rel_error,
    sim,
    sim_positive_pairs,
    simclr_loss_naive,
    simclr_loss_vectorized,
)
from dl.simclr.model import Classifier, Model, load_pretrained, starting_weights
from dl.simclr.utils import knn_scores, test, train, train_probe, train_val

EXPECTED = json.loads((Path(__file__).parents[1] / "dl/checks/expected/simclr.json").read_text())
CASES = {case["name"]: case for case in EXPECTED["checks"]}
LOSSES = (simclr_loss_naive, simclr_loss_vectorized)
test.__test__ = False  # the course's name of the evaluation by neighbours; not a test

each_loss = pytest.mark.parametrize("loss", LOSSES)
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def branches(case, dtype=torch.float32):
    return [torch.tensor(case["inputs"][name], dtype=dtype, requires_grad=True) for name in ("left", "right")]


def random_branches(N=5, D=7, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, N, D, generator=generator, dtype=torch.float64).to(dtype).unbind()


def loss_by_hand(left, right, tau):
    """Eq. 1 in plain Python, with math.fsum."""
    rows = [*left.tolist(), *right.tolist()]
    N = len(left)

    def s(a, b):
        return math.fsum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    total = 0.0
    for i in range(2 * N):
        denominator = math.fsum(math.exp(s(rows[i], rows[k]) / tau) for k in range(2 * N) if k != i)
        total += -s(rows[i], rows[(i + N) % (2 * N)]) / tau + math.log(denominator)
    return total / (2 * N)


# --- The loss ---


@each_case
@each_loss
def test_loss_equals_the_expected_values(case, loss):
    left, right = branches(case)
    values = {**case["expected"]["loss"]["value_by_tau"], **case["expected"]["loss_overflow_guard"]["value_by_tau"]}
    for tau, expected in values.items():
        result = loss(left, right, float(tau))
        assert result.shape == () and rel_error(result, expected) < 1e-6, tau


@each_case
@each_loss
def test_gradients_of_both_branches_equal_the_expected_ones(case, loss):
    left, right = branches(case)
    loss(left, right, 0.5).backward()
    for name, branch in (("left", left), ("right", right)):
        expected = torch.tensor(case["expected"]["gradient_of_loss_tau_0.5"][name])
        torch.testing.assert_close(branch.grad, expected, rtol=0, atol=1e-6)


@each_case
def test_pairs_single_cosines_and_matrix_equal_the_expected_ones(case):
    left, right = branches(case)
    expected = torch.tensor(case["expected"]["sim_positive_pairs"]["value"])
    pairs = sim_positive_pairs(left, right)
    assert pairs.shape == expected.shape and rel_error(pairs, expected) < 1e-6
    for k, cosine in enumerate(expected[:, 0]):
        assert sim(left[k], right[k]).shape == () and rel_error(sim(left[k], right[k]), cosine) < 1e-6
        assert rel_error(sim(left[k : k + 1], right[k : k + 1]), cosine) < 1e-6
    expected = torch.tensor(case["expected"]["compute_sim_matrix"]["value"])
    matrix = compute_sim_matrix(torch.cat([left, right]))
    assert matrix.shape == expected.shape and torch.isclose(matrix, expected).all()
    assert rel_error(matrix, expected) < 1e-6


@pytest.mark.parametrize("tau", (0.05, 0.5, 5.0))
@each_loss
def test_loss_equals_a_computation_by_hand_in_float64(loss, tau):
    left, right = random_branches()
    assert loss(left, right, tau).item() == pytest.approx(loss_by_hand(left, right, tau), rel=1e-13)


@each_loss
def test_gradient_equals_the_numeric_gradient(loss):
    left, right = (branch.requires_grad_() for branch in random_branches(3, 4))
    loss(left, right, 0.3).backward()
    for branch in (left, right):
        numeric = compute_numeric_gradient(lambda _: loss(left, right, 0.3), branch)
        torch.testing.assert_close(branch.grad, numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("tau", (0.005, 0.1, 1.0, 100.0))
def test_naive_equals_vectorised_in_value_and_gradient(tau):
    results = []
    for loss in LOSSES:
        left, right = (branch.requires_grad_() for branch in random_branches(6, 5))
        value = loss(left, right, tau)
        value.backward()
        results.append((value.detach(), left.grad, right.grad))
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-12)


@each_loss
def test_loss_does_not_change_with_branches_exchanged_pairs_permuted_or_lengths_changed(loss):
    left, right = random_branches()
    value = loss(left, right, 0.2)
    order = torch.tensor([3, 0, 4, 1, 2])
    lengths = torch.tensor([0.01, 1.0, 3.0, 50.0, 1e4], dtype=torch.float64)[:, None]
    for other in (loss(right, left, 0.2), loss(left[order], right[order], 0.2), loss(left * lengths, right, 0.2)):
        torch.testing.assert_close(other, value, rtol=1e-12, atol=0)
    assert not torch.isclose(loss(left[order], right, 0.2), value)  # pairs torn apart


@each_loss
def test_exchanging_the_branches_exchanges_the_gradients_which_are_orthogonal_to_the_rows(loss):
    left, right = (branch.requires_grad_() for branch in random_branches())
    forth = torch.autograd.grad(loss(left, right, 0.2), (left, right))
    back = torch.autograd.grad(loss(right, left, 0.2), (left, right))
    torch.testing.assert_close(forth, back, rtol=1e-10, atol=1e-12)
    assert (forth[0] * left).sum(dim=1).abs().max() < 1e-12


@each_loss
def test_inputs_are_left_untouched(loss):
    left, right = random_branches()
    copies = left.clone(), right.clone()
    loss(left, right, 0.5)
    assert torch.equal(left, copies[0]) and torch.equal(right, copies[1])


@each_loss
def test_dividing_all_cosines_by_tau_is_what_the_temperature_does(loss):
    left, right = random_branches()
    cosines = compute_sim_matrix(torch.cat([left, right]))
    for tau in (0.05, 0.7, 3.0):
        logits = (cosines / tau).fill_diagonal_(-torch.inf)
        target = torch.arange(10).roll(5)
        torch.testing.assert_close(loss(left, right, tau), F.cross_entropy(logits, target), rtol=1e-12, atol=0)


@pytest.mark.parametrize("tau", (0.005, 0.5, 50.0))
@each_loss
def test_one_pair_alone_has_loss_and_gradient_zero(loss, tau):
    left, right = (branch.requires_grad_() for branch in random_branches(1, 3, torch.float32))
    value = loss(left, right, tau)
    value.backward()
    assert value.item() == 0
    assert left.grad.abs().max() < 1e-6 and right.grad.abs().max() < 1e-6


@pytest.mark.parametrize("N", (2, 4, 64))
@each_loss
def test_identical_rows_give_log_of_2n_minus_1(loss, N):
    rows = torch.full((N, 3), 2.0)
    assert rel_error(loss(rows, rows, 0.5), math.log(2 * N - 1)) < 1e-6


def test_perfect_pairs_against_opposite_negatives_reach_the_lower_bound():
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    assert rel_error(simclr_loss_vectorized(rows, rows, 0.5), math.log(1 + 2 * math.exp(-2 / 0.5))) < 1e-14


@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16, torch.float32, torch.float64))
@pytest.mark.parametrize("tau", (0.005, 0.5))
@each_loss
def test_loss_and_gradient_are_finite_in_every_precision(loss, tau, dtype):
    left, right = (branch.requires_grad_() for branch in random_branches(8, 16, dtype))
    value = loss(left, right, tau)
    value.backward()
    assert value.dtype == dtype and value.isfinite()
    assert left.grad.isfinite().all() and right.grad.isfinite().all()
    exact = loss(left.double(), right.double(), tau).item()
    assert value.item() == pytest.approx(exact, rel={torch.float16: 1e-2, torch.bfloat16: 5e-2}.get(dtype, 1e-5))


@pytest.mark.parametrize("dtype", (torch.float16, torch.float32))
def test_a_zero_row_has_cosine_zero(dtype):
    zero, one = torch.zeros(4, dtype=dtype), torch.ones(4, dtype=dtype)
    assert sim(zero, one) == 0
    assert simclr_loss_vectorized(torch.stack([zero, one]), torch.stack([one, one]), 0.5).isfinite()


def test_the_device_may_be_named():
    left, right = random_branches()
    assert simclr_loss_vectorized(left, right, 0.5, device="cpu") == simclr_loss_vectorized(left, right, 0.5)
    moved = simclr_loss_vectorized(left, right, 0.5, device="meta")
    assert moved.device.type == "meta" and moved.shape == ()


@each_loss
def test_loss_refuses_bad_input_in_words(loss):
    left, right = random_branches()
    name = loss.__name__
    with pytest.raises(ValueError, match=rf"^{name}: shapes do not fit: out_right has shape \(4, 7\).*N = 5"):
        loss(left, right[:4], 0.5)
    with pytest.raises(ValueError, match=rf"^{name}: wanted at least one pair.*got N = 0.*drop an empty last batch"):
        loss(left[:0], right[:0], 0.5)
    for tau in (0, -0.5, math.nan):
        with pytest.raises(ValueError, match=rf"^{name}: .*tau > 0, got N = 5, tau = {tau}. The paper uses"):
            loss(left, right, tau)
    with pytest.raises(TypeError, match=rf"^{name}: floating tensors must share one dtype.*Convert"):
        loss(left, right.float(), 0.5)


def test_sim_refuses_what_is_no_pair_of_vectors():
    three, two_rows, column = torch.ones(3), torch.ones(2, 3), torch.ones(3, 1)
    for a, b in ((three, torch.ones(4)), (two_rows, two_rows), (column, column)):
        with pytest.raises(ValueError, match=r"^sim: wanted two vectors of one size.*sim_positive_pairs takes"):
            sim(a, b)


def test_matrix_and_pairs_refuse_other_shapes():
    with pytest.raises(ValueError, match=r"^compute_sim_matrix: wanted stacked rows \(2N, D\), got \(3,\). Stack both"):
        compute_sim_matrix(torch.ones(3))
    with pytest.raises(ValueError, match=r"^sim_positive_pairs: shapes do not fit: out_right has shape \(3, 3\)"):
        sim_positive_pairs(torch.ones(2, 3), torch.ones(3, 3))


def test_rel_error_takes_numbers_arrays_and_tensors_in_any_mix():
    kinds = (lambda x: x, np.array, torch.tensor, lambda x: torch.tensor(x, requires_grad=True))
    for case in EXPECTED["rel_error"]["cases"]:
        for one, other in itertools.product(kinds, kinds):
            assert rel_error(one(case["x"]), other(case["y"])) == pytest.approx(case["expected"], abs=1e-7)
    with pytest.raises(ValueError, match=r"^rel_error: shapes differ, got \(2,\) and \(2, 1\). Compare"):
        rel_error(np.ones(2), torch.ones(2, 1))


# --- The network ---


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return Model(128).eval()


@pytest.fixture
def small():
    torch.manual_seed(0)
    return Model(16, encoder="small")


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_resnet50_has_the_specified_parameters_names_and_shapes(resnet):
    expected = EXPECTED["model"]["Model(128)"]
    state = resnet.state_dict()
    names = list(state)
    assert count(resnet) == expected["parameters"]
    assert (count(resnet.f), count(resnet.g)) == (expected["parameters_f"], expected["parameters_g"])
    assert len(state) == expected["state_dict_tensors"] and names[0] == expected["state_dict_first_key"]
    assert sum(name.startswith("f.") for name in names) == expected["state_dict_tensors_f"]
    assert [name for name in names if name.startswith("g.")] == expected["g_keys"]
    assert names[expected["state_dict_tensors_f"] - 1] == expected["state_dict_last_f_key"]
    assert sum(tensor.numel() * tensor.element_size() for tensor in state.values()) == expected["state_dict_bytes"]
    assert [type(child).__name__ for child in resnet.f] == expected["f_children"]
    maps = []
    x = torch.zeros(1, 3, 32, 32)
    for child in resnet.f:
        x = child(x)
        maps.append(list(x.shape[1:]))
    assert maps == expected["feature_maps_after_each_f_child_for_3x32x32"]


def test_resnet50_computes_what_torchvisions_computes(resnet):
    from torchvision.models import resnet50

    reference = resnet50()
    reference.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    reference.maxpool = reference.fc = nn.Identity()
    names = [name for name in reference.state_dict() if not name.startswith("fc.")]
    state = [tensor for name, tensor in resnet.state_dict().items() if name.startswith("f.")]
    reference.load_state_dict(dict(zip(names, state, strict=True)))
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    h = reference.eval()(x)
    feature, projection = resnet(x)
    torch.testing.assert_close(feature, h / h.norm(dim=1, keepdim=True))
    z = resnet.g(h)  # of the features as they are, not of the normalised ones
    torch.testing.assert_close(projection, z / z.norm(dim=1, keepdim=True))


def test_classifier_has_the_specified_parameters():
    classifier = Classifier(10)
    expected = EXPECTED["model"]["Classifier(10)"]
    state = classifier.state_dict()
    assert (count(classifier), count(classifier.fc)) == (expected["parameters"], expected["parameters_fc"])
    assert len(state) == expected["state_dict_tensors"] and list(state)[-2:] == expected["state_dict_fc_keys"]
    assert list(state)[0] == expected["state_dict_first_key"]


def test_profiling_a_copy_counts_macs_and_leaves_the_model_as_it_was(resnet):
    import copy

    from thop import profile

    names = list(resnet.state_dict())
    macs, parameters = profile(copy.deepcopy(resnet), inputs=(torch.zeros(1, 3, 32, 32),), verbose=False)
    assert macs == EXPECTED["model"]["Model(128)"]["thop_macs"] and parameters == count(resnet)
    assert list(resnet.state_dict()) == names


def test_the_small_encoder_is_small_and_has_the_same_interface(small):
    assert count(Model(128, encoder="small")) < 1_500_000
    assert isinstance(small.f, nn.Sequential) and len(small.f) == 8
    feature, projection = small(torch.randn(4, 3, 32, 32))
    assert feature.shape == (4, 256) and projection.shape == (4, 16)
    for rows in (feature, projection):
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(4))
    assert Classifier(7, encoder="small").eval()(torch.randn(3, 3, 32, 32)).shape == (3, 7)


def test_the_classifier_reads_features_that_are_not_normalised(small):
    classifier = Classifier(3, encoder="small").eval()
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(classifier(x), classifier.fc(classifier.f(x).flatten(1)))


def test_the_model_refuses_other_encoders_and_what_are_no_pictures(small):
    with pytest.raises(ValueError, match=r"^Model: got encoder 'vgg'; it must be one of resnet50, small"):
        Model(encoder="vgg")
    with pytest.raises(ValueError, match=r"^Model.forward: wanted images .*got \(3, 32, 32\). Stack single"):
        small(torch.zeros(3, 32, 32))


def test_loading_is_strict_and_names_what_it_leaves_aside(small):
    state = {**small.state_dict(), "total_ops": torch.zeros(1), "f.0.total_params": torch.zeros(1)}
    other = Model(16, encoder="small")
    assert load_pretrained(other, state) == ["total_ops", "f.0.total_params"]
    assert all(torch.equal(a, b) for a, b in zip(small.state_dict().values(), other.state_dict().values(), strict=True))
    classifier = Classifier(10, encoder="small")
    fc = classifier.fc.weight.clone()
    aside = load_pretrained(classifier, state)
    assert aside[:2] == ["total_ops", "f.0.total_params"] and aside[2:] == [n for n in state if n.startswith("g.")]
    assert torch.equal(classifier.f[0].weight, small.f[0].weight) and torch.equal(classifier.fc.weight, fc)


def test_loading_refuses_weights_of_another_architecture(small):
    state = small.state_dict()
    pruned = {name: tensor for name, tensor in state.items() if name != "f.0.weight"}
    with pytest.raises(ValueError, match=r"^load_pretrained: .*f.0.weight is missing. Make the module with"):
        load_pretrained(Model(16, encoder="small"), pruned)
    with pytest.raises(ValueError, match=r"g.3.weight has shape \(16, 512\) instead of \(128, 512\)"):
        load_pretrained(Model(128, encoder="small"), state)
    with pytest.raises(ValueError, match=r"of another architecture: .*; and \d+ more"):
        load_pretrained(Classifier(10), state)
    with pytest.raises(ValueError, match="extra is unknown"):
        load_pretrained(Model(16, encoder="small"), {**state, "extra": torch.zeros(1)})


def test_the_shipped_weights_fit_the_small_encoder_and_the_size_limit():
    from dl import weights

    assert load_pretrained(Model(encoder="small"), starting_weights("small")) == []
    assert (weights.FILES / "simclr.safetensors").stat().st_size <= 3_000_000
    assert (weights.FILES / "simclr.md").is_file()


def test_the_script_of_the_starting_weights_writes_them_with_a_card_and_resumes(monkeypatch, tmp_path, capsys):
    from dl import settings, weights
    from dl.training import simclr as script

    monkeypatch.setattr(weights, "FILES", tmp_path)
    monkeypatch.setattr(settings, "project_root", lambda: tmp_path)
    for name, value in {"PICTURES": 64, "VALIDATION": 120, "PROBE_LABELS": 60}.items():
        monkeypatch.setattr(script, name, value)
    monkeypatch.setattr(script, "RECIPE", dataclasses.replace(script.RECIPE, epochs=2, batch=32))
    assert script.train() == tmp_path / "simclr.safetensors"
    assert "epoch 2/2 loss" in capsys.readouterr().out
    first, card = weights.load("simclr"), (tmp_path / "simclr.md").read_text()
    assert "2 epochs = 4 steps of 32 pairs" in card and "{" not in card
    assert load_pretrained(Model(encoder="small"), first) == []
    script.train()  # finds the checkpoint of the finished training
    assert "epoch" not in capsys.readouterr().out
    assert all(torch.equal(first[name], tensor) for name, tensor in weights.load("simclr").items())


def test_the_courses_weights_are_asked_of_the_registry(monkeypatch, tmp_path):
    monkeypatch.setenv("DL_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="dl data fetch simclr"):
        starting_weights("resnet50")
    path = tmp_path / "pretrained_model" / "pretrained_simclr_model.pth"
    path.parent.mkdir()
    good = {name: tensor for name, tensor in Model(encoder="resnet50").state_dict().items()}
    torch.save({**good, "total_ops": torch.zeros(1)}, path)
    assert list(starting_weights("resnet50")) == [*good, "total_ops"]


# --- Training and evaluation ---


class Flat(nn.Module):
    """A stand-in for a model: features are the first two pixels, the projection a linear map of them."""

    def __init__(self):
        super().__init__()
        self.g = nn.Linear(2, 2)

    def forward(self, x):
        h = x.flatten(1)[:, :2]
        return F.normalize(h, dim=1), self.g(h)


def pairs_of(*sizes, seed=0):
    """Batches (x_i, x_j, target) of these sizes."""
    generator = torch.Generator().manual_seed(seed)
    return [(*torch.randn(2, n, 2, generator=generator), torch.zeros(n)) for n in sizes]


def test_the_mean_loss_weighs_by_the_true_lengths_of_the_batches():
    model, batches = Flat(), pairs_of(8, 8, 3)
    still = torch.optim.SGD(model.parameters(), lr=0.0)
    mean = train(model, batches, still, 1, 1, batch_size=32, temperature=0.4)
    losses = [simclr_loss_vectorized(model(x)[1], model(y)[1], 0.4).item() for x, y, _ in batches]
    assert mean == pytest.approx((8 * losses[0] + 8 * losses[1] + 3 * losses[2]) / 19, rel=1e-6)


def test_one_training_step_is_the_optimisers_step_on_the_loss_of_the_projections():
    model, reference, batch = Flat(), Flat(), pairs_of(6)
    reference.load_state_dict(model.state_dict())
    model.g.weight.grad = torch.full((2, 2), 1e6)  # a left-over gradient must not count
    train(model, batch, torch.optim.SGD(model.parameters(), lr=0.1), 1, 1, temperature=0.7)
    x_i, x_j, _ = batch[0]
    simclr_loss_naive(reference.g(x_i), reference.g(x_j), 0.7).backward()
    for mine, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine.detach(), theirs.detach() - 0.1 * theirs.grad)


def test_training_moves_every_parameter_sees_each_view_alone_and_lowers_the_loss(small):
    before = [parameter.clone() for parameter in small.parameters()]
    pictures = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    batch = [(pictures + 0.1, pictures - 0.1, torch.zeros(8))]
    optimizer = torch.optim.Adam(small.parameters(), lr=1e-3)
    small.eval()
    losses = [train(small, batch, optimizer, epoch, 4) for epoch in range(1, 5)]
    assert small.training and small.f[1].num_batches_tracked == 8  # 4 steps, each view by itself
    assert not any(map(torch.equal, before, small.parameters()))
    assert losses[-1] < 0.9 * losses[0]


def test_train_tells_each_step_and_its_running_mean():
    seen = []
    mean = train(
        Flat(), pairs_of(4, 4), torch.optim.SGD(Flat().parameters(), 0.1), 1, 1, on_batch=lambda *step: seen.append(step)
    )
    assert [step for step, _ in seen] == [1, 2] and seen[-1][1] == mean


def test_progress_lines_carry_epoch_loss_and_accuracies(capsys):
    model = Flat()
    train(model, pairs_of(4), torch.optim.SGD(model.parameters(), 0.1), 3, 7)
    memory = [(torch.eye(2), torch.arange(2))]
    test(model, memory, memory, 3, 7, c=2, k=1)
    shown = capsys.readouterr().err
    assert "Train Epoch: [3/7] Loss: " in shown and "Feature extracting" in shown
    assert "Test Epoch: [3/7] Acc@1:100.00% Acc@5:100.00%" in shown


def test_a_last_batch_of_one_picture_is_refused_in_words(small):
    x = torch.randn(5, 3, 32, 32)
    loader = DataLoader(TensorDataset(x, x, torch.zeros(5)), 2)
    with pytest.raises(ValueError, match="train: batch 3 of epoch 1 is a single image.*drop_last=True"):
        train(small, loader, torch.optim.SGD(small.parameters(), 1e-3), 1, 1, progress=False)


def test_training_stops_at_once_when_the_loss_is_not_finite():
    batches = pairs_of(4, 4, 4)
    batches[1][0][2, 0] = math.nan
    model = Flat()
    with pytest.raises(ValueError, match=r"^train: the loss is nan at batch 2 of epoch 5; wanted a finite.*NaN"):
        train(model, batches, torch.optim.SGD(model.parameters(), 0.1), 5, 9)
    with pytest.raises(ValueError, match=r"^train: the loader gave no batch. Use a batch size no larger"):
        train(model, [], torch.optim.SGD(model.parameters(), 0.1), 1, 1)


class Read(nn.Module):
    """A classifier whose logits are the pictures themselves, times a weight."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.norm = nn.BatchNorm1d(7)

    def forward(self, x):
        self.norm(x)
        return self.scale * x


def test_train_val_measures_loss_and_accuracies_over_batches_of_unequal_length():
    logits = torch.randn(20, 7, generator=torch.Generator().manual_seed(0))
    target = torch.arange(20) % 7
    batches = [(logits[:16], target[:16]), (logits[16:], target[16:])]
    model = Read()
    loss, top1, top5 = train_val(model, batches, None, 1, 1)
    ranks = (logits > logits.gather(1, target[:, None])).sum(dim=1)
    assert loss == pytest.approx(F.cross_entropy(logits, target).item(), rel=1e-6)
    assert top1 == pytest.approx(100 * (ranks < 1).float().mean().item())
    assert top5 == pytest.approx(100 * (ranks < 5).float().mean().item())
    assert model.training and model.scale.grad is None and model.norm.num_batches_tracked == 0  # in eval mode, and put back


def test_train_val_with_an_optimizer_trains():
    x, target = torch.randn(8, 7), torch.arange(8) % 7
    model = Read()
    losses = [train_val(model, [(x, target)], torch.optim.SGD([model.scale], 0.1), 1, 1)[0] for _ in range(3)]
    assert losses[2] < losses[1] < losses[0] and model.norm.num_batches_tracked == 3


def test_a_probe_trains_the_linear_layer_only_and_reports_every_epoch():
    classifier = Classifier(3, encoder="small")
    before = {name: parameter.clone() for name, parameter in classifier.named_parameters()}
    batch = [(torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 0]))]
    results = train_probe(classifier, batch, batch, epochs=2)
    moved = [name for name, parameter in classifier.named_parameters() if not torch.equal(parameter, before[name])]
    assert moved == ["fc.weight", "fc.bias"]
    assert not any(parameter.requires_grad for parameter in classifier.f.parameters())
    assert list(results) == ["train_loss", "train_acc@1", "train_acc@5", "test_loss", "test_acc@1", "test_acc@5"]
    assert all(len(scores) == 2 for scores in results.values()) and results["test_acc@5"] == [100, 100]
    assert results["train_loss"][1] < results["train_loss"][0]


def test_with_fewer_than_five_classes_the_second_accuracy_counts_them_all():
    x = torch.eye(3)
    assert train_val(nn.Sequential(nn.Linear(3, 3)), [(x, torch.arange(3))], None, 1, 1)[2] == 100


def test_train_val_refuses_labels_without_a_logit():
    with pytest.raises(ValueError, match=r"^train_val: labels run from 0 to 9, but there are 7 classes. Give the"):
        train_val(Read(), [(torch.randn(10, 7), torch.arange(10))], None, 1, 1)


def neighbours_by_hand(feature, bank, labels, c, k, temperature):
    """Scores of one picture, neighbour by neighbour."""
    similarity = [math.fsum(a * b for a, b in zip(feature.tolist(), row.tolist(), strict=True)) for row in bank]
    nearest = sorted(range(len(bank)), key=lambda m: -similarity[m])[:k]
    scores = [0.0] * c
    for m in nearest:
        scores[labels[m]] += math.exp(similarity[m] / temperature)
    return scores


@pytest.mark.parametrize("k, temperature", ((1, 0.5), (7, 0.5), (7, 0.02), (500, 0.1)))
def test_neighbours_scores_equal_those_counted_by_hand(k, temperature):
    generator = torch.Generator().manual_seed(0)
    feature, bank = (F.normalize(torch.randn(n, 6, generator=generator, dtype=torch.float64), dim=1) for n in (5, 40))
    labels = torch.randint(0, 4, (40,), generator=generator)
    scores = knn_scores(feature, bank, labels, 4, k, temperature)
    for row, f in zip(scores, feature, strict=True):
        by_hand = torch.tensor(neighbours_by_hand(f, bank, labels, 4, k, temperature), dtype=torch.float64)
        torch.testing.assert_close(row / row.sum(), by_hand / by_hand.sum())
    assert knn_scores(feature.float(), bank.float(), labels, 4, k, 0.001).isfinite().all()


def test_evaluation_by_neighbours_reads_labels_from_shuffled_and_partial_loaders():
    labels = torch.arange(60) // 10
    angles = labels + torch.randn(60, generator=torch.Generator().manual_seed(0))  # classes overlap
    data = TensorDataset(torch.stack([angles.cos(), angles.sin()], dim=1), labels)
    memory = DataLoader(Subset(data, range(0, 60, 2)), 7, shuffle=True)
    asked = DataLoader(Subset(data, range(1, 60, 2)), 8)
    model = Flat()
    accuracies = test(model, memory, asked, 1, 1, c=6, k=28, temperature=0.1)  # so many that no class is left out
    rows = data.tensors[0]
    scores = torch.tensor([neighbours_by_hand(f, rows[::2], labels[::2], 6, 28, 0.1) for f in rows[1::2]])
    ranked = scores.argsort(dim=1, descending=True, stable=True)[:, :5] == labels[1::2, None]
    assert accuracies == pytest.approx([100 * ranked[:, :n].sum().item() / 30 for n in (1, 5)])
    assert 20 < accuracies[0] < 95 and accuracies[1] > accuracies[0] and model.training


def test_evaluation_uses_the_first_of_several_views_and_at_most_the_whole_memory():
    right, wrong = torch.eye(2), torch.eye(2).flip(0)
    pairs = [(right, wrong, torch.arange(2))]
    assert test(Flat(), pairs, pairs, 1, 1, c=2, k=1000) == (100.0, 100.0)


def test_evaluation_refuses_bad_settings_labels_and_features():
    batch = [(torch.eye(2), torch.arange(2))]
    for settings in ({"k": 0}, {"k": -3}, {"temperature": 0.0}):
        with pytest.raises(ValueError, match=r"^test: got k = -?\d+ neighbours and temperature = .*The reference setting is"):
            test(Flat(), batch, batch, 1, 1, c=2, **settings)
    with pytest.raises(ValueError, match=r"^test: labels run from 0 to 1, but there are 1 classes"):
        test(Flat(), batch, batch, 1, 1, c=1)
    with pytest.raises(ValueError, match=r"^test: the memory images' features are not all finite. Check"):
        test(Flat(), [(torch.tensor([[math.nan, 1.0]]), torch.zeros(1).long())], batch, 1, 1, c=2)
    for memory, asked in (([], batch), (batch, [])):
        with pytest.raises(ValueError, match=r"^test: the loader gave no batch"):
            test(Flat(), memory, asked, 1, 1, c=2)


# --- Pretraining in one process ---

SHORT = ["--device", "cpu", "--images", "32", "--batch", "16", "--feature-dim", "16", "--epochs", "3"]


@pytest.fixture
def sample_world(sample_root, monkeypatch):
    monkeypatch.setattr("dl.simclr.data_utils.locate", lambda name: sample_root / CIFAR10.base_folder)


def final_weights(path):
    return torch.load(path, weights_only=True)["parts"]["model"]


@pytest.mark.parametrize("kind", ("batched", "pil"))
def test_a_run_stopped_and_resumed_gives_the_weights_of_one_that_was_not(sample_world, tmp_path, capsys, kind):
    one, other = (["--augmentation", kind, "--checkpoint", str(tmp_path / name)] for name in ("one.pt", "other.pt"))
    assert pretrain.main([*SHORT, *one]) == 0
    assert capsys.readouterr().out.count("loss") == 3
    assert pretrain.main([*SHORT, *other, "--stop-after", "1"]) == 0
    assert pretrain.main([*SHORT, *other]) == 0
    shown = capsys.readouterr().out
    assert "epoch 1/3 loss" in shown and "epoch 3/3 loss" in shown and shown.count("loss") == 3
    first, second = final_weights(tmp_path / "one.pt"), final_weights(tmp_path / "other.pt")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert load_pretrained(Model(16, encoder="small"), first) == []


def test_bfloat16_and_channels_last_train_the_same_network_nearly(sample_world, tmp_path):
    losses = {}
    for name, extra in (("plain", []), ("fast", ["--bfloat16", "--channels-last"])):
        path = tmp_path / name
        assert pretrain.main([*SHORT, "--stop-after", "1", "--checkpoint", str(path), *extra]) == 0
        losses[name] = final_weights(path)
    assert losses["fast"]["f.0.weight"].dtype == torch.float32
    torch.testing.assert_close(losses["fast"]["g.3.weight"], losses["plain"]["g.3.weight"], rtol=0, atol=5e-3)


def test_pretraining_refuses_batches_and_checkpoints_that_do_not_fit(sample_world, tmp_path, capsys):
    path = ["--checkpoint", str(tmp_path / "a.pt")]
    assert pretrain.main([*SHORT, *path, "--batch", "64"]) == 2
    assert "got a global batch of 64 for 1 processes and 32 images. Choose a batch" in capsys.readouterr().err
    assert pretrain.main([*SHORT, *path, "--stop-after", "1"]) == 0
    assert pretrain.main([*SHORT, *path, "--temperature", "0.1"]) == 2
    assert "was written with other settings: temperature 0.5 (now 0.1). Use the same" in capsys.readouterr().err


def test_torchrun_cannot_share_an_mps_device(monkeypatch, capsys):
    monkeypatch.setattr("torch.distributed.is_torchelastic_launched", lambda: True)
    monkeypatch.setattr("dl.settings.get_device", lambda name: torch.device("mps"))
    assert pretrain.main(SHORT) == 2
    assert "asked to share an MPS device, which serves one process only. Run python -m" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_views_loss_and_mixed_precision_work_on_cuda(small):
    device = torch.device("cuda")
    pictures = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    pairs = PairBatches(DataLoader(TensorDataset(pictures, torch.zeros(8)), 4), BatchAugmentation(), device)
    network = pretrain.MixedPrecision(small.to(device, memory_format=torch.channels_last))
    assert math.isfinite(train(network, pairs, torch.optim.Adam(small.parameters()), 1, 1))
