"""Look through the notebooks before they are handed in. A finding names notebook, section and cell; none stops the zip.

Questions are answered in Markdown cells that are tagged `answer` and begin with `**Your answer:**`; the answer follows.
Required cells are those in which the course's notebook computes, checks or asks: its code cells and its answer cells
(`required`, derived from the sources). They are known by their ids, and by their text where a tool changed the ids.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections import defaultdict
from dataclasses import dataclass, field

from dl.submit.cells import ANSWER_TITLE, Cell, Notebook, joined, read_notebook
from dl.submit.files import NOTEBOOKS, code_digest
from dl.submit.required import Required, beginning, cell_digest, required_cells

FAILED_CHECK = "not so: "  # how the notebooks' checks begin when they fail,
PASSED_CHECK = "ok: "  # and when they pass
SUBMISSION_CALL = "make_assignment2_submission("  # its cell is running when the notebook is read


@dataclass(frozen=True)
class Finding:
    """Something to look at: in which notebook or file, what, and where in it."""

    notebook: str
    what: str
    section: str = ""
    cell: str = ""

    def __str__(self) -> str:
        place = f', section "{self.section}", {self.cell}' if self.cell else ""
        return f"{self.notebook}{place}: {self.what}"


@dataclass(frozen=True)
class Result:
    """What a notebook measured and which checks passed in it, from `results/NAME.json`."""

    scores: dict[str, float]
    checks: list[str]
    data: str
    device: str
    code: dict[str, str] = field(default_factory=dict)  # digests of the code that it came from, by path


def read_notebooks(contents: dict[str, bytes]) -> list[Notebook]:
    return [read_notebook(name, content) for name, content in contents.items()]


def read_results(contents: dict[str, bytes]) -> dict[str, Result]:
    """Results of the notebooks whose file is there and in order, by the notebook's name."""
    results = {}
    for name in NOTEBOOKS:
        try:
            report = json.loads(contents[f"results/{name}.json"])
            scores = {str(key): math.nan if value is None else float(value) for key, value in report["scores"].items()}
            code = {str(path): str(digest) for path, digest in report.get("code", {}).items()}
            checks = [str(check) for check in report["checks"]]
            results[name] = Result(scores, checks, str(report["data"]), str(report["device"]), code)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            continue
    return results


def findings_in(notebooks: list[Notebook], results: dict[str, Result], contents: dict[str, bytes]) -> list[Finding]:
    """All findings, in the order of the notebooks and, within one, of the cells.

    Args:
        notebooks: as read. results: by the notebook's name. contents: what is handed in, by its path.
    """
    findings = []
    for notebook in notebooks:
        if notebook.problem or not notebook.cells:
            findings.append(Finding(notebook.name, notebook.problem or "has no cells"))
            continue
        if f"results/{notebook.name}.json" in contents and notebook.name not in results:
            findings.append(Finding(notebook.name, f"results/{notebook.name}.json is broken: run the notebook again"))
        required = required_cells(notebook.name)
        if notebook.name in results:
            findings += _code_changed(notebook.name, results[notebook.name], contents)
        findings += _executions(notebook)
        findings += _answers(notebook, required)
        findings += _required(notebook, required)
    return findings


def _code_changed(name: str, result: Result, contents: dict[str, bytes]) -> list[Finding]:
    """Code that is another than when the results were saved; file times would say so of every clone and copy."""
    newer = [path for path, digest in result.code.items() if path in contents and code_digest(contents[path]) != digest]
    what = f"{', '.join(newer)} changed since the run: run the notebook again"
    return [Finding(name, what)] if newer else []


def _executions(notebook: Notebook) -> list[Finding]:
    """Cells not executed, executed out of order, stopped by an error, or whose check did not pass."""
    code = [
        cell for cell in notebook.cells if cell.kind == "code" and cell.source.strip() and SUBMISSION_CALL not in cell.source
    ]
    not_executed = [cell for cell in code if cell.count is None]
    if code and len(not_executed) == len(code):
        return [Finding(notebook.name, "no cell was executed: run it and save it")]
    findings = _by_section(notebook, not_executed, "not executed")
    latest = 0
    for cell in code:
        if cell.count is None:
            continue
        if cell.count < latest:
            what = f"executed out of order, as number {cell.count} after {latest}: restart the kernel and run all"
            findings.append(_at(notebook, cell, what))
        latest = max(latest, cell.count)
        findings += _outcome(notebook, cell)
    return findings


def _outcome(notebook: Notebook, cell: Cell) -> list[Finding]:
    """Errors and failed checks among the outputs of one executed cell."""
    errors = [output for output in cell.outputs if output.get("output_type") == "error"]
    printed = "".join(joined(output.get("text")) for output in cell.outputs if output.get("output_type") == "stream")
    shown = (output.get("data") for output in cell.outputs if output.get("output_type") == "display_data")
    printed += "".join(f"\n{joined(data.get('text/plain'))}" for data in shown if isinstance(data, dict))
    failed = [line for line in printed.splitlines() if line.startswith(FAILED_CHECK)]
    failed += [text for error in errors if (text := joined(error.get("evalue"))).startswith(FAILED_CHECK)]
    what = [f"a check did not pass: {line.removeprefix(FAILED_CHECK)}" for line in failed]
    for error in errors:
        if not joined(error.get("evalue")).startswith(FAILED_CHECK):
            what.append(f"stopped by an error: {error.get('ename')}: {_first_line(joined(error.get('evalue')))}")
    if not what and _always_checks(cell.source) and not re.search(f"^{PASSED_CHECK}", printed, re.M):
        what.append(f'a check did not pass: the cell checks something, and its outputs have no line "{PASSED_CHECK}…"')
    return [_at(notebook, cell, text) for text in what]


def _always_checks(source: str) -> bool:
    """Whether a cell calls `session.check…` whatever the data: neither under an `if` nor only in a function."""
    try:
        body: list[ast.AST] = list(ast.parse(re.sub(r"^(\s*)[%!]", r"\1#", source, flags=re.M)).body)
    except (SyntaxError, ValueError, RecursionError):
        return False
    while body:
        node = body.pop()
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("session.check", "session.check_error"):
            return True
        if not isinstance(node, (ast.If, ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.IfExp)):
            body.extend(ast.iter_child_nodes(node))
    return False


def _answers(notebook: Notebook, required: dict[str, Required]) -> list[Finding]:
    """Answer cells with nothing after their title, or with the course's own words still in them."""
    findings = []
    for cell in notebook.cells:
        known = required.get(cell.id)
        if not (cell.is_answer or (known and known.answer and cell.kind == "markdown")):
            continue
        text = re.sub(r"<!--.*?-->", "", cell.source, flags=re.S).strip().removeprefix(ANSWER_TITLE).strip()
        if not text or cell_digest(cell.kind, cell.source) in required:
            findings.append(_at(notebook, cell, "the question is not answered"))
    return findings


def _required(notebook: Notebook, required: dict[str, Required]) -> list[Finding]:
    """Cells of the course that are missing, there twice, or no longer of their type."""
    findings = []
    by_id, by_text, by_place = defaultdict(list), defaultdict(list), defaultdict(list)
    for cell in notebook.cells:
        by_id[cell.id].append(cell)
        if cell.id not in required:
            digest = cell_digest(cell.kind, cell.source)
            by_text[digest].append(cell)
            if digest not in required and cell.source.strip():  # answered or edited, and its id lost
                by_place[cell.kind, cell.section, beginning(cell.source)].append(cell)
    texts = [key.partition("-")[0] for key in required]  # a cell that the course itself repeats has an id with "-2"
    if required and not any(by_id[key] or by_text[text] for key, text in zip(required, texts, strict=True)):
        return [Finding(notebook.name, "has none of the course's cells: is this the right notebook?")]
    for key, text in zip(required, texts, strict=True):
        wanted = required[key]
        found = by_id[key] or by_text[text]
        if not found and (same_place := by_place[wanted.kind, wanted.section, wanted.begins]):
            found = [same_place.pop(0)]
        if not found:
            what = f'required cell is missing, it begins with "{wanted.begins}": copy it again from the course'
            findings.append(Finding(notebook.name, what, wanted.section, f"{wanted.label} of the course"))
            continue
        if found[0].kind != wanted.kind:
            what = f"required cell of the wrong type, {found[0].kind} instead of {wanted.kind}"
            findings.append(_at(notebook, found[0], what))
        for cell in by_id[key][1:] + (by_text[text] if by_id[key] else by_text[text][texts.count(text) :]):
            findings.append(_at(notebook, cell, f"required cell is there twice, also as {found[0].label}"))
    return findings


def _by_section(notebook: Notebook, cells: list[Cell], what: str) -> list[Finding]:
    """One finding a section, naming its cells."""
    sections: dict[str, list[str]] = defaultdict(list)
    for cell in cells:
        sections[cell.section].append(cell.label)
    return [Finding(notebook.name, what, section, ", ".join(labels)) for section, labels in sections.items()]


def _at(notebook: Notebook, cell: Cell, what: str) -> Finding:
    return Finding(notebook.name, what, cell.section, cell.label)


def _first_line(text: str) -> str:
    return (text.splitlines() or [""])[0]
