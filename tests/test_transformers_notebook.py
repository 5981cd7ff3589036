"""What the Transformers notebook shows: kinds of mistakes, evenness of attention, figures with alt text, model answers."""

import math
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
import torch

import a2_helper
import transformers
from dl.data import arithmetic
from dl.figures import transformers as show
from dl.notebook_files import source_text

ROOT = Path(__file__).resolve().parent.parent
SOURCE = source_text(ROOT / "notebooks" / "Transformers.nb.py")


@pytest.mark.parametrize(
    ("expression", "work"),
    [
        ((27, "add", 15), "adds, carry"),
        ((-27, "subtract", 12), "adds, no carry"),
        ((-30, "subtract", -34), "subtracts, no borrow"),
        ((42, "subtract", 17), "subtracts, borrow"),
        ((17, "add", -42), "subtracts, borrow"),
        ((0, "subtract", 17), "adds, no carry"),
    ],
)
def test_digit_work(expression, work):
    assert arithmetic.digit_work(expression) == work


def test_a_carry_is_what_changes_the_tens_of_a_sum():
    for a, op, b in arithmetic.all_expressions():
        if a >= 0 and b >= 0 and op == "add":
            carried = (a + b) // 10 > a // 10 + b // 10
            assert carried == (arithmetic.digit_work((a, op, b)) == "adds, carry")


def test_mistakes_by_kind_counts_results_and_tokens():
    asked = [(27, "add", 15), (28, "add", 15), (1, "add", 2), (1, "subtract", 2)]
    right = [[True] * 5, [True, True, False, False, True], [True] * 5, [True, False, True, True, True]]
    first, second, third = arithmetic.mistakes_by_kind(asked, right)
    assert (first["digits"], first["result"], first["wrong results"]) == ("subtracts, no borrow", "NEGATIVE", 1.0)
    assert (first["sign wrong"], first["ones wrong"]) == (1.0, 0.0)
    assert (second["questions"], second["wrong results"], second["tens wrong"]) == (2, 0.5, 1.0)
    assert third["wrong results"] == 0 and third["digits"] == "adds, no carry" and math.isnan(third["ones wrong"])


def test_evenness_is_one_when_flat_and_zero_when_one_token_is_read():
    flat, sharp = torch.full((2, 3, 9), 1 / 9), torch.eye(9)[None, :3]
    assert show.evenness(flat) == pytest.approx(1) and show.evenness(sharp) == pytest.approx(0, abs=1e-9)
    causal = torch.ones(4, 4).tril()
    assert show.evenness((causal / causal.sum(-1, keepdim=True))[None], causal=True) == pytest.approx(1)
    half = torch.tensor([[[0.5, 0.5, 0, 0, 0]]])
    assert show.evenness(half) == pytest.approx(0.25)  # reads 2 of 5


def blocks(rows: int, columns: int) -> list:
    head = SimpleNamespace(weights_softmax=torch.rand(1, rows, columns).softmax(-1))
    return [[head] * 4] * 2


def test_the_filmstrip_has_a_panel_per_written_token_and_one_alone_when_asked():
    asked, written = list("ABCDEFGHI"), ["BOS", "POSITIVE", "0", "4", "EOS"]
    strip = show.watch_reading(blocks(4, 9), asked, written, live=False)
    titles = [axis.get_title() for axis in strip.axes if axis.get_title()]
    assert titles == ["writes POSITIVE", "writes 0", "writes 4", "writes EOS"]
    alone = show.reading(blocks(4, 9), asked, written, only=2)
    assert [axis.get_title() for axis in alone.axes if axis.get_title()] == ["writes 4"]
    plt.close("all")


def test_position_maps_are_aligned_and_have_a_colour_bar_per_row():
    figure = show.position_maps({"a": torch.rand(9, 8), "b": torch.rand(9, 8)})
    figure.draw_without_rendering()
    panels, bars = figure.axes[:4], figure.axes[4:]
    assert [bar.get_ylabel() for bar in bars] == ["value", "similarity (cosine)"]
    for above, below in zip(panels[:2], panels[2:], strict=True):
        assert above.get_position().x0 == pytest.approx(below.get_position().x0, abs=1e-3)
        assert above.get_position().x1 == pytest.approx(below.get_position().x1, abs=1e-3)
    plt.close("all")


def test_an_answer_map_shows_what_is_wrong():
    right = {(1, "add", 2): True, (3, "add", 4): False, (1, "subtract", 2): True, (3, "subtract", 4): True}
    figure = show.answer_map({"model": right}, "title")
    assert [axis.get_title() for axis in figure.axes] == ["model: a add b, 50.0% wrong", "model: a subtract b, 0.0% wrong"]
    assert "25.0%" in figure.alt_text
    plt.close("all")


def test_numbers_in_the_prose_are_right():
    def parameters(layers: int) -> str:
        model = transformers.Transformer(4, 64, 256, 0.0, layers, layers, 16)
        return f"{sum(parameter.numel() for parameter in model.parameters()):,}"

    def smoothed(true: float) -> str:
        return f"{-0.9 * math.log(true) - 0.1 * math.log((1 - true) / 15):.3f}"

    weights = torch.tensor([1.0, 2.0, 0.0]).softmax(0)
    output = weights @ torch.tensor([[10.0, 0], [0, 10], [5, 5]])
    data = a2_helper.get_toy_data(ROOT / "datasets" / "two_digit_op.json")
    training = set(a2_helper.split_rows(data)[0])
    x = torch.tensor([1.0, 1, 5, 5])
    for text in (
        f"({parameters(2)} parameters instead of {parameters(4)})",
        f"= {len(arithmetic.all_expressions()):,} expressions",
        f"= {smoothed(0.9)}$: this loss",
        f"= {smoothed(0.99)}$.",
        *(f"11.11 = {weight:.2f}" for weight in weights),
        f"= ({output[0]:.2f}, {output[1]:.2f})$",
        f"would give ±{((x - x.mean()) / x.std()).max():.2f}",
        f"little variance ({torch.linspace(-0.4, 0.6, 8)[:4].var(correction=0):.3f})",
        f"bend at epoch {math.ceil(900 / (4500 // 256))}:",
        f"$\\ln 16 = {math.log(16):.2f}$",
    ):
        assert text in SOURCE, text
    assert len(training) < len(arithmetic.all_expressions()) / 4  # "less than a quarter"
