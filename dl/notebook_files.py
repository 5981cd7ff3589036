"""The notebooks as files: where they are, in which order, and how a notebook is made from its source.

The source of a notebook is `NAME.nb.py`, and where that would be too long, `NAME.2.nb.py` goes on.
"""

from __future__ import annotations

import contextlib
import copy
import glob
import hashlib
import re
import sys
import warnings
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from dl import settings
from dl.console import UsageError, write_whole
from dl.files import read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

COURSE_ORDER = ("rnn_lstm_captioning", "Transformers", "Self_Supervised_Learning", "CLIP_DINO")
SOURCE_ENDING = ".nb.py"
FURTHER = "*.[0-9].nb.py"  # the second, third … file of a source
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

FETCH_CELL = """# In an empty hosted runtime (Colab, Kaggle) this fetches the course and installs it; at home it does nothing.
import importlib.util, os, subprocess, sys

if importlib.util.find_spec("dl") is None and not os.path.isdir("../dl"):
    address = os.environ.get("DL_REPOSITORY", "{repository}")
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", address, "assignment"], check=True)
    os.chdir("assignment/notebooks")
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "-e", ".."], check=True)
    sys.path.insert(0, os.path.abspath(".."))"""
COLAB, COLAB_BADGE = "https://colab.research.google.com/github", "https://colab.research.google.com/assets/colab-badge.svg"


def repository(root: Path) -> str | None:
    """The public address on GitHub that [project.urls] in pyproject.toml names as `repository`; None until there is one.

    Raises:
        UsageError: if it is no address on GitHub.
    """
    project = tomllib.loads(read_text(root / "pyproject.toml"))["project"]
    address = project.get("urls", {}).get("repository")
    if address is not None and not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", address):
        raise UsageError(
            f'repository in pyproject.toml is {address!r}; Colab opens "https://github.com/OWNER/NAME". '
            "Give that, or take the line out."
        )
    return address


def add_hosting(notebook: NotebookNode, name: str, address: str | None) -> None:
    """Put the badge that opens this notebook in Colab below the title, and before the first code the cell that fetches it.

    Args:
        address: as of `repository`; with None the notebook stays as it is, for a badge would lead nowhere.
    """
    if address is None:
        return
    first_code = next(index for index, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    fetch = nbformat.v4.new_code_cell(FETCH_CELL.format(repository=address), id="fetch-the-course")
    notebook.cells.insert(first_code, fetch)
    page = f"{address.replace('https://github.com', COLAB)}/blob/main/notebooks/{name}.ipynb"
    badge = nbformat.v4.new_markdown_cell(f"[![Open {name} in Colab]({COLAB_BADGE})]({page})", id="open-in-colab")
    notebook.cells.insert(1, badge)


def find_notebooks(names: list[str]) -> list[Path]:
    """Paths of notebooks named by path or by name (any case); all of `notebooks/` in the course's order for no name."""
    return _find(names, ".ipynb", 'Build them with "python -m dl build".')


def find_sources(names: list[str]) -> list[Path]:
    """The same for the first files of the sources, `notebooks/NAME.nb.py`."""
    return _find(names, SOURCE_ENDING, "Sources of notebooks end in .nb.py.")


def source_text(path: Path) -> str:
    """The whole source whose first file this is."""
    name = path.name.removesuffix(SOURCE_ENDING)
    further = sorted(path.parent.glob(f"{glob.escape(name)}.[0-9]{SOURCE_ENDING}"))
    return "\n".join(file.read_text(encoding="utf-8") for file in (path, *further))


def read_source(path: Path) -> NotebookNode:
    """A notebook made from a percent-format source: fixed metadata, cell ids that only a change of the cell changes.

    Args:
        path: the first file of the source.
    Raises:
        UsageError: if jupytext is not installed.
    """
    try:
        import jupytext
    except ImportError as error:
        raise UsageError('jupytext is not installed. Install it with: pip install -e ".[dev]"') from error
    notebook = nbformat.v4.new_notebook(metadata=copy.deepcopy(METADATA))
    seen: dict[str, int] = {}
    for cell in jupytext.reads(source_text(path), fmt="py:percent").cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        cell.metadata = NotebookNode({"tags": cell.metadata["tags"]} if "tags" in cell.metadata else {})
        notebook.cells.append(cell)
    return notebook


def read_notebook(path: Path) -> NotebookNode:
    """A notebook as any editor saved it: with or without byte-order mark and cell ids, with any line ends.

    Raises:
        ValueError: if the file is empty, is cut, has the marks of a merge conflict, or is something else.
    """
    text = read_text(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # missing ids are normal: nbformat makes new ones
            notebook = nbformat.reads(text, as_version=4)
        cells = notebook.cells
    except Exception as error:  # nbformat: JSON errors, keys that are absent, versions it does not know
        raise ValueError(_why_unreadable(path.name, text)) from error
    for cell in cells:
        cell.source = cell.source.replace("\r\n", "\n")
    return notebook


def _why_unreadable(name: str, text: str) -> str:
    if not text.strip():
        what = "is empty"
    elif re.search("^<<<<<<< ", text, re.M):
        what = "has the marks of a merge conflict (<<<<<<<)"
    else:
        what = "is no notebook of Jupyter, or is cut"
    return f"{name} {what}; wanted an .ipynb file of format 4. Take it from the course or a backup again."


def write_notebook(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook in one step, as UTF-8 with a final newline."""
    write_whole(path, lambda file: file.write_text(nbformat.writes(notebook).rstrip("\n") + "\n", encoding="utf-8"))


def _find(names: list[str], ending: str, hint: str) -> list[Path]:
    folder = settings.work_root() / "notebooks"
    files = [path for path in folder.glob(f"*{ending}") if path.name[0] != "." and not path.match(FURTHER)]
    known = {path.name.removesuffix(ending): path for path in files}
    ordered = [name for name in COURSE_ORDER if name in known] + sorted(set(known) - set(COURSE_ORDER))
    found: list[Path] = []
    missing: list[str] = []
    for name in names or ordered:
        wanted = _bare_name(name, folder)
        by_name = next((known[key] for key in ordered if key.lower() == wanted), None)
        path = Path(name) if name.endswith(ending) and Path(name).is_file() else by_name
        if path is None:
            missing.append(name)
        else:
            found.append(path)
    if missing or not found:
        what = f"no notebook {', '.join(missing)}" if missing else "no notebooks at all"
        raise UsageError(f"{what} in {shown(folder)}; there are: {', '.join(ordered) or 'none'}. {hint}")
    return found


def _bare_name(name: str, folder: Path) -> str:
    """A notebook's name in small letters, without its ending and the folder of the notebooks."""
    path = Path(name)
    inside = path.parent == Path() or path.parent == Path(folder.name) or path.parent.resolve() == folder.resolve()
    return (path.name if inside else name).lower().removesuffix(".ipynb").removesuffix(SOURCE_ENDING)


def shown(path: Path) -> str:
    """A path as the user would type it: relative to the working folder where it lies below it."""
    with contextlib.suppress(ValueError):
        return path.resolve().relative_to(Path.cwd()).as_posix()
    return str(path)
