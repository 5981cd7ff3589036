"""Speed of the SimCLR lesson: loss, evaluation by neighbours, network, augmentation."""

import math

import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from benchmarks import compare
from dl.simclr.batch_augment import BatchAugmentation
from dl.simclr.contrastive_loss import compute_sim_matrix, sim, simclr_loss_naive, simclr_loss_vectorized
from dl.simclr.data_utils import compute_train_transform
from dl.simclr.model import Model
from dl.simclr.utils import knn_scores

N, D, TAU = 64, 128, 0.5  # the course's batch and projection


def main() -> None:
    torch.manual_seed(0)
    left, right = torch.randn(2, N, D).unbind()
    loss(left, right)
    out = torch.cat([left, right])
    compare("similarity matrix, 2N 128, D 128", lambda: compute_sim_matrix(out), lambda: bare_matrix(out), bound=1.05)
    neighbours()
    network()
    augmentation()


def loss(left: torch.Tensor, right: torch.Tensor) -> None:
    def with_gradient(function):
        branches = [branch.clone().requires_grad_() for branch in (left, right)]

        def call():
            value = function(*branches, TAU)
            return value.detach(), *torch.autograd.grad(value, branches)

        return call

    compare(
        "vectorised loss against F.cross_entropy on the masked logits, forward",
        lambda: simclr_loss_vectorized(left, right, TAU),
        lambda: cross_entropy(left, right, TAU),
        bound=1.1,
    )
    compare(
        "vectorised loss against F.cross_entropy on the masked logits, forward and backward",
        with_gradient(simclr_loss_vectorized),
        with_gradient(cross_entropy),
        bound=1.1,
    )
    compare(
        "naive loss, one product an anchor, against one call of sim a pair",
        lambda: simclr_loss_naive(left, right, TAU),
        lambda: pair_by_pair(left, right, TAU),
        bound=1 / 30,
        repeats=5,
    )


def bare_matrix(out: torch.Tensor) -> torch.Tensor:
    z = F.normalize(out, dim=1)
    return z @ z.T


def cross_entropy(left: torch.Tensor, right: torch.Tensor, tau: float) -> torch.Tensor:
    logits = bare_matrix(torch.cat([left, right])) / tau
    logits = logits.masked_fill(torch.eye(2 * N, dtype=torch.bool), -torch.inf)
    return F.cross_entropy(logits, torch.arange(2 * N).roll(N))


def pair_by_pair(left: torch.Tensor, right: torch.Tensor, tau: float) -> torch.Tensor:
    """Eq. 1 with one call of `sim` for each of 2N (2N - 1) pairs."""
    z = torch.cat([left, right])
    total = 0.0
    for i in range(2 * N):
        denominator = sum(math.exp(sim(z[i], z[k]).item() / tau) for k in range(2 * N) if k != i)
        total += -sim(z[i], z[(i + N) % (2 * N)]).item() / tau + math.log(denominator)
    return torch.tensor(total / (2 * N))


def neighbours(B: int = 64, M: int = 10_000, H: int = 2048, k: int = 200) -> None:
    feature, bank = (F.normalize(torch.randn(n, H), dim=1) for n in (B, M))
    labels = torch.randint(0, 10, (M,))
    compare(
        f"neighbours' scores, {B} pictures, memory {M}, width {H}, k {k}, against the bare product and topk",
        lambda: knn_scores(feature, bank, labels, 10, k, TAU),
        lambda: (feature @ bank.T).topk(k),
        bound=1.2,
        check=False,
    )  # the reference only finds the neighbours


@torch.no_grad()
def network(B: int = 8) -> None:
    from torchvision.models import resnet50

    model, reference = Model().eval(), resnet50()
    reference.conv1, reference.maxpool, reference.fc = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity(), model.g
    tensors = [tensor for name, tensor in model.state_dict().items() if name.startswith("f.")]
    names = [name for name in reference.state_dict() if not name.startswith("fc.")]
    reference.load_state_dict(dict(zip(names, tensors, strict=True)), strict=False)
    reference.eval()
    x = torch.randn(B, 3, 32, 32)
    compare(
        f"Model forward, {B} pictures, against torchvision's ResNet-50 with the same head",
        lambda: model(x)[1],
        lambda: F.normalize(reference(x), dim=1),
        bound=1.05,
        repeats=7,
    )


def augmentation(B: int = 256) -> None:
    """In one process; a DataLoader's worker adds to the PIL route the sending of its tensors."""
    pictures = torch.randint(0, 256, (B, 3, 32, 32), dtype=torch.uint8)
    as_pil = [Image.fromarray(picture.permute(1, 2, 0).numpy()) for picture in pictures]
    transform, augment = compute_train_transform(), BatchAugmentation()
    compare(
        f"batched augmentation of {B} pictures against PIL's, one by one",
        lambda: augment(pictures),
        lambda: torch.stack([transform(picture) for picture in as_pil]),
        bound=1 / 4,
        check=False,
        repeats=7,
    )  # random views: tests compare the distributions
