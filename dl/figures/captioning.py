"""Drawings of recurrent networks, captioned images and scores for `rnn_lstm_captioning.ipynb`."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from dl import settings
from dl.figures import BLUE, GREEN, GREY, ORANGE, PINK, arrow, box, diagram
from dl.figures.look import OKABE_ITO, describe
from dl.figures.tables import Table
from dl.utils import attention_visualizer, nearest_cell, tensor_to_image
from dl.world.scoring import COUNTS

WRONG = "#C00000"  # of words that claim something false: red and bold
MONO, MONO_WIDTH, LINE = 9, 5.42, 12.5  # points: size of the captions' font, width of a character, height of a line
STRIP = 25  # pixels of `attention_visualizer` above the image, for the word


def unrolled_rnn(gradients: bool = False) -> Figure:
    """The RNN over four steps; with `gradients`, the two ways in which each state affects the loss."""
    figure, axis = diagram(14.8, 5.2)
    figure.set_size_inches(9.25, 3.25)
    box(axis, 1.1, 2.6, "$h_0$", width=1.2, fill=GREY)
    for t in range(1, 5):
        x = 1.1 + 2.9 * t
        box(axis, x, 2.6, "$\\tanh$", fill=BLUE)
        box(axis, x, 0.6, f"$x_{t}$", width=1.2, fill=GREY)
        arrow(axis, (x, 1.05), (x, 2.15), f"$x_{t}\\,W_x$", text_at=(0.62, 0))
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
        return describe(
            figure,
            "The unrolled RNN with two dashed arrows per hidden state: the direct gradient comes down from the output, "
            "another comes from the right, from the next step.",
        )
    return describe(
        figure,
        "An RNN unrolled over four steps: hidden states run from left to right through boxes labelled tanh, inputs x1 to x4 "
        "enter from below through Wx, outputs h1 to h4 leave at the top.",
    )


def lstm_cell() -> Figure:
    """One LSTM step: the cell state runs along the top; three gates and a candidate decide what happens to it."""
    figure, axis = diagram(14, 6.4)
    figure.set_size_inches(9.1, 4.16)
    axis.text(0.1, 5.5, "$c_{t-1}$", fontsize=12)
    arrow(axis, (1.0, 5.6), (4.0, 5.6))
    box(axis, 4.4, 5.6, "$\\odot$", width=0.8, fill=PINK)
    arrow(axis, (4.8, 5.6), (7.6, 5.6), "kept", text_at=(0, 0.3))
    box(axis, 8.0, 5.6, "$+$", width=0.8, fill=PINK)
    arrow(axis, (8.4, 5.6), (13.0, 5.6))
    axis.text(13.15, 5.5, "$c_t$", fontsize=12)
    for x, name, meaning, fill in (
        (4.4, "$f=\\sigma(a_f)$", "keep?", ORANGE),
        (6.9, "$i=\\sigma(a_i)$", "write?", ORANGE),
        (9.1, "$g=\\tanh(a_g)$", "what?", BLUE),
        (11.6, "$o=\\sigma(a_o)$", "show?", ORANGE),
    ):
        box(axis, x, 2.5, name, width=1.95, fill=fill)
        axis.text(x + 0.15, 1.35, meaning, fontsize=10, color="#555555")
        arrow(axis, (x, 0.75), (x, 2.05))
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
    return describe(
        figure,
        "An LSTM step. The cell state runs along the top from c(t-1) to c(t): multiplied by the forget gate, then the product "
        "of input gate and candidate is added. The output gate times tanh of the cell state gives h(t).",
    )


def captioner() -> Figure:
    """The whole captioner: image, grid of features, initial state, words in, words out."""
    figure, axis = diagram(15, 5.4)
    figure.set_size_inches(9.5, 3.42)
    box(axis, 1.3, 2.6, "image\n112 x 112", width=2.0, height=1.5, fill=GREY)
    arrow(axis, (2.3, 2.6), (3.2, 2.6))
    box(axis, 4.4, 2.6, "RegNetX\n400 x 4 x 4", width=2.3, height=1.5, fill=BLUE)
    arrow(axis, (5.55, 2.6), (6.75, 2.6), "mean,\nproject", text_at=(-0.05, 0.6))
    words = ("<START>", "a", "red", "fish"), ("a", "red", "fish", "<END>")
    for position, (given, predicted) in enumerate(zip(*words)):
        x = 7.4 + 2.1 * position
        box(axis, x, 2.6, "RNN", width=1.3, fill=GREEN)
        box(axis, x, 0.6, given, width=1.7, height=0.7, fill=GREY, size=10)
        box(axis, x, 4.7, predicted, width=1.5, height=0.7, fill=ORANGE, size=10)
        arrow(axis, (x, 0.95), (x, 2.15))
        arrow(axis, (x, 3.05), (x, 4.35))
        if position:
            arrow(axis, (x - 1.45, 2.6), (x - 0.65, 2.6))
    return describe(
        figure,
        "The captioner: an image of 112 by 112 pixels becomes a 400 by 4 by 4 grid, whose mean is projected to the first "
        "state of an RNN. The RNN reads START, a, red, fish and predicts a, red, fish, END.",
    )


def attention_step() -> Figure:
    """Attention over the grid: the state is the query, every cell gets a score, the softmax turns scores into weights."""
    figure, axis = diagram(14, 5.0)
    figure.set_size_inches(9.1, 3.25)
    weights = np.array(
        [[0.01, 0.02, 0.02, 0.01], [0.02, 0.30, 0.22, 0.02], [0.02, 0.17, 0.10, 0.02], [0.01, 0.02, 0.02, 0.02]]
    )
    box(axis, 1.4, 4.1, "$h_{t-1}$", width=1.5, fill=GREEN)
    axis.text(1.4, 3.35, "the query", ha="center", fontsize=10, color="#555555")
    box(axis, 1.4, 1.5, "grid $A$\n$H$ x 4 x 4", width=2.1, height=1.4, fill=BLUE)
    arrow(axis, (2.2, 4.0), (4.0, 3.1))
    arrow(axis, (2.5, 1.7), (4.0, 2.4))
    box(axis, 5.2, 2.75, "scores\n$h_{t-1}A/\\sqrt{H}$", width=2.3, height=1.3, fill=ORANGE)
    arrow(axis, (6.4, 2.75), (7.5, 2.75), "softmax", text_at=(0, 0.3))
    axis.imshow(weights, extent=(7.7, 10.1, 1.55, 3.95), cmap="cividis", aspect="auto", zorder=2)
    axis.text(8.9, 1.2, "weights, sum 1", ha="center", fontsize=10, color="#555555")
    arrow(axis, (10.2, 2.75), (11.4, 2.75), "weights", text_at=(0, 0.3))
    axis.plot([1.4, 1.4, 12.5], [0.8, 0.35, 0.35], color="#444444", linewidth=1.4)
    arrow(axis, (12.5, 0.35), (12.5, 2.05))
    axis.text(
        7.0, 0.5, "the cells themselves: $attn = A\\,w$ is their weighted mean", ha="center", fontsize=10, color="#555555"
    )
    box(axis, 12.5, 2.75, "result $attn$\n$(H)$", width=2.0, height=1.3, fill=PINK)
    axis.set(xlim=(0, 14), ylim=(0, 5.0))
    return describe(
        figure,
        "One attention step: the query h(t-1) and the grid A give one score per cell, the softmax turns the scores into "
        "weights that sum to 1, and the mean of the grid's cells with these weights is the result attn.",
    )


def show_captioned(images: Tensor, titles: list[str], marks: list[list[bool]] | None = None, columns: int = 4) -> Figure:
    """Images (n, 3, H, W) in rows, each with text below; words that are marked are red and bold.

    Args:
        titles: one text per image; a line break starts a new line. marks: one flag per word of each text.
    """
    width = int(72 * 2.4 / MONO_WIDTH) - 1  # characters beside each other under an image
    laid = [_laid_out(title, marks[n] if marks else None, width) for n, title in enumerate(titles)]
    rows, lines = -(-len(images) // columns), max(line for words in laid for line, *_ in words) + 1
    height = 2.4 + (lines * LINE + 10) / 72  # inches per row
    figure, axes = plt.subplots(rows, columns, figsize=(2.45 * columns, height * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, words in zip(axes.flat, images, laid):
        axis.imshow(tensor_to_image(image))
        for line, column, word, wrong in words:
            at = {"xy": (0, 0), "xytext": (column * MONO_WIDTH, -4 - MONO - line * LINE)}
            look = {"color": WRONG, "weight": "bold"} if wrong else {"color": "#222222"}
            axis.annotate(
                word.replace("$", r"\$"),
                **at,
                xycoords="axes fraction",
                textcoords="offset points",
                va="baseline",
                family="monospace",
                fontsize=MONO,
                **look,
            )
    figure.subplots_adjust(0.005, (height - 2.38) / height / rows, 0.995, 0.995, wspace=0.03, hspace=(height - 2.4) / 2.4)
    listed = "; ".join(" ".join(title.split()) for title in titles)
    return describe(figure, f"{len(images)} images with captions. {listed}.")


def _laid_out(text: str, marks: list[bool] | None, width: int) -> list[tuple[int, int, str, bool]]:
    """Line, column, word and mark of every word of a text that is broken after `width` characters."""
    placed, line = [], -1
    flags = iter(marks or [])
    for paragraph in text.splitlines():
        line, column = line + 1, 0
        for word in paragraph.split():
            if column and column + len(word) > width:
                line, column = line + 1, 0
            placed.append((line, column, word, next(flags, False)))
            column += len(word) + 1
    return placed


def show_generated(images: Tensor, said: list[str], truths: list[str], wrong: list[list[bool]] | None, label: str) -> Figure:
    """Images with a generated caption, its wrong words red, and the ground truth (GT).

    Args:
        said, truths: one caption per image. wrong: one flag per word of each generated caption, None where no ground truth
            of the scene is known. label: stands before each generated caption, for example "[val] RNN Generated:".
    """
    marks = None
    if wrong is not None:
        marks = [[*(False for _ in label.split()), *flags] for flags in wrong]
    texts = [f"{label}\n{sentence}\nGT: {plain(truth)}" for sentence, truth in zip(said, truths)]
    return show_captioned(images, texts, marks)


def plain(caption: str) -> str:
    """A decoded caption without the tokens that open and close it."""
    return caption.removeprefix("<START>").removesuffix("<END>").strip()


def show_attention(image: Tensor, maps: Tensor, words: list[str], title: str, columns: int = 7) -> Figure:
    """One image under the attention weights of each of its words: a pixel is as bright as the cell with the nearest centre.

    Args:
        image: (3, H, W) uint8. maps: (T, h, w), T >= number of words. words: one per map that is shown.
    """
    rows = -(-len(words) // columns)
    height = 1.6 * rows + 0.75  # inches; the title takes the rest
    figure, axes = plt.subplots(rows, columns, figsize=(1.38 * columns, height), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, weights, word in zip(axes.flat, maps, words):
        axis.imshow(_under_attention(image, weights))
        axis.set_title(word, fontsize=10, pad=3)
    figure.suptitle(wrap(title, 100), fontsize=11, y=0.99, va="top")
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=1 - 0.95 / height, wspace=0.05, hspace=0.2)
    brightest = [divmod(int(weights.argmax()), weights.shape[1]) for weights in maps[: len(words)]]
    cells = ", ".join(f"{word}: row {row + 1}, column {column + 1}" for word, (row, column) in zip(words, brightest))
    return describe(figure, f"{' '.join(title.split())}. Brightest cell per word, {cells}.")


def watch_decoding(image: Tensor, maps: Tensor, words: list[str], title: str) -> Figure | None:
    """`show_attention` as a filmstrip; with a reader at the keyboard, one word at a time with a slider."""
    if settings.unattended():
        return show_attention(image, maps, words, title)
    from ipywidgets import IntSlider, interact

    def show(word: int) -> None:
        figure, axis = plt.subplots(figsize=(3.6, 4.0))
        axis.imshow(_under_attention(image, maps[word - 1]))
        axis.set_title(f"word {word}: {words[word - 1]}")
        axis.axis("off")
        plt.show()

    interact(show, word=IntSlider(value=1, min=1, max=len(words)))
    return None


def _under_attention(image: Tensor, weights: Tensor) -> np.ndarray:
    """uint8 RGB: the image, brighter where the attention weights (h, w) are large, scaled to their own maximum."""
    rows, columns = (nearest_cell(pixels, cells) for pixels, cells in zip(image.shape[1:], weights.shape))
    tiles = (weights / weights.max())[rows[:, None], columns]  # (H, W)
    return attention_visualizer(image, tiles, "")[STRIP:, :, ::-1]


def gradient_reach(norms: dict[str, list[float]]) -> Figure:
    """Gradient norm against distance in steps, on a logarithmic scale: one curve per layer."""
    figure, axis = plt.subplots(figsize=(7.5, 3.8))
    for (name, values), style in zip(norms.items(), ("-", "--", "-.", ":", (0, (1, 3)))):
        axis.plot(range(len(values)), values, linestyle=style, label=name, linewidth=2)
    axis.set(xlabel="steps between the input and the last hidden state", ylabel="gradient norm, relative", yscale="log")
    axis.set_title("How much of the gradient survives?")
    axis.legend()
    far = len(next(iter(norms.values()))) - 1
    ends = ", ".join(f"{name} {values[-1]:.1g}" for name, values in norms.items())
    return describe(figure, f"Gradient norm against distance, logarithmic. After {far} steps, relative to distance 0: {ends}.")


def gates_over_time(x: Tensor, stages: dict[int, dict[str, Tensor]]) -> Figure:
    """Input gate, forget gate and cell state of each unit over a sequence: a column for each number of updates.

    Args:
        x: (1, T, 2), numbers and the mark. stages: updates -> name -> (T, H), as `measure.learn_to_remember` keeps them.
    """
    names, marked = list(next(iter(stages.values()))), int(x[0, :, 1].argmax())
    size = (2.2 + 2.9 * len(stages), 1.6 * len(names) + 0.4)
    figure, axes = plt.subplots(len(names), len(stages), figsize=size, layout="constrained", squeeze=False, sharex=True)
    for column, (updates, kept) in enumerate(stages.items()):
        for row, (name, values) in enumerate(kept.items()):
            axis, is_gate = axes[row, column], name.endswith("gate")
            scale = {"vmin": 0, "vmax": 1, "cmap": "viridis"} if is_gate else {"vmin": -3, "vmax": 3, "cmap": "PuOr"}
            drawn = axis.imshow(values.T, aspect="auto", **scale)
            axis.plot([marked] * 2, [-0.5, len(values.T) - 0.5], color="#D55E00", linewidth=1.6, linestyle="--")
            axis.set_yticks(range(len(values.T)), range(1, len(values.T) + 1))
            axis.set_xticks(range(len(values)), ["+" if number > 0 else "−" for number in x[0, :, 0]], fontsize=9)
            axis.grid(False)
            if column == 0:
                axis.set_ylabel(f"{name}\nunit")
            if row == 0:
                axis.set_title(f"after {updates} updates")
            if column == len(stages) - 1:
                figure.colorbar(drawn, ax=axis)
    figure.supxlabel("numbers of the sequence; the dashed line is the marked one", fontsize=11)
    last = next(reversed(stages.values()))
    said = [f"{name} {at.min():.1f} to {at.max():.1f}" for name, values in last.items() for at in [values[marked]]]
    return describe(
        figure,
        f"Gates and cell state of {len(values.T)} units over {len(values)} steps, step {marked + 1} is marked. "
        f"In the last column, at the mark: {', '.join(said)}.",
    )


def watch_gates(x: Tensor, stages: dict[int, dict[str, Tensor]]) -> Figure | None:
    """`gates_over_time` as a filmstrip; with a reader at the keyboard, one stage of the training at a time with a slider."""
    if settings.unattended():
        return gates_over_time(x, stages)
    from ipywidgets import SelectionSlider, interact

    def show(updates: int) -> None:
        gates_over_time(x, {updates: stages[updates]})
        plt.show()

    interact(show, updates=SelectionSlider(options=list(stages)))
    return None


def loss_panels(
    overfits: dict[str, list[float]], training: dict[str, list[float]], validation: dict[str, list[float]], floor: float | None
) -> Figure:
    """All trainings of the notebook: small runs in one panel, then each full training beside its validation loss.

    Args:
        overfits, training: loss of every step. validation: loss after every epoch. floor: drawn as a line where known.
    """
    figure, axes = plt.subplots(2, 2, figsize=(9.6, 6.4), layout="constrained")
    small, *full = axes.flat
    for (name, history), style in zip(overfits.items(), ("-", "--", "-.", ":")):
        small.plot(history, style, label=name, linewidth=1.6)
    small.axhline(np.log(32), color="#777777", linewidth=1)
    small.text(0.02, np.log(32) * 1.06, "ln 32", color="#555555", fontsize=9, transform=small.get_yaxis_transform())
    small.set(title="Overfitting 32 captions", xlabel="epoch (one step each)", ylabel="nats per caption", yscale="log")
    small.legend(fontsize=9)
    for axis, (name, history) in zip(full, training.items()):
        _full_training(axis, name, history, validation[name], floor)
    ends = ", ".join(f"{name} {np.mean(h[-20:]):.1f} and {validation[name][-1]:.1f}" for name, h in training.items())
    return describe(figure, f"Four panels of losses. The full trainings end at (training and validation loss): {ends} nats.")


def _full_training(axis, name: str, history: list[float], validation: list[float], floor: float | None) -> None:
    steps = len(history) / max(1, len(validation))  # per epoch
    window = max(1, min(20, len(history)))
    smooth = np.convolve(history, np.ones(window) / window, mode="valid")
    epochs = (np.arange(len(smooth)) + window / 2) / steps
    axis.plot(epochs, smooth, color=OKABE_ITO[0], label="training", linewidth=1.6)
    axis.plot(np.arange(1, len(validation) + 1), validation, "o--", color=OKABE_ITO[1], label="validation", markersize=4)
    axis.set(title=name, xlabel="epoch", ylabel="nats per caption", yscale="log")
    if floor is not None:
        axis.axhline(floor, color="#777777", linewidth=1)
        axis.text(0.02, floor * 0.86, f"floor {floor:.2f}", color="#555555", fontsize=9, transform=axis.get_yaxis_transform())
        axis.set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
        axis.set_ylim(1.1, 30)
        axis.minorticks_off()
    axis.legend(fontsize=9)


def learning_rate_curves(curves: dict[str, dict[float, tuple[float, float]]], common: float) -> Figure:
    """Validation loss and captions with every claim right against the learning rate: a curve for each model.

    Args:
        curves: model -> learning rate -> (validation loss in nats per caption, fraction of captions). The lowest validation
            loss of a model is ringed, in both panels. common: a learning rate that all models have, marked by a dotted line.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.7), layout="constrained")
    labels = ("validation loss (nats per caption)", "captions with every claim right")
    said = []
    for number, (model, points) in enumerate(curves.items()):
        rates = sorted(points)
        best = min(rates, key=lambda rate: points[rate][0])
        for panel, axis in enumerate(axes):
            look = {"color": OKABE_ITO[number], "marker": "os^"[number]}
            axis.plot(rates, [points[rate][panel] for rate in rates], ("-", "--", "-.")[number], label=model, **look)
            axis.plot(best, points[best][panel], "o", markersize=15, fillstyle="none", markeredgewidth=1.6, color="#333333")
        said.append(f"{model} " + ", ".join(f"{points[rate][0]:.1f} and {points[rate][1]:.2f} at {rate:g}" for rate in rates))
    for axis, label in zip(axes, labels):
        axis.axvline(common, color="#555555", linestyle=":", linewidth=1.6)
        axis.text(common, 0.02, " compared here", color="#444444", fontsize=9, transform=axis.get_xaxis_transform())
        every = sorted({rate for points in curves.values() for rate in points})
        axis.set(xscale="log", xlabel="learning rate", title=label, ylim=(0, 1.12 * axis.dataLim.y1))
        axis.set_xticks(every, [f"{rate:g}" for rate in every])
        axis.minorticks_off()
    axes[0].legend()
    return describe(figure, f"Validation loss and right captions against the learning rate: {'; '.join(said)}.")


def score_bars(scores: dict[str, dict[str, float]], names: dict[str, str], title: str) -> Figure:
    """Scores side by side: one group of bars for each entry of `names` (score -> label), one bar for each model.

    A score that a model lacks, since no caption claims such a thing, has no bar.
    """
    figure, axis = plt.subplots(figsize=(9.6, 3.9))
    width = 0.8 / len(scores)
    for number, (model, values) in enumerate(scores.items()):
        at = np.arange(len(names)) + (number - (len(scores) - 1) / 2) * width
        bars = axis.bar(at, [values.get(name, np.nan) for name in names], width * 0.95, label=model)
        axis.bar_label(bars, fmt="%.2f", fontsize=9)
    axis.set_xticks(range(len(names)), [label.replace(", ", ",\n") for label in names.values()], fontsize=10)
    axis.set(ylim=(0, 1.25), yticks=np.arange(0, 1.1, 0.2), ylabel="fraction of captions", title=title)
    axis.legend(loc="upper right", ncols=len(scores))
    groups = "; ".join(
        f"{label}: " + ", ".join(f"{model} {values.get(name, float('nan')):.2f}" for model, values in scores.items())
        for name, label in names.items()
    )
    return describe(figure, f"Bars per question and model. {groups}.")


def score_table(scores: dict[str, dict[str, float]], names: dict[str, str]) -> Table:
    """The same scores, and counts, as a table: a row for each entry of `names` (score -> label), a column for each model."""
    rows = [
        {"fraction, or number": label} | {model: _fraction(name, values.get(name)) for model, values in scores.items()}
        for name, label in names.items()
    ]
    return Table(rows)


def _fraction(name: str, value: float | None) -> str:
    """With three decimals; a number of captions or scenes without."""
    return "" if value is None else f"{value:.{0 if name in COUNTS else 3}f}"


def position_map(accuracy: Tensor) -> Figure:
    """Accuracy of the position probe for each cell of the grid, (h, w)."""
    figure, axis = plt.subplots(figsize=(4.6, 3.8))
    drawn = axis.imshow(accuracy.numpy(), cmap="cividis", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(accuracy.numpy()):
        dark = value < 0.55
        axis.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if dark else "black")
    axis.set(xticks=range(accuracy.shape[1]), yticks=range(accuracy.shape[0]), xlabel="column", ylabel="row")
    axis.set_title("Accuracy of the position probe")
    axis.grid(False)
    figure.colorbar(drawn, label="accuracy")
    return describe(
        figure,
        f"Grid of accuracies of the position probe: mean {accuracy.mean():.2f}, corners up to {accuracy.max():.2f}, "
        f"lowest cell {accuracy.min():.2f}, chance {1 / accuracy.numel():.2f}.",
    )


def wrap(text: str, width: int) -> str:
    """Text broken into lines of at most `width` characters; dollar signs are shown as they are."""
    import textwrap

    return "\n".join(line for part in text.splitlines() for line in textwrap.wrap(part, width)).replace("$", r"\$")
