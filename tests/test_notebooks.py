"""The committed notebooks: built from their sources, executed without errors, small, without traces of a machine."""

import re
from pathlib import Path

import nbformat
import pytest

from dl.notebook_files import METADATA, SOURCE_ENDING, add_hosting, find_sources, read_source, repository

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
SOURCES = find_sources([])
LARGEST = 5_000_000  # bytes: figures are sharp at twice the density of a screen
# absolute folders of users and systems, in either spelling
MACHINE = re.compile(r"(?<![\w.])(/(home|Users|root|work|tmp|opt|usr|var|mnt)/\w|[A-Z]:\\+Users)|site-packages")
EMBEDDED = re.compile(r"base64,[A-Za-z0-9+/=\s\\]+")

pytestmark = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)


def built(source: Path) -> Path:
    return source.with_name(source.name.removesuffix(SOURCE_ENDING) + ".ipynb")


def contents(notebook: nbformat.NotebookNode) -> list[tuple]:
    return [(cell.id, cell.cell_type, cell.source, cell.metadata) for cell in notebook.cells]


def machine_traces(notebook: nbformat.NotebookNode) -> list[str]:
    """Texts of outputs in which a folder of the machine that ran the notebook shows."""
    texts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            texts.append(output.get("text", ""))
            texts += [str(value) for kind, value in output.get("data", {}).items() if not kind.startswith("image/p")]
    return [text for text in texts if MACHINE.search(EMBEDDED.sub("", text))]


def test_it_has_the_cells_of_its_source(source):
    assert built(source).is_file(), f"not built: python -m dl build {built(source).stem}"
    wanted = read_source(source)
    add_hosting(wanted, built(source).stem, repository(FOLDER.parent))
    assert contents(nbformat.read(built(source), as_version=4)) == contents(wanted)


def test_it_was_executed_top_to_bottom_without_an_error(source):
    notebook = nbformat.read(built(source), as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]


def test_it_is_small_and_shows_nothing_of_the_machine(source):
    notebook = nbformat.read(built(source), as_version=4)
    assert built(source).stat().st_size < LARGEST
    assert notebook.metadata == METADATA
    assert not machine_traces(notebook)
    assert not [o for cell in notebook.cells for o in cell.get("outputs", []) if o.get("name") == "stderr"]
