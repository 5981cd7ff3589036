"""Drawings of recurrent networks and pictures of captions for `rnn_lstm_captioning.ipynb`."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from torch import Tensor

from dl.figures import BLUE, GREEN, GREY, ORANGE, PINK, arrow, box, diagram
from dl.utils import attention_visualizer, nearest_cell, tensor_to_image

PICTURE_DPI = 64  # pictures of 112 pixels gain nothing from more, and the notebook stays small


def unrolled_rnn(gradients: bool = False) -> Figure:
    """The RNN over four steps; with `gradients`, the two ways on which the loss reaches every state."""
    figure, axis = diagram(14.8, 5.2)
    box(axis, 1.1, 2.6, "$h_0$", width=1.2, fill=GREY)
    for t in range(1, 5):
        x = 1.1 + 2.9 * t
        box(axis, x, 2.6, "$\\tanh$", fill=BLUE)
        box(axis, x, 0.6, f"$x_{t}$", width=1.2, fill=GREY)
        arrow(axis, (x, 1.05), (x, 2.15), "$W_x$", text_at=(0.42, 0))
        arrow(axis, (x - (2.3 if t == 1 else 2.1), 2.6), (x - 0.8, 2.6), f"$h_{t - 1}\\,W_h$", text_at=(0, 0.35))
        box(axis, x, 4.6, f"$h_{t}$", width=1.2, fill=GREEN)
        arrow(axis, (x, 3.05), (x, 4.15))
        if gradients:
            arrow(
                axis, (x + 0.35, 4.15), (x + 0.35, 3.05), f"direct: $dh_{t}$", color="#D55E00", dashed=True, text_at=(0.85, 0)
            )
            arrow(axis, (x - 0.8, 2.25), (x - (2.3 if t == 1 else 2.1), 2.25), color="#D55E00", dashed=True)
    if gradients:
        axis.text(2.55, 1.75, "through time", color="#D55E00", fontsize=10, ha="center")
    return figure


def lstm_cell() -> Figure:
    """One LSTM step: the cell state runs along the top; three gates and a candidate decide what happens to it."""
    figure, axis = diagram(14, 6.4)
    axis.text(0.1, 5.5, "$c_{t-1}$", fontsize=12)
    arrow(axis, (1.0, 5.6), (4.0, 5.6))
    box(axis, 4.4, 5.6, "$\\odot$", width=0.8, fill=PINK)
    arrow(axis, (4.8, 5.6), (7.6, 5.6), "kept", text_at=(0, 0.3))
    box(axis, 8.0, 5.6, "$+$", width=0.8, fill=PINK)
    arrow(axis, (8.4, 5.6), (13.0, 5.6))
    axis.text(13.15, 5.5, "$c_t$", fontsize=12)
    for x, name, meaning, fill in (
        (4.4, "$f=\\sigma(a_f)$", "forget?", ORANGE),
        (6.9, "$i=\\sigma(a_i)$", "write?", ORANGE),
        (9.1, "$g=\\tanh(a_g)$", "what?", BLUE),
        (11.6, "$o=\\sigma(a_o)$", "show?", ORANGE),
    ):
        box(axis, x, 2.5, name, width=1.95, fill=fill)
        axis.text(x, 1.75, meaning, ha="center", fontsize=10, color="#555555")
        arrow(axis, (x, 0.75), (x, 1.5))
    arrow(axis, (4.4, 2.95), (4.4, 5.15))
    box(axis, 8.0, 4.1, "$\\odot$", width=0.8, fill=PINK)
    arrow(axis, (6.9, 2.95), (7.65, 3.75))
    arrow(axis, (9.1, 2.95), (8.35, 3.75))
    arrow(axis, (8.0, 4.55), (8.0, 5.15))
    box(axis, 11.6, 4.1, "$\\odot$", width=0.8, fill=PINK)
    arrow(axis, (11.6, 2.95), (11.6, 3.65))
    arrow(axis, (10.2, 5.6), (11.2, 4.35), "tanh", text_at=(-0.35, -0.15))
    arrow(axis, (12.0, 4.1), (13.0, 4.1))
    axis.text(13.15, 4.0, "$h_t$", fontsize=12)
    axis.plot([4.4, 11.6], [0.75, 0.75], color="#444444", linewidth=1.3)
    axis.text(8.0, 0.25, "$a = x_t W_x + h_{t-1} W_h + b$, cut into four blocks $i, f, o, g$", ha="center", fontsize=11)
    return figure


def captioner() -> Figure:
    """The whole captioner: picture, grid of features, first state, words in, words out."""
    figure, axis = diagram(15, 5.4)
    box(axis, 1.3, 2.6, "picture\n112 x 112", width=2.0, height=1.5, fill=GREY)
    arrow(axis, (2.3, 2.6), (3.2, 2.6))
    box(axis, 4.4, 2.6, "RegNetX\n400 x 4 x 4", width=2.3, height=1.5, fill=BLUE)
    arrow(axis, (5.55, 2.6), (6.6, 2.6), "project", text_at=(0, 0.3))
    words = ("<START>", "a", "red", "star"), ("a", "red", "star", "<END>")
    for position, (given, predicted) in enumerate(zip(*words)):
        x = 7.4 + 2.1 * position
        box(axis, x, 2.6, "RNN", width=1.3, fill=GREEN)
        box(axis, x, 0.6, given, width=1.7, height=0.7, fill=GREY, size=10)
        box(axis, x, 4.7, predicted, width=1.5, height=0.7, fill=ORANGE, size=10)
        arrow(axis, (x, 0.95), (x, 2.15))
        arrow(axis, (x, 3.05), (x, 4.35))
        if position:
            arrow(axis, (x - 1.45, 2.6), (x - 0.65, 2.6))
    return figure


def attention_step() -> Figure:
    """Attention over the grid: the state asks, every cell answers with a score, the softmax makes weights of them."""
    figure, axis = diagram(14, 5.0)
    weights = np.array(
        [[0.01, 0.02, 0.02, 0.01], [0.02, 0.30, 0.22, 0.02], [0.02, 0.17, 0.10, 0.02], [0.01, 0.02, 0.02, 0.02]]
    )
    box(axis, 1.4, 4.1, "$h_{t-1}$", width=1.5, fill=GREEN)
    axis.text(1.4, 3.35, "the question", ha="center", fontsize=10, color="#555555")
    box(axis, 1.4, 1.5, "grid $A$\n$H$ x 4 x 4", width=2.1, height=1.4, fill=BLUE)
    arrow(axis, (2.2, 4.0), (4.0, 3.1))
    arrow(axis, (2.5, 1.7), (4.0, 2.4))
    box(axis, 5.2, 2.75, "scores\n$h_{t-1}A/\\sqrt{H}$", width=2.3, height=1.3, fill=ORANGE)
    arrow(axis, (6.4, 2.75), (7.5, 2.75), "softmax", text_at=(0, 0.3))
    axis.imshow(weights, extent=(7.7, 10.1, 1.55, 3.95), cmap="cividis", aspect="auto", zorder=2)
    axis.text(8.9, 1.2, "weights, sum 1", ha="center", fontsize=10, color="#555555")
    arrow(axis, (10.2, 2.75), (11.4, 2.75), "$\\Sigma$ cells", text_at=(0, 0.3))
    box(axis, 12.5, 2.75, "answer $attn$\n$(H)$", width=2.0, height=1.3, fill=PINK)
    axis.set(xlim=(0, 14), ylim=(0, 5.0))
    return figure


def show_captioned(images: Tensor, titles: list[str], columns: int = 4) -> Figure:
    """Pictures (n, 3, H, W) in rows, each with its caption above."""
    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.6 * columns, 2.75 * rows), squeeze=False, dpi=PICTURE_DPI)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, title in zip(axes.flat, images, titles):
        axis.imshow(tensor_to_image(image))
        axis.set_title(wrap(title, 30), fontsize=9)
    figure.tight_layout()
    return figure


def show_attention(image: Tensor, maps: Tensor, words: list[str], title: str, columns: int = 8) -> Figure:
    """One picture under the attention of each of its words: a pixel is as bright as the cell whose centre is nearest.

    Args:
        image: (3, H, W) uint8. maps: (T, h, w), T >= number of words. words: one for each map that is shown.
    """
    rows = -(-len(words) // columns)
    height = 1.45 * rows + 0.7  # inches; the title takes 0.7
    figure, axes = plt.subplots(rows, columns, figsize=(1.2 * columns, height), squeeze=False, dpi=100)
    for axis in axes.flat:
        axis.axis("off")
    rows_of, columns_of = (nearest_cell(pixels, cells) for pixels, cells in zip(image.shape[1:], maps.shape[1:]))
    for axis, weights, word in zip(axes.flat, maps, words):
        tiles = (weights / weights.max())[rows_of[:, None], columns_of]  # (H, W)
        axis.imshow(attention_visualizer(image, tiles, word)[..., ::-1])
    figure.suptitle(title, fontsize=11, y=0.99, va="top")
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=1 - 0.7 / height, wspace=0.05, hspace=0.05)
    return figure


def loss_curves(histories: dict[str, list[float]], title: str) -> Figure:
    """Losses of several trainings on one logarithmic scale, smoothed over 20 steps."""
    figure, axis = plt.subplots()
    for (name, history), style in zip(histories.items(), ("-", "--", ":")):
        window = min(20, len(history))
        axis.plot(np.convolve(history, np.ones(window) / window, mode="valid"), style, label=name, linewidth=1.6)
    axis.set(xlabel="Iteration", ylabel="Loss (nats per caption)", yscale="log", title=title)
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("")
    axis.legend()
    return figure


def score_bars(scores: dict[str, dict[str, float]], names: dict[str, str], title: str) -> Figure:
    """Shares side by side: one group of bars for each entry of `names` (score -> label), one bar for each model.

    A score that a model lacks, since no caption claims such a thing, has no bar.
    """
    figure, axis = plt.subplots(figsize=(9, 3.6))
    width = 0.8 / len(scores)
    for position, (model, values) in enumerate(scores.items()):
        places = np.arange(len(names)) + (position - (len(scores) - 1) / 2) * width
        bars = axis.bar(places, [values.get(name, np.nan) for name in names], width * 0.95, label=model)
        axis.bar_label(bars, fmt="%.2f", fontsize=8)
    axis.set_xticks(range(len(names)), [label.replace(", ", ",\n") for label in names.values()], fontsize=9)
    axis.set(ylim=(0, 1.1), ylabel="share of captions", title=title)
    axis.legend(loc="upper right", ncols=len(scores))
    return figure


def wrap(text: str, width: int) -> str:
    """Text broken into lines of at most `width` characters; dollar signs are shown as they are."""
    import textwrap

    return "\n".join(line for part in text.splitlines() for line in textwrap.wrap(part, width)).replace("$", r"\$")
