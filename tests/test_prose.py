"""Numbers in the prose of the notebooks: each is printed, run or recorded by the same notebook, or computed here."""

import json
import re
from math import cos, e, log, sin, tanh
from pathlib import Path

import nbformat
import pytest
import torch

import a2_helper
import transformers
from dl.data import arithmetic
from dl.notebook_files import find_notebooks
from dl.training import simclr_experiments

ROOT = Path(__file__).resolve().parent.parent
NUMBER = re.compile(r"(?<![\w.^{\\-])(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(\s?%)?(?!\w)")
OUTSIDE_PROSE = re.compile(r"data:image[^)\"']*|`[^`]*`|\]\([^)]*\)|<[^>]+>|section \d+(\.\d+)*|\b(19|20)\d\d\b")
EMBEDDED = re.compile(r"base64,[A-Za-z0-9+/=]+|<style.*?</style>", re.DOTALL)
CARDS = "".join(card.read_text(encoding="utf-8") for card in sorted(ROOT.glob("dl/weights/files/*.md")))
NEAR = 8  # cells before and after, where a number has to stand that is quoted
DATA = a2_helper.get_toy_data(ROOT / "datasets" / "two_digit_op.json")


SUM = 1 + e + e**2


def parameters(layers: int) -> int:
    model = transformers.Transformer(4, 64, 256, 0.0, layers, layers, 16)
    return sum(parameter.numel() for parameter in model.parameters())


# Worked examples, and what follows from the data: the prose rounds them.
COMPUTED = {
    "CLIP_DINO": [
        *(128 - 1, 15 / 100, log(8), 6 / 14, 1 / 3, 2 / 3, 9 * 20),
        *(log(1 + e**-1), -0.9 * log(0.6) - 0.1 * log(0.4), -0.9 * log(0.9) - 0.1 * log(0.1)),
    ],
    "Self_Supervised_Learning": [128 - 1, 0.2 * 0.8, 0.16**2, 0.8 / 0.5, e**1.6, e, e**-0.4, simclr_experiments.UPDATES],
    "Transformers": [
        *(e, e**2, SUM, e / SUM, e**2 / SUM, (10 * e + 5) / SUM, (10 * e**2 + 5) / SUM),  # attention of three tokens
        *(e**2 / (e**2 + 1), 1 / (e**2 + 1), 10 * e**2 / (e**2 + 1)),  # and of two
        *(2 / torch.tensor([1.0, 1, 5, 5]).std().item(), torch.linspace(-0.4, 0.6, 8)[:4].var(correction=0).item()),
        *(1 / 4, 3 / 4, sin(1), cos(1), log(2), log(16), 2 * 120),
        *(0.1 / 15, -0.9 * log(0.9), -0.1 * log(0.1 / 15), -0.9 * log(0.99), -0.1 * log(0.01 / 15)),  # label smoothing
        *(-0.9 * log(0.9) - 0.1 * log(0.1 / 15), -0.9 * log(0.99) - 0.1 * log(0.01 / 15)),
        *(len(DATA["inp_expression"]), len(set(a2_helper.split_rows(DATA)[0])), len(arithmetic.all_expressions())),
        *(parameters(layers=2), parameters(layers=4)),
    ],
    "rnn_lstm_captioning": [
        *(
            tanh(1),
            tanh(1) ** 2,
            1 + 0.3,
            1.3 * 0.8,
            1.3 * 0.8 * 0.5,
            0.6 + 1.3 * 0.8,
            1 / (1 + e**-1),
            1 / (1 + e**-2),
            1 / (1 + e**-3),
        ),
        *(log(2), log(4), log(2) + log(4), log(5), -0.06 * log(0.06), -0.94 * log(0.94)),
    ],
}
HEADS = "python -m benchmarks clip_dino, a minute"
# What is not computed here: number -> its source.
STATED = {
    "CLIP_DINO": {
        "32,768": "Radford et al. 2021, table 18",
        "0.04": "Caron et al. 2021, section 3.1",
        "0.640": HEADS,
        "0.649": HEADS,
    },
    "rnn_lstm_captioning": {"1.8": "target of the reference setting", "0.0015": "a cell defines it as 15e-4"},
}


def written(text: str) -> set[str]:
    """All numbers of a text, without the commas of thousands."""
    return {number.replace(",", "") for number in re.findall(r"(?<![\d.])\d+(?:,\d{3})*(?:\.\d+)?", text)}


def shown(cell: nbformat.NotebookNode) -> tuple[set[str], set[float]]:
    """What a cell runs and draws (as written), and what it prints (to be rounded)."""
    if cell.cell_type != "code":
        return set(), set()
    drawn = [cell.source, *(json.dumps(output.get("metadata", {})) for output in cell.outputs)]
    printed = [output.get("text", "") for output in cell.outputs]
    for output in cell.outputs:
        printed += [EMBEDDED.sub("", text) for kind, text in output.get("data", {}).items() if kind.startswith("text/")]
    return written(" ".join(drawn)), {float(number) for number in written(" ".join(printed))}


@pytest.mark.parametrize("path", find_notebooks([]), ids=lambda path: path.stem)
def test_a_number_in_the_prose_is_shown_nearby_or_on_a_card_or_computed(path):
    cells = nbformat.read(path, as_version=4).cells
    parts = [shown(cell) for cell in cells]
    unknown = []
    for at, cell in enumerate(cells):
        near = parts[max(at - NEAR, 0) : at + NEAR + 1]
        exact = written(CARDS).union(*(drawn for drawn, _ in near))
        known = set(COMPUTED[path.stem]).union(*(printed for _, printed in near))
        for whole, fraction, percent in NUMBER.findall(
            OUTSIDE_PROSE.sub("", cell.source) if cell.cell_type == "markdown" else ""
        ):
            number, digits = whole.replace(",", "") + fraction, max(len(fraction) - 1, 0)
            plain = number.replace(".", "").strip("0")
            if len(plain) < 2 or (not digits and not percent and len(number) < 3):
                continue  # sizes and counts that a reader sees at once, and the round numbers of worked examples
            value = float(number)
            agrees = any(round(one, digits) == value or percent and round(100 * one, digits) == value for one in known)
            if not agrees and number not in exact and whole + fraction not in STATED.get(path.stem, {}):
                unknown.append(f"{whole}{fraction} in cell {at}: {cell.source[:50]}")
    assert not unknown, "neither shown nearby nor computed"
