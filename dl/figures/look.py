"""One look for every figure of a notebook: sharp, legible, with a text for those who cannot see it."""

from __future__ import annotations

import sys
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from dl import settings

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INCH = 96  # pixels of a screen per inch of a figure: 9 points are 12 pixels
OF_NOTEBOOKS = ("inline", "ipympl", "widget", "nbagg")  # parts of the names of backends that draw into a notebook
SHARPNESS = 2  # pixels of the file per pixel of the screen


def describe(figure: Figure, alt: str) -> Figure:
    """Give a figure its alt text: one or two sentences that say what a reader would see. Returns the figure."""
    figure.alt_text = " ".join(alt.split())  # type: ignore[attr-defined]
    return figure


def use_look() -> None:
    """Set how figures look, from matplotlib's defaults on: no matplotlibrc of the user's; and how IPython shows them."""
    shell: Any = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if hasattr(shell, "kernel") and not any(name in plt.get_backend() for name in OF_NOTEBOOKS):
        shell.enable_matplotlib("inline")  # MPLBACKEND was set for other programs; the figures would not be seen
    if inline := shell is not None and "inline" in plt.get_backend():
        plt.switch_backend(plt.get_backend())  # the backend sets its own format when it is first used: let that be now
    matplotlib.rcdefaults()
    if (style := "seaborn-v0_8") in plt.style.available:
        plt.style.use(style)
    plt.rcParams.update(
        {
            "figure.figsize": (7.0, 4.0),
            "figure.dpi": INCH,
            "figure.facecolor": "white",
            "font.size": 11,
            "axes.titlesize": 12,
            "axes.labelsize": 11,
            "xtick.labelsize": 10,
            "ytick.labelsize": 10,
            "legend.fontsize": 10,
            "image.interpolation": "nearest",
            "image.cmap": "gray",
            "axes.prop_cycle": cycler(color=OKABE_ITO),
            "patch.facecolor": OKABE_ITO[0],
        }
    )
    if inline:
        shell.display_formatter.formatters["image/png"].for_type(Figure, _png)


def _png(figure: Figure) -> tuple[bytes, dict] | None:
    """A PNG sharp on a screen of double density, with its size on the screen and its alt text; with DL_QUICK a coarse one."""
    from IPython.core.pylabtools import print_figure

    sharpness, edges = (1, None) if settings.quick() else (SHARPNESS, "tight")  # "tight" draws everything twice
    content = print_figure(figure, fmt="png", dpi=sharpness * INCH, bbox_inches=edges)
    if content is None:  # an empty figure
        return None
    width, height = (int.from_bytes(content[at : at + 4], "big") // sharpness for at in (16, 20))
    return content, {"width": width, "height": height, "alt": getattr(figure, "alt_text", "")}
