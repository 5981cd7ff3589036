"""The committed notebooks: built from their sources, executed without errors, small, without traces of a machine."""

import ast
import html
import re
from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter

from dl.checks import course
from dl.commands import install
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


def cells(source: Path, kind: str) -> list[str]:
    return [cell.source for cell in read_source(source).cells if cell.cell_type == kind]


def test_every_exercise_is_announced_with_an_example_and_mistakes(source):
    calls = re.findall(r"session\.exercise\((.*?)\)", "\n".join(cells(source, "code")), re.DOTALL)
    named = {name for call in calls for name in re.findall(r'"(.+?)"', call)}
    topic = next(exercise.topic for exercise in course.find(()) if exercise.name in named)
    assert named == {exercise.name for exercise in course.exercises(topic)}
    words = cells(source, "markdown")
    tasks = " ".join(text for text in words if re.search(r"\b(fill in|extend|complete|task)\b", text, re.IGNORECASE))
    announced = {name.rpartition(".")[2] for name in re.findall(r"`([\w.]+)`", tasks)}
    assert {name.rpartition(".")[2] for name in named} <= announced
    assert sum(bool(re.search(r"by hand|on paper", text, re.IGNORECASE)) for text in words) >= len(calls) / 2
    assert not re.search(r"Common mistake\W*:", "\n".join(words))  # one is not enough


def test_no_code_cell_is_long(source):
    code = cells(source, "code")
    assert max(len(line) for cell in code for line in cell.splitlines()) <= 100
    for cell in code:
        tree = ast.parse("\n".join(line for line in cell.splitlines() if not line.startswith("%")))
        assert all(node.end_lineno - node.lineno < 5 for node in tree.body if isinstance(node, ast.FunctionDef))


def test_every_question_has_room_and_a_model_answer_with_criteria(source):
    words = "\n".join(cells(source, "markdown"))
    numbered = re.findall(r"^(?:### Question )?(\d)(?:\.|$)(?: \*\*(.*?)\.\*\*)?.*", words.rpartition("## Question")[2], re.M)
    answers = (FOLDER / "answers" / f"{built(source).stem}.md").read_text(encoding="utf-8")
    parts = {part.split("\n")[0]: part for part in re.split(r"^## ", answers, flags=re.M)[1:]}
    asked = set(re.findall(r'session\.answer\("(.+?)"\)', words)) | {title for _, title in numbered if title}
    assert asked <= set(parts) and all(part in words or part.startswith("Q") for part in parts)
    assert [name for name, part in parts.items() if not re.search(r"What a full answer names:\n\n[*-] ", part)] == []
    assert "**Your answer" in words


def images(notebook: nbformat.NotebookNode) -> list[tuple[int, str | None]]:
    """The alt text of every image: of PNG outputs, and of `<img>` and Markdown images in outputs and text cells."""
    found: list[tuple[int, str | None]] = []
    for at, cell in enumerate(notebook.cells):
        texts = [cell.source] if cell.cell_type == "markdown" else []
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                found.append((at, output.metadata.get("image/png", {}).get("alt")))
            texts += [value for kind, value in output.get("data", {}).items() if kind in ("text/html", "text/markdown")]
        for text in texts:
            for tag in re.findall(r"<img\b[^>]*>", EMBEDDED.sub("", text)):
                found.append((at, (re.findall(r"\balt=[\"']([^\"']*)", tag) or [None])[0]))
            found += [(at, alt) for alt in re.findall(r"!\[([^\]]*)\]\(", text)]
    return found


def test_every_image_has_an_alt_text_that_says_something(source):
    found = images(nbformat.read(built(source), as_version=4))
    assert len(found) >= 5
    assert [(cell, alt) for cell, alt in found if len((alt or "").split()) < 5] == []


@pytest.mark.parametrize("template", ["classic", "described"])
def test_alt_texts_survive_nbconvert(source, template, tmp_path):
    """The template "lab" of nbconvert 7.x drops them; `make setup` puts ours in its place, "classic" keeps them by itself."""
    install.keep_descriptions(tmp_path)
    notebook = nbformat.read(built(source), as_version=4)
    exporter = HTMLExporter(template_name=template, extra_template_basedirs=[str((tmp_path / install.TEMPLATES).parent)])
    page = exporter.from_notebook_node(notebook)[0]
    shown = {html.unescape(alt) for alt in re.findall(r"<img\b[^>]*?\balt=\"([^\"]*)\"", EMBEDDED.sub("", page))}
    assert {alt for _, alt in images(notebook)} <= shown and not any("No description" in alt for alt in shown)


def test_it_is_small_and_shows_nothing_of_the_machine(source):
    notebook = nbformat.read(built(source), as_version=4)
    assert built(source).stat().st_size < LARGEST
    assert notebook.metadata == METADATA
    assert not machine_traces(notebook)
    assert not [o for cell in notebook.cells for o in cell.get("outputs", []) if o.get("name") == "stderr"]
