"""The figures of the notebooks look the same whatever matplotlibrc and backend a user has."""

import base64
import io
import os
from pathlib import Path

import matplotlib
import pytest
from jupyter_client.manager import start_new_kernel
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from dl.figures.look import use_look
from tests.no_network.sitecustomize import python_path

ROOT = Path(__file__).resolve().parent.parent
DARK = (
    "axes.facecolor: black\nfigure.facecolor: black\nsavefig.facecolor: black\ntext.color: white\nlegend.labelcolor: white\n"
)
OTHER = {
    "TeX": "text.usetex: True\nfont.family: serif\naxes.unicode_minus: False\n",
    "dark": DARK + "savefig.transparent: True\n",
    "large": "font.size: 30\nlines.linewidth: 9\nfigure.constrained_layout.use: True\n",
    "file": "savefig.dpi: 20\nsavefig.bbox: tight\nsavefig.pad_inches: 2\nsavefig.format: pdf\nimage.origin: lower\n",
}


def drawn() -> Figure:
    figure, (left, right) = plt.subplots(1, 2)
    left.plot([1, 3, -2], label="a line")
    left.legend(title="key")
    right.imshow([[0, 1], [2, 3]])
    figure.suptitle("Title with $x^2$")
    return figure


def settings_and_picture() -> tuple[dict, bytes]:
    """What a notebook's figures are drawn with after `use_look`, and one of them."""
    use_look()
    figure, file = drawn(), io.BytesIO()
    figure.savefig(file, format="png")
    plt.close(figure)
    return dict(plt.rcParams), file.getvalue()


@pytest.mark.parametrize("kind", OTHER)
def test_a_matplotlibrc_changes_nothing(tmp_path, kind):
    (tmp_path / "matplotlibrc").write_text(OTHER[kind], encoding="utf-8")
    with matplotlib.rc_context():
        expected = settings_and_picture()
        matplotlib.rcdefaults()
        matplotlib.rc_file(tmp_path / "matplotlibrc")  # as matplotlib does on import with what it finds
        assert settings_and_picture() == expected


def test_figures_are_seen_in_a_kernel_with_another_backend_and_a_matplotlibrc_where_it_works(tmp_path):
    (tmp_path / "matplotlibrc").write_text("".join(OTHER.values()) + "backend: svg\n", encoding="utf-8")
    code = "from tests.test_look import *; use_look(); figure = drawn(); plt.close(figure); figure"
    environment = {**os.environ, "MPLBACKEND": "svg", "PYTHONPATH": python_path(ROOT), "IPYTHONDIR": str(tmp_path / "ipython")}
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path), env=environment)
    shown: list[dict] = []
    try:
        client.execute_interactive(code, timeout=120, output_hook=lambda message: shown.append(message["content"]))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    pictures = [content["data"]["image/png"] for content in shown if "image/png" in content.get("data", {})]
    with matplotlib.rc_context():
        use_look()
        figure, file = drawn(), io.BytesIO()
        figure.savefig(file, format="png", dpi=192, bbox_inches="tight")
        plt.close(figure)
    assert [base64.b64decode(picture) for picture in pictures] == [file.getvalue()]
