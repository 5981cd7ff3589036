"""A killed SimCLR training, evaluation or probe goes on, and ends as one that was never killed."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from dl.simclr import resume
from dl.simclr.model import Classifier, fingerprint
from dl.simclr.resume import evaluate, train_epochs
from dl.simclr.utils import test, train_probe
from dl.weights.checkpoint import Checkpoint

test.__test__ = False  # the course's name of the evaluation by neighbours; not a test
IMAGES = torch.randn(22, 3, generator=torch.Generator().manual_seed(0))


class Killed(Exception):
    pass


class Pairs(Dataset):
    """Two noisy views of each row, as CIFAR10Pair draws them: in the loader's workers, if it has some."""

    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, number):
        return IMAGES[number] + torch.randn(3), IMAGES[number] + torch.randn(3), number % 3


class Small(nn.Module):
    """Features and projections; it draws random numbers, as dropout does, and has statistics."""

    def __init__(self):
        super().__init__()
        self.g = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.2), nn.Linear(3, 4))
        self.images = 0

    def forward(self, x):
        self.images += len(x)
        return F.normalize(x, dim=1), self.g(x)


@pytest.fixture(autouse=True)
def saves_after_every_step(monkeypatch):
    monkeypatch.setattr(resume, "SAVE_EVERY", 0)


def killed_at(number):
    """A function that ends the process, as it were, when it is called for the nth time."""
    left = iter(range(number - 1))

    def call(*_):
        if next(left, None) is None:
            raise Killed

    return call


def trained(checkpoint=None, seed=0, workers=0, kill=99, **options):
    """The same training each time, of 2 epochs of 6 batches, the last one smaller; its weights, losses and next number.

    It is killed in the forward pass of that number; there are two in each step.
    """
    torch.manual_seed(seed)
    model = Small()
    model.register_forward_pre_hook(killed_at(kill))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loader = DataLoader(Pairs(), 4, shuffle=True, num_workers=workers)
    losses = train_epochs(model, loader, optimizer, 2, checkpoint, progress=False, **options)
    return model.state_dict(), losses, torch.rand(())


def equal(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("workers, kills", [(0, [1, 3, 4, 11, 1, 3, 6]), (2, [17])])
def test_a_killed_training_ends_with_the_weights_of_one_that_was_not(tmp_path, workers, kills):
    weights, losses, number = trained(tmp_path / "whole.pt", workers=workers)
    for number_of_kill, kill in enumerate(kills):
        with pytest.raises(Killed):  # once something is saved, whatever the new process has drawn before
            trained(tmp_path / "c.pt", max(0, number_of_kill - 1), workers, kill)
    again, its_losses, its_number = trained(tmp_path / "c.pt", 0, workers)
    assert equal(again, weights) and its_losses == pytest.approx(losses, rel=1e-12) and its_number == number
    assert equal(trained(tmp_path / "c.pt", 77, kill=1)[0], weights)  # nothing left to do


def test_a_kill_after_the_last_step_of_an_epoch_costs_no_more_than_that_step(tmp_path, monkeypatch):
    weights, _, _ = trained(tmp_path / "whole.pt")
    save = Checkpoint.save
    with monkeypatch.context() as patch, pytest.raises(Killed):  # before the end of the epoch is saved
        patch.setattr(Checkpoint, "save", lambda self, **kept: save(self, **kept) if "epoch" in kept else killed_at(1)())
        trained(tmp_path / "c.pt")
    assert equal(trained(tmp_path / "c.pt", 5)[0], weights)


def test_short_runs_resume_too(tmp_path, monkeypatch):
    monkeypatch.setenv("DL_QUICK", "1")
    weights, _, _ = trained(tmp_path / "whole.pt")
    with pytest.raises(Killed):
        trained(tmp_path / "c.pt", kill=5)
    assert equal(trained(tmp_path / "c.pt")[0], weights)


def test_a_training_with_other_settings_is_refused(tmp_path):
    trained(tmp_path / "c.pt", temperature=0.5)
    with pytest.raises(ValueError, match=r"c.pt was written with other settings: temperature 0.5 \(now 0.1\). Use the same"):
        trained(tmp_path / "c.pt", temperature=0.1)


def evaluated(model, checkpoint=None, call=evaluate, seed=3):
    torch.manual_seed(seed)
    memory, asked = (DataLoader(Pairs(), size, shuffle=True) for size in (4, 5))
    files = {} if checkpoint is None else {"checkpoint": checkpoint}
    return call(model, memory, asked, 1, 1, c=3, k=4, progress=False, **files), torch.rand(())


def test_a_killed_evaluation_computes_only_the_features_that_are_missing(tmp_path):
    expected = evaluated(Small(), call=test)
    model, wanted = Small(), 2 * len(IMAGES)
    assert evaluated(model) == expected and model.images == wanted
    for number, kill in enumerate((2, 6, 3)):  # among the memory's 6 batches, and among the test's 5
        handle = model.register_forward_pre_hook(killed_at(kill))
        with pytest.raises(Killed):
            evaluated(model, tmp_path / "c.pt", seed=3 + number)
        handle.remove()
    before = model.images
    assert evaluated(model, tmp_path / "c.pt", seed=9) == expected
    assert before < model.images == 2 * wanted  # the first evaluation, and this one in parts
    assert evaluated(model, tmp_path / "c.pt") == expected and model.images == 2 * wanted
    assert model.training
    model.g[2].bias.data[0] += 1
    with pytest.raises(ValueError, match=r"c.pt was written with other settings: weights \w{16} \(now \w{16}\). Use the"):
        evaluated(model, tmp_path / "c.pt")


class Stops:
    """A loader that ends the process, as it were, when it is asked for its batches for the nth time."""

    def __init__(self, loader, time):
        self.loader, self.time = loader, time

    def __iter__(self):
        self.time -= 1
        if not self.time:
            raise Killed
        return iter(self.loader)


def probed(checkpoint=None, seed=0, kill=0, encoder=0, **options):
    torch.manual_seed(encoder)
    classifier = Classifier(3, encoder="small")
    torch.manual_seed(seed)
    images = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    loader = DataLoader(TensorDataset(images, torch.arange(6) % 3), 3, shuffle=True)
    results = train_probe(classifier, Stops(loader, kill), loader, 4, progress=False, checkpoint=checkpoint, **options)
    return classifier.state_dict(), results, torch.rand(())


def test_a_killed_probe_goes_on_from_its_last_epoch(tmp_path):
    weights, results, number = probed()
    for kill, seed in ((3, 0), (2, 5)):
        with pytest.raises(Killed):
            probed(tmp_path / "c.pt", seed, kill)
    for kill, seed in ((0, 8), (1, 9)):  # the second time, nothing is left to do
        again, its_results, its_number = probed(tmp_path / "c.pt", seed, kill)
        assert equal(again, weights) and its_results == results and its_number == number
    for options, name in (({"encoder": 1}, r"encoder \w{16} \(now \w{16}\)"), ({"rate": 0.5}, r"rate 0.001 \(now 0.5\)")):
        with pytest.raises(ValueError, match=f"c.pt was written with other settings: {name}. Use the same"):
            probed(tmp_path / "c.pt", **options)


def test_a_fingerprint_sees_weights_and_statistics():
    module = nn.BatchNorm2d(2)
    first = fingerprint(module)
    assert first == fingerprint(nn.BatchNorm2d(2)) and len(first) == 16
    module.weight.data = module.weight.data.to(memory_format=torch.contiguous_format)
    assert fingerprint(module) == first
    for tensor in module.state_dict().values():
        before = fingerprint(module)
        tensor.add_(1)
        assert fingerprint(module) != before
