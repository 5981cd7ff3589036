"""SimCLR on ResNet-50 in little memory: stages that are computed again, images that pass in batches."""

import copy

import pytest
import torch
from torch import nn

from dl.simclr.data_utils import normalise
from dl.simclr.model import LeanSequential, Model
from dl.training import simclr_experiments


def stages() -> list[nn.Module]:
    torch.manual_seed(0)
    middle = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
    return [nn.Conv2d(3, 8, 3), middle, nn.Sequential(nn.BatchNorm2d(8), nn.Flatten())]


def test_lean_stages_change_no_value_gradient_or_statistic():
    plain = nn.Sequential(*stages())
    lean = LeanSequential(*stages(), lean=(1, 2))
    left, right = torch.randn(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for network in (plain, lean):
        (network(left) * network(right)).square().sum().backward()
    assert list(plain.state_dict()) == list(lean.state_dict())
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, lean.state_dict()[name]), name
    for (name, parameter), again in zip(plain.named_parameters(), lean.parameters(), strict=True):
        assert torch.equal(parameter.grad, again.grad), name
    assert torch.equal(plain.eval()(left), lean.eval()(left))


def saved_bytes(network: nn.Module, x: torch.Tensor) -> int:
    """Bytes that a forward pass keeps for the backward pass, beside the parameters."""
    known = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(x)
    return sum(size for size, _ in kept.values())


def test_resnet50_keeps_less_than_half_for_its_backward_pass():
    network = Model().f
    x = torch.randn(2, 3, 32, 32)
    lean = saved_bytes(network, x)
    network.lean = ()
    assert lean < 0.45 * saved_bytes(network, x)


class Counting(nn.Module):
    """Notes how many images it is given at once."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.seen = nn.BatchNorm2d(3), []

    def forward(self, x):
        assert not self.training and not torch.is_grad_enabled()
        self.seen.append(len(x))
        return (self.norm(x).flatten(1),) * 2


@pytest.mark.parametrize("training", [True, False])
def test_features_of_many_images_are_made_a_batch_at_a_time(training):
    images = torch.randint(256, (150, 3, 4, 4), dtype=torch.uint8)
    model = Counting().train(training)
    features, _ = simclr_experiments.features(model, images)
    assert model.seen == [64, 64, 22] and model.training is training
    reference = copy.deepcopy(model).eval()
    with torch.no_grad():
        torch.testing.assert_close(features, reference(normalise(images))[0])
