"""SimCLR: right answers. Views are drawn by torchvision's functions, step by step; cosines and the loss are written out."""

from __future__ import annotations

import math
import random

import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional as TF

from dl.checks.references import References

REFERENCES = References()
reference = REFERENCES.add


@reference("compute_train_transform")
def compute_train_transform(seed=123456):
    colours = transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)

    def crop(picture):
        box = transforms.RandomResizedCrop.get_params(picture, scale=[0.08, 1.0], ratio=[3 / 4, 4 / 3])
        return TF.resized_crop(picture, *box, size=[32, 32], antialias=True)

    def flip(picture):
        return TF.hflip(picture) if torch.rand(1) < 0.5 else picture

    def jitter(picture):
        return colours(picture) if torch.rand(1) <= 0.8 else picture

    def grey(picture):
        return TF.rgb_to_grayscale(picture, 3) if torch.rand(1) < 0.2 else picture

    steps = [crop, flip, jitter, grey]

    def view(picture):
        for step in steps:
            picture = step(picture)
        mean = torch.tensor([0.4914, 0.4822, 0.4465])[:, None, None]
        std = torch.tensor([0.2023, 0.1994, 0.2010])[:, None, None]
        return (TF.pil_to_tensor(picture) / 255 - mean) / std

    random.seed(seed)
    torch.manual_seed(seed)
    return view


@reference("CIFAR10Pair.__getitem__")
def getitem(self, index):
    picture = Image.fromarray(self.data[index])
    view_of = self.transform or (lambda picture: None)
    label_of = self.target_transform or (lambda label: label)
    first = view_of(picture)
    second = view_of(picture)
    label = label_of(self.targets[index])
    return first, second, label


def cosines_of(a, b):
    """Of every row of a with every row of b: (N, D), (M, D) -> (N, M)."""
    a_lengths = a.square().sum(dim=1).sqrt()  # (N,)
    b_lengths = b.square().sum(dim=1).sqrt()  # (M,)
    dots = torch.einsum("nd,md->nm", a, b)
    lengths = torch.outer(a_lengths, b_lengths)
    cosines = dots / lengths
    return cosines


@reference("sim", helpers=(cosines_of,))
def sim(z_i, z_j):
    row_i = z_i.reshape(1, -1)
    row_j = z_j.reshape(1, -1)
    return cosines_of(row_i, row_j).reshape(())


@reference("sim_positive_pairs", helpers=(cosines_of,))
def sim_positive_pairs(out_left, out_right):
    similarities = cosines_of(out_left, out_right)
    pairs = similarities.diagonal()
    return pairs[:, None]


@reference("compute_sim_matrix", helpers=(cosines_of,))
def compute_sim_matrix(out):
    similarities = cosines_of(out, out)
    return similarities


def nt_xent(left, right, tau):
    """The mean of l(i, j) over all 2N rows."""
    N = len(left)
    out = torch.cat([left, right])
    similarities = cosines_of(out, out)
    logits = similarities / tau
    itself = torch.eye(2 * N, dtype=torch.bool, device=out.device)
    partner = torch.arange(2 * N, device=out.device).roll(N)
    positives = logits.gather(1, partner[:, None])[:, 0]
    sums = logits.masked_fill(itself, -torch.inf).logsumexp(dim=1)
    losses = sums - positives
    return losses.mean()


@reference("simclr_loss_naive", helpers=(cosines_of, nt_xent))
def simclr_loss_naive(out_left, out_right, tau):
    return nt_xent(out_left, out_right, tau)


@reference("simclr_loss_vectorized", helpers=(cosines_of, nt_xent))
def simclr_loss_vectorized(out_left, out_right, tau, device=None):
    return nt_xent(out_left.to(device), out_right.to(device), tau)


@reference("train")
def train(model, data_loader, train_optimizer, epoch, epochs, batch_size=32, temperature=0.5, device=None):
    model.train()
    total, pairs = 0.0, 0
    for x_i, x_j, _ in data_loader:
        left = model(x_i)[1]
        right = model(x_j)[1]
        loss = nt_xent(left, right, temperature)
        if not math.isfinite(loss):
            raise ValueError("the loss is not finite")
        train_optimizer.zero_grad()
        loss.backward()
        train_optimizer.step()
        total += loss.item() * len(x_i)
        pairs += len(x_i)
    return total / pairs
