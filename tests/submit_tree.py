"""Trees to hand in, for the tests of `dl.submit`: a golden one, with nothing to be found, and a notebook of traps."""

from __future__ import annotations

import base64
import io
import json
import os
from pathlib import Path

from dl.submit import cells as notebook
from dl.submit import required
from dl.submit.files import NOTEBOOKS, code_of

TIME = 1_700_000_000  # when the code was written; the outputs are a minute younger


def picture(width: int = 40, height: int = 20, kind: str = "PNG") -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (width, height), (200, 80, 40)).save(stream, kind)
    return stream.getvalue()


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def markdown(source: str, **more) -> dict:
    return {"cell_type": "markdown", "metadata": {}, "source": source, **more}


def code(source: str, *outputs: dict, count: int | None = None) -> dict:
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": list(outputs), "execution_count": count}


def printed(text: str, name: str = "stdout") -> dict:
    return {"output_type": "stream", "name": name, "text": text}


def shown(**data) -> dict:
    """An output by kind: the last part of its MIME type, such as png or html."""
    kinds = {"png": "image/png", "jpeg": "image/jpeg", "svg": "image/svg+xml"}
    named = {kinds.get(kind, f"text/{kind}"): value for kind, value in data.items()}
    return {"output_type": "display_data", "metadata": {}, "data": {"text/plain": "<Figure>", **named}}


def stopped(name: str, value: str, *traceback: str) -> dict:
    return {"output_type": "error", "ename": name, "evalue": value, "traceback": list(traceback)}


def answer(text: str) -> dict:
    return markdown(f"**Your answer:** {text}", metadata={"tags": ["answer"]})


def cells_of(name: str) -> list[dict]:
    """A short executed notebook with an answered question."""
    return [
        markdown(f"# {name}\n\nText with $x^2$ and a list:\n- one\n- two"),
        code("from dl.notebook import setup", printed("Using CPU\n"), count=1),
        markdown("## First part"),
        code("session.check('sums to 1', True)", printed("ok: sums to 1\n"), count=2),
        code("plot()", shown(png=base64_of(picture())), count=3),
        markdown("## Question 1\n\nWhy?"),
        answer("Because."),
        code("make_assignment2_submission('./')"),
    ]


def document(cells: list[dict]) -> dict:
    """A notebook of format 4.5; cells without an id get one."""
    with_ids = [{"id": f"cell-{number}", **cell} for number, cell in enumerate(cells)]
    return {"cells": with_ids, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def write(path: Path, content: bytes | str | dict, age: float = 0) -> None:
    """Write a file as of `age` seconds before the outputs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps(content) if isinstance(content, dict) else content
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.utime(path, (TIME + 60 - age, TIME + 60 - age))


def golden(project: Path) -> Path:
    """A project in which everything is there, executed and answered."""
    for name in (
        "a2_helper.py",
        "rnn_lstm_captioning.py",
        "transformers.py",
        "dl/__init__.py",
        "dl/clip_dino.py",
        "dl/simclr/__init__.py",
        "dl/simclr/model.py",
        "dl/weights/__init__.py",
    ):
        write(project / name, f"# {name}\n", age=60)
    write(project / "dl/weights/files/regnet.md", "# Card\n")
    for name in NOTEBOOKS:
        write(project / f"notebooks/{name}.ipynb", document(cells_of(name)))
        write(
            project / f"results/{name}.json",
            {
                "notebook": name,
                "data": "sample",
                "device": "cpu",
                "scores": {"accuracy": 0.5},
                "checks": ["sums to 1"],
                "code": code_of(name, project),
            },
        )
    for name in (
        "datasets/two_digit_op.json",
        "artifacts/transformer.pt",
        "dino_res.mp4",
        "submissions/rnn_lstm_attention_submission.pt",
    ):
        write(project / name, f"contents of {name}")
    write(project / "student.txt", "name: Zoë Ångström\nid: 42\n")
    return project


def required_of(name: str) -> dict[str, required.Required]:
    """What the course requires of the golden notebook: its code cells and its answer, not answered."""
    found = {}
    for cell in notebook.read_notebook(name, json.dumps(document(cells_of(name))).encode()).cells:
        if cell.kind == "code" or cell.is_answer:
            found[cell.id] = required.Required(cell.kind, cell.section, cell.label, cell.source[:20], cell.is_answer)
    return found


LONG_WORD = "supercalifragilistic" * 12

TRAPS = [
    markdown("# Traps\n\nEach cell has something that stopped a PDF once."),
    markdown(
        "## Equations\n\nBare:\n\\begin{align}\na &= b \\label{one} & c &= d \\nonumber\\\\\n"
        "long &= right & x &= y\n\\end{align}\n"
        "in a text, with blanks $ x_i $ and $\\argmax_i \\|z_i\\|_2$ and $a_1$ *times* $b_2$."
    ),
    markdown("$$\n\\begin{align*} p &= q \\tag{7} \\\\\n\n r &= \\frac{1}{2} \\odot s \\cap t \\end{align*}\n$$"),
    markdown("\\begin{equation}\ny = \\operatorname{softmax}(Wx)\n\\end{equation} and \\\\(z\\\\) and \\\\[w = 1\\\\]"),
    markdown("Unknown $\\undefined{x}$ and open $\\frac{a}{b$, costs $5 and $6, `$code$`.\n\n```\n$$ fenced\n```"),
    markdown("Wide $$" + " + ".join(f"x_{{{i}}}^2" for i in range(60)) + "$$"),
    markdown("In a table: \n\n| a | $\\|x\\|$ |\n|---|---|\n| 1 | $\\text{if } x > 0$ |"),
    markdown(
        "## Pictures\n\n![attached](attachment:a%20b.png) ![gone](attachment:gone.png)",
        attachments={"a b.png": {"image/png": base64_of(picture())}, "gone.png": "odd"},
    ),
    markdown(
        '<img src="https://example.org/remote.png" width="50"> ![remote](http://example.org/b.png)\n\n'
        "![missing](missing.png) ![outside](../../../../etc/secret.png)\n\n<img src='figures/local picture.png' "
        "width=50% alt='a local one'>"
    ),
    markdown(f"<center><img src='data:image/png;base64,{base64_of(picture())}'/></center>"),
    markdown(
        "![broken](data:image/png;base64,AAAA) <img> ![](x) ![svg](data:image/svg+xml;base64,"
        + base64_of(b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><circle r='5'/></svg>")
        + ")"
    ),
    markdown(
        "## Links and marks\n\n[up](#scrollTo=abc) [nowhere]() *x*.py **y**.py [z](q.html).py `c`.py "
        "~~gone~~.py text[^1]\n\n[^1]: foot\n\n#let x = 1 #raw @ref <label> \\* $notmath\n\n"
        "<a href='#here'>here</a> `raw`{=typst}\n\n```{=typst}\n#panic()\n```"
    ),
    markdown(
        "## HTML\n\n<table><tr><th>head</th><th>two</th></tr>\n\n<tr><td>cell $c_1$</td><td>b</td></tr>"
        "</table>\n\n"
        "<div style='color:red'>\n\ninside *div*\n\n</div>\n\nH<sub>2</sub>O<br>next <b>bold</b>"
        "\n\n<script>alert(1)</script><iframe src='http://example.org'></iframe>"
    ),
    markdown("<style>p {color: red}</style>\n\n<details><summary>Hidden</summary>detail</details>\n\n<!-- comment -->"),
    markdown("## Scripts\n\nПривет, γειά, مرحبا, שלום, 你好世界, こんにちは, नमस्ते 🚀🎉 👩‍🔬 ½ → ✓ \ud83d half"),
    markdown("Unclosed fence and `tick\n\n```python\nx = 1"),
    markdown(
        "Wide table\n\n"
        + "|".join(f"column{i}" for i in range(12))
        + "\n"
        + "|".join(["---"] * 12)
        + "\n"
        + "|".join(["some long value"] * 12)
        + f"\n\n{LONG_WORD}"
    ),
    markdown(
        "<table><tr>" + f"<td><img src='data:image/png;base64,{base64_of(picture(900, 300))}'></td>" * 3 + "</tr></table>"
    ),
    markdown("> " * 300 + "deep"),
    code(
        f"x = '{LONG_WORD}'  # {LONG_WORD}\n" + "y = f(" + ", ".join(f"argument_{i}" for i in range(40)) + ")",
        printed("\x1b[31mred\x1b[0m and 你好 🚀\n10%|#  |\r100%|###|\nab\bc\n" + LONG_WORD * 20),
        count=1,
    ),
    code("for i in range(100000): print(i)", printed("\n".join(map(str, range(100_000)))), count=2),
    code(
        "1 / 0",
        printed("warned\n", "stderr"),
        stopped("ZeroDivisionError", "division by zero", "\x1b[0;31mZeroDivisionError\x1b[0m: by zero"),
        count=3,
    ),
    code(
        "frame",
        shown(
            html="<div><style scoped>.a {b: c}</style><table border='1'><thead><tr><th></th>"
            "<th>loss</th></tr></thead><tbody><tr><th>0</th>"
            "<td typst:fill='nothing'>1</td></tr></tbody></table>"
        ),
        count=4,
    ),
    code(
        "widget",
        shown(html="<script>draw()</script>", plain="FloatSlider(value=0.5)"),
        shown(html="<table>" + "<tr><td>1</td></tr>" * 9000 + "</table>", plain="   long\n0     1"),
        count=5,
    ),
    code("latex", shown(latex="$\\displaystyle \\sum_i x_i$"), shown(markdown="**strong** 你"), count=6),
    code("wide", shown(png=base64_of(picture(3000, 40))), shown(png=base64_of(picture(40, 3000))), count=7),
    code(
        "other",
        shown(jpeg=base64_of(picture(kind="JPEG"))),
        shown(png="bro ken"),
        shown(png=["iVBOR"]),
        shown(svg="<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><circle r='5'/></svg>"),
        shown(svg="<svg broken"),
        count=8,
    ),
    code("table of 40 columns", shown(html="<table><tr>" + "<td>cell</td>" * 40 + "</tr></table>"), count=9),
    code(""),
    {"cell_type": "raw", "metadata": {}, "source": "raw \\x <b>"},
    {"cell_type": "markdown"},
    {"cell_type": "code", "source": ["a = 1\n", "b = 2"], "execution_count": 10, "outputs": None, "metadata": None},
]
