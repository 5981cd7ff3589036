"""The notebooks as files: where they are, in which order, and how a notebook is made from its source `NAME.nb.py`."""

from __future__ import annotations

import contextlib
import copy
import hashlib
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from dl import settings
from dl.console import UsageError, write_whole

COURSE_ORDER = ("rnn_lstm_captioning", "Transformers", "Self_Supervised_Learning", "CLIP_DINO")
SOURCE_ENDING = ".nb.py"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def find_notebooks(names: list[str]) -> list[Path]:
    """Paths of notebooks named by path or by name (any case); all of `notebooks/` in the course's order for no name."""
    return _find(names, ".ipynb", 'Build them with "python -m dl build".')


def find_sources(names: list[str]) -> list[Path]:
    """The same for the sources `notebooks/NAME.nb.py`."""
    return _find(names, SOURCE_ENDING, "Sources of notebooks end in .nb.py.")


def read_source(path: Path) -> NotebookNode:
    """A notebook made from a percent-format source: fixed metadata, cell ids that only a change of the cell changes.

    Raises:
        UsageError: if jupytext is not installed.
    """
    try:
        import jupytext
    except ImportError as error:
        raise UsageError('jupytext is not installed. Install it with: pip install -e ".[dev]"') from error
    notebook = nbformat.v4.new_notebook(metadata=copy.deepcopy(METADATA))
    seen: dict[str, int] = {}
    for cell in jupytext.read(path).cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        cell.metadata = NotebookNode({"tags": cell.metadata["tags"]} if "tags" in cell.metadata else {})
        notebook.cells.append(cell)
    return notebook


def write_notebook(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook in one step, as UTF-8 with a final newline."""
    write_whole(path, lambda file: file.write_text(nbformat.writes(notebook).rstrip("\n") + "\n", encoding="utf-8"))


def _find(names: list[str], ending: str, hint: str) -> list[Path]:
    folder = settings.project_root() / "notebooks"
    known = {path.name.removesuffix(ending): path for path in folder.glob(f"*{ending}")}
    ordered = [name for name in COURSE_ORDER if name in known] + sorted(set(known) - set(COURSE_ORDER))
    found: list[Path] = []
    missing: list[str] = []
    for name in names or ordered:
        by_name = next((known[key] for key in ordered if key.lower() == name.lower()), None)
        path = Path(name) if name.endswith(ending) and Path(name).is_file() else by_name
        if path is None:
            missing.append(name)
        else:
            found.append(path)
    if missing or not found:
        what = f"no notebook {', '.join(missing)}" if missing else "no notebooks at all"
        raise UsageError(f"{what} in {shown(folder)}; there are: {', '.join(ordered) or 'none'}. {hint}")
    return found


def shown(path: Path) -> str:
    """A path as the user would type it: relative to the working folder where it lies below it."""
    with contextlib.suppress(ValueError):
        return path.resolve().relative_to(Path.cwd()).as_posix()
    return str(path)
