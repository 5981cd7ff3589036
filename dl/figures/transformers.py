"""Drawings of the Transformer, and pictures of its attention and its learning, for `Transformers.ipynb`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from dl.figures import BLUE, GREEN, GREY, ORANGE, PINK, arrow, box, diagram

LINE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000")  # Okabe-Ito
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))


# --- Schemes ---


def token_strip(words: Sequence[str], tokens: Sequence[int]) -> Figure:
    """What the model reads: one box a token, its number below. Signs and operation in orange, digits in blue."""
    figure, axis = diagram(2.1 * len(words) + 0.4, 2.2)
    for place, (word, token) in enumerate(zip(words, tokens, strict=True)):
        fill = GREY if word in ("BOS", "EOS") else BLUE if word.isdigit() else ORANGE
        box(axis, 1.25 + 2.1 * place, 1.5, word, width=1.95, fill=fill, size=10)
        axis.text(1.25 + 2.1 * place, 0.65, str(token), ha="center", fontsize=12)
        axis.text(1.25 + 2.1 * place, 0.15, f"place {place}", ha="center", fontsize=8, color="#666666")
    return figure


def attention_scheme() -> Figure:
    """One query against three keys: scores, shares, and the mean of the values in these shares."""
    figure, axis = diagram(14.6, 5.4)
    box(axis, 1.3, 2.7, "query $q$", width=2.0, fill=BLUE)
    shares = (0.10, 0.70, 0.20)
    box(axis, 7.6, 2.7, "", width=1.7, height=4.9, fill=PINK)
    for row, share in enumerate(shares):
        y = 4.5 - 1.8 * row
        box(axis, 4.5, y, f"key $k_{row + 1}$", width=1.7, fill=ORANGE)
        arrow(axis, (2.3, 2.7), (3.65, y))
        arrow(axis, (5.35, y), (6.75, y), "$q\\cdot k/\\sqrt{M}$", text_at=(0, 0.35))
        box(axis, 7.6, y, f"{share:.2f}", width=1.3, height=0.8, fill=GREY)
        arrow(axis, (8.35, y), (9.35, y), "$\\times$")
        box(axis, 10.3, y, f"value $v_{row + 1}$", width=1.9, fill=GREEN)
        arrow(axis, (11.25, y), (12.3, 2.7))
    axis.text(7.6, 3.6, "softmax", ha="center", va="center", fontsize=10)
    axis.text(7.6, 1.8, "(sum 1)", ha="center", va="center", fontsize=10)
    box(axis, 13.3, 2.7, "sum $y$", width=1.8, fill=GREY)
    return figure


def heads_scheme(num_heads: int = 4) -> Figure:
    """Heads side by side: each with its own three maps, then one Linear over what they say."""
    figure, axis = diagram(12.6, 5.6)
    box(axis, 1.2, 2.8, "input\n$M$", width=1.8, height=1.3, fill=GREY)
    for head in range(num_heads):
        y = 4.85 - 1.37 * head
        box(axis, 4.6, y, f"head {head}: $q,k,v$, attention", width=4.1, fill=BLUE)
        arrow(axis, (2.1, 2.8), (2.55, y))
        box(axis, 8.1, y, "$M/H$", width=1.3, fill=BLUE)
        arrow(axis, (6.65, y), (7.45, y))
        arrow(axis, (8.75, y), (9.35, 2.8))
    box(axis, 10.1, 2.8, "side\nby side\n$M$", width=1.5, height=2.0, fill=ORANGE)
    box(axis, 11.9, 2.8, "Linear", width=1.3, fill=GREEN)
    arrow(axis, (10.85, 2.8), (11.25, 2.8))
    return figure


def block_scheme() -> Figure:
    """Encoder block and decoder block from bottom to top; dashed: the way around that is added."""
    figure, axis = diagram(15.6, 10.6)
    bottom, step = 0.45, 2.85
    tops = {}
    for x, side, reads, stages in (
        (3.6, -1, "sum: tokens + positions", ("self-attention", "feed-forward")),
        (11.2, 1, "result so far: tokens + positions", ("masked self-attention", "cross-attention", "feed-forward")),
    ):
        box(axis, x, bottom, reads, width=5.2, height=0.7, fill=GREY, size=10)
        below = bottom + 0.35
        for number, stage in enumerate(stages):
            y = bottom + 1.45 + step * number
            arrow(axis, (x, below), (x, y - 0.4), "query" if stage == "cross-attention" else "", text_at=(-0.75, -0.1))
            box(axis, x, y, stage, width=3.8, height=0.8, fill=GREEN if stage == "feed-forward" else BLUE)
            arrow(axis, (x, y + 0.4), (x, y + 0.85))
            box(axis, x, y + 1.2, "add, normalise, drop", width=3.8, height=0.7, fill=PINK, size=10)
            around = x + side * 2.5
            axis.plot([x, around, around], [y - 0.85, y - 0.85, y + 1.2], "--", color="#444444", linewidth=1.2)
            arrow(axis, (around, y + 1.2), (x + side * 1.9, y + 1.2))
            below = y + 1.55
        tops[x] = below
        if side > 0:
            arrow(axis, (x, below), (x, below + 0.6))
    axis.plot(
        [3.6, 3.6, 7.4, 7.4],
        [tops[3.6], tops[3.6] + 0.6, tops[3.6] + 0.6, bottom + 1.45 + step],
        color="#444444",
        linewidth=1.3,
    )
    arrow(axis, (7.4, bottom + 1.45 + step), (9.3, bottom + 1.45 + step), "key, value")
    axis.text(3.6, tops[11.2] + 0.9, "encoder block", ha="center", fontsize=12)
    axis.text(11.2, tops[11.2] + 0.9, "decoder block", ha="center", fontsize=12)
    return figure


def shift_scheme(words: Sequence[str]) -> Figure:
    """Teacher forcing: the decoder reads the target without its last word and must say it without its first."""
    figure, axis = diagram(2.6 * len(words) + 1.6, 4.4)
    for place, (read, said) in enumerate(zip(words[:-1], words[1:], strict=True)):
        x = 4.0 + 2.6 * place
        box(axis, x, 0.7, read, width=2.3, fill=BLUE, size=10)
        box(axis, x, 3.7, said, width=2.3, fill=GREEN, size=10)
        arrow(axis, (x, 2.65), (x, 3.25))
        arrow(axis, (x, 1.15), (x, 1.75))
    right = 4.0 + 2.6 * (len(words) - 2)
    box(axis, (4.0 + right) / 2, 2.2, "decoder, under the causal mask", width=right - 4.0 + 2.3, fill=GREY)
    axis.text(1.2, 0.7, "reads", ha="center", va="center", fontsize=11)
    axis.text(1.2, 3.7, "must say", ha="center", va="center", fontsize=11)
    return figure


# --- Measurements ---


def mask_map(mask: Tensor, words: Sequence[str]) -> Figure:
    """One causal mask, (K, K) bool: dark is forbidden."""
    figure, axis = plt.subplots(figsize=(3.2, 3.2))
    axis.imshow(mask.cpu(), cmap="cividis_r", vmin=0, vmax=1)
    axis.set_xticks(range(len(words)), words, rotation=45, ha="right")
    axis.set_yticks(range(len(words)), words)
    axis.set(title="Who may look at whom? (dark: forbidden)", xlabel="looked at", ylabel="looks")
    axis.grid(False)
    return _tight(figure)


def growth(lengths: Sequence[int], seconds: Sequence[float]) -> tuple[Figure, float]:
    """Time of attention against length, both logarithmic, with the fitted power law; also returns its exponent."""
    exponent, offset = np.polyfit(np.log(lengths), np.log(seconds), 1)
    figure, axis = plt.subplots(figsize=(5.4, 3.4))
    axis.loglog(lengths, np.multiply(seconds, 1e3), "o", color=LINE[0], label="measured")
    axis.loglog(
        lengths,
        1e3 * np.exp(offset) * np.power(lengths, exponent),
        "--",
        color=LINE[1],
        label=f"fit: time ∝ length^{exponent:.2f}",
    )
    axis.set_xticks(lengths, [str(length) for length in lengths])
    axis.minorticks_off()
    axis.set(
        title=f"Twice the length costs {2**exponent:.1f} times the time",
        xlabel="sequence length K [tokens]",
        ylabel="time of one call [ms]",
    )
    axis.legend()
    return _tight(figure), float(exponent)


def position_maps(encodings: dict[str, Tensor]) -> Figure:
    """Upper row: the encodings, (K, M) each. Lower row: how alike two places are (cosine of their rows)."""
    figure, axes = plt.subplots(2, len(encodings), figsize=(3.2 * len(encodings), 5.6), squeeze=False, layout="constrained")
    for column, (name, encoding) in enumerate(encodings.items()):
        rows = encoding / encoding.norm(dim=1, keepdim=True).clamp(min=1e-9)
        axes[0, column].imshow(encoding, cmap="coolwarm", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
        axes[0, column].set(title=name, xlabel="feature", ylabel="place" if column == 0 else "")
        image = axes[1, column].imshow(rows @ rows.T, cmap="coolwarm", vmin=-1, vmax=1)
        axes[1, column].set_xticks(range(0, len(rows), 2))
        axes[1, column].set(title="likeness of two places", xlabel="place", ylabel="place" if column == 0 else "")
    for axis in axes.flat:
        axis.grid(False)
    figure.colorbar(image, ax=axes, shrink=0.6, label="value (top), cosine (bottom)")
    return figure


def training_curves(history: dict[str, Sequence[float]], title: str, published: float | None = None) -> Figure:
    """Loss a token (left) and accuracy of tokens (right) against the epoch, from columns of a history."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.3))
    epochs = range(1, len(history["train_loss"]) + 1)
    left.plot(epochs, history["train_loss"], color=LINE[0], label="training (with dropout)")
    left.plot(epochs, history["val_loss"], color=LINE[1], linestyle="--", label="validation")
    left.set(xlabel="epoch", ylabel="loss [nats a token]", ylim=(0, None))
    left.legend()
    right.plot(epochs, history["val_accuracy"], color=LINE[1], linestyle="--", label="validation")
    if published is not None:
        right.axhline(published, color=LINE[5], linestyle=":", label=f"published: about {published:.2f}")
    right.set(xlabel="epoch", ylabel="right tokens [share]", ylim=(0, 1.02))
    right.legend(loc="lower right")
    for axis in (left, right):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(title)
    return _tight(figure)


def attention_grid(
    blocks: Sequence[Sequence], x: Sequence[str], y: Sequence[str], title: str, draw: Callable[..., None]
) -> Figure:
    """The heads of several blocks, one row a block, for the first row of the batch. Blocks and heads count from 0.

    Args:
        blocks: the heads of each block, modules with `weights_softmax` (N, K_Q, K_K).
        x: words that are asked; one that occurs twice gets its place. y: words that ask. draw: `a2_helper.draw`.
    """
    columns = [f"{word} ({place})" if list(x).count(word) > 1 else word for place, word in enumerate(x)]
    rows = columns if list(y) == list(x) else y
    panel = max(0.24 * len(x), 1.5)  # inch
    size = (panel * len(blocks[0]) + 1.8, panel * len(blocks) * max(len(y) / len(x), 0.5) + 1.8)
    figure, axes = plt.subplots(len(blocks), len(blocks[0]), figsize=size, squeeze=False, layout="constrained")
    for (block, head), axis in np.ndenumerate(axes):
        shares = blocks[block][head].weights_softmax[0].cpu().numpy()
        draw(shares, columns if block == len(blocks) - 1 else [], rows if head == 0 else [], axis)
        axis.set_title(f"block {block}, head {head}", fontsize=10)
        axis.tick_params(labelsize=9)
        axis.tick_params("x", rotation=90)
    figure.supxlabel("token that is asked", fontsize=11)
    figure.supylabel("token that asks", fontsize=11)
    scale = plt.cm.ScalarMappable(plt.Normalize(0.0, 1.0), "viridis")
    figure.colorbar(scale, ax=axes, label="share", shrink=0.6, aspect=30)
    figure.suptitle(title)
    return figure


def rule_curves(runs: dict[str, dict[str, Sequence[float]]], title: str) -> Figure:
    """Whole results right, on training rows (left) and on expressions never seen (right), against the epoch.

    Args:
        runs: name of each training, and its curve: lists of equal length "epoch", "seen", "unseen", shares in [0, 1].
    """
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.5), sharey=True)
    for axis, key, name in zip(axes, ("seen", "unseen"), ("training rows", "expressions never seen"), strict=True):
        for number, (label, curve) in enumerate(runs.items()):
            axis.plot(curve["epoch"], curve[key], color=LINE[number], linestyle=DASHES[number], label=label)
        axis.set(title=name, xlabel="epoch", ylim=(-0.02, 1.03))
    axes[0].set_ylabel("whole results right [share]")
    figure.suptitle(title)
    _tight(figure)
    if len(runs) > 1:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=len(runs))
    return figure


def ablation_bars(shares: dict[str, Sequence[float]], compared: str, title: str) -> Figure:
    """A bar for each recipe, the mean of its seeds, best first; a dot for each seed.

    Args:
        shares: name of each recipe, and what its seeds reached, in [0, 1]. compared: the recipe that the others change.
    """
    figure, axis = plt.subplots(figsize=(8.5, 0.4 * len(shares) + 1.1))
    names = sorted(shares, key=lambda name: -np.mean(shares[name]))
    for place, name in enumerate(names):
        axis.barh(place, np.mean(shares[name]), color=LINE[2] if name == compared else LINE[0], alpha=0.75)
        axis.plot(shares[name], [place] * len(shares[name]), "o", color=LINE[5], markersize=3)
        axis.text(1.02, place, f"{np.mean(shares[name]):.2%}", va="center", fontsize=9)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set(title=title, xlabel="expressions never seen, whole result right [share]", xlim=(0, 1.15))
    axis.set_xticks(np.linspace(0, 1, 6))
    return _tight(figure)


def _tight(figure: Figure) -> Figure:
    figure.tight_layout()
    return figure
