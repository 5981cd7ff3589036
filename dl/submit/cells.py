"""A notebook as it lies on the disk, read leniently: editors and tools leave out or repeat what nbformat requires."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field

ANSWER_TAG = "answer"  # of a Markdown cell in which the learner answers a question …
ANSWER_TITLE = "**Your answer:**"  # … and how such a cell begins


@dataclass
class Cell:
    """One cell. `section`: the last heading above or in it; `label`: "code cell 3", counted as `dl run` counts."""

    kind: str
    source: str
    section: str
    label: str
    id: str
    tags: list[str]
    count: int | None = None  # which execution of the kernel it was
    outputs: list[dict] = field(default_factory=list)
    attachments: dict = field(default_factory=dict)

    @property
    def is_answer(self) -> bool:
        return self.kind == "markdown" and (ANSWER_TAG in self.tags or self.source.lstrip().startswith(ANSWER_TITLE))


@dataclass
class Notebook:
    """Cells of one notebook; `problem` says why there are none if it cannot be read."""

    name: str
    cells: list[Cell] = field(default_factory=list)
    problem: str = ""


def read_notebook(name: str, content: bytes) -> Notebook:
    """Read the bytes of an .ipynb file of format 4."""
    try:
        loaded = json.loads(content)
        raw_cells = loaded["cells"] if isinstance(loaded, dict) and isinstance(loaded.get("cells"), list) else None
    except (ValueError, RecursionError) as error:
        return Notebook(name, problem=f"is not readable as a notebook: {error}")
    if raw_cells is None:
        return Notebook(name, problem="is not readable as a notebook of format 4: it has no list of cells")
    counts: Counter[str] = Counter()
    section, cells = "start", []
    for raw in filter(lambda cell: isinstance(cell, dict), raw_cells):
        kind, source = str(raw.get("cell_type")), joined(raw.get("source"))
        if kind == "markdown":
            section = last_heading(source) or section
        counts[kind] += kind != "code" or bool(source.strip())  # empty code cells are not executed, nor counted
        metadata, count = as_dict(raw.get("metadata")), raw.get("execution_count")
        tags = metadata.get("tags")
        cells.append(
            Cell(
                kind,
                source,
                section,
                f"{'text' if kind == 'markdown' else kind} cell {counts[kind]}",
                id=str(raw.get("id") or metadata.get("id") or ""),  # hosted notebooks keep it in the metadata
                tags=tags if isinstance(tags, list) else [],
                count=count if isinstance(count, int) else None,
                outputs=[output for output in raw.get("outputs") or [] if isinstance(output, dict)],
                attachments=as_dict(raw.get("attachments")),
            )
        )
    return Notebook(name, cells)


def joined(text) -> str:
    """A text of a notebook, which may be stored as a list of lines; halves of surrogate pairs are replaced."""
    text = "".join(map(str, text)) if isinstance(text, list) else str(text or "")
    return text.encode("utf-8", errors="replace").decode()


def last_heading(markdown: str) -> str:
    """Text of the last heading outside code fences, "" if there is none."""
    heading, fenced = "", False
    for line in markdown.splitlines():
        fenced ^= line.lstrip().startswith("```")
        if not fenced and (match := re.match(r"#{1,6}\s+(.+?)\s*#*\s*$", line)):
            heading = match[1]
    return heading


def as_dict(value) -> dict:
    return value if isinstance(value, dict) else {}
