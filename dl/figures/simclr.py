"""Drawings and pictures for `Self_Supervised_Learning.ipynb`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from dl.figures import BLUE, GREEN, GREY, ORANGE, PINK, arrow, box, diagram
from dl.simclr.data_utils import unnormalise

POSITIVE, NEGATIVE, SELF = "#D55E00", "#0072B2", "#BBBBBB"  # Okabe-Ito: the partner, the others, the row itself


def method() -> Figure:
    """SimCLR from left to right: one picture, two views, one encoder, one head, and what the loss does to the ends."""
    figure, axis = diagram(17.6, 5.0)
    box(axis, 1.1, 2.5, "picture\n$x$", width=1.7, height=1.3, fill=GREY)
    for y, view, letter in ((4.0, "$t$", "i"), (1.0, "$t'$", "j")):
        up = 1 if letter == "i" else -1
        arrow(axis, (1.95, 2.5 + 0.3 * up), (3.9, y), view, text_at=(0.0, 0.4 * up))
        box(axis, 4.8, y, f"view $\\tilde{{x}}_{letter}$", width=1.8, fill=ORANGE)
        arrow(axis, (5.7, y), (7.0, y))
        box(axis, 7.9, y, "encoder $f$", width=1.8, fill=BLUE)
        arrow(axis, (8.8, y), (9.8, y))
        box(axis, 10.6, y, f"$h_{letter}$", width=1.6, fill=GREEN)
        arrow(axis, (11.4, y), (12.4, y))
        box(axis, 13.3, y, "head $g$", width=1.8, fill=BLUE)
        arrow(axis, (14.2, y), (15.2, y))
        box(axis, 16.0, y, f"$z_{letter}$", width=1.6, fill=PINK)
    for x, text in ((7.9, "the same weights"), (13.3, "the same weights")):
        axis.plot([x, x], [1.45, 3.55], color="#888888", linestyle=":", linewidth=1.2)
        axis.text(
            x,
            2.5,
            text,
            ha="center",
            va="center",
            fontsize=9,
            color="#555555",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 2},
        )
    axis.text(10.6, 2.5, "kept:\nfeatures", ha="center", va="center", fontsize=9, color="#555555")
    arrow(axis, (16.0, 2.95), (16.0, 3.55), color=POSITIVE)
    arrow(axis, (16.0, 2.05), (16.0, 1.45), color=POSITIVE)
    axis.text(16.0, 2.5, "must agree", ha="center", va="center", fontsize=10, color=POSITIVE)
    return figure


def views(pictures: Tensor, rows: dict[str, Sequence[Tensor]], title: str) -> Figure:
    """Pictures (n, 3, H, W) uint8 in the first row, then one row for each name: n views, normalised (3, H, W) each."""
    n = len(pictures)
    images = [("picture", [picture.permute(1, 2, 0) for picture in pictures])]
    images += [(name, [unnormalise(view.cpu()).permute(1, 2, 0) for view in row]) for name, row in rows.items()]
    figure, axes = plt.subplots(len(images), n, figsize=(0.9 * n, 0.95 * len(images) + 0.4), squeeze=False)
    for line, (name, row) in zip(axes, images, strict=True):
        for axis, image in zip(line, row, strict=True):
            axis.imshow(image)
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.suptitle(title, fontsize=12)
    figure.tight_layout(pad=0.4)
    return figure


def loss_in_three_steps(out_left: Tensor, out_right: Tensor, tau: float) -> Figure:
    """From one row to the batch: the cosines of row 0, its softmax at temperature tau, and the matrix of all rows.

    Args:
        out_left, out_right: (N, D), a positive pair in each row.
    """
    rows = torch.cat([out_left, out_right])
    cosines = F.cosine_similarity(rows[:, None], rows[None], dim=2).numpy()  # (2N, 2N)
    size, N = len(cosines), len(cosines) // 2
    colours = [SELF] + [POSITIVE if k == N else NEGATIVE for k in range(1, size)]
    shares = np.exp(cosines[0] / tau)
    shares[0] = 0
    shares /= shares.sum()
    figure, (first, second, third) = plt.subplots(1, 3, figsize=(10.5, 3.4), width_ratios=(1, 1, 1.15))
    for axis, heights, title in (
        (first, cosines[0], "1. How near is every row to row 0?"),
        (second, shares, f"2. Shares $e^{{s/\\tau}}$, $\\tau$ = {tau:g}"),
    ):
        bars = axis.bar(range(size), heights, color=colours)
        bars[N].set_hatch("//")
        axis.set(title=title, xlabel="row $k$", xticks=range(size))
    first.set_ylabel("cosine")
    second.set_ylabel("share of the sum")
    second.text(
        N,
        shares[N],
        f"loss\n$-\\ln$ {shares[N]:.2f} = {-np.log(shares[N]):.2f}",
        ha="center",
        va="bottom",
        fontsize=9,
        color=POSITIVE,
    )
    second.set_ylim(0, 1.35 * shares.max())
    image = third.imshow(cosines, cmap="RdBu_r", vmin=-1, vmax=1)
    for k in range(size):
        third.add_patch(Rectangle(((k + N) % size - 0.5, k - 0.5), 1, 1, fill=False, edgecolor=POSITIVE, linewidth=2.2))
        third.text(k, k, "×", ha="center", va="center", color="white")
    third.set(title="3. The same for every row", xlabel="row $k$", ylabel="row $i$", xticks=range(size), yticks=range(size))
    third.grid(False)
    figure.colorbar(image, ax=third, label="cosine", fraction=0.046)
    figure.tight_layout()
    return figure


class LiveTraining:
    """Loss and accuracy by neighbours, drawn while the model trains: pass it to `train` as `on_batch`.

    Args:
        steps: of the training.
        accuracy: called before the first step, then `looks` times; returns percent.
    """

    def __init__(self, steps: int, accuracy: Callable[[], float], looks: int = 4) -> None:
        from IPython.display import display

        self.steps, self.accuracy, self.every = steps, accuracy, math.ceil(steps / looks)
        self.losses: list[float] = []
        self.accuracies = {0: accuracy()}
        self.figure, (self.left, self.right) = plt.subplots(1, 2, figsize=(9.0, 3.2))
        self._draw()
        self.handle = display(self.figure, display_id=True)
        plt.close(self.figure)  # shown once, and updated in place

    def __call__(self, step: int, mean_loss: float) -> None:
        self.losses.append(mean_loss)
        if step % self.every == 0 or step == self.steps:
            self.accuracies[step] = self.accuracy()
            self._draw()
            self.handle.update(self.figure)

    def _draw(self) -> None:
        for axis in (self.left, self.right):
            axis.clear()
            axis.set(xlim=(0, self.steps), xlabel="step")
        self.left.plot(range(1, len(self.losses) + 1), self.losses, color=NEGATIVE)
        self.left.set(title="Does the loss fall?", ylabel="mean loss so far (nats)")
        self.right.plot(list(self.accuracies), list(self.accuracies.values()), "o--", color=POSITIVE)
        self.right.set(title="Do neighbours agree on the class?", ylabel="top-1 accuracy (%)", ylim=(0, 100))
        self.figure.tight_layout()


def probe_curves(without: Sequence[float], with_: Sequence[float]) -> Figure:
    """Top-1 accuracies in percent of both linear probes, epoch by epoch."""
    figure, axis = plt.subplots(figsize=(6.4, 3.8))
    epochs = range(1, len(without) + 1)
    axis.plot(epochs, without, "s--", color=NEGATIVE, label="Without Pretrain")
    axis.plot(epochs, with_, "o-", color=POSITIVE, label="With Pretrain")
    axis.set(title="Test Top-1 Accuracy", xlabel="Epochs", ylabel="Accuracy (%)", xticks=list(epochs), ylim=(0, 100))
    axis.legend()
    figure.tight_layout()
    return figure


def feature_maps(features: dict[str, Tensor], labels: Tensor, classes: Sequence[str]) -> Figure:
    """One map for each set of features (n, H): t-SNE to two dimensions, a colour and a mark for each class."""
    from sklearn.manifold import TSNE

    figure, axes = plt.subplots(1, len(features), figsize=(4.6 * len(features), 4.6), squeeze=False)
    for axis, (title, rows) in zip(axes[0], features.items(), strict=True):
        places = TSNE(random_state=0, init="pca").fit_transform(rows.cpu().numpy())
        for number, name in enumerate(classes):
            here = (labels == number).numpy()
            axis.scatter(
                *places[here].T,
                s=14,
                marker="osD^v<>*PX"[number % 10],
                label=name,
                color=plt.get_cmap("tab10")(number % 10),
                linewidths=0,
            )
        axis.set(title=title, xticks=[], yticks=[], xlabel="t-SNE, first axis", ylabel="t-SNE, second axis")
    figure.suptitle("Do pictures of one class lie together?", fontsize=12)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="lower center", ncol=5, fontsize=9, markerscale=1.4)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    return figure
