"""Figures of the notebooks: one module per topic, and here the few strokes that all diagrams share.

Every function returns the figure that it draws and leaves global settings alone.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

BLUE, ORANGE, GREEN, PINK, GREY = "#CFE3F2", "#FBE3C6", "#CDEBDD", "#F3D9E6", "#E6E6E6"  # fills of diagram boxes


def diagram(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty sheet of width x height units (one unit is 0.5 inch), without axes."""
    figure, axis = plt.subplots(figsize=(width / 2, height / 2))
    axis.set(xlim=(0, width), ylim=(0, height))
    axis.set_aspect("equal")
    axis.axis("off")
    figure.subplots_adjust(0, 0, 1, 1)
    return figure, axis


def box(axis: Axes, x: float, y: float, text: str, width=1.6, height=0.9, fill=BLUE, size=11) -> None:
    """A rounded box centred at (x, y)."""
    corner = (x - width / 2, y - height / 2)
    axis.add_patch(
        FancyBboxPatch(
            corner,
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.12",
            facecolor=fill,
            edgecolor="#444444",
            linewidth=1.1,
        )
    )
    axis.text(x, y, text, ha="center", va="center", fontsize=size)


def arrow(
    axis: Axes,
    start: tuple[float, float],
    stop: tuple[float, float],
    text="",
    color="#444444",
    dashed=False,
    bend=0.0,
    text_at=(0.0, 0.22),
) -> None:
    """An arrow; the text stands beside its middle, moved by `text_at`."""
    axis.add_patch(
        FancyArrowPatch(
            start,
            stop,
            arrowstyle="-|>",
            mutation_scale=12,
            color=color,
            linewidth=1.3,
            linestyle="--" if dashed else "-",
            shrinkA=0,
            shrinkB=0,
            connectionstyle=f"arc3,rad={bend}",
        )
    )
    if text:
        x, y = (start[0] + stop[0]) / 2 + text_at[0], (start[1] + stop[1]) / 2 + text_at[1]
        axis.text(x, y, text, ha="center", va="center", fontsize=10, color=color)
