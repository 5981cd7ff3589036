"""Drawings for `CLIP_DINO.ipynb`. Every function returns its figure, with alt text."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from dl import settings
from dl.figures import BLUE, GREEN, GREY, ORANGE, PINK, arrow, box, diagram
from dl.figures.look import describe
from dl.video import class_colours

LEARNED, UNTRAINED, HAND = "#D55E00", "#0072B2", "#999999"  # Okabe-Ito: trained features, random ones, made by hand
MATCH = "#F0A878"  # the diagonal of a drawn matrix, and the winner of a row


def clip_method(texts: Sequence[str], classes: Sequence[str]) -> Figure:
    """CLIP: on the left every text of a batch against every image, on the right a classifier made of class texts.

    Args:
        texts: three short captions. classes: three class texts; the second one wins.
    """
    figure, axis = diagram(20.0, 8.4)
    axis.text(5.0, 8.1, "1. Training: which text belongs to which image?", ha="center", fontsize=12)
    for row, text in enumerate(texts):
        box(axis, 1.8, 7.1 - 0.62 * row, text, width=3.5, height=0.5, fill=GREY, size=9)
    box(axis, 4.75, 6.5, "text\nencoder", width=1.7, height=1.3, fill=BLUE)
    arrow(axis, (3.55, 6.5), (3.9, 6.5))
    for row in range(3):
        axis.add_patch(Rectangle((0.5 + 0.25 * row, 2.1 - 0.4 * row), 1.9, 1.3, facecolor=GREY, edgecolor="#444444"))
    axis.text(1.95, 1.95, "images", ha="center", va="center", fontsize=10)
    box(axis, 4.75, 2.3, "image\nencoder", width=1.7, height=1.3, fill=ORANGE)
    arrow(axis, (3.0, 2.3), (3.9, 2.3))
    _grid(axis, left=6.7, top=4.6, columns=["$T_1$", "$T_2$", "…", "$T_N$"], rows=["$I_1$", "$I_2$", "…", "$I_N$"])
    arrow(axis, (5.6, 6.5), (8.3, 5.65), bend=-0.25)
    arrow(axis, (5.6, 2.3), (5.95, 2.5))

    axis.plot([10.6, 10.6], [0.4, 8.0], color="#BBBBBB", linestyle=":")
    axis.text(15.4, 8.1, "2. Zero-shot: which class text fits best?", ha="center", fontsize=12)
    for row, text in enumerate(classes):
        box(axis, 12.4, 7.1 - 0.62 * row, text, width=2.4, height=0.5, fill=PINK if row == 1 else GREY, size=9)
    box(axis, 15.4, 6.5, "text\nencoder", width=1.7, height=1.3, fill=BLUE)
    arrow(axis, (13.65, 6.5), (14.55, 6.5))
    axis.add_patch(Rectangle((11.3, 1.6), 1.9, 1.4, facecolor=GREY, edgecolor="#444444"))
    axis.text(12.25, 2.3, "one image", ha="center", va="center", fontsize=9)
    box(axis, 15.4, 2.3, "image\nencoder", width=1.7, height=1.3, fill=ORANGE)
    arrow(axis, (13.25, 2.3), (14.55, 2.3))
    _grid(axis, left=17.5, top=4.6, columns=["$T_1$", "$T_2$", "$T_3$"], rows=["$I_1$"], winner=1)
    arrow(axis, (16.25, 6.5), (18.4, 5.65), bend=-0.25)
    arrow(axis, (16.25, 2.3), (17.0, 3.6), bend=0.2)
    arrow(axis, (18.55, 3.65), (18.55, 2.75), color=LEARNED)
    axis.text(18.55, 2.4, f"“{classes[1]}”", ha="center", va="center", fontsize=11, color=LEARNED)
    return describe(
        figure,
        "Two diagrams. Training: a text encoder and an image encoder turn a batch into N text and N image vectors; in the "
        "table of all N x N products the diagonal is marked. Zero-shot: one image is compared with the vectors of "
        f"{len(classes)} class texts, and the largest product names it: {classes[1]}.",
    )


def _grid(axis: Axes, left: float, top: float, columns: list[str], rows: list[str], winner: int | None = None) -> None:
    """A table of dot products with names on its sides; the diagonal, or one cell, is marked."""
    side = 0.82
    for c, name in enumerate(columns):
        box(axis, left + (c + 0.5) * side, top + 0.5, name, width=0.74, height=0.66, fill=BLUE, size=10)
    for r, name in enumerate(rows):
        box(axis, left - 0.42, top - (r + 0.5) * side, name, width=0.66, height=0.74, fill=ORANGE, size=10)
        for c in range(len(columns)):
            marked = c == (r if winner is None else winner)
            axis.add_patch(
                Rectangle(
                    (left + c * side, top - (r + 1) * side),
                    side,
                    side,
                    edgecolor="#444444",
                    facecolor=MATCH if marked else "white",
                )
            )
            if "…" not in (name, columns[c]):
                axis.text(
                    left + (c + 0.5) * side,
                    top - (r + 0.5) * side,
                    f"{name[:-1]}\\!\\cdot\\!{columns[c][1:]}",
                    ha="center",
                    va="center",
                    fontsize=9,
                )


def dino_method() -> Figure:
    """DINO: crops of one image, a student that learns, a teacher that follows it, and a target that does not collapse."""
    figure, axis = diagram(19.0, 7.8)
    box(axis, 1.2, 3.7, "image", width=1.8, height=1.2, fill=GREY)
    for y, crops, what in (
        (5.6, "all crops,\nsmall ones too", "student $\\theta_s$"),
        (1.8, "large crops\nonly", "teacher $\\theta_t$"),
    ):
        arrow(axis, (2.1, 3.7 + (0.3 if y > 3 else -0.3)), (3.2, y))
        box(axis, 4.4, y, crops, width=2.3, height=1.2, fill=ORANGE, size=10)
        arrow(axis, (5.55, y), (6.4, y))
        box(axis, 7.6, y, what, width=2.2, height=1.2, fill=BLUE, size=11)
        arrow(axis, (8.7, y), (9.5, y))
    box(axis, 10.95, 5.6, "softmax\nat $\\tau_s$", width=2.9, height=1.2, fill=GREEN, size=10)
    box(axis, 10.95, 1.8, "minus centre $C$\nsoftmax at $\\tau_t < \\tau_s$", width=2.9, height=1.2, fill=GREEN, size=9)
    arrow(axis, (7.6, 5.0), (7.6, 2.4), color=LEARNED, dashed=True)
    axis.text(
        7.75,
        3.7,
        "slow average:\n$\\theta_t \\leftarrow \\lambda\\theta_t + (1-\\lambda)\\,\\theta_s$",
        ha="left",
        va="center",
        fontsize=10,
        color=LEARNED,
    )
    arrow(axis, (12.4, 5.6), (12.8, 5.6))
    arrow(axis, (12.4, 1.8), (12.8, 1.8))
    _distribution(axis, 13.1, 4.9, (0.1, 0.16, 0.52, 0.14, 0.08), "$p_s$")
    _distribution(axis, 13.1, 1.1, (0.02, 0.04, 0.88, 0.04, 0.02), "$p_t$")
    box(axis, 17.4, 3.7, "$-\\sum_k p_{t,k} \\ln p_{s,k}$", width=2.9, height=1.1, fill=PINK, size=11)
    arrow(axis, (15.45, 5.6), (17.0, 4.25))
    arrow(axis, (15.45, 1.8), (17.0, 3.15))
    arrow(axis, (18.3, 4.25), (7.6, 6.2), color=LEARNED, bend=0.42)
    axis.text(11.9, 7.55, "gradient", ha="center", va="center", fontsize=10, color=LEARNED, backgroundcolor="white")
    axis.plot([16.15, 16.35], [2.75, 2.3], color="#444444", linewidth=2)
    axis.text(16.5, 2.35, "no gradient", ha="left", va="center", fontsize=9, color="#555555")
    return describe(
        figure,
        "Diagram of DINO. All crops of an image go through the student and a softmax; the large crops go through the "
        "teacher, whose scores lose the centre C and meet a sharper softmax. The cross-entropy of both distributions sends "
        "its gradient to the student only; the teacher's weights are a slow average of the student's.",
    )


def _distribution(axis: Axes, left: float, bottom: float, heights: Sequence[float], name: str) -> None:
    """A small bar chart in a frame, 2.65 x 1.9 units."""
    frame = Rectangle((left - 0.3, bottom - 0.2), 2.65, 1.9, facecolor="white", edgecolor="#444444")
    axis.add_patch(frame)
    for k, height in enumerate(heights):
        axis.add_patch(Rectangle((left + 0.42 * k, bottom), 0.34, 1.5 * height + 0.03, facecolor=GREEN, edgecolor="#444444"))
    axis.text(left + 1.0, bottom - 0.5, name, fontsize=11, ha="center", va="center")


def two_entropies(runs: Mapping[str, tuple[Sequence[float], Sequence[float]]], kinds: int, outputs: int) -> Figure:
    """Entropies through a training of the toy, of one image's answer and of all answers together; a panel for each run.

    Args:
        runs: name -> (of one, of all), as `dl.models.dino_toy.entropies` returns them.
    """
    figure, axes = plt.subplots(1, len(runs), figsize=(3.3 * len(runs), 3.1), sharey=True, layout="constrained")
    levels = {np.log(outputs): f"ln {outputs}: all\nequally likely", np.log(kinds): f"ln {kinds}: one\nfor each kind"}
    for axis, (name, (of_one, of_all)) in zip(axes, runs.items()):
        for value in levels:
            axis.axhline(value, color="#888888", linewidth=1, linestyle=":")
        axis.plot(of_all, color=UNTRAINED, linestyle="--", label="of the mean of all answers")
        axis.plot(of_one, color=LEARNED, label="of the answer for one image")
        axis.set(title=name, xlabel="step", ylim=(-0.1, 3.3))
    axes[0].set_ylabel("entropy (nats)")
    for value, text in levels.items():  # beside the last panel, where no curve crosses them
        place = {"transform": axes[-1].get_yaxis_transform(), "ha": "left", "va": "center"}
        axes[-1].text(1.03, value, text, fontsize=9, color="#555555", **place)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncol=2, fontsize=9)
    figure.suptitle("What keeps the answers clear, and different from each other?", fontsize=12)
    ends = "; ".join(f"{name}: {of_one[-1]:.2f} and {of_all[-1]:.2f} nats" for name, (of_one, of_all) in runs.items())
    return describe(figure, f"Entropy of one answer, and of the mean of all answers, at the end of training. {ends}.")


def titled_images(images: Sequence[np.ndarray], titles: Sequence[str], question: str, columns: int = 5) -> Figure:
    """Images in rows, a wrapped title above each."""
    rows = -(-len(images) // columns)
    wrapped = [_wrapped(title, 23) for title in titles]
    height = 2.05 + 0.16 * max(title.count("\n") + 1 for title in wrapped)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.0 * columns, height * rows + 0.4), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], facecolor="white")
        axis.grid(False)
    for axis in axes.flat[len(images) :]:
        axis.axis("off")
    for axis, image, title in zip(axes.flat, images, wrapped):
        axis.imshow(image, cmap="gray")
        axis.set_title(title, fontsize=9)
    figure.suptitle(question, fontsize=12)
    return describe(figure, f"{len(images)} images with their titles: {'; '.join(titles)}.")


def _wrapped(text: str, width: int) -> str:
    """Text in lines of at most `width` characters: as few as it takes, and of about equal length."""
    count = len(textwrap.wrap(text, width))
    narrowest = next(w for w in range(1, width + 1) if len(textwrap.wrap(text, w)) <= count)
    return textwrap.fill(text, narrowest)


def similarity_matrix(
    similarity: np.ndarray, captions: Sequence[str], images: Sequence[np.ndarray], title: str, low: float, high: float
) -> Figure:
    """Cosines of texts (rows) and images (columns, shown above them), two decimals in each cell.

    Args:
        similarity: (N, M). low, high: the cosines at the ends of the colour scale.
    """
    N, M = similarity.shape
    figure, axis = plt.subplots(figsize=(10.0, 7.0))
    axis.imshow(similarity, vmin=low, vmax=high, cmap="cividis")
    for (row, column), value in np.ndenumerate(similarity):
        bright = value > low + 0.6 * (high - low)
        axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=9, color="black" if bright else "white")
    for column, image in enumerate(images):  # the lower origin under an axis that points down keeps them upright
        axis.imshow(image, extent=(column - 0.45, column + 0.45, -1.6, -0.6), origin="lower", cmap="gray")
    for side in ("left", "top", "right", "bottom"):
        axis.spines[side].set_visible(False)
    axis.grid(False)
    axis.set(xlim=(-0.5, M - 0.5), ylim=(N - 0.4, -1.7), xticks=[], facecolor="white")
    axis.set_yticks(range(N), [_wrapped(caption, 34) for caption in captions], fontsize=9)
    axis.set_title(title, fontsize=12)
    figure.tight_layout()
    others = similarity[~np.eye(N, M, dtype=bool)]
    return describe(
        figure,
        f"Table of the cosines of {N} captions and {M} images: {similarity.diagonal().min():.2f} to "
        f"{similarity.diagonal().max():.2f} on the diagonal, {others.min():.2f} to {others.max():.2f} elsewhere.",
    )


def cosine_ranges(tables: Mapping[str, np.ndarray]) -> Figure:
    """Cosines of matching and of other pairs, a row of dots for each table (N, N) of texts and images."""
    figure, axis = plt.subplots(figsize=(8.4, 1.0 + 0.9 * len(tables)), layout="constrained")
    said = []
    for row, (name, table) in enumerate(tables.items()):
        own = np.eye(len(table), dtype=bool)
        for values, colour, marker, lift, label in (
            (table[own], LEARNED, "o", 0.16, "caption and its own image"),
            (table[~own], UNTRAINED, "|", -0.16, "caption and another image"),
        ):
            axis.plot(
                values,
                np.full(len(values), row + lift),
                marker,
                color=colour,
                markeredgewidth=1.5,
                alpha=0.8,
                label=None if row else label,
            )
        said.append(f"{name}: own images {table[own].mean():.2f} on average, others {table[~own].mean():.2f}")
    axis.set_yticks(range(len(tables)), tables)
    axis.set(xlabel="cosine", xlim=(-0.5, 1.02), ylim=(-0.5, len(tables) - 0.3))
    axis.set_title("How far apart are matching and mismatched pairs?")
    figure.legend(loc="outside lower center", ncol=2)
    return describe(figure, "Dots on a scale of cosines. " + "; ".join(said) + ".")


def attention_maps(image: np.ndarray, rows: Mapping[str, np.ndarray], title: str) -> Figure:
    """An image, and beside it a map for each head in a row for each model.

    Args:
        image: (H, W, 3). rows: name of a model -> (heads, h, w), each map on its own colour scale.
    """
    heads = max(len(maps) for maps in rows.values())
    figure, axes = plt.subplots(
        len(rows),
        heads + 1,
        figsize=(min(1.75 * (heads + 1), 10.0), 1.95 * len(rows) + 0.4),
        squeeze=False,
        layout="constrained",
    )
    for line, (name, maps) in zip(axes, rows.items()):
        for axis in line:
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
        line[0].imshow(image)
        line[0].set_ylabel(name, fontsize=11)
        for head, (axis, values) in enumerate(zip(line[1:], maps), start=1):
            axis.imshow(values, cmap="inferno")
            axis.set_title(f"head {head}", fontsize=9)
    figure.suptitle(title, fontsize=12)
    brightest = "; ".join(f"{name}: {', '.join(map(_brightest, maps))}" for name, maps in rows.items())
    return describe(figure, f"An image and {heads} attention maps of it in each row. Brightest patch of each: {brightest}.")


def _brightest(values: np.ndarray) -> str:
    """Where a map (h, w) is largest, in words."""
    row, column = np.unravel_index(values.argmax(), values.shape)
    return f"row {row + 1} of {values.shape[0]} and column {column + 1} of {values.shape[1]}"


def attention_over_time(
    frames: Sequence[np.ndarray], rows: Mapping[str, np.ndarray], title: str, shown: Sequence[int]
) -> Figure:
    """Frames of a video, and below each frame its attention map, in a row for each network.

    Args:
        frames: T of (H, W, 3). rows: name of a network -> (T, h, w), on one colour scale for all its frames. shown: which
            frames.
    """
    H, W = frames[0].shape[:2]
    width = min(3.2, 9.6 / len(shown))
    size = width * len(shown) + 0.4, (width * H / W + 0.1) * (1 + len(rows)) + 0.7
    figure, axes = plt.subplots(1 + len(rows), len(shown), figsize=size, squeeze=False, layout="constrained")
    for column, f in enumerate(shown):
        axes[0, column].imshow(frames[f])
        axes[0, column].set_title(f"frame {f}", fontsize=10)
        for line, maps in zip(axes[1:], rows.values()):
            line[column].imshow(maps[f], cmap="inferno", vmin=0, vmax=maps.max(), extent=(0, W, H, 0))
    for line, name in zip(axes, ("video", *rows)):
        line[0].set_ylabel(name, fontsize=10)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
    figure.suptitle(title, fontsize=12)
    numbers = ", ".join(str(f) for f in shown)
    brightest = "; ".join(f"{name}: {', '.join(_brightest(maps[f]) for f in shown)}" for name, maps in rows.items())
    return describe(figure, f"A video (frame {numbers}) and its attention maps below. Brightest patch of each: {brightest}.")


def watch_attention(frames: Sequence[np.ndarray], rows: Mapping[str, np.ndarray], title: str) -> Figure | None:
    """`attention_over_time` as a filmstrip of six frames; with a reader at the keyboard, one frame at a time with a slider."""
    last = len(frames) - 1
    if settings.unattended():
        return attention_over_time(frames, rows, title, [round(last * step / 5) for step in range(6)])
    from ipywidgets import IntSlider, interact

    def show(frame: int) -> None:
        attention_over_time(frames, rows, title, [frame])
        plt.show()

    interact(show, frame=IntSlider(value=0, min=0, max=last))
    return None


def top_patches(images: Sequence[np.ndarray], rows: Mapping[str, Sequence[np.ndarray]], title: str) -> Figure:
    """Images in the first row; below, a row for each name: those patches (h, w bool) that are marked, on the image."""
    figure, axes = plt.subplots(1 + len(rows), len(images), figsize=(1.22 * len(images), 1.3 * (1 + len(rows)) + 0.4))
    shown = {"image": list(images)}
    for name, marks in rows.items():
        shown[name] = []
        for image, mark in zip(images, marks):
            H, W = image.shape[:2]
            large = mark[np.arange(H)[:, None] * mark.shape[0] // H, np.arange(W) * mark.shape[1] // W]
            shown[name].append(np.where(large[..., None], image, image // 5))
    for line, (name, row) in zip(axes, shown.items()):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10)
        for axis, image in zip(line, row):
            axis.imshow(image)
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
    figure.suptitle(title, fontsize=12)
    figure.tight_layout(pad=0.3)
    return describe(figure, f"{len(images)} scenes; below, bright, the most attended patches for: {', '.join(rows)}.")


def moving(frames: Sequence[np.ndarray], fps: float, alt: str, width: int = 480):
    """Frames as an animation inside the notebook, in a format that every browser plays (animated WebP), repeated.

    Args:
        frames: uint8 (H, W, 3). alt: what it shows, in words. width: as shown, in pixels.
    Returns:
        an IPython HTML object.
    """
    import base64
    import html
    import io

    from IPython.display import HTML
    from PIL import Image

    images = [Image.fromarray(frame) for frame in frames]
    size = width, round(width * images[0].height / images[0].width)
    images = [image.resize(size, Image.Resampling.LANCZOS) for image in images]
    file = io.BytesIO()
    images[0].save(file, "WEBP", save_all=True, append_images=images[1:], duration=round(1000 / fps), loop=0, quality=35)
    data = base64.b64encode(file.getvalue()).decode()
    return HTML(f'<img src="data:image/webp;base64,{data}" alt="{html.escape(alt)}">')


def as_colours(components: np.ndarray) -> np.ndarray:
    """Three components per row (P, 3), each stretched to the range from 0 to 1."""
    low, high = components.min(axis=0), components.max(axis=0)
    return (components - low) / (high - low)


def side_by_side(images: Mapping[str, np.ndarray], title: str, height: float = 3.0) -> Figure:
    """Images in one row, a name above each."""
    ratios = [image.shape[1] / image.shape[0] for image in images.values()]
    height = min(height, 10.0 / sum(ratios))
    figure, axes = plt.subplots(1, len(images), figsize=(height * sum(ratios), height + 0.7), width_ratios=ratios)
    for axis, (name, image) in zip(np.atleast_1d(axes), images.items()):
        axis.imshow(image)
        axis.set_title(name, fontsize=11)
        axis.axis("off")
    figure.suptitle(title, fontsize=12)
    figure.tight_layout(pad=0.5)
    return describe(figure, f"{title.rstrip('.')}. Side by side: {', '.join(images)}.")


def sheet(rows: Mapping[str, Sequence[np.ndarray]], columns: Sequence[str], title: str, alt: str, classes: int = 0) -> Figure:
    """Frames of one size as a table, about 310 pixels wide in three columns: a name for each row, one for each column.

    Args:
        alt: alt text. classes: with the background; if given, a legend says which outline is which object.
    """
    H, W = next(iter(rows.values()))[0].shape[:2]
    cell = 10.0 / len(columns)
    size = 10.3, cell * H / W * len(rows) + (1.05 if classes else 0.7)
    figure, axes = plt.subplots(len(rows), len(columns), figsize=size, squeeze=False)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.05, wspace=0.0, hspace=0.0)
    for line, (name, frames) in zip(axes, rows.items()):
        line[0].set_ylabel(name, fontsize=10)
        for axis, frame in zip(line, frames):
            axis.imshow(frame)
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
    for axis, name in zip(axes[0], columns):
        axis.set_title(name, fontsize=10)
    if classes:
        figure.legend(handles=_outlines(classes), loc="outside lower center", ncol=classes, fontsize=10)
    figure.suptitle(title, fontsize=12)
    rows_named = f" Rows: {', '.join(rows)}." if len(rows) > 1 else ""
    return describe(figure, f"{alt}{rows_named} Columns: {', '.join(columns)}.")


def _outlines(classes: int) -> list[Line2D]:
    """Legend of `dl.video.outline_objects`."""
    handles = [
        Line2D([], [], color=colour / 255, linewidth=4, label=f"object {number}")
        for number, colour in enumerate(class_colours(classes)[1:], start=1)
    ]
    return [*handles, Line2D([], [], color="#777777", linewidth=9, label="background: grey")]


def iou_through_time(curves: Mapping[str, Sequence[float]], train_frame: int, title: str) -> Figure:
    """Mean IoU of every frame of a video; the frame that the head was trained on is marked.

    Args:
        curves: one or two, with learnt features first.
    """
    figure, axis = plt.subplots(figsize=(7.4, 3.2))
    for (name, values), style, colour in zip(curves.items(), ("-", "--"), (LEARNED, UNTRAINED)):
        axis.plot(values, style, color=colour, label=name)
    axis.axvline(train_frame, color="#666666", linewidth=1)
    axis.text(train_frame, 0.03, " training frame", fontsize=9, color="#444444")
    axis.set(xlabel="frame", ylabel="mean IoU", ylim=(0, 1.02), title=title)
    axis.locator_params(axis="x", integer=True)
    if len(curves) > 1:
        axis.legend(fontsize=9)
    figure.tight_layout()
    said = "; ".join(
        f"{name}: {min(values):.2f} to {max(values):.2f}, mean {np.mean(values):.2f}" for name, values in curves.items()
    )
    return describe(figure, f"Mean IoU per frame; training frame {train_frame}. {said}.")


def feature_comparison(scores: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Mean IoU by kind of features: a bar for the mean over videos, a dot for each video.

    Args:
        scores: name of the features -> one value for each video, in the same order. The first is the one to be beaten.
    """
    figure, axis = plt.subplots(figsize=(7.4, 3.4))
    colours = [LEARNED, UNTRAINED, *[HAND] * len(scores)]
    for place, (values, colour) in enumerate(zip(scores.values(), colours)):
        axis.bar(place, np.mean(values), width=0.62, color=colour, alpha=0.75)
        axis.plot(place + np.linspace(-0.22, 0.22, len(values)), values, "o", color="#333333", markersize=3.5)
        axis.text(place, 0.02, f"{np.mean(values):.2f}", ha="center", fontsize=11, fontweight="bold")
    axis.set_xticks(range(len(scores)), [textwrap.fill(name, 15) for name in scores])
    axis.set(ylabel="mean IoU", ylim=(0, 1), title=title)
    figure.tight_layout()
    return describe(figure, "Bars: " + ", ".join(f"{name} {np.mean(values):.2f}" for name, values in scores.items()) + ".")


def scores_beside(names: Sequence[str], groups: Mapping[str, Sequence[float]], title: str, chance: Sequence[float]) -> Figure:
    """Shares that are right, a group of bars for each name, and the share that guessing reaches as a line."""
    figure, axis = plt.subplots(figsize=(8.4, 3.2), layout="constrained")
    width = 0.8 / len(groups)
    for number, (group, values) in enumerate(groups.items()):
        positions = np.arange(len(names)) + (number + 0.5) * width - 0.4
        axis.bar(positions, values, width=0.92 * width, label=group, hatch="//" if number else "")
        for position, value, guess in zip(positions, values, chance):
            above = guess if value - 0.02 < guess < value + 0.1 else value  # a number is not crossed by the line of guessing
            axis.text(position, above + 0.015, f"{value:.2f}", ha="center", va="bottom", fontsize=10)
    for position, share in enumerate(chance):
        label = None if position else "guessing"
        axis.plot([position - 0.4, position + 0.4], [share, share], color="black", linestyle=":", linewidth=1.5, label=label)
    axis.set_xticks(range(len(names)), names)
    axis.set(ylabel="fraction right", ylim=(0, 1.12), title=title)
    figure.legend(fontsize=9, loc="outside right upper")
    said = (f"{group}: " + ", ".join(f"{n} {v:.2f}" for n, v in zip(names, values)) for group, values in groups.items())
    return describe(figure, f"Bars of the fractions that are right. {'; '.join(said)}.")
