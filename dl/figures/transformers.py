"""Drawings of the Transformer, and figures of its attention and its learning, for `Transformers.ipynb`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from dl.data import arithmetic
from dl.figures import BLUE, GREEN, GREY, ORANGE, PINK, arrow, box, diagram
from dl.figures.look import OKABE_ITO as LINE
from dl.figures.look import describe

DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))


# --- Diagrams ---


def token_strip(words: Sequence[str], tokens: Sequence[int]) -> Figure:
    """What the model reads: one box per token, its number below. Signs and operation in orange, digits in blue."""
    figure, axis = diagram(2.1 * len(words) + 0.4, 2.4)
    for position, (word, token) in enumerate(zip(words, tokens, strict=True)):
        fill = GREY if word in ("BOS", "EOS") else BLUE if word.isdigit() else ORANGE
        box(axis, 1.25 + 2.1 * position, 1.75, word, width=1.95, fill=fill, size=10)
        axis.text(1.25 + 2.1 * position, 0.85, str(token), ha="center", fontsize=12)
        axis.text(1.25 + 2.1 * position, 0.2, f"position {position}", ha="center", fontsize=9, color="#444444")
    pairs = ", ".join(f"{word} is {token}" for word, token in zip(words, tokens, strict=True))
    return describe(figure, f"The {len(words)} tokens of a sum in a row, with their numbers: {pairs}.")


def model_scheme() -> Figure:
    """The whole model: encoder on the left, decoder on the right, from the tokens below to the next token above."""
    figure, axis = diagram(15.6, 10.4)
    for x, tokens, stages, frame in (
        (4.0, "sum: 9 tokens", ("self-attention", "feed-forward"), 2.85),
        (11.6, "result so far", ("masked self-attention", "cross-attention", "feed-forward"), 4.2),
    ):
        box(axis, x, 0.5, tokens, width=3.6, height=0.7, fill=GREY)
        arrow(axis, (x, 0.85), (x, 1.25))
        box(axis, x, 1.65, "embedding + position", width=4.0, height=0.8, fill=ORANGE)
        arrow(axis, (x, 2.05), (x, 2.9))
        axis.add_patch(Rectangle((x - 2.3, 2.6), 4.6, frame, fill=False, linestyle="--", edgecolor="#444444"))
        for number, stage in enumerate(stages):
            y = 3.3 + 1.35 * number
            box(axis, x, y, stage, width=4.0, height=0.8, fill=GREEN if stage == "feed-forward" else BLUE)
            if number + 1 < len(stages):
                arrow(axis, (x, y + 0.4), (x, y + 0.95))
    axis.text(1.5, 5.6, "encoder\nblock,\nL times", ha="right", va="top", fontsize=11)
    axis.text(14.1, 6.6, "decoder\nblock,\nL times", ha="left", va="top", fontsize=11)
    axis.plot([4.0, 4.0, 7.8, 7.8], [5.05, 5.9, 5.9, 4.65], color="#444444", linewidth=1.3)
    arrow(axis, (7.8, 4.65), (9.6, 4.65), "keys,\nvalues", text_at=(-0.25, 0.55))
    arrow(axis, (11.6, 6.4), (11.6, 7.2))
    box(axis, 11.6, 7.6, "linear layer to 16 words", width=4.4, height=0.8, fill=PINK)
    arrow(axis, (11.6, 8.0), (11.6, 8.4))
    box(axis, 11.6, 8.8, "softmax", width=4.4, height=0.8, fill=PINK)
    arrow(axis, (11.6, 9.2), (11.6, 9.55))
    axis.text(11.6, 9.85, "next token of the result", ha="center", va="center", fontsize=12)
    axis.text(4.0, 6.4, "one vector per token of the sum", ha="center", fontsize=10, color="#444444")
    return describe(
        figure,
        "The whole model. Left, the encoder: embedding plus position, then L blocks of self-attention and feed-forward. "
        "Right, the decoder: embedding plus position, then L blocks of masked self-attention, cross-attention, which takes "
        "keys and values from the encoder, and feed-forward; then a linear layer, a softmax and the next token.",
    )


def attention_scheme() -> Figure:
    """One query against three keys: scores, attention weights, and the weighted mean of the values."""
    figure, axis = diagram(14.6, 5.4)
    box(axis, 1.3, 2.7, "query $q$", width=2.0, fill=BLUE)
    box(axis, 7.6, 2.7, "", width=1.7, height=4.9, fill=PINK)
    for row, weight in enumerate((0.24, 0.67, 0.09)):
        y = 4.5 - 1.8 * row
        box(axis, 4.5, y, f"key $k_{row + 1}$", width=1.7, fill=ORANGE)
        arrow(axis, (2.3, 2.7), (3.65, y))
        arrow(axis, (5.35, y), (6.75, y), "$q\\cdot k/\\sqrt{M}$", text_at=(0, 0.35))
        box(axis, 7.6, y, f"{weight:.2f}", width=1.3, height=0.8, fill=GREY)
        arrow(axis, (8.35, y), (9.35, y), "$\\times$")
        box(axis, 10.3, y, f"value $v_{row + 1}$", width=1.9, fill=GREEN)
        arrow(axis, (11.25, y), (12.3, 2.7))
    axis.text(7.6, 3.6, "softmax", ha="center", va="center", fontsize=10)
    axis.text(7.6, 1.8, "(sum 1)", ha="center", va="center", fontsize=10)
    box(axis, 13.3, 2.7, "sum $y$", width=1.8, fill=GREY)
    return describe(
        figure,
        "One query is compared with three keys; a softmax turns the three scores into the attention weights 0.24, 0.67 and "
        "0.09, which weigh three values; their sum is the output.",
    )


def heads_scheme(num_heads: int = 4) -> Figure:
    """Heads side by side: each with its own three linear layers, then one linear layer over all outputs."""
    figure, axis = diagram(12.6, 5.6)
    box(axis, 1.2, 2.8, "input\n$M$", width=1.8, height=1.3, fill=GREY)
    for head in range(num_heads):
        y = 4.85 - 1.37 * head
        box(axis, 4.6, y, f"head {head}: $q,k,v$, attention", width=4.1, fill=BLUE)
        arrow(axis, (2.1, 2.8), (2.55, y))
        box(axis, 8.1, y, "$M/H$", width=1.3, fill=BLUE)
        arrow(axis, (6.65, y), (7.45, y))
        arrow(axis, (8.75, y), (9.35, 2.8))
    box(axis, 10.1, 2.8, "concat\n$M$", width=1.5, height=1.6, fill=ORANGE)
    box(axis, 11.9, 2.8, "linear", width=1.3, fill=GREEN)
    arrow(axis, (10.85, 2.8), (11.25, 2.8))
    return describe(
        figure, f"{num_heads} heads read the same input of M features; their outputs are concatenated and projected."
    )


def norm_scheme() -> Figure:
    """Which numbers share a mean: batch normalisation a feature's column, layer normalisation a token's row."""
    figure, axis = diagram(13.0, 4.6)
    for left, title, chosen in (
        (0.8, "batch norm: one feature, all tokens", lambda row, column: column == 1),
        (7.4, "layer norm: one token, all features", lambda row, column: row == 1),
    ):
        for row in range(4):
            for column in range(5):
                corner = (left + 0.95 * column, 3.05 - 0.75 * row)
                fill = LINE[5] if chosen(row, column) else "#F4F4F4"
                axis.add_patch(Rectangle(corner, 0.95, 0.75, facecolor=fill, edgecolor="#444444"))
        axis.text(left + 2.4, 4.15, title, ha="center", fontsize=11)
        axis.text(left + 2.4, 0.35, "features", ha="center", fontsize=10)
        axis.text(left - 0.3, 2.3, "tokens", ha="center", va="center", rotation=90, fontsize=10)
    return describe(
        figure,
        "Two grids of tokens by features. Batch normalisation takes mean and variance over one column: one feature of all "
        "tokens. Layer normalisation takes them over one row: all features of one token.",
    )


def block_scheme() -> Figure:
    """Encoder block and decoder block from bottom to top; dashed: the residual connection that is added."""
    figure, axis = diagram(15.6, 10.6)
    bottom, step = 0.45, 2.85
    tops = {}
    for x, side, reads, stages in (
        (3.6, -1, "sum: tokens + positions", ("self-attention", "feed-forward")),
        (11.2, 1, "result so far: tokens + positions", ("masked self-attention", "cross-attention", "feed-forward")),
    ):
        box(axis, x, bottom, reads, width=5.6, height=0.7, fill=GREY, size=10)
        below = bottom + 0.35
        for number, stage in enumerate(stages):
            y = bottom + 1.45 + step * number
            arrow(axis, (x, below), (x, y - 0.4), "query" if stage == "cross-attention" else "", text_at=(-0.75, -0.1))
            box(axis, x, y, stage, width=3.8, height=0.8, fill=GREEN if stage == "feed-forward" else BLUE)
            arrow(axis, (x, y + 0.4), (x, y + 0.85))
            box(axis, x, y + 1.2, "add, normalise, dropout", width=3.8, height=0.7, fill=PINK, size=10)
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
    return describe(
        figure,
        "Encoder block: self-attention and feed-forward. Decoder block: masked self-attention, cross-attention with queries "
        "from below and keys and values from the encoder, feed-forward. Around each stage a dashed residual connection; "
        "after each stage: add, normalise, dropout.",
    )


def shift_scheme(words: Sequence[str]) -> Figure:
    """Teacher forcing: the decoder reads the target without its last token and predicts it without its first."""
    figure, axis = diagram(2.6 * len(words) + 1.6, 4.4)
    for position, (read, said) in enumerate(zip(words[:-1], words[1:], strict=True)):
        x = 4.0 + 2.6 * position
        box(axis, x, 0.7, read, width=2.3, fill=BLUE, size=10)
        box(axis, x, 3.7, said, width=2.3, fill=GREEN, size=10)
        arrow(axis, (x, 2.65), (x, 3.25))
        arrow(axis, (x, 1.15), (x, 1.75))
    right = 4.0 + 2.6 * (len(words) - 2)
    box(axis, (4.0 + right) / 2, 2.2, "decoder, under the causal mask", width=right - 4.0 + 2.3, fill=GREY)
    axis.text(1.2, 0.7, "reads", ha="center", va="center", fontsize=11)
    axis.text(1.2, 3.7, "predicts", ha="center", va="center", fontsize=11)
    return describe(figure, f"The decoder reads {' '.join(words[:-1])} and predicts {' '.join(words[1:])}, one token later.")


# --- Measurements ---


def mask_and_weights(mask: Tensor, weights: Tensor, words: Sequence[str]) -> Figure:
    """A causal mask, (K, K) bool (dark is forbidden), and the attention weights under it, written into their cells."""
    figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.7))
    axes[0].imshow(mask.cpu(), cmap="cividis_r", vmin=0, vmax=1)
    axes[1].imshow(weights.detach().cpu(), cmap="cividis", vmin=0, vmax=1)
    for (row, column), weight in np.ndenumerate(weights.detach().cpu().numpy()):
        axes[1].text(column, row, f"{weight:.2f}", ha="center", va="center", color="black" if weight > 0.6 else "white")
    for axis, title in zip(axes, ("mask (dark: forbidden)", "attention weights under it"), strict=True):
        axis.set_xticks(range(len(words)), words, rotation=45, ha="right")
        axis.set_yticks(range(len(words)), words)
        axis.set(title=title, xlabel="key: token that is read")
        axis.grid(False)
    axes[0].set_ylabel("query: token that reads")
    rows = "; ".join(" ".join(f"{weight:.2f}" for weight in row) for row in weights.tolist())
    return _tight(
        describe(figure, f"Left a mask that forbids all cells above the diagonal, right the weights by row: {rows}.")
    )


def growth(lengths: Sequence[int], seconds: Sequence[float]) -> tuple[Figure, float]:
    """Time of attention against length, both logarithmic, with the fitted power law; also returns its exponent."""
    exponent, offset = np.polyfit(np.log(lengths), np.log(seconds), 1)
    figure, axis = plt.subplots(figsize=(5.8, 3.6))
    axis.loglog(lengths, np.multiply(seconds, 1e3), "o", color=LINE[0], label="measured")
    axis.loglog(
        lengths,
        1e3 * np.exp(offset) * np.power(lengths, exponent),
        "--",
        color=LINE[1],
        label=f"fit: time ∝ length$^{{{exponent:.2f}}}$",
    )
    axis.set_xticks(lengths, [str(length) for length in lengths])
    axis.minorticks_off()
    axis.set(
        title=f"Twice the length costs {2**exponent:.1f} times the time",
        xlabel="sequence length K [tokens]",
        ylabel="time of one call [ms]",
    )
    axis.legend()
    describe(figure, f"Time of one call against length on logarithmic axes: points near a line of slope {exponent:.2f}.")
    return _tight(figure), float(exponent)


def position_maps(encodings: Mapping[str, Tensor]) -> Figure:
    """Upper row: the encodings, (K, M) each. Lower row: how similar two positions are (cosine of their rows)."""
    figure, axes = plt.subplots(2, len(encodings), figsize=(9.8, 5.6), squeeze=False, layout="constrained", sharey=True)
    for column, (name, encoding) in enumerate(encodings.items()):
        rows = encoding / encoding.norm(dim=1, keepdim=True).clamp(min=1e-9)
        values = axes[0, column].imshow(encoding, cmap="coolwarm", vmin=-1, vmax=1, aspect="auto")
        cosines = axes[1, column].imshow(rows @ rows.T, cmap="PuOr_r", vmin=-1, vmax=1, aspect="auto")
        axes[0, column].set(title=name, xlabel="feature")
        axes[1, column].set(xlabel="position", xticks=range(0, len(rows), 2), yticks=range(0, len(rows), 2))
    for axis in axes.flat:
        axis.grid(False)
    axes[0, 0].set_ylabel("position")
    axes[1, 0].set_ylabel("position")
    figure.colorbar(values, ax=axes[0], label="value")
    figure.colorbar(cosines, ax=axes[1], label="similarity (cosine)")
    return describe(
        figure,
        f"Three position encodings ({', '.join(encodings)}): above, their values by position and feature; below, the cosine "
        "similarity of each pair of positions.",
    )


def schedules(named: Mapping[str, tuple[Callable[[int], float], int]]) -> Figure:
    """Learning rate of every update, one panel per schedule: name -> (schedule, number of updates)."""
    figure, axes = plt.subplots(1, len(named), figsize=(9.5, 3.2), squeeze=False)
    for axis, color, (name, (schedule, updates)) in zip(axes[0], LINE, named.items(), strict=False):
        steps = range(updates)
        axis.plot(steps, [1e3 * schedule(step) for step in steps], color=color)
        axis.set(title=name, xlabel="update", ylabel="learning rate [$10^{-3}$]", ylim=(0, None))
    tops = ", ".join(f"{name}: at most {max(map(rate, range(updates))):.1e}" for name, (rate, updates) in named.items())
    return _tight(describe(figure, f"Learning rate against the update, one panel per schedule. {tops}."))


def smoothing_compared(losses: Mapping[str, Sequence[float]], given: Mapping[str, Tensor], floor: float) -> Figure:
    """Loss per token against the epoch for two losses (left), and the probability that each true token gets (right).

    Args:
        losses, given: by the name of the loss. given: probabilities of the true tokens. floor: the least smoothed loss.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.4))
    for number, (name, curve) in enumerate(losses.items()):
        left.plot(range(1, len(curve) + 1), curve, color=LINE[number], linestyle=DASHES[number], label=name)
        spread = number + np.linspace(-0.2, 0.2, len(given[name]))
        right.plot(spread, given[name], "os"[number], color=LINE[number], markersize=5)
    left.axhline(floor, color=LINE[6], linestyle=":", label=f"least smoothed loss: {floor:.3f}")
    left.set(title="Loss while training", xlabel="epoch", ylabel="loss [nats per token]", ylim=(0, None))
    left.legend()
    right.axhline(0.9, color=LINE[6], linestyle=":")
    right.set_xticks(range(len(losses)), list(losses))
    right.set(title="How sure is the model in the end?", xlim=(-0.5, len(losses) - 0.5), ylim=(0.5, 1.02))
    right.set_ylabel("probability of the true token")
    means = ", ".join(f"{name} {float(values.mean()):.3f}" for name, values in given.items())
    describe(
        figure, f"Left, loss curves of both losses, with the floor {floor:.3f}. Right, probability of true tokens: {means}."
    )
    return _tight(figure)


def training_curves(history: Mapping[str, Sequence[float]], title: str, target: float | None = None) -> Figure:
    """Loss per token (left) and token accuracy (right) against the epoch, from columns of a history."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.3))
    epochs = range(1, len(history["train_loss"]) + 1)
    left.plot(epochs, history["train_loss"], color=LINE[0], label="training (with dropout)")
    left.plot(epochs, history["val_loss"], color=LINE[1], linestyle="--", label="validation")
    left.set(xlabel="epoch", ylabel="loss [nats per token]", ylim=(0, None))
    left.legend()
    right.plot(epochs, history["val_accuracy"], color=LINE[1], linestyle="--", label="validation")
    if target is not None:
        right.axhline(target, color=LINE[6], linestyle=":", label=f"target: {target:.2f}")
    right.set(xlabel="epoch", ylabel="token accuracy\n(teacher-forced)", ylim=(0, 1.02))
    right.legend(loc="lower right")
    for axis in (left, right):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(title)
    last = {name: history[name][-1] for name in ("train_loss", "val_loss", "val_accuracy")}
    ends = (
        f"training loss {last['train_loss']:.3f}, validation loss {last['val_loss']:.3f}, accuracy {last['val_accuracy']:.3f}"
    )
    return _tight(describe(figure, f"Loss and token accuracy over {len(epochs)} epochs; at the end {ends}."))


def evenness(weights: Tensor, causal: bool = False) -> float:
    """How evenly attention weights are spread: 1 is perfectly flat, 0 reads one token only.

    The exponential of a row's entropy is the number of tokens that it effectively reads; from 1 to the number permitted
    is scaled to 0 to 1.

    Args:
        weights: (N, K_Q, K_K). causal: token t may read t + 1 tokens; the first, which has no choice, is left out.
    """
    entropy = torch.special.entr(weights.double()).sum(dim=-1)  # (N, K_Q)
    permitted = torch.full((weights.shape[1],), weights.shape[2], dtype=torch.float64)
    if causal:
        permitted, entropy = torch.arange(2.0, weights.shape[1] + 1), entropy[:, 1:]
    return ((entropy.exp().cpu() - 1) / (permitted - 1)).mean().item()


def evenness_maps(kinds: Mapping[str, Sequence[Sequence]], title: str) -> Figure:
    """`evenness` of every head, one panel per kind of attention; rows are blocks, columns heads.

    Args:
        kinds: name -> heads of each block, modules with `weights_softmax` (N, K_Q, K_K); "masked" in a name means causal.
    """
    depth = max(len(blocks) for blocks in kinds.values())
    figure, axes = plt.subplots(1, len(kinds), figsize=(9.6, 0.55 * depth + 1.7), layout="constrained", squeeze=False)
    means = []
    for axis, (name, blocks) in zip(axes[0], kinds.items(), strict=True):
        table = np.array([[evenness(head.weights_softmax, "masked" in name) for head in heads] for heads in blocks])
        image = axis.imshow(table, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        for (block, head), value in np.ndenumerate(table):
            axis.text(head, block, f"{value:.2f}", ha="center", va="center", color="black" if value > 0.6 else "white")
        axis.set(title=name, xlabel="head", xticks=range(table.shape[1]), yticks=range(table.shape[0]))
        axis.grid(False)
        means.append(f"{name} {table.min():.2f} to {table.max():.2f}")
    axes[0, 0].set_ylabel("block")
    figure.colorbar(image, ax=axes, label="evenness\n(1: flat)")
    figure.suptitle(title)
    return describe(figure, f"Evenness of the attention weights of every head, 1 is flat: {'; '.join(means)}.")


def sharpest_maps(
    kinds: Mapping[str, tuple[Sequence[Sequence], Sequence[str], Sequence[str]]], title: str, draw: Callable[..., None]
) -> Figure:
    """The attention map of the least even head of each kind, for the first row of the batch.

    Args:
        kinds: name -> (heads of each block, words that are read, words that read). draw: `a2_helper.draw`.
    """
    figure, axes = plt.subplots(1, len(kinds), figsize=(9.8, 3.9), layout="constrained", squeeze=False)
    said = []
    for axis, (name, (blocks, read, readers)) in zip(axes[0], kinds.items(), strict=True):
        heads = {(b, h): head.weights_softmax for b, row in enumerate(blocks) for h, head in enumerate(row)}
        block, head = min(heads, key=lambda at: evenness(heads[at], "masked" in name))
        weights = heads[block, head][0].cpu().numpy()
        draw(weights, _numbered(read), _numbered(readers), axis)
        most = (f"{reader} reads {read[row.argmax()]}" for reader, row in zip(readers, weights))
        said.append(f"{name}: {', '.join(most)}")
        axis.set_title(f"{name}\nblock {block}, head {head}", fontsize=11)
        axis.tick_params(labelsize=9)
        axis.tick_params("x", rotation=90)
    axes[0, 0].set_ylabel("query: token that reads")
    figure.supxlabel("key: token that is read", fontsize=11)
    scale = plt.cm.ScalarMappable(plt.Normalize(0.0, 1.0), "viridis")
    figure.colorbar(scale, ax=axes, label="attention weight", shrink=0.7)
    figure.suptitle(title)
    return describe(figure, f"Attention maps of the most selective head of each kind. What is read most, {'; '.join(said)}.")


def reading(blocks: Sequence[Sequence], asked: Sequence[str], written: Sequence[str], only: int | None = None) -> Figure:
    """What every head of the cross-attention reads while each token is written: a filmstrip, one panel per token.

    Args:
        blocks: the heads of each block, after decoding one question. asked: its tokens. written: tokens of the result, BOS
            first. only: draw this step alone, counted from 0.
    """
    weights = torch.stack([head.weights_softmax[0].cpu() for heads in blocks for head in heads])  # (heads, steps, K)
    names = [f"{block}.{head}" for block, heads in enumerate(blocks) for head in range(len(heads))]
    steps = range(weights.shape[1]) if only is None else [only]
    figure, axes = plt.subplots(1, len(steps), figsize=(9.8, 3.6), layout="constrained", squeeze=False, sharey=True)
    for axis, step in zip(axes[0], steps, strict=True):
        image = axis.imshow(weights[:, step], vmin=0, vmax=1, cmap="viridis", aspect="auto")
        axis.set_xticks(range(len(asked)), _numbered(asked), rotation=90, fontsize=9)
        axis.set_title(f"writes {written[step + 1]}", fontsize=11)
        axis.grid(False)
    axes[0, 0].set_yticks(range(len(names)), names, fontsize=9)
    axes[0, 0].set_ylabel("block.head")
    figure.supxlabel("token of the question that is read", fontsize=11)
    figure.colorbar(image, ax=axes, label="attention weight")
    read = [_numbered(asked)[at] for at in weights.mean(0).argmax(dim=1)]
    most = [f"when writing {written[step + 1]}, the token {read[step]}" for step in steps]
    return describe(figure, f"Cross-attention of all heads for each written token; most read on average: {'; '.join(most)}.")


def watch_reading(blocks: Sequence[Sequence], asked: Sequence[str], written: Sequence[str], live: bool) -> Figure | None:
    """`reading` as a slider over the written tokens when somebody is there, else the filmstrip, which is returned."""
    if not live:
        return reading(blocks, asked, written)
    import ipywidgets

    def step_of(step: int) -> None:
        reading(blocks, asked, written, step)

    ipywidgets.interact(step_of, step=ipywidgets.IntSlider(0, 0, len(written) - 2))
    return None


def rule_curves(runs: Mapping[str, Mapping[str, Sequence[float]]], title: str) -> Figure:
    """Exact match (greedy) on training rows (left) and on unseen expressions (right), against the epoch.

    Args:
        runs: name of each training, and its curve: lists of equal length "epoch", "seen", "unseen", in [0, 1].
    """
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.5), sharey=True)
    for axis, key, name in zip(axes, ("seen", "unseen"), ("training rows", "unseen expressions"), strict=True):
        for number, (label, curve) in enumerate(runs.items()):
            axis.plot(curve["epoch"], curve[key], color=LINE[number], linestyle=DASHES[number], label=label)
        axis.set(title=name, xlabel="epoch", ylim=(-0.02, 1.03))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes[0].set_ylabel("exact match (greedy)")
    figure.suptitle(title)
    _tight(figure)
    if len(runs) > 1:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=len(runs))
    ends = "; ".join(f"{name}: {run['seen'][-1]:.2f} and {run['unseen'][-1]:.2f}" for name, run in runs.items())
    return describe(figure, f"Exact match against the epoch. At the end, on training rows and unseen expressions: {ends}.")


def answer_map(right: Mapping[str, Mapping[arithmetic.Expression, bool]], title: str) -> Figure:
    """Every question a model was asked: a against b, dark where the result is wrong; a row per model, a column per operation.

    Args:
        right: name of each model -> expression -> whether its whole result is right; expressions not asked stay white.
    """
    limit, side = arithmetic.LIMIT, 2 * arithmetic.LIMIT + 1
    figure, axes = plt.subplots(len(right), 2, figsize=(7.6, 3.5 * len(right)), layout="constrained", squeeze=False)
    for row, (name, answers) in enumerate(right.items()):
        grids = {op: np.full((side, side), np.nan) for op in arithmetic.OPERATIONS}
        for (a, op, b), is_right in answers.items():
            grids[op][b + limit, a + limit] = not is_right
        for axis, (op, grid) in zip(axes[row], grids.items(), strict=True):
            axis.imshow(grid, origin="lower", cmap=ListedColormap(["#DDE7EE", "#B03A00"]), extent=(-49.5, 49.5) * 2)
            axis.set(title=f"{name}: a {op} b, {np.nanmean(grid):.1%} wrong", xlabel="a", ylabel="b")
            axis.grid(False)
    figure.suptitle(title)
    wrong = ", ".join(f"{name}: {1 - np.mean(list(answers.values())):.1%}" for name, answers in right.items())
    return describe(figure, f"Maps of all questions, a against b, wrong results dark. Share of wrong results: {wrong}.")


def ablation_bars(found: Mapping[str, Sequence[float]], compared: str, title: str) -> Figure:
    """A bar for each recipe, the mean of its seeds, best first; a dot for each seed.

    Args:
        found: name of each recipe -> exact match of its seeds, in [0, 1]. compared: the recipe that the others change.
    """
    figure, axis = plt.subplots(figsize=(8.8, 0.4 * len(found) + 1.2))
    names = sorted(found, key=lambda name: -np.mean(found[name]))
    for row, name in enumerate(names):
        axis.barh(row, np.mean(found[name]), color=LINE[2] if name == compared else LINE[0], alpha=0.75)
        axis.plot(found[name], [row] * len(found[name]), "o", color=LINE[6], markersize=3)
        axis.text(1.02, row, f"{np.mean(found[name]):.2%}", va="center", fontsize=9)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set(title=title, xlabel="exact match (greedy) on unseen expressions", xlim=(0, 1.15))
    axis.set_xticks(np.linspace(0, 1, 6))
    bars = ", ".join(f"{name} {np.mean(found[name]):.1%}" for name in names)
    return _tight(describe(figure, f"Exact match on unseen expressions by recipe, best first: {bars}."))


def _numbered(words: Sequence[str]) -> list[str]:
    """A word that occurs twice gets its position."""
    return [f"{word} ({position})" if list(words).count(word) > 1 else word for position, word in enumerate(words)]


def _tight(figure: Figure) -> Figure:
    figure.tight_layout()
    return figure
