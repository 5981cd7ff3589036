"""Diagrams and plots for `Self_Supervised_Learning.ipynb`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from dl.figures import BLUE, GREEN, GREY, ORANGE, PINK, arrow, box, diagram
from dl.figures.look import describe
from dl.simclr.data_utils import unnormalise

POSITIVE, NEGATIVE, SELF = "#D55E00", "#0072B2", "#BBBBBB"  # Okabe-Ito: the positive, the negatives, the row itself
SHIPPED = "#009E73"  # Okabe-Ito: the weights that come with the course


def method() -> Figure:
    """SimCLR from left to right: one image, two views, one encoder, one head, and the loss at the right end."""
    figure, axis = diagram(17.6, 5.0)
    box(axis, 1.1, 2.5, "image\n$x$", width=1.7, height=1.3, fill=GREY)
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
            fontsize=10,
            color="#555555",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 2},
        )
    axis.text(10.6, 2.5, "kept:\nfeatures", ha="center", va="center", fontsize=10, color="#555555")
    arrow(axis, (16.0, 2.95), (16.0, 3.55), color=POSITIVE)
    arrow(axis, (16.0, 2.05), (16.0, 1.45), color=POSITIVE)
    axis.text(16.0, 2.5, "must agree", ha="center", va="center", fontsize=10, color=POSITIVE)
    return describe(
        figure,
        "Diagram of SimCLR. An image x is augmented twice, by t and t'. Each view goes through the same encoder f, which "
        "gives features h, and through the same head g, which gives projections z. The two projections must agree; the "
        "features h are kept after training.",
    )


def views(images: Tensor, rows: dict[str, Sequence[Tensor]], title: str) -> Figure:
    """Images (n, 3, H, W) uint8 in the first row, then one row per name: n views, normalised (3, H, W) each."""
    n = len(images)
    lines = [("image", [image.permute(1, 2, 0) for image in images])]
    lines += [(name, [unnormalise(view.cpu()).permute(1, 2, 0) for view in row]) for name, row in rows.items()]
    figure, axes = plt.subplots(len(lines), n, figsize=(0.95 * n, 0.95 * len(lines) + 0.4), squeeze=False)
    for line, (name, row) in zip(axes, lines, strict=True):
        for axis, image in zip(line, row, strict=True):
            axis.imshow(image)
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    figure.suptitle(title, fontsize=12)
    figure.tight_layout(pad=0.4)
    return describe(figure, f"{n} images in the top row; below each, its views: {', '.join(rows)}.")


def similarities(out_left: Tensor, out_right: Tensor) -> np.ndarray:
    """Cosines (2N, 2N) of the stacked rows of both branches, (N, D) each."""
    rows = torch.cat([out_left, out_right])
    return F.cosine_similarity(rows[:, None], rows[None], dim=2).numpy()


def probabilities(cosines: np.ndarray, tau: float) -> np.ndarray:
    """Row by row, the softmax of cosines / tau over all rows but the row itself: (2N, 2N), zeros on the diagonal."""
    logits = np.where(np.eye(len(cosines), dtype=bool), -np.inf, cosines / tau)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def loss_in_three_steps(out_left: Tensor, out_right: Tensor, tau: float) -> Figure:
    """From one row to the batch: the cosines of row 0, its softmax at temperature tau, and the matrix of all rows.

    Args:
        out_left, out_right: (N, D), a positive pair in each row.
    """
    import seaborn  # with scipy's statistics: seconds

    cosines = similarities(out_left, out_right)
    size, N = len(cosines), len(cosines) // 2
    chosen = probabilities(cosines, tau)[0]
    figure, (first, second, third) = plt.subplots(1, 3, figsize=(10.0, 3.4), width_ratios=(1, 1, 1.15))
    for axis, heights, title in (
        (first, cosines[0], "1. How similar to row 0?"),
        (second, chosen, f"2. Softmax, $\\tau$ = {tau:g}"),
    ):
        _bars(axis, heights)
        axis.set(title=title, xlabel="row $k$")
    first.set_ylabel("cosine")
    second.set(ylabel="probability", ylim=(0, 1.35 * chosen.max()))
    text = f"loss\n$-\\ln$ {chosen[N]:.3f} = {-np.log(chosen[N]):.2f}"
    second.text(N, chosen[N], text, ha="center", va="bottom", fontsize=10, color=POSITIVE)
    seaborn.heatmap(
        cosines, ax=third, cmap="RdBu_r", vmin=-1, vmax=1, square=True, cbar_kws={"label": "cosine", "fraction": 0.046}
    )
    for k in range(size):
        frame = Rectangle(((k + N) % size, k), 1, 1, fill=False, edgecolor="black", linewidth=2.2, clip_on=False)
        third.add_patch(frame)
        third.text(k + 0.5, k + 0.5, "×", ha="center", va="center", color="white")
    third.set(title="3. Cosines of all rows", xlabel="row $k$", ylabel="row $i$")
    third.tick_params(axis="y", rotation=0)
    figure.tight_layout()
    return describe(
        figure,
        f"Three panels. Bars of the cosines of row 0 with all {size} rows, {cosines[0, N]:.2f} with its positive, row {N}. "
        f"Bars of the softmax probabilities, {chosen[N]:.2f} for the positive, so a loss of {-np.log(chosen[N]):.2f}. A "
        f"matrix of all cosines, the positives framed and the diagonal crossed out.",
    )


def _bars(axis: Axes, heights: np.ndarray) -> None:
    """One bar per row of the batch, seen from row 0: itself grey, its positive hatched."""
    N = len(heights) // 2
    colours = [SELF] + [POSITIVE if k == N else NEGATIVE for k in range(1, len(heights))]
    axis.bar(range(len(heights)), heights, color=colours)[N].set_hatch("//")
    axis.set_xticks(range(len(heights)))


def temperatures(out_left: Tensor, out_right: Tensor, taus: Sequence[float] = (0.1, 0.5, 5.0)) -> Figure:
    """The softmax of row 0 at several temperatures, one panel each."""
    cosines, N = similarities(out_left, out_right), len(out_left)
    figure, axes = plt.subplots(1, len(taus), figsize=(10.0 * len(taus) / 3, 3.0), sharey=True, squeeze=False)
    said = []
    for axis, tau in zip(axes[0], taus, strict=True):
        chosen = probabilities(cosines, tau)[0]
        _bars(axis, chosen)
        axis.set(title=f"$\\tau$ = {tau:g}: loss {-np.log(chosen[N]):.2f}", xlabel="row $k$", ylim=(0, 1))
        said.append(f"{chosen[N]:.2f} for the positive and at most {np.delete(chosen, N).max():.2f} for a negative at {tau:g}")
    axes[0][0].set_ylabel("probability")
    figure.tight_layout()
    return describe(figure, f"Softmax probabilities of row 0, one panel per temperature: {'; '.join(said)}.")


def temperature_slider(out_left: Tensor, out_right: Tensor) -> None:
    """The panel of `temperatures` with a slider, for a notebook that somebody is reading live."""
    import ipywidgets

    def show(tau: float) -> None:
        temperatures(out_left, out_right, (tau,))
        plt.show()

    ipywidgets.interact(show, tau=ipywidgets.FloatLogSlider(value=0.5, min=-2, max=1, step=0.1, description="temperature"))


class LiveTraining:
    """Loss and kNN accuracy, drawn while the model trains: pass it to `train` as `on_batch`.

    Args:
        steps: of the training. batch: N, pairs per batch.
        accuracy: called before the first step, then `looks` times; returns percent.
    """

    def __init__(self, steps: int, batch: int, accuracy: Callable[[], float], looks: int = 3) -> None:
        from IPython.display import display

        self.steps, self.batch, self.accuracy, self.every = steps, batch, accuracy, math.ceil(steps / looks)
        self.losses: list[float] = []  # of each batch, in nats
        self.accuracies = {0: accuracy()}
        self.figure, (self.left, self.right) = plt.subplots(1, 2, figsize=(9.0, 3.3))
        self._draw()
        self.handle = display(self.figure, display_id=True)
        plt.close(self.figure)  # shown once, and updated in place

    def __call__(self, step: int, mean_loss: float) -> None:
        self.losses.append(step * mean_loss - sum(self.losses))
        if step % self.every == 0 or step == self.steps:
            self.accuracies[step] = self.accuracy()
            self._draw()
            self.handle.update(self.figure)

    def _draw(self) -> None:
        guessing = math.log(2 * self.batch - 1)
        low, high = math.floor(min([guessing - 1, *self.losses])), max([1.1 * guessing, *self.losses])
        for axis in (self.left, self.right):
            axis.clear()
            axis.set(xlim=(0, self.steps), xlabel="step")
        self.left.axhline(guessing, color="black", linestyle=":", label=f"guessing, ln {2 * self.batch - 1}")
        self.left.plot(range(1, len(self.losses) + 1), self.losses, color=NEGATIVE, label="loss of each batch")
        self.left.set(title="The loss falls below guessing", ylabel="loss (nats)", ylim=(low, high))
        self.left.legend(loc="lower left")
        values = list(self.accuracies.values())
        self.right.plot(list(self.accuracies), values, "o-", color=POSITIVE, clip_on=False)
        self.right.axhline(10, color="black", linestyle=":")
        self.right.text(self.steps, 11, "chance", ha="right", va="bottom", fontsize=10)
        self.right.set(title="Neighbours agree more often on the class", ylabel="kNN accuracy (%)")
        self.right.set_ylim(0, max(50, 1.1 * max(values)))
        self.figure.tight_layout()
        first, last = values[0], values[-1]
        loss = f"from {self.losses[0]:.2f} to {self.losses[-1]:.2f}" if self.losses else "still to come"
        describe(
            self.figure,
            f"Two curves of the training from scratch. Loss per batch: {loss}, guessing costs {guessing:.2f}. "
            f"kNN accuracy: from {first:.1f} to {last:.1f} percent.",
        )


def learning_curves(runs: Mapping[str, Mapping[str, Sequence[float]]], shipped: float) -> Figure:
    """kNN accuracy against images seen, one curve per run, and what the shipped weights reach as a line.

    Args:
        runs: by name, "images" seen (in thousands) and "knn" (%), of equal length; "shipped weights" has the line's colour.
        shipped: kNN accuracy of the shipped weights, percent.
    """
    figure, axis = plt.subplots(figsize=(7.0, 3.6))
    for (name, run), style in zip(runs.items(), ("o-", "s--", "^:"), strict=False):
        shipped_run = name == "shipped weights"
        (line,) = axis.plot(run["images"], run["knn"], style, label=f"{name}, during training" if shipped_run else name)
        if shipped_run:
            line.set_color(SHIPPED)
    axis.axhline(shipped, color=SHIPPED, label="shipped weights, final", linewidth=2)
    axis.axhline(10, color="black", linestyle=":", label="chance")
    axis.set(title="How far does training get?", xlabel="images seen (thousands)", ylabel="kNN accuracy (%)")
    axis.set_ylim(0, 100)
    axis.set_xscale("symlog", linthresh=5)  # a short run and a long one, both from 0
    axis.set_xticks([0, 5, 10, 20, 50, 100, 200], ["0", "5", "10", "20", "50", "100", "200"])
    axis.set_xlim(left=-0.5)
    axis.minorticks_off()
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.tight_layout()
    ends = "; ".join(f"{name} ends at {run['knn'][-1]:.0f} percent" for name, run in runs.items())
    return describe(figure, f"kNN accuracy against images seen. {ends}; the shipped weights reach {shipped:.0f} percent.")


def score_bars(scores: Mapping[str, Mapping[str, float]], title: str, label: str) -> Figure:
    """Horizontal bars of percentages, each with its number: a group for each name, a bar for each of (at most) two kinds."""
    figure, axis = plt.subplots(figsize=(7.0, 0.65 * len(scores) + 1.1))
    kinds = list(next(iter(scores.values())))
    for kind, colour, shift in zip(kinds, (NEGATIVE, POSITIVE), (-0.2, 0.2)):
        at, values = np.arange(len(scores)) + shift, [by_kind[kind] for by_kind in scores.values()]
        axis.bar_label(axis.barh(at, values, 0.38, color=colour, label=kind), fmt="%.1f", padding=3)
    axis.set_yticks(range(len(scores)), list(scores))
    axis.legend(loc="lower right")
    axis.axvline(10, color="black", linestyle=":")
    axis.set(title=title, xlabel=label, xlim=(0, 100))
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    figure.tight_layout()
    groups = (
        f"{name} " + ", ".join(f"{value:.1f} ({kind})" for kind, value in by_kind.items()) for name, by_kind in scores.items()
    )
    return describe(figure, f"{label} as bars: {'; '.join(groups)}.")


def label_curve(per_class: Sequence[int], curves: Mapping[str, Sequence[float]]) -> Figure:
    """Test accuracy in percent against labels per class, one curve per way to learn."""
    figure, axis = plt.subplots(figsize=(7.0, 3.8))
    for (name, values), style, colour in zip(curves.items(), ("o-", "s--", "^:"), (POSITIVE, NEGATIVE, "black"), strict=False):
        axis.plot(per_class, values, style, color=colour, label=name)
    axis.set_xscale("log")
    axis.set(title="How many labels is SimCLR worth?", xlabel="labels per class", ylabel="test accuracy (%)", ylim=(0, 100))
    axis.set_xticks(per_class, [str(count) for count in per_class])
    axis.minorticks_off()
    axis.legend()
    figure.tight_layout()
    said = "; ".join(f"{name}: from {values[0]:.0f} to {values[-1]:.0f} percent" for name, values in curves.items())
    return describe(figure, f"Test accuracy from {per_class[0]} to {per_class[-1]} labels per class. {said}.")


def probe_curves(without: Sequence[float], with_: Sequence[float]) -> Figure:
    """Top-1 accuracies in percent of both linear probes, per epoch."""
    figure, axis = plt.subplots(figsize=(6.4, 3.8))
    epochs = range(1, len(without) + 1)
    axis.plot(epochs, without, "s--", color=NEGATIVE, label="without pretraining")
    axis.plot(epochs, with_, "o-", color=POSITIVE, label="with pretraining")
    axis.set(title="One linear layer on frozen features", xlabel="epoch", ylabel="test accuracy, top-1 (%)")
    axis.set(xticks=list(epochs), ylim=(0, 100))
    axis.legend()
    figure.tight_layout()
    return describe(
        figure,
        f"Test accuracy of two linear probes over {len(without)} epochs: from {without[0]:.0f} to {without[-1]:.0f} percent "
        f"without pretraining, from {with_[0]:.0f} to {with_[-1]:.0f} percent with it.",
    )


def feature_maps(features: dict[str, Tensor], labels: Tensor, classes: Sequence[str]) -> Figure:
    """One map per set of features (n, H): t-SNE to two dimensions, a colour and a marker per class."""
    from sklearn.manifold import TSNE

    figure, axes = plt.subplots(1, len(features), figsize=(4.6 * len(features), 4.6), squeeze=False)
    for axis, (title, rows) in zip(axes[0], features.items(), strict=True):
        points = TSNE(random_state=0, init="pca").fit_transform(rows.cpu().numpy())
        for number, name in enumerate(classes):
            here = (labels == number).numpy()
            axis.scatter(
                *points[here].T,
                s=14,
                marker="osD^v<>*PX"[number % 10],
                label=name,
                color=plt.get_cmap("tab10")(number % 10),
                linewidths=0,
            )
        axis.set(title=title, xticks=[], yticks=[], xlabel="t-SNE, first axis", ylabel="t-SNE, second axis")
    figure.suptitle("Do images of one class lie together?", fontsize=12)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="lower center", ncol=5, fontsize=10, markerscale=1.4)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    return describe(
        figure,
        f"{len(features)} t-SNE maps of the same {len(labels)} images, a colour and a marker per class: "
        + ", ".join(features)
        + ".",
    )
