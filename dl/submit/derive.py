"""Derive `required.json` from the notebooks' sources: python -m dl.submit.derive. A test fails until that is done."""

from __future__ import annotations

import json

import nbformat

from dl.notebook_files import SOURCE_ENDING, find_sources, read_source
from dl.submit.cells import read_notebook
from dl.submit.required import LIST, Required, beginning


def derive() -> str:
    """Contents of `required.json`: code cells and answer cells of every notebook that has a source, a line each."""
    notebooks = []
    for path in find_sources([]):
        name = path.name.removesuffix(SOURCE_ENDING)
        cells = read_notebook(name, nbformat.writes(read_source(path)).encode()).cells
        lines = [
            f"  {json.dumps(cell.id)}: {json.dumps(vars(wanted), ensure_ascii=False)}"
            for cell in cells
            if cell.is_answer or (cell.kind == "code" and cell.source.strip())
            for wanted in [Required(cell.kind, cell.section, cell.label, beginning(cell.source), cell.is_answer)]
        ]
        notebooks.append(f" {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n }")
    return "{\n" + ",\n".join(notebooks) + "\n}\n"


if __name__ == "__main__":
    LIST.write_text(derive(), encoding="utf-8")
    print(f"Written: dl/submit/{LIST.name}")
