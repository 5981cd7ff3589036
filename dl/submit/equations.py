"""Equations of Markdown cells: found as Jupyter finds them, put into the TeX that pandoc knows, tried one by one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

MARK = "xEquation{}x"  # stands for equation number {} while pandoc reads the cell
MARKED = re.compile(r"xEquation(\d+)x")

_ENVIRONMENTS = "align|alignat|aligned|equation|gather|multline|eqnarray|split|cases|[pbvBV]?matrix"
_FOUND = re.compile(
    rf"""
    (?P<code>^[ \t>]*(?P<fence>```+|~~~+)[^\n]*\n(?s:.*?)(?:^[ \t>]*(?P=fence)[ \t]*$|\Z)
        |(?P<ticks>`+)(?!`)(?:(?!\n[ \t]*\n)(?s:.))+?(?<!`)(?P=ticks)(?!`))
    |\$\$(?P<display>(?s:.+?))\$\$
    |(?P<bare>\\begin{{(?P<name>(?:{_ENVIRONMENTS})\*?)}}(?s:.*?)\\end{{(?P=name)}})
    |\\\\\[(?P<bracket>(?s:.+?))\\\\\]
    |\\\\\((?P<parenthesis>.+?)\\\\\)
    |(?P<escaped>\\[\\$])
    |\$(?P<inline>(?:\\.|[^$\\\n`]|\n(?![ \t]*\n))+)\$(?!\d)
    """,
    re.X | re.M,
)


@dataclass(frozen=True)
class Equation:
    tex: str
    display: bool
    written: str  # as in the cell


class Equations:
    """All equations of a document: first taken out of the texts, then converted together."""

    def __init__(self) -> None:
        self.found: list[Equation] = []
        self.typst: dict[Equation, str | None] = {}  # None: cannot be typeset

    def take_out(self, markdown: str) -> str:
        """The text with a mark for each equation outside code."""

        def mark(match: re.Match) -> str:
            if match["code"] or match["escaped"]:
                return match[0]
            tex = next(filter(None, match.group("display", "bare", "bracket", "parenthesis", "inline")))
            if not tex.strip():
                return match[0]
            self.found.append(Equation(simplified(tex), not (match["inline"] or match["parenthesis"]), match[0]))
            return MARK.format(len(self.found) - 1)

        return _FOUND.sub(mark, markdown)

    def put_back(self, text: str) -> str:
        """The text as it was written, where it turned out to be no place for an equation."""
        return MARKED.sub(lambda match: self.found[int(match[1])].written, text)

    def convert(
        self,
        pandoc: Callable[[list[list[dict]]], list[str]],
        printable: Callable[[str], str],
        failing: Callable[[list[str]], list[int]],
    ) -> None:
        """Find the typst of every equation.

        Args:
            pandoc: converts lists of blocks to typst. printable: replaces characters that no font has.
            failing: which of some pieces of typst do not compile.
        """
        equations = list(dict.fromkeys(self.found))
        converted = pandoc([[_paragraph(equation)] for equation in equations])
        for equation, text in zip(equations, converted, strict=True):
            typst = printable(_with_limits(equation, text.strip()))
            self.typst[equation] = typst if typst.startswith("$") else None  # else pandoc left it as TeX
        good = {equation: piece for equation, piece in self.typst.items() if piece}
        for index in failing(list(good.values())):
            self.typst[list(good)[index]] = None


def simplified(tex: str) -> str:
    """TeX with the same meaning in the commands that pandoc 3 converts rightly."""
    tex = re.sub(r"\n\s*\n", "\n", tex.strip())
    tex = re.sub(r"\\(label|tag\*?)\s*{[^{}]*}|\\(nonumber|notag)\b", "", tex)
    tex = re.sub(r"\\begin{equation\*?}|\\end{equation\*?}", "", tex)
    tex = re.sub(r"\\arg(max|min)(?![a-zA-Z])", r"\\operatorname*{arg\1}", tex)
    bars = re.split(r"(?<!\\)(?<!\\left)(?<!\\right)(?<!\\big)(?<!\\Big)\\\|", tex)
    if len(bars) % 2:  # an even number of bars: pairs around something
        tex = bars[0] + "".join((r"\lVert ", r" \rVert ")[i % 2] + bar for i, bar in enumerate(bars[1:]))
    return re.sub(r"(\\begin{align(?:ed|at)?\*?})(.*?)(\\end{align)", _pairs_apart, tex, flags=re.S)


def _pairs_apart(match: re.Match) -> str:
    """Space before every second `&` of a row: there a new pair of columns begins."""
    if "\\begin" in match[2]:
        return match[0]
    rows = []
    for row in re.split(r"(?<!\\)\\\\", match[2]):
        left, *cells = re.split(r"(?<!\\)&", row)
        rows.append(left + "".join(("&", r"\qquad &")[i % 2] + cell for i, cell in enumerate(cells)))
    return match[1] + r"\\".join(rows) + match[3]


def _with_limits(equation: Equation, typst: str) -> str:
    """Names written with `\\operatorname*` take their limits below, which pandoc forgets."""
    for name in re.findall(r"\\operatorname\*{(\w+)}", equation.tex):
        typst = typst.replace(f'"{name}"', f'op("{name}", limits: #true)')
    return typst


def _paragraph(equation: Equation) -> dict:
    kind = "DisplayMath" if equation.display else "InlineMath"
    return {"t": "Para", "c": [{"t": "Math", "c": [{"t": kind}, equation.tex]}]}
